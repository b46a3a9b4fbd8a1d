//! What is wrong with a definition, and where.

use std::fmt;

use serde_json::{Value, json};

use crate::error::nearest;
use crate::limits::{FINDINGS, HINTS};

/// A problem or a warning.
#[derive(Clone, Debug, PartialEq)]
pub struct Issue {
    /// Where in the definition.
    pub place: Place,
    /// What is wrong and how to mend it, in words.
    pub message: String,
    /// Whether something that is needed is not there.
    pub is_missing: bool,
}

impl Issue {
    /// A value that cannot be used.
    pub fn new(place: Place, message: impl Into<String>) -> Issue {
        Issue { place, message: message.into(), is_missing: false }
    }

    /// Something that is needed and not there.
    pub fn missing(place: Place, message: impl Into<String>) -> Issue {
        Issue { is_missing: true, ..Issue::new(place, message) }
    }

    /// In the shape of a validation error: `{loc, msg, type}`.
    pub fn to_json(&self) -> Value {
        let kind = if self.is_missing { "missing" } else { "value_error" };
        let body = [Value::from("body")].into_iter();
        let place: Vec<Value> = body.chain(self.place.0.iter().map(Step::to_json)).collect();
        json!({ "loc": place, "msg": self.message, "type": kind })
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.0.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// A place in a definition: the way to it from its root.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Place(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Field(String),
    Index(usize),
}

impl Step {
    fn to_json(&self) -> Value {
        match self {
            Step::Field(name) => name.as_str().into(),
            Step::Index(index) => json!(index),
        }
    }
}

impl Place {
    /// A field of what is here.
    #[must_use]
    pub fn field(&self, name: &str) -> Place {
        self.step(Step::Field(name.to_owned()))
    }

    /// An item of what is here.
    #[must_use]
    pub fn index(&self, index: usize) -> Place {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> Place {
        let mut steps = self.0.clone();
        steps.push(step);
        Place(steps)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if number == 0 => f.write_str(name)?,
                Step::Field(name) => write!(f, ".{name}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// Where problems and warnings gather while a definition is read; so many of each.
#[derive(Debug, Default)]
pub struct Issues {
    /// What makes the definition unusable.
    pub errors: Vec<Issue>,
    /// What is probably not meant so.
    pub warnings: Vec<Issue>,
    hints: usize,
}

impl Issues {
    /// Notes a problem.
    pub fn error(&mut self, issue: Issue) {
        if self.errors.len() < FINDINGS {
            self.errors.push(issue);
        }
    }

    /// A hint at the nearest of the known names, to be put behind a sentence. Looking for it takes time:
    /// only so many are given.
    pub(super) fn did_you_mean<'a>(
        &mut self,
        name: &str,
        known: impl Iterator<Item = &'a str>,
    ) -> String {
        if self.hints == HINTS {
            return String::new();
        }
        self.hints += 1;
        let near = nearest(name, known);
        if near.is_empty() {
            return String::new();
        }
        format!("; did you mean {}?", near.join(" or "))
    }

    /// Notes a warning.
    pub fn warn(&mut self, place: Place, message: impl Into<String>) {
        if self.warnings.len() < FINDINGS {
            self.warnings.push(Issue::new(place, message));
        }
    }
}
