//! Tokens into a tree: a Pratt parser with bounds on length, nodes and nesting.

use std::ops::Range;

use serde_json::Value;

use super::ast::{Id, Kind, Node, Operator, Test, Tree, power};
use super::functions::{self, Body, Function};
use super::lexer::{Lexer, Part, Token};
use super::operators::negate;
use super::path::Key;
use super::pattern::Pattern;
use super::problem::Problem;
use crate::error::nearest;
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

struct Parser<'s, 'p> {
    lexer: Lexer<'s>,
    token: Token<'s>,
    place: Range<usize>,
    /// Where the last token that was taken ends.
    taken: usize,
    nodes: Vec<Node>,
    /// How deep the tree below each node is.
    depths: Vec<u16>,
    allowance: &'p mut Allowance,
}

/// What an operand has become so far: a static path grows until something dynamic follows.
enum Operand {
    Path(Vec<Key>, Vec<u32>),
    Node(Id),
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

    fn complete(&mut self, level: u16) -> Result<Id, Problem> {
        self.advance()?;
        let root = self.expression(power::CHOICE, level)?;
        match self.token {
            Token::End => Ok(root),
            _ => Err(self.unexpected("the expression should end here, or an operator is missing")),
        }
    }

    fn advance(&mut self) -> Result<Token<'s>, Problem> {
        let (token, place) = self.lexer.next()?;
        self.taken = self.place.end.max(self.taken);
        self.place = place;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn is(&self, symbol: &str) -> bool {
        matches!(self.token, Token::Symbol(found) if found == symbol)
    }

    fn is_word(&self, words: &[&str]) -> bool {
        matches!(self.token, Token::Name(found) if words.contains(&found))
    }

    fn unexpected(&self, message: impl Into<String>) -> Problem {
        Problem::at(self.place.clone(), message)
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Problem> {
        if !self.is(symbol) {
            return Err(self.unexpected(format!("a `{symbol}` is missing here")));
        }
        self.advance().map(drop)
    }

    fn add(&mut self, kind: Kind, start: usize, below: &[Id]) -> Result<Id, Problem> {
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

    fn expression(&mut self, least: u8, level: u16) -> Result<Id, Problem> {
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

    fn operand(&mut self, level: u16) -> Result<Id, Problem> {
        let start = self.place.start;
        let mut operand = self.atom(level)?;
        loop {
            operand = match self.token {
                Token::Symbol(".") => self.field(operand, start)?,
                Token::Symbol("[") => self.subscript(operand, start, level)?,
                _ => return self.finish(operand, start),
            };
        }
    }

    fn finish(&mut self, operand: Operand, start: usize) -> Result<Id, Problem> {
        match operand {
            Operand::Node(id) => Ok(id),
            Operand::Path(keys, ends) => {
                self.add(Kind::Path { keys: keys.into(), ends: ends.into() }, start, &[])
            }
        }
    }

    fn field(&mut self, operand: Operand, start: usize) -> Result<Operand, Problem> {
        // The token is the dot, so the lexer stands right behind it.
        let (name, place) = self.lexer.segment()?;
        self.place = place.clone();
        self.advance()?;
        if self.is("(") {
            return Err(Problem::at(place, no_method(name)));
        }
        self.step(operand, segment_key(name), start)
    }

    fn subscript(
        &mut self,
        operand: Operand,
        start: usize,
        level: u16,
    ) -> Result<Operand, Problem> {
        self.advance()?;
        let index = self.expression(power::CHOICE, level + 1)?;
        self.expect("]")?;
        if let Some(key) = self.literal_key(index) {
            return self.step(operand, key, start);
        }
        let base = self.finish(operand, start)?;
        self.add(Kind::Index(base, index), start, &[base, index]).map(Operand::Node)
    }

    fn literal_key(&self, index: Id) -> Option<Key> {
        let Kind::Literal(value) = &self.nodes[index as usize].kind else { return None };
        match &**value {
            Value::String(name) => Some(Key::Name(name.as_str().into())),
            value => value.as_i64().map(Key::Index),
        }
    }

    fn step(&mut self, operand: Operand, key: Key, start: usize) -> Result<Operand, Problem> {
        match operand {
            Operand::Path(mut keys, mut ends) => {
                keys.push(key);
                ends.push(id(self.taken));
                Ok(Operand::Path(keys, ends))
            }
            Operand::Node(base) => {
                self.add(Kind::Field(base, key), start, &[base]).map(Operand::Node)
            }
        }
    }

    fn filter(&mut self, subject: Id, start: usize, level: u16) -> Result<Id, Problem> {
        self.advance()?;
        let Token::Name(name) = self.token else {
            return Err(self.unexpected("the name of a filter must follow `|`"));
        };
        let place = self.place.clone();
        self.advance()?;
        let mut arguments = vec![subject];
        if self.is("(") {
            self.advance()?;
            arguments.extend(self.list(")", level)?);
        }
        self.call(name, place, &arguments, start)
    }

    fn call(
        &mut self,
        name: &str,
        place: Range<usize>,
        arguments: &[Id],
        start: usize,
    ) -> Result<Id, Problem> {
        let function = functions::find(name);
        let function =
            function.ok_or_else(|| Problem::at(place.clone(), unknown_function(name)))?;
        check_count(function, arguments.len()).map_err(|message| Problem::at(place, message))?;
        let kind = match (&function.body, arguments) {
            (Body::Apply(apply), _) => Kind::Call(function.name, *apply, arguments.into()),
            (Body::Default, [subject, fallback]) => {
                Kind::Binary(Operator::Coalesce, *subject, *fallback)
            }
            (Body::At(index), [list, ..]) => Kind::Field(*list, Key::Index(*index)),
            (Body::Default, _) | (Body::At(_), []) => Kind::List([].into()),
        };
        self.add(kind, start, arguments)
    }

    fn atom(&mut self, level: u16) -> Result<Operand, Problem> {
        let start = self.place.start;
        if let Token::Name(name) = self.token {
            return self.named(name, level);
        }
        match self.advance()? {
            Token::Number(number) => self.literal(Value::Number(number), start),
            Token::Quoted(parts) => self.quoted(parts, start, level).map(Operand::Node),
            Token::Hole(range) => self.hole(range, level).map(Operand::Node),
            Token::Symbol("(") => {
                let inner = self.expression(power::CHOICE, level + 1)?;
                self.expect(")")?;
                Ok(Operand::Node(inner))
            }
            Token::Symbol("[") => {
                let items = self.list("]", level)?;
                self.add(Kind::List(items.clone().into()), start, &items).map(Operand::Node)
            }
            Token::Symbol("{") => self.object(start, level).map(Operand::Node),
            _ => Err(Problem::at(start..self.taken, "a value is missing here")),
        }
    }

    fn literal(&mut self, value: Value, start: usize) -> Result<Operand, Problem> {
        self.add(Kind::Literal(Box::new(value)), start, &[]).map(Operand::Node)
    }

    fn named(&mut self, name: &str, level: u16) -> Result<Operand, Problem> {
        let place = self.place.clone();
        if let "and" | "or" | "in" | "is" | "if" | "else" = name {
            let message = format!("a value is missing before `{name}`");
            return Err(Problem::at(place, message));
        }
        self.advance()?;
        match name {
            "true" | "True" => self.literal(Value::Bool(true), place.start),
            "false" | "False" => self.literal(Value::Bool(false), place.start),
            "null" | "None" | "none" => self.literal(Value::Null, place.start),
            _ if self.is("(") => {
                self.advance()?;
                let arguments = self.list(")", level)?;
                self.call(name, place.clone(), &arguments, place.start).map(Operand::Node)
            }
            _ => Ok(Operand::Path(vec![Key::Name(name.into())], vec![id(place.end)])),
        }
    }

    fn list(&mut self, close: &str, level: u16) -> Result<Vec<Id>, Problem> {
        let mut items = Vec::new();
        while !self.is(close) {
            items.push(self.expression(power::CHOICE, level + 1)?);
            if !self.is(",") {
                break;
            }
            self.advance()?;
        }
        self.expect(close)?;
        Ok(items)
    }

    fn object(&mut self, start: usize, level: u16) -> Result<Id, Problem> {
        let mut fields = Vec::new();
        while !self.is("}") {
            let key = self.object_key()?;
            self.expect(":")?;
            fields.push((key, self.expression(power::CHOICE, level + 1)?));
            if !self.is(",") {
                break;
            }
            self.advance()?;
        }
        self.expect("}")?;
        let below: Vec<Id> = fields.iter().map(|(_, id)| *id).collect();
        self.add(Kind::Object(fields.into()), start, &below)
    }

    fn object_key(&mut self) -> Result<Box<str>, Problem> {
        let key = match &self.token {
            Token::Name(name) => Some((*name).into()),
            Token::Quoted(parts) => match &parts[..] {
                [Part::Plain(text)] => Some(text.as_str().into()),
                _ => None,
            },
            _ => None,
        };
        let key =
            key.ok_or_else(|| self.unexpected("a key, such as `\"name\"`, is missing here"))?;
        self.advance()?;
        Ok(key)
    }

    fn quoted(&mut self, parts: Vec<Part>, start: usize, level: u16) -> Result<Id, Problem> {
        let place = start..self.taken;
        let mut ids = Vec::with_capacity(parts.len());
        let alone = parts.len() == 1;
        for part in parts {
            match part {
                Part::Plain(text) if text.is_empty() && !alone => {}
                Part::Plain(text) => {
                    let kind = Kind::Literal(Box::new(Value::String(text)));
                    ids.push(self.add(kind, start, &[])?);
                }
                Part::Hole(range) => ids.push(self.hole(range, level)?),
            }
        }
        match ids[..] {
            [literal] if alone => Ok(literal),
            _ => self.add(Kind::Text(ids.clone().into()), place.start, &ids),
        }
    }

    /// Parses a hole as one complete expression, then returns to where reading was.
    fn hole(&mut self, range: Range<usize>, level: u16) -> Result<Id, Problem> {
        let outer = (self.lexer, self.token.clone(), self.place.clone(), self.taken);
        self.lexer.enter_hole(range.clone());
        self.place = range.start..range.start;
        self.taken = range.start;
        let id = self.complete(level + 1)?;
        (self.lexer, self.token, self.place, self.taken) = outer;
        Ok(id)
    }
}

fn id(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn segment_key(name: &str) -> Key {
    let index = name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok()).flatten();
    index.map_or_else(|| Key::Name(name.into()), Key::Index)
}

fn too_deep(place: Range<usize>) -> Problem {
    Problem::at(place, format!("the expression is nested more than {EXPRESSION_DEPTH} levels deep"))
}

fn check_count(function: &Function, count: usize) -> Result<(), String> {
    let (least, most) = (function.least, function.most);
    if (least..=most).contains(&count) {
        return Ok(());
    }
    let wanted = if least == most { least.to_string() } else { format!("{least} to {most}") };
    Err(format!("`{}` takes {wanted} arguments, with the value before `|`", function.name))
}

fn unknown_function(name: &str) -> String {
    let names = nearest(name, functions::names());
    match names.is_empty() {
        true => format!("there is no function `{name}`"),
        false => format!("there is no function `{name}`; nearest: `{}`", names.join("`, `")),
    }
}

fn no_method(name: &str) -> String {
    match name {
        "includes" | "indexOf" => "use `contains`, as in `text contains 'word'`".to_owned(),
        "startsWith" | "startswith" => "use `starts_with`, as in `text starts_with 'a'`".to_owned(),
        "endsWith" | "endswith" => "use `ends_with`, as in `text ends_with 'a'`".to_owned(),
        "get" => "write `object.key | default(…)`".to_owned(),
        _ => "values have no methods; use a filter, as in `text | lower`".to_owned(),
    }
}
