//! The fields of an object, read one by one: what is wrong with one is said in words that name it.

use serde_json::{Map, Value};

use super::super::definition::Findings;
use crate::error::nearest;

/// An object whose fields are being read.
pub(super) struct Fields<'f> {
    left: Map<String, Value>,
    /// What the words begin with, such as `Instruction 3: `.
    owner: String,
    /// Where the object stands in its owner, such as `condition.`.
    path: String,
    /// How many instructions the chain has: templates may call them by their index.
    count: usize,
    known: Vec<&'static str>,
    pub(super) findings: &'f mut Findings,
}

impl<'f> Fields<'f> {
    pub(super) fn new(
        fields: Map<String, Value>,
        owner: String,
        count: usize,
        findings: &'f mut Findings,
    ) -> Fields<'f> {
        Fields { left: fields, owner, path: String::new(), count, known: Vec::new(), findings }
    }

    /// The fields of an object in this one.
    pub(super) fn inside(&mut self, name: &str, fields: Map<String, Value>) -> Fields<'_> {
        let (owner, path) = (self.owner.clone(), format!("{}{name}.", self.path));
        let (count, known) = (self.count, Vec::new());
        Fields { left: fields, owner, path, count, known, findings: self.findings }
    }

    /// How words name a field.
    pub(super) fn name_of(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// Whether a name that begins with a digit is that of an instruction.
    pub(super) fn knows(&self, name: &str) -> bool {
        name.parse().is_ok_and(|index: usize| index < self.count && index.to_string() == name)
    }

    pub(super) fn problem<T>(&mut self, text: &str) -> Option<T> {
        self.findings.errors.push(format!("{}{text}", self.owner));
        None
    }

    pub(super) fn warning(&mut self, text: &str) {
        self.findings.warnings.push(format!("{}{text}", self.owner));
    }

    /// Says that a field is not what it must be.
    pub(super) fn must<T>(&mut self, name: &str, what: &str) -> Option<T> {
        let name = self.name_of(name);
        self.problem(&format!("Field {name} must be {what}"))
    }

    pub(super) fn missing<T>(&mut self, name: &str) -> Option<T> {
        let name = self.name_of(name);
        self.problem(&format!("Missing required field: {name}"))
    }

    /// A field as it is; null is as good as nothing.
    pub(super) fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        self.left.shift_remove(name).filter(|value| !value.is_null())
    }

    /// A field that has no meaning here, but is there on purpose.
    pub(super) fn pass_over(&mut self, name: &'static str) {
        self.take(name);
    }

    /// A text; an empty one says nothing.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            _ => self.must(name, "a string"),
        }
    }

    pub(super) fn required_text(&mut self, name: &'static str) -> Option<String> {
        match self.take(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            None | Some(Value::String(_)) => self.missing(name),
            Some(_) => self.must(name, "a string"),
        }
    }

    /// A name that lists and keys hold: a text of bounded length.
    pub(super) fn name(&mut self, name: &'static str, bytes_max: usize) -> Option<String> {
        let text = self.text(name)?;
        if text.len() > bytes_max {
            return self.must(name, &format!("at most {bytes_max} bytes long"));
        }
        Some(text)
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Option<bool> {
        let value = self.take(name)?;
        value.as_bool().or_else(|| self.must(name, "true or false"))
    }

    pub(super) fn whole(&mut self, name: &'static str, least: u64, most: u64) -> Option<u64> {
        let number = as_whole(&self.take(name)?).filter(|n| (least..=most).contains(n));
        number.or_else(|| self.must(name, &format!("a whole number from {least} to {most}")))
    }

    pub(super) fn number(&mut self, name: &'static str, most: f64) -> Option<f64> {
        let number = self.take(name)?.as_f64().filter(|number| (0.0..=most).contains(number));
        number.or_else(|| self.must(name, &format!("a number from 0 to {most}")))
    }

    pub(super) fn object(&mut self, name: &'static str) -> Option<Map<String, Value>> {
        match self.take(name)? {
            Value::Object(fields) => Some(fields),
            _ => self.must(name, "an object"),
        }
    }

    pub(super) fn list(&mut self, name: &'static str) -> Option<Vec<Value>> {
        match self.take(name)? {
            Value::Array(items) => Some(items),
            _ => self.must(name, "an array"),
        }
    }

    /// One of several words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let value = self.take(name)?;
        self.chosen(name, &value, words)
    }

    pub(super) fn required_choice<T: Copy>(
        &mut self,
        name: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        match self.take(name) {
            Some(value) => self.chosen(name, &value, words),
            None => self.missing(name),
        }
    }

    fn chosen<T: Copy>(
        &mut self,
        name: &str,
        value: &Value,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let word = value.as_str().unwrap_or_default();
        if let Some((_, chosen)) = words.iter().find(|(known, _)| *known == word) {
            return Some(*chosen);
        }
        let near = nearest(word, words.iter().map(|(known, _)| *known));
        let known: Vec<String> = words.iter().map(|(known, _)| format!("\"{known}\"")).collect();
        let what = format!("{}, not {value}{}", listed(&known), did_you_mean(&near));
        self.must(name, &what)
    }

    /// Warns of the fields that nobody has read.
    pub(super) fn finish(self) {
        for name in self.left.keys() {
            let near = nearest(name, self.known.iter().copied());
            let hint = did_you_mean(&near);
            let Fields { owner, path, .. } = &self;
            let text = format!("{owner}Field {path}{name} has no effect: no such field{hint}");
            self.findings.warnings.push(text);
        }
    }
}

/// A whole number, however it is written.
pub(super) fn as_whole(value: &Value) -> Option<u64> {
    let written = || value.as_f64().filter(|n| n.fract() == 0.0 && (0.0..=9e15).contains(n));
    value.as_u64().or_else(|| written().map(|number| number as u64))
}

/// `a`, `a or b`, `a, b or c`.
pub(super) fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [word] => word.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

/// The hint after an unknown name.
pub(super) fn did_you_mean(near: &[&str]) -> String {
    match near.is_empty() {
        true => String::new(),
        false => format!(" (did you mean {}?)", near.join(" or ")),
    }
}
