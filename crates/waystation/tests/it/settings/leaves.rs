//! Values as lists of what is in them, each with the way to it, and how two of them differ.

use serde_json::Value;

/// Letters of a value in a line.
const SHOWN_LETTERS: usize = 300;

/// What is in a value, by the way to it, such as `cases[0].port`; what is empty counts as something.
pub(super) fn leaves(value: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect(value, String::new(), &mut found);
    found
}

fn collect(value: &Value, way: String, found: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let dot = if way.is_empty() { "" } else { "." };
                collect(field, format!("{way}{dot}{name}"), found);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                collect(item, format!("{way}[{index}]"), found);
            }
        }
        _ if way.is_empty() => {}
        value => found.push((way, value.clone())),
    }
}

/// The ways to what stands in one of two values and not, or otherwise, in the other.
pub(super) fn changed(before: &Value, after: &Value) -> Vec<String> {
    let (before, after) = (leaves(before), leaves(after));
    let gone = before.iter().filter(|leaf| !after.contains(leaf));
    let new = after.iter().filter(|leaf| !before.contains(leaf));
    gone.chain(new).map(|(way, _)| way.clone()).collect()
}

/// How two values differ, as lines to read.
pub(super) fn differences(before: &Value, after: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    compare("", Some(before), Some(after), &mut lines);
    lines
}

fn compare(way: &str, before: Option<&Value>, after: Option<&Value>, lines: &mut Vec<String>) {
    match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let new = after.keys().filter(|name| !before.contains_key(*name));
            for name in before.keys().chain(new) {
                let dot = if way.is_empty() { "" } else { "." };
                compare(&format!("{way}{dot}{name}"), before.get(name), after.get(name), lines);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                let way = format!("{way}[{index}]");
                compare(&way, before.get(index), after.get(index), lines);
            }
        }
        (before, after) if before != after => {
            lines.push(format!("{way}: {} → {}", shown(before), shown(after)));
        }
        _ => {}
    }
}

/// A value as text, its beginning where it is long.
fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "nothing".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A value with another one put into it: objects field by field, `null` takes away (RFC 7396).
pub(super) fn merged(base: &Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else { return patch.clone() };
    let mut merged = base.as_object().cloned().unwrap_or_default();
    for (name, field) in fields {
        match field {
            Value::Null => drop(merged.shift_remove(name)),
            field => {
                let inner = self::merged(merged.get(name).unwrap_or(&Value::Null), field);
                merged.insert(name.clone(), inner);
            }
        }
    }
    Value::Object(merged)
}
