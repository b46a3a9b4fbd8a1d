//! Says why a path leads nowhere and what is nearest. Only runs on errors, so it may look twice.

use serde_json::Value;

use super::ast::{Id, Kind};
use super::evaluate::{Evaluator, Stop};
use super::operators::kind;
use super::path::{Key, child, display, push_key};
use super::problem::Problem;
use crate::error::nearest;

/// Turns whatever stopped an evaluation into a problem.
pub(super) fn explain(evaluator: &Evaluator<'_, '_>, stop: Stop) -> Problem {
    let id = match stop {
        Stop::Failed(problem) => return problem,
        Stop::Missing(id) => id,
    };
    let place = evaluator.tree.node(id).place();
    match &evaluator.tree.node(id).kind {
        Kind::Path { keys, ends } => {
            let (count, message) = missing_path(evaluator, keys);
            let end = count.checked_sub(1).and_then(|last| ends.get(last));
            Problem::at(place.start..end.map_or(place.end, |end| *end as usize), message)
        }
        Kind::Field(base, key) => Problem::at(place, missing_field(evaluator, *base, key)),
        Kind::Index(base, index) => Problem::at(place, missing_index(evaluator, *base, *index)),
        _ => Problem::at(place, "this has no value"),
    }
}

/// How many keys lead to the one that is missing, and the message.
fn missing_path(evaluator: &Evaluator<'_, '_>, keys: &[Key]) -> (usize, String) {
    let Some(found) = evaluator.scope.lookup(keys) else { return missing_head(evaluator, keys) };
    let mut value = &*found.value;
    for (index, key) in keys.iter().enumerate().skip(found.used) {
        match child(value, key) {
            Some(next) => value = next,
            None => {
                let base = display(&keys[..index]);
                return (index + 1, missing_key(value, &base, key));
            }
        }
    }
    (keys.len(), format!("`{}` does not exist", display(keys)))
}

fn missing_head(evaluator: &Evaluator<'_, '_>, keys: &[Key]) -> (usize, String) {
    let names = evaluator.scope.names();
    let head = display(&keys[..keys.len().min(1)]);
    if let Some(text) = node_without_output(&names, &head, keys) {
        return (keys.len().min(2), text);
    }
    let prefix = format!("{head}.");
    let spaced = names.iter().any(|name| name.starts_with(&prefix));
    let count = keys.len().min(if spaced { 2 } else { 1 });
    let missing = display(&keys[..count]);
    let candidates =
        names.iter().map(String::as_str).filter(|name| !spaced || name.starts_with(&prefix));
    (count, format!("`{missing}` does not exist{}", quoted(&nearest(&missing, candidates))))
}

/// What to say of a path that begins with a node, or would, if a node had given something.
fn node_without_output(names: &[String], head: &str, keys: &[Key]) -> Option<String> {
    let path = display(keys);
    let second = keys.get(1).map(|key| matches!(key, Key::Name(name) if **name == *"output"));
    let output = format!("outputs.{head}");
    match second {
        Some(false) | None if names.contains(&output) => {
            let said = format!("outputs.{path}");
            Some(format!(
                "`{path}` does not exist: the output of {head} is `{output}`; write `{said}`"
            ))
        }
        Some(true) => Some(format!(
            "`{path}` does not exist: no node {head} has given an output; it was skipped, failed, or \
             comes later"
        )),
        _ => None,
    }
}

fn missing_key(value: &Value, base: &str, key: &Key) -> String {
    let mut path = base.to_owned();
    push_key(&mut path, key);
    let reason = match (value, key) {
        (Value::Object(fields), _) => {
            let name = match key {
                Key::Name(name) => name.to_string(),
                Key::Index(index) => index.to_string(),
            };
            return format!(
                "`{path}` does not exist{}",
                quoted(&nearest(&name, fields.keys().map(String::as_str)))
            );
        }
        (Value::Array(items), Key::Index(_)) => format!("has {} items", items.len()),
        (Value::Array(_), Key::Name(name)) if **name == *"length" => {
            "is a list; write `| length`".to_owned()
        }
        (Value::Array(_), _) => "is a list; choose an item with `[0]`".to_owned(),
        (Value::String(_), _) => "is a string; if it is JSON, write `| fromjson`".to_owned(),
        _ => format!("is {}", kind(value)),
    };
    format!("`{path}` does not exist: `{base}` {reason}")
}

fn missing_field(evaluator: &Evaluator<'_, '_>, base: Id, key: &Key) -> String {
    match evaluator.value(base) {
        Ok(value) => missing_key(&value, &name_of(evaluator, base), key),
        Err(_) => "this does not exist".to_owned(),
    }
}

fn missing_index(evaluator: &Evaluator<'_, '_>, base: Id, index: Id) -> String {
    let Ok(value) = evaluator.value(base) else { return "this does not exist".to_owned() };
    let base = name_of(evaluator, base);
    // The index is a value, which messages never hold.
    match &*value {
        Value::Array(items) => {
            format!("`{base}` has {} items: the index is out of range", items.len())
        }
        Value::Object(_) => format!(
            "`{base}` has no field with the name that `{}` gives",
            name_of(evaluator, index)
        ),
        value => format!("`{base}` is {} and has no fields", kind(value)),
    }
}

fn name_of(evaluator: &Evaluator<'_, '_>, id: Id) -> String {
    match &evaluator.tree.node(id).kind {
        Kind::Path { keys, .. } => display(keys),
        _ => "(…)".to_owned(),
    }
}

fn quoted(names: &[&str]) -> String {
    if names.is_empty() { String::new() } else { format!("; nearest: `{}`", names.join("`, `")) }
}
