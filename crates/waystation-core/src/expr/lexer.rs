//! Source text into tokens, one at a time.

use std::ops::Range;

use serde_json::Number;

use super::operators::parse_number;
use super::path::is_word;
use super::problem::Problem;

/// The longest name with dashes that is looked up.
const DASHED_NAME_BYTES: usize = 256;

/// Symbols, those before their own beginnings.
const SYMBOLS: [&str; 27] = [
    "===", "!==", "==", "!=", "<=", ">=", "&&", "||", "??", "<", ">", "!", "+", "-", "*", "/", "%",
    "(", ")", "[", "]", "{", "}", ",", ":", ".", "|",
];

/// A piece of source with a meaning of its own.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token<'s> {
    Number(Number),
    /// A quoted text; outside a hole it may have holes itself.
    Quoted(Vec<Part>),
    Name(&'s str),
    Symbol(&'static str),
    /// What stands between `{{` and `}}`.
    Hole(Range<usize>),
    End,
}

/// A part of a quoted text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Part {
    Plain(String),
    Hole(Range<usize>),
}

/// Where reading has got to. A copy of it is what a hole returns to.
#[derive(Clone, Copy)]
pub(super) struct Lexer<'s> {
    source: &'s str,
    position: usize,
    end: usize,
    in_hole: bool,
    known: &'s dyn Fn(&str) -> bool,
}

impl<'s> Lexer<'s> {
    /// Reads a whole source, in which holes may occur.
    pub(super) fn new(source: &'s str, known: &'s dyn Fn(&str) -> bool) -> Lexer<'s> {
        Lexer { source, position: 0, end: source.len(), in_hole: false, known }
    }

    /// Reads only what stands in a hole.
    pub(super) fn enter_hole(&mut self, range: Range<usize>) {
        self.position = range.start;
        self.end = range.end;
        self.in_hole = true;
    }

    /// The next token and its place.
    pub(super) fn next(&mut self) -> Result<(Token<'s>, Range<usize>), Problem> {
        self.skip_spaces();
        let start = self.position;
        let token = self.token()?;
        Ok((token, start..self.position))
    }

    /// The name or number after a dot.
    pub(super) fn segment(&mut self) -> Result<(&'s str, Range<usize>), Problem> {
        self.skip_spaces();
        let range = self.position..self.name_end(self.position, false);
        if range.is_empty() {
            let next = self.rest().chars().next().map_or(0, char::len_utf8);
            let place = range.start..range.end + next;
            return Err(Problem::at(place, "a name or an index must follow the `.`"));
        }
        self.position = range.end;
        Ok((&self.source[range.clone()], range))
    }

    fn rest(&self) -> &'s str {
        &self.source[self.position..self.end]
    }

    fn skip_spaces(&mut self) {
        self.position = self.end - self.rest().trim_start().len();
    }

    fn token(&mut self) -> Result<Token<'s>, Problem> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(Token::End) };
        if rest.starts_with("{{") {
            return self.hole();
        }
        match first {
            '\'' | '"' => self.quoted(first),
            _ if first.is_ascii_digit() => self.number_or_name(),
            _ if is_word(first) => Ok(self.name(self.name_end(self.position, true))),
            _ => self.symbol(first),
        }
    }

    fn hole(&mut self) -> Result<Token<'s>, Problem> {
        let start = self.position;
        if self.in_hole {
            let message = "`{{ }}` cannot stand in `{{ }}`: write the name alone";
            return Err(Problem::at(start..start + 2, message));
        }
        let range = hole_range(self.source, start, self.end)?;
        self.position = range.end + 2;
        Ok(Token::Hole(range))
    }

    fn name(&mut self, end: usize) -> Token<'s> {
        let name = &self.source[self.position..end];
        self.position = end;
        Token::Name(name)
    }

    /// Node names may begin with a digit; such a word is a name only if it is known as one and cannot
    /// be meant as a number.
    fn number_or_name(&mut self) -> Result<Token<'s>, Problem> {
        let start = self.position;
        let end = self.name_end(start, true);
        let word = &self.source[start..end];
        let numeric = word.bytes().all(|byte| byte.is_ascii_digit());
        let mut after = self.source[end..self.end].chars();
        let field_follows = after.next() == Some('.') && after.next().is_some_and(is_name_start);
        if (!numeric || field_follows) && (self.known)(word) {
            return Ok(self.name(end));
        }
        self.number()
    }

    fn number(&mut self) -> Result<Token<'s>, Problem> {
        let start = self.position;
        let end = start + number_length(self.rest());
        if self.source[end..self.end].starts_with(is_word) {
            let end = self.word_end(end);
            let message = "a name that begins with a digit must follow a `.` or stand in `[\"…\"]`";
            return Err(Problem::at(start..end, message));
        }
        self.position = end;
        let number = parse_number(&self.source[start..end]);
        let number =
            number.ok_or_else(|| Problem::at(start..end, "this number is out of range"))?;
        Ok(Token::Number(number))
    }

    fn symbol(&mut self, first: char) -> Result<Token<'s>, Problem> {
        if let Some(symbol) = SYMBOLS.iter().find(|symbol| self.rest().starts_with(**symbol)) {
            self.position += symbol.len();
            return Ok(Token::Symbol(symbol));
        }
        let place = self.position..self.position + first.len_utf8();
        let message = match first {
            '=' => "use `==` to compare".to_owned(),
            '&' => "use `&&` or `and`".to_owned(),
            '?' => "write `a if condition else b`, or `a ?? b` for a fallback".to_owned(),
            '^' => "there is no `^` operator".to_owned(),
            _ => format!("`{first}` has no meaning here; put strings in quotes"),
        };
        Err(Problem::at(place, message))
    }

    fn quoted(&mut self, quote: char) -> Result<Token<'s>, Problem> {
        let start = self.position;
        let mut parts = Vec::new();
        let mut plain = String::new();
        self.position += 1;
        while let Some(next) = self.rest().chars().next() {
            if !self.in_hole && self.rest().starts_with("{{") {
                let range = hole_range(self.source, self.position, self.end)?;
                self.position = range.end + 2;
                parts.push(Part::Plain(std::mem::take(&mut plain)));
                parts.push(Part::Hole(range));
                continue;
            }
            self.position += next.len_utf8();
            match next {
                '\\' => plain.push(self.escape(start)?),
                _ if next == quote => {
                    parts.push(Part::Plain(plain));
                    return Ok(Token::Quoted(parts));
                }
                _ => plain.push(next),
            }
        }
        Err(unclosed_quote(start..self.end))
    }

    /// The character that a backslash and what follows stand for. Unknown ones keep the backslash, so
    /// that patterns such as `\d` need no doubling.
    fn escape(&mut self, start: usize) -> Result<char, Problem> {
        let next = self.rest().chars().next();
        let next = next.ok_or_else(|| unclosed_quote(start..self.end))?;
        let meant = match next {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            '\\' | '\'' | '"' | '{' | '}' => next,
            _ => return Ok('\\'),
        };
        self.position += next.len_utf8();
        Ok(meant)
    }

    fn word_end(&self, from: usize) -> usize {
        let text = &self.source[from..self.end];
        from + text.find(|c| !is_word(c)).unwrap_or(text.len())
    }

    /// Where the name that begins at `from` ends; the module's documentation states the rule.
    fn name_end(&self, from: usize, is_head: bool) -> usize {
        let mut ends = vec![self.word_end(from)];
        let mut end = ends[0];
        while let Some(next) =
            self.dashed_word_end(end).filter(|next| next - from <= DASHED_NAME_BYTES)
        {
            ends.push(next);
            end = next;
        }
        let plain = ends[0];
        if ends.len() == 1 || (self.in_hole && !is_head) {
            return end;
        }
        let known = ends.into_iter().rev().find(|end| (self.known)(&self.source[from..*end]));
        known.unwrap_or(if self.in_hole { end } else { plain })
    }

    fn dashed_word_end(&self, dash: usize) -> Option<usize> {
        let after = self.source[dash..self.end].strip_prefix('-')?;
        after.starts_with(is_word).then(|| self.word_end(dash + 1))
    }
}

fn is_name_start(c: char) -> bool {
    is_word(c) && !c.is_numeric()
}

fn unclosed_quote(place: Range<usize>) -> Problem {
    Problem::at(place, "this quoted string is never closed")
}

fn number_length(text: &str) -> usize {
    let digits = |from: usize| {
        text.as_bytes()[from..].iter().take_while(|byte| byte.is_ascii_digit()).count()
    };
    let mut length = digits(0);
    if text[length..].starts_with('.') && digits(length + 1) > 0 {
        length += 1 + digits(length + 1);
    }
    if text[length..].starts_with(['e', 'E']) {
        let sign = usize::from(text[length + 1..].starts_with(['+', '-']));
        let exponent = digits(length + 1 + sign);
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    length
}

/// What stands between the `{{` at `start` and its `}}`; quotes and braces inside count as in source.
pub(super) fn hole_range(source: &str, start: usize, end: usize) -> Result<Range<usize>, Problem> {
    let bytes = &source.as_bytes()[..end];
    let mut depth = 0_usize;
    let mut quote = None;
    let mut at = start + 2;
    while let Some(byte) = bytes.get(at) {
        match (quote, byte) {
            (Some(_), b'\\') => at += 1,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"') => quote = Some(byte),
            (None, b'{') => depth += 1,
            (None, b'}') if depth > 0 => depth -= 1,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Ok(start + 2..at),
            _ => {}
        }
        at += 1;
    }
    let message = match quote {
        Some(_) => "this `{{` is never closed, because a quote after it is not",
        None => "this `{{` is never closed with `}}`",
    };
    Err(Problem::at(start..start + 2, message))
}
