//! Tokens into a tree: a Pratt parser with bounds on length, nodes and nesting.

use std::ops::Range;

use serde_json::Value;

use super::ast::{Id, Kind, Node, Operator, Test, Tree, power};
use super::lexer::{Lexer, Token};
use super::operators::negate;
use super::pattern::Pattern;
use super::problem::Problem;
use crate::limits::{EXPRESSION_BYTES, EXPRESSION_DEPTH, EXPRESSION_NODES};

/// What everything parsed together may still take.
pub(super) struct Allowance {
    /// Nodes of trees.
    pub(super) nodes: usize,
    /// Bytes of compiled patterns.
    pub(super) pattern_bytes: usize,
}

impl Allowance {
    /// Enough for one expression.
    pub(super) const EXPRESSION: Allowance =
        Allowance { nodes: EXPRESSION_NODES, pattern_bytes: 1 << 20 };
}

/// Parses an expression that stands alone and may have holes.
pub(super) fn parse(source: &str, known: &dyn Fn(&str) -> bool) -> Result<Tree, Problem> {
    check_length(0..source.len())?;
    let mut allowance = Allowance::EXPRESSION;
    Parser::new(Lexer::new(source, known), &mut allowance).whole(0)
}

/// Parses what stands in one hole of a template.
pub(super) fn parse_hole(
    source: &str,
    range: Range<usize>,
    known: &dyn Fn(&str) -> bool,
    allowance: &mut Allowance,
) -> Result<Tree, Problem> {
    check_length(range.clone())?;
    let mut lexer = Lexer::new(source, known);
    lexer.enter_hole(range.clone());
    Parser::new(lexer, allowance).whole(range.start)
}

fn check_length(range: Range<usize>) -> Result<(), Problem> {
    if range.len() > EXPRESSION_BYTES {
        let message = format!("an expression may have {EXPRESSION_BYTES} bytes at most");
        return Err(Problem::at(range, message));
    }
    Ok(())
}

/// Reads tokens and adds nodes; operands are read in the module beside this one.
pub(super) struct Parser<'s, 'p> {
    pub(super) lexer: Lexer<'s>,
    pub(super) token: Token<'s>,
    pub(super) place: Range<usize>,
    /// Where the last token that was taken ends.
    pub(super) taken: usize,
    pub(super) nodes: Vec<Node>,
    /// How deep the tree below each node is.
    depths: Vec<u16>,
    allowance: &'p mut Allowance,
}

impl<'s, 'p> Parser<'s, 'p> {
    fn new(lexer: Lexer<'s>, allowance: &'p mut Allowance) -> Parser<'s, 'p> {
        let (token, place) = (Token::End, 0..0);
        let (nodes, depths) = (Vec::new(), Vec::new());
        Parser { lexer, token, place, taken: 0, nodes, depths, allowance }
    }

    fn whole(mut self, start: usize) -> Result<Tree, Problem> {
        self.taken = start;
        let root = self.complete(0)?;
        self.nodes.shrink_to_fit();
        Ok(Tree { nodes: self.nodes, root })
    }

    pub(super) fn complete(&mut self, level: u16) -> Result<Id, Problem> {
        self.advance()?;
        let root = self.expression(power::CHOICE, level)?;
        match self.token {
            Token::End => Ok(root),
            _ => Err(self.unexpected("the expression should end here, or an operator is missing")),
        }
    }

    pub(super) fn advance(&mut self) -> Result<Token<'s>, Problem> {
        let (token, place) = self.lexer.next()?;
        self.taken = self.place.end.max(self.taken);
        self.place = place;
        Ok(std::mem::replace(&mut self.token, token))
    }

    pub(super) fn is(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(found) if found == symbol)
    }

    fn is_word(&self, words: &[&str]) -> bool {
        matches!(self.token, Token::Name(found) if words.contains(&found))
    }

    pub(super) fn unexpected(&self, message: impl Into<String>) -> Problem {
        Problem::at(self.place.clone(), message)
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), Problem> {
        if !self.is(symbol) {
            return Err(self.unexpected(format!("a `{symbol}` is missing here")));
        }
        self.advance().map(drop)
    }

    pub(super) fn add(&mut self, kind: Kind, start: usize, below: &[Id]) -> Result<Id, Problem> {
        let place = start..self.taken.max(start);
        let depth = below.iter().map(|id| self.depths[*id as usize]).max().unwrap_or(0) + 1;
        if depth > EXPRESSION_DEPTH {
            return Err(too_deep(place));
        }
        let left = self.allowance.nodes.checked_sub(1);
        let (Some(left), true) = (left, self.nodes.len() < EXPRESSION_NODES) else {
            return Err(Problem::at(place, "there are too many parts; split the expression"));
        };
        self.allowance.nodes = left;
        self.nodes.push(Node::new(kind, place));
        self.depths.push(depth);
        Ok(id(self.nodes.len() - 1))
    }

    pub(super) fn expression(&mut self, least: u8, level: u16) -> Result<Id, Problem> {
        if level > EXPRESSION_DEPTH {
            return Err(too_deep(self.place.clone()));
        }
        let start = self.place.start;
        let mut left = self.prefix(level)?;
        let mut compared = false;
        while let Some(found) = self.infix(least) {
            if found == power::COMPARISON && std::mem::replace(&mut compared, true) {
                let message = "comparisons do not chain: write `a < b and b < c`";
                return Err(self.unexpected(message));
            }
            left = self.operation(left, start, level)?;
        }
        Ok(left)
    }

    /// How tightly what follows binds, if it continues the expression.
    fn infix(&self, least: u8) -> Option<u8> {
        let found = match self.token {
            Token::Symbol(text) => Operator::spelled(text)?.power(),
            Token::Name("if") => power::CHOICE,
            Token::Name("is" | "not") => power::COMPARISON,
            Token::Name(text) => Operator::spelled(text)?.power(),
            _ => return None,
        };
        (found >= least).then_some(found)
    }

    fn operation(&mut self, left: Id, start: usize, level: u16) -> Result<Id, Problem> {
        match self.token {
            Token::Name("if") => self.choice(left, start, level),
            Token::Name("is") => self.test(left, start),
            Token::Name("not") => {
                self.advance()?;
                let operator = self.operator().filter(|operator| operator.is_word());
                let missing = || self.unexpected("`in`, `contains` or the like must follow `not`");
                let operator = operator.ok_or_else(missing)?;
                let inner = self.binary(operator, left, start, level)?;
                self.add(Kind::Not(inner), start, &[inner])
            }
            _ => match self.operator() {
                Some(operator) => self.binary(operator, left, start, level),
                None => Err(self.unexpected("an operator is missing here")),
            },
        }
    }

    fn operator(&self) -> Option<Operator> {
        match self.token {
            Token::Symbol(text) | Token::Name(text) => Operator::spelled(text),
            _ => None,
        }
    }

    fn binary(
        &mut self,
        operator: Operator,
        left: Id,
        start: usize,
        level: u16,
    ) -> Result<Id, Problem> {
        self.advance()?;
        let right = self.expression(operator.power() + 1, level + 1)?;
        if operator == Operator::Matches
            && let Some(pattern) = self.pattern(right)?
        {
            return self.add(Kind::Matches(left, Box::new(pattern)), start, &[left]);
        }
        self.add(Kind::Binary(operator, left, right), start, &[left, right])
    }

    /// Compiles a pattern that is written out.
    fn pattern(&mut self, id: Id) -> Result<Option<Pattern>, Problem> {
        let node = &self.nodes[id as usize];
        let Kind::Literal(value) = &node.kind else { return Ok(None) };
        let Value::String(source) = &**value else { return Ok(None) };
        let place = node.place();
        let refuse = |message: String| Problem::at(place.clone(), message);
        let pattern = Pattern::new(source).map_err(refuse)?;
        let left = self.allowance.pattern_bytes.checked_sub(pattern.bytes);
        let too_many = || refuse("the patterns together are too large".to_owned());
        self.allowance.pattern_bytes = left.ok_or_else(too_many)?;
        Ok(Some(pattern))
    }

    fn test(&mut self, subject: Id, start: usize) -> Result<Id, Problem> {
        self.advance()?;
        let negated = self.is_word(&["not"]);
        if negated {
            self.advance()?;
        }
        let Token::Name(word) = self.token else {
            return Err(self.unexpected("a word such as `defined` must follow `is`"));
        };
        let Some((_, test)) = Test::NAMES.iter().find(|(name, _)| *name == word) else {
            let names: Vec<_> = Test::NAMES.iter().map(|(name, _)| format!("`{name}`")).collect();
            let message = format!("`is` must be followed by one of {}", names.join(", "));
            return Err(self.unexpected(message));
        };
        self.advance()?;
        self.add(Kind::Test { subject, test: *test, negated }, start, &[subject])
    }

    fn choice(&mut self, then: Id, start: usize, level: u16) -> Result<Id, Problem> {
        self.advance()?;
        let condition = self.expression(power::OR, level + 1)?;
        if !self.is_word(&["else"]) {
            return Err(self.unexpected("an `else` is missing here"));
        }
        self.advance()?;
        let otherwise = self.expression(power::CHOICE, level + 1)?;
        let kind = Kind::Choose { condition, then, otherwise };
        self.add(kind, start, &[condition, then, otherwise])
    }

    fn prefix(&mut self, level: u16) -> Result<Id, Problem> {
        let start = self.place.start;
        if self.is_word(&["not", "NOT"]) {
            self.advance()?;
            let inner = self.expression(power::NOT, level + 1)?;
            return self.add(Kind::Not(inner), start, &[inner]);
        }
        let mut operand = self.signed(level)?;
        while self.is("|") {
            operand = self.filter(operand, start, level)?;
        }
        Ok(operand)
    }

    fn signed(&mut self, level: u16) -> Result<Id, Problem> {
        if level > EXPRESSION_DEPTH {
            return Err(too_deep(self.place.clone()));
        }
        let start = self.place.start;
        if self.is("!") {
            self.advance()?;
            let inner = self.signed(level + 1)?;
            return self.add(Kind::Not(inner), start, &[inner]);
        }
        if !self.is("-") {
            return self.operand(level);
        }
        self.advance()?;
        let inner = self.signed(level + 1)?;
        if let Kind::Literal(value) = &mut self.nodes[inner as usize].kind {
            **value = negate(value).map_err(|message| Problem::at(start..self.taken, message))?;
            return Ok(inner);
        }
        self.add(Kind::Negate(inner), start, &[inner])
    }
}

/// A position in the narrow form that trees keep.
pub(super) fn id(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn too_deep(place: Range<usize>) -> Problem {
    Problem::at(place, format!("the expression is nested more than {EXPRESSION_DEPTH} levels deep"))
}
