//! The nodes that settings and conditions refer to: `outputs.<node>` and `<node>.output`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::expr::{Condition, Key, Template};

/// A node as an expression names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mention {
    /// Its id or name.
    pub(super) node: String,
    /// Whether it cannot be anything but a node.
    pub(super) is_certain: bool,
}

impl Mention {
    /// What a path refers to, if that is a node.
    pub(super) fn read(path: &[Key]) -> Option<Mention> {
        let text = |index: usize| match path.get(index)? {
            Key::Name(name) => Some(name.to_string()),
            Key::Index(number) => Some(number.to_string()),
        };
        match (text(0)?, text(1)?) {
            (head, node) if head == "outputs" => Some(Mention { node, is_certain: true }),
            (node, field) if field == "output" => Some(Mention { node, is_certain: false }),
            _ => None,
        }
    }
}

/// The secret that a path names, and what follows: a name may have dots.
pub(super) fn secret(path: &[Key]) -> Option<String> {
    let mut names = path.iter().map_while(|key| match key {
        Key::Name(name) => Some(&**name),
        Key::Index(_) => None,
    });
    let rest = |names: Vec<&str>| (!names.is_empty()).then(|| names.join("."));
    (names.next() == Some("secrets")).then(|| rest(names.collect())).flatten()
}

/// What a node refers to in settings that it evaluates by itself: any text in them may be a template
/// or a condition. What is neither refers to nothing.
pub(super) fn in_literal(value: &Value, known: &dyn Fn(&str) -> bool) -> BTreeSet<Mention> {
    let mut found = BTreeSet::new();
    collect(value, known, &mut found);
    found
}

/// What the templates in a value refer to, each text by itself: one that does not parse hides no other.
pub(super) fn in_template(
    value: &Value,
    known: &dyn Fn(&str) -> bool,
    found: &mut BTreeSet<Mention>,
) {
    match value {
        Value::String(_) => {
            if let Ok(template) = Template::compile(value, known) {
                found.extend(template.paths().filter_map(Mention::read));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| in_template(item, known, found)),
        Value::Object(fields) => fields.values().for_each(|field| in_template(field, known, found)),
        _ => {}
    }
}

fn collect(value: &Value, known: &dyn Fn(&str) -> bool, found: &mut BTreeSet<Mention>) {
    match value {
        Value::String(text) => {
            if let Ok(template) = Template::compile(value, known) {
                found.extend(template.paths().filter_map(Mention::read));
            }
            if let Ok(condition) = Condition::parse(text, known) {
                found.extend(condition.paths().filter_map(Mention::read));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, known, found)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, known, found)),
        _ => {}
    }
}
