//! Walks a tree and computes its value; borrows from the scope wherever it can.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::ast::{Id, Kind, Operator, Test, Tree};
use super::budget::Budget;
use super::functions::Apply;
use super::operators::{self, is_truthy, kind};
use super::path::{Key, Scope, descend};
use super::pattern::Pattern;
use super::problem::Problem;

/// Why there is no value.
#[derive(Debug)]
pub(super) enum Stop {
    /// The path or index of this node leads nowhere; a fallback may stand in.
    Missing(Id),
    /// A mistake that no fallback mends.
    Failed(Problem),
}

/// What one evaluation needs.
#[derive(Clone, Copy)]
pub(super) struct Evaluator<'a, 'b> {
    pub(super) tree: &'a Tree,
    pub(super) scope: &'a dyn Scope,
    pub(super) budget: &'b Budget,
    /// Whether every path into a string, number or boolean gives that value itself.
    pub(super) smart_primitives: bool,
}

type Outcome<'a> = Result<Cow<'a, Value>, Stop>;

impl<'a> Evaluator<'a, '_> {
    /// The value of the whole tree.
    pub(super) fn run(&self) -> Outcome<'a> {
        let root = self.tree.root;
        let paid = self.budget.work_on_parts(self.tree.nodes.len());
        paid.map_err(|message| self.failed(root, message))?;
        self.value(root)
    }

    /// The value of one node. The parser bounds how deep this recurses.
    pub(super) fn value(&self, id: Id) -> Outcome<'a> {
        match &self.tree.node(id).kind {
            Kind::Literal(value) => Ok(Cow::Borrowed(value)),
            Kind::Path { keys, .. } => self.path(keys).ok_or(Stop::Missing(id)),
            Kind::Field(base, key) => descend(self.value(*base)?, key).ok_or(Stop::Missing(id)),
            Kind::Index(base, index) => self.index(id, *base, *index),
            Kind::Not(inner) => Ok(truth(!is_truthy(&*self.value(*inner)?))),
            Kind::Negate(inner) => {
                let inner = self.value(*inner)?;
                self.settle(id, operators::negate(&inner))
            }
            Kind::Binary(operator, left, right) => self.binary(id, *operator, *left, *right),
            Kind::Matches(text, pattern) => self.matches(id, *text, pattern),
            Kind::Test { subject, test, negated } => self.test(*subject, *test, *negated),
            Kind::Choose { condition, then, otherwise } => {
                let chosen = if is_truthy(&*self.value(*condition)?) { then } else { otherwise };
                self.value(*chosen)
            }
            Kind::Call(name, apply, arguments) => self.call(id, name, *apply, arguments),
            Kind::List(items) => {
                let items: Result<_, _> = items.iter().map(|item| self.item(id, *item)).collect();
                Ok(Cow::Owned(Value::Array(items?)))
            }
            Kind::Object(fields) => self.object(id, fields),
            Kind::Text(parts) => self.text(id, parts),
        }
    }

    fn failed(&self, id: Id, message: String) -> Stop {
        Stop::Failed(Problem::at(self.tree.node(id).place(), message))
    }

    fn settle(&self, id: Id, result: Result<Value, String>) -> Outcome<'a> {
        result.map(Cow::Owned).map_err(|message| self.failed(id, message))
    }

    fn path(&self, keys: &'a [Key]) -> Option<Cow<'a, Value>> {
        let found = self.scope.lookup(keys)?;
        let rest = keys.get(found.used..).unwrap_or_default();
        let primitive =
            matches!(*found.value, Value::String(_) | Value::Number(_) | Value::Bool(_));
        if self.smart_primitives && primitive {
            return Some(found.value);
        }
        rest.iter().try_fold(found.value, descend)
    }

    fn index(&self, id: Id, base: Id, index: Id) -> Outcome<'a> {
        let base = self.value(base)?;
        let key = match &*self.value(index)? {
            Value::String(name) => Key::Name(name.as_str().into()),
            Value::Number(number) if number.is_i64() => {
                Key::Index(number.as_i64().unwrap_or_default())
            }
            value => {
                let message = format!("an index is a string or an integer, never {}", kind(value));
                return Err(self.failed(id, message));
            }
        };
        descend(base, &key).ok_or(Stop::Missing(id))
    }

    fn binary(&self, id: Id, operator: Operator, left: Id, right: Id) -> Outcome<'a> {
        let left = self.value(left);
        match operator {
            Operator::Coalesce => {
                return match left {
                    Err(Stop::Missing(_)) => self.value(right),
                    Ok(value) if value.is_null() => self.value(right),
                    outcome => outcome,
                };
            }
            Operator::Or | Operator::And => {
                let left = left?;
                let decided = is_truthy(&left) == (operator == Operator::Or);
                return if decided { Ok(left) } else { self.value(right) };
            }
            _ => {}
        }
        let (left, right) = (left?, self.value(right)?);
        self.settle(id, operators::apply(operator, &left, &right, self.budget))
    }

    fn call(&self, id: Id, name: &str, apply: Apply, arguments: &[Id]) -> Outcome<'a> {
        let values: Result<Vec<_>, _> = arguments.iter().map(|id| self.value(*id)).collect();
        let values = values?;
        let glanced = values.iter().try_for_each(|value| self.budget.glance(value));
        let result = glanced.and_then(|()| apply(&values, self.budget));
        self.settle(id, result.map_err(|message| format!("`{name}`: {message}")))
    }

    fn matches(&self, id: Id, text: Id, pattern: &Pattern) -> Outcome<'a> {
        let text = self.value(text)?;
        let found = match &*text {
            Value::String(text) => pattern.is_found(text, self.budget),
            value => Err(format!("`matches` needs a string and got {}", kind(value))),
        };
        self.settle(id, found.map(Value::Bool))
    }

    fn test(&self, subject: Id, test: Test, negated: bool) -> Outcome<'a> {
        match self.value(subject) {
            Ok(value) => Ok(truth(test.holds(&value) != negated)),
            Err(Stop::Missing(_)) if test == Test::Defined => Ok(truth(negated)),
            Err(stop) => Err(stop),
        }
    }

    fn item(&self, id: Id, item: Id) -> Result<Value, Stop> {
        let value = self.value(item)?;
        self.budget.copy(value, 1).map_err(|message| self.failed(id, message))
    }

    fn object(&self, id: Id, fields: &[(Box<str>, Id)]) -> Outcome<'a> {
        let mut object = Map::with_capacity(fields.len());
        for (key, field) in fields {
            object.insert(key.to_string(), self.item(id, *field)?);
        }
        Ok(Cow::Owned(Value::Object(object)))
    }

    fn text(&self, id: Id, parts: &[Id]) -> Outcome<'a> {
        let mut text = String::new();
        for part in parts {
            let value = self.value(*part)?;
            let pushed = self.budget.push_text(&mut text, &value);
            pushed.map_err(|message| self.failed(id, message))?;
        }
        Ok(Cow::Owned(text.into()))
    }
}

fn truth<'a>(truth: bool) -> Cow<'a, Value> {
    Cow::Owned(Value::Bool(truth))
}
