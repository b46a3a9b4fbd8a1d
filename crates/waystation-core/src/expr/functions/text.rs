//! Functions of texts, and of values as text.

use std::borrow::Cow;

use serde_json::Value;

use super::super::budget::Budget;
use super::as_text;

/// Any value as it would be rendered inside text.
pub(super) fn string(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    match budget.text(&arguments[0])? {
        Cow::Borrowed(text) => produce(text.to_owned(), budget),
        Cow::Owned(text) => Ok(text.into()),
    }
}

/// Any value as compact JSON.
pub(super) fn json(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    budget.json(&arguments[0]).map(Value::String)
}

/// The value that a JSON text describes.
pub(super) fn fromjson(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let text = as_text(&arguments[0])?;
    // Each value but the first follows one of these, so this is never too low.
    let values = text.bytes().filter(|byte| b"[{,:".contains(byte)).count();
    budget.produce_values(values + 1)?;
    budget.produce(text.len())?;
    serde_json::from_str(text).map_err(|error| {
        format!("the string is no JSON at line {}, column {}", error.line(), error.column())
    })
}

/// In capital letters.
pub(super) fn upper(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    produce(as_text(&arguments[0])?.to_uppercase(), budget)
}

/// In small letters.
pub(super) fn lower(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    produce(as_text(&arguments[0])?.to_lowercase(), budget)
}

/// Without the spaces around it.
pub(super) fn trim(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    produce(as_text(&arguments[0])?.trim().to_owned(), budget)
}

/// Its parts between separators; without a separator, its words.
pub(super) fn split(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let text = as_text(&arguments[0])?;
    match arguments.get(1).map(|separator| as_text(separator)).transpose()? {
        None => collect(text.split_whitespace(), budget),
        Some("") => Err("the separator is empty".to_owned()),
        Some(separator) => collect(text.split(separator), budget),
    }
}

fn collect<'t>(parts: impl Iterator<Item = &'t str>, budget: &Budget) -> Result<Value, String> {
    let pay = |part: &'t str| {
        budget.produce_values(1)?;
        produce(part.to_owned(), budget)
    };
    parts.map(pay).collect()
}

/// With every occurrence of one text replaced by another.
pub(super) fn replace(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let text = as_text(&arguments[0])?;
    let (old, new) = (as_text(&arguments[1])?, as_text(&arguments[2])?);
    if old.is_empty() {
        return Err("the text to be replaced is empty".to_owned());
    }
    let grown = text.matches(old).count().saturating_mul(new.len());
    budget.produce(text.len().saturating_add(grown))?;
    Ok(text.replace(old, new).into())
}

/// Fit to stand in a URL, as one part of a path or one value of a query.
pub(super) fn urlencode(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let text = budget.text(&arguments[0])?;
    budget.produce(text.len().saturating_mul(3))?;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(encoded.into())
}

fn produce(text: String, budget: &Budget) -> Result<Value, String> {
    budget.produce(text.len())?;
    Ok(text.into())
}
