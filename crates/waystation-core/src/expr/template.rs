//! JSON values whose strings are templates.

use std::borrow::Cow;
use std::ops::Range;

use serde_json::{Map, Value};

use super::ast::Tree;
use super::budget::Budget;
use super::evaluate::{Evaluator, Stop};
use super::explain::explain;
use super::lexer::hole_range;
use super::parser::{Allowance, parse_hole};
use super::path::{Key, Scope, push_key, push_name};
use super::problem::Problem;
use crate::limits::{CONFIG_DEPTH, EXPRESSION_NODES};
use crate::plan::Missing;

/// What all holes of one value may take together.
const ALLOWANCE: Allowance = Allowance { nodes: 50 * EXPRESSION_NODES, pattern_bytes: 4 << 20 };
/// The most problems that are listed.
const PROBLEMS: usize = 1_000;
/// Placeholders of one rendering that are explained: finding the nearest names takes a while.
const WARNINGS: usize = 100;

/// A value whose strings may hold `{{ … }}`, at any depth; keys never do.
#[derive(Debug)]
pub struct Template {
    root: Part,
}

/// What a template gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The value.
    pub value: Value,
    /// One for each placeholder that was left as it stands.
    pub warnings: Vec<Problem>,
}

#[derive(Debug)]
enum Part {
    Constant(Value),
    List(Vec<Part>),
    Object(Vec<(String, Part)>),
    Text(Text),
}

/// A string with at least one hole.
#[derive(Debug)]
struct Text {
    key: Box<str>,
    source: Box<str>,
    holes: Vec<Hole>,
}

#[derive(Debug)]
struct Hole {
    /// Its place in the source, with the braces.
    place: Range<usize>,
    tree: Tree,
}

impl Template {
    /// Parses all strings of a value and reports every problem; `known` says whether a name with
    /// dashes exists.
    pub fn compile(value: &Value, known: &dyn Fn(&str) -> bool) -> Result<Template, Vec<Problem>> {
        let (key, problems) = (String::new(), Vec::new());
        let mut compiler = Compiler { known, key, problems, allowance: ALLOWANCE };
        let root = compiler.part(value, 0);
        if compiler.problems.is_empty() { Ok(Template { root }) } else { Err(compiler.problems) }
    }

    /// Fills in what the names mean now.
    pub fn render(&self, scope: &dyn Scope, missing: Missing) -> Result<Rendered, Problem> {
        self.render_within(scope, missing, &Budget::new())
    }

    /// Likewise, within what several renderings may take together. What the template itself says is not
    /// counted.
    pub fn render_within(
        &self,
        scope: &dyn Scope,
        missing: Missing,
        budget: &Budget,
    ) -> Result<Rendered, Problem> {
        let mut renderer = Renderer { scope, missing, budget, warnings: Vec::new() };
        let value = renderer.part(&self.root, 0)?;
        Ok(Rendered { value, warnings: renderer.warnings })
    }

    /// The static paths that it refers to.
    pub fn paths(&self) -> impl Iterator<Item = &[Key]> {
        let mut holes = Vec::new();
        self.root.collect_holes(&mut holes);
        holes.into_iter().flat_map(|hole| hole.tree.paths())
    }

    /// Whether it renders to the same value always.
    #[cfg(test)]
    pub(crate) fn is_constant(&self) -> bool {
        matches!(self.root, Part::Constant(_))
    }
}

impl Part {
    fn collect_holes<'t>(&'t self, holes: &mut Vec<&'t Hole>) {
        match self {
            Part::Constant(_) => {}
            Part::List(items) => items.iter().for_each(|item| item.collect_holes(holes)),
            Part::Object(fields) => fields.iter().for_each(|(_, field)| field.collect_holes(holes)),
            Part::Text(text) => holes.extend(&text.holes),
        }
    }

    fn is_constant(&self) -> bool {
        matches!(self, Part::Constant(_))
    }

    fn into_constant(self) -> Value {
        match self {
            Part::Constant(value) => value,
            _ => Value::Null,
        }
    }
}

struct Compiler<'k> {
    known: &'k dyn Fn(&str) -> bool,
    /// The path to the value at hand.
    key: String,
    problems: Vec<Problem>,
    allowance: Allowance,
}

impl Compiler<'_> {
    fn part(&mut self, value: &Value, depth: usize) -> Part {
        match value {
            Value::Array(_) | Value::Object(_) if depth >= CONFIG_DEPTH => {
                let message = format!("values may be nested {CONFIG_DEPTH} levels deep at most");
                self.refuse(Problem::at(0..0, message));
                Part::Constant(Value::Null)
            }
            Value::String(source) => self.text(source),
            Value::Array(items) => self.list(items, depth),
            Value::Object(fields) => self.object(fields, depth),
            _ => Part::Constant(value.clone()),
        }
    }

    fn refuse(&mut self, problem: Problem) {
        if self.problems.len() < PROBLEMS {
            self.problems.push(problem.in_key(&self.key));
        }
    }

    fn list(&mut self, items: &[Value], depth: usize) -> Part {
        let mut parts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let step = Key::Index(i64::try_from(index).unwrap_or(i64::MAX));
            parts.push(self.below(|key| push_key(key, &step), item, depth));
        }
        if !parts.iter().all(Part::is_constant) {
            return Part::List(parts);
        }
        Part::Constant(parts.into_iter().map(Part::into_constant).collect())
    }

    fn object(&mut self, fields: &Map<String, Value>, depth: usize) -> Part {
        let mut parts = Vec::with_capacity(fields.len());
        for (name, field) in fields {
            let part = self.below(|key| push_name(key, name), field, depth);
            parts.push((name.clone(), part));
        }
        if !parts.iter().all(|(_, part)| part.is_constant()) {
            return Part::Object(parts);
        }
        let fields = parts.into_iter().map(|(name, part)| (name, part.into_constant()));
        Part::Constant(Value::Object(fields.collect()))
    }

    fn below(&mut self, step: impl FnOnce(&mut String), value: &Value, depth: usize) -> Part {
        let length = self.key.len();
        step(&mut self.key);
        let part = self.part(value, depth + 1);
        self.key.truncate(length);
        part
    }

    fn text(&mut self, source: &str) -> Part {
        match self.holes(source) {
            Ok(holes) if holes.is_empty() => Part::Constant(source.into()),
            Ok(holes) => {
                let key = self.key.as_str().into();
                Part::Text(Text { key, source: source.into(), holes })
            }
            Err(problem) => {
                self.refuse(problem);
                Part::Constant(Value::Null)
            }
        }
    }

    fn holes(&mut self, source: &str) -> Result<Vec<Hole>, Problem> {
        let mut holes = Vec::new();
        let mut read = 0;
        while let Some(offset) = source[read..].find("{{") {
            let range = hole_range(source, read + offset, source.len())?;
            let place = range.start - 2..range.end + 2;
            read = place.end;
            let tree = parse_hole(source, range, self.known, &mut self.allowance)?;
            if let Some(secret) = tree.secret_at_work() {
                let message = "a secret can only be used as it is, without filters and operators";
                return Err(Problem::at(secret, message));
            }
            holes.push(Hole { place, tree });
        }
        holes.shrink_to_fit();
        Ok(holes)
    }
}

struct Renderer<'r> {
    scope: &'r dyn Scope,
    missing: Missing,
    budget: &'r Budget,
    warnings: Vec<Problem>,
}

impl<'r> Renderer<'r> {
    fn part(&mut self, part: &'r Part, depth: usize) -> Result<Value, Problem> {
        match part {
            Part::Constant(value) => Ok(value.clone()),
            Part::List(items) => items.iter().map(|item| self.part(item, depth + 1)).collect(),
            Part::Object(fields) => {
                let mut object = Map::with_capacity(fields.len());
                for (name, field) in fields {
                    object.insert(name.clone(), self.part(field, depth + 1)?);
                }
                Ok(Value::Object(object))
            }
            Part::Text(text) => self.text(text, depth).map_err(|problem| problem.in_key(&text.key)),
        }
    }

    fn text(&mut self, text: &'r Text, depth: usize) -> Result<Value, Problem> {
        match &text.holes[..] {
            [hole] if hole.place == (0..text.source.len()) => self.alone(text, hole, depth),
            _ => self.mixed(text),
        }
    }

    /// A placeholder that is the whole string keeps the type of its value.
    fn alone(&mut self, text: &Text, hole: &'r Hole, depth: usize) -> Result<Value, Problem> {
        let Some(value) = self.value(text, hole)? else { return Ok((&*text.source).into()) };
        let copied = self.budget.copy(value, depth);
        copied.map_err(|message| Problem::at(hole.place.clone(), message))
    }

    fn mixed(&mut self, text: &'r Text) -> Result<Value, Problem> {
        let mut rendered = String::with_capacity(text.source.len());
        let mut read = 0;
        for hole in &text.holes {
            rendered.push_str(&text.source[read..hole.place.start]);
            read = hole.place.end;
            match self.value(text, hole)? {
                Some(value) => self
                    .budget
                    .push_text(&mut rendered, &value)
                    .map_err(|message| Problem::at(hole.place.clone(), message))?,
                None => rendered.push_str(&text.source[hole.place.clone()]),
            }
        }
        rendered.push_str(&text.source[read..]);
        Ok(rendered.into())
    }

    /// The value of a hole, or nothing where it is to stay as it stands.
    fn value(&mut self, text: &Text, hole: &'r Hole) -> Result<Option<Cow<'r, Value>>, Problem> {
        let (tree, scope, budget) = (&hole.tree, self.scope, self.budget);
        let smart_primitives = self.missing == Missing::Verbatim;
        let evaluator = Evaluator { tree, scope, budget, smart_primitives };
        let stop = match evaluator.run() {
            Ok(value) => return Ok(Some(value)),
            Err(stop) => stop,
        };
        let stays = smart_primitives && matches!(stop, Stop::Missing(_));
        if stays && self.warnings.len() >= WARNINGS {
            return Ok(None);
        }
        let fresh = Budget::new();
        let mut problem = explain(&Evaluator { budget: &fresh, ..evaluator }, stop);
        if !stays {
            return Err(problem);
        }
        problem.message.push_str("; the placeholder stays as it is written");
        self.warnings.push(problem.in_key(&text.key));
        Ok(None)
    }
}
