//! Operands: literals, paths, calls, lists, objects and holes.

use std::ops::Range;

use serde_json::Value;

use super::ast::{Id, Kind, Operator, power};
use super::functions::{self, Body, Function};
use super::lexer::{Part, Token};
use super::parser::{Parser, id};
use super::path::Key;
use super::problem::Problem;
use crate::error::nearest;

/// What an operand has become so far: a static path grows until something dynamic follows.
enum Operand {
    Path(Vec<Key>, Vec<u32>),
    Node(Id),
}

impl<'s> Parser<'s, '_> {
    pub(super) fn operand(&mut self, level: u16) -> Result<Id, Problem> {
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

    pub(super) fn filter(&mut self, subject: Id, start: usize, level: u16) -> Result<Id, Problem> {
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

fn segment_key(name: &str) -> Key {
    let index = name.parse().ok().filter(|index: &i64| index.to_string() == name);
    index.map_or_else(|| Key::Name(name.into()), Key::Index)
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
