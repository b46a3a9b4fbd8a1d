//! Functions of lists and objects.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashSet;

use serde_json::Value;

use super::super::budget::Budget;
use super::super::operators::{compare_numbers, kind};
use super::{as_integer, as_list, as_object, as_text};

/// Characters of a text, items of a list, fields of an object.
pub(super) fn length(arguments: &[Cow<'_, Value>], _: &Budget) -> Result<Value, String> {
    let length = match &*arguments[0] {
        Value::String(text) => text.chars().count(),
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        value => return Err(format!("{} has no length", kind(value))),
    };
    Ok(length.into())
}

/// The keys of an object.
pub(super) fn keys(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let fields = as_object(&arguments[0])?;
    budget.produce_values(fields.len())?;
    budget.produce(fields.keys().map(String::len).sum())?;
    Ok(fields.keys().map(String::as_str).collect())
}

/// The values of an object.
pub(super) fn values(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    copy(as_object(&arguments[0])?.values(), budget)
}

/// From one position up to another, which may be negative to count from the end; of a list or a text.
pub(super) fn slice(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let start = as_integer(&arguments[1])?;
    let end = arguments.get(2).map_or(Ok(i64::MAX), |end| as_integer(end))?;
    match &*arguments[0] {
        Value::String(text) => {
            let (start, count) = bounds(start, end, text.chars().count());
            budget.produce(text.len())?;
            Ok(text.chars().skip(start).take(count).collect::<String>().into())
        }
        value => {
            let items = as_list(value)?;
            let (start, count) = bounds(start, end, items.len());
            copy(items.iter().skip(start).take(count), budget)
        }
    }
}

/// The first position and the number of those that follow.
fn bounds(start: i64, end: i64, length: usize) -> (usize, usize) {
    let place = |position: i64| {
        let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
        if position < 0 { length.saturating_sub(distance) } else { distance.min(length) }
    };
    (place(start), place(end).saturating_sub(place(start)))
}

/// A list from its end to its start.
pub(super) fn reverse(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    copy(as_list(&arguments[0])?.iter().rev(), budget)
}

/// A list of numbers, or of texts, in order.
pub(super) fn sort(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let mut items: Vec<&Value> = as_list(&arguments[0])?.iter().collect();
    budget.produce_values(items.len())?;
    check_sortable(&items)?;
    items.sort_by(|left, right| order(left, right));
    copy(items.into_iter(), budget)
}

fn check_sortable(items: &[&Value]) -> Result<(), String> {
    let uniform =
        items.iter().all(|item| item.is_number()) || items.iter().all(|item| item.is_string());
    if uniform {
        Ok(())
    } else {
        Err("only numbers alone or strings alone can be sorted".to_owned())
    }
}

fn order(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        _ => left.as_str().cmp(&right.as_str()),
    }
}

/// Each item once, where it first occurs; items are the same if their JSON is.
pub(super) fn unique(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let mut seen = HashSet::new();
    let mut items = Vec::new();
    for item in as_list(&arguments[0])? {
        budget.produce_values(1)?;
        if seen.insert(budget.json(item)?) {
            items.push(item);
        }
    }
    copy(items.into_iter(), budget)
}

/// A list's items as one text, with a separator between them.
pub(super) fn join(arguments: &[Cow<'_, Value>], budget: &Budget) -> Result<Value, String> {
    let separator = arguments.get(1).map_or(Ok(""), |separator| as_text(separator))?;
    let mut joined = String::new();
    for (index, item) in as_list(&arguments[0])?.iter().enumerate() {
        let item = budget.text(item)?;
        budget.produce(separator.len() + item.len())?;
        joined.push_str(if index > 0 { separator } else { "" });
        joined.push_str(&item);
    }
    Ok(joined.into())
}

fn copy<'v>(items: impl Iterator<Item = &'v Value>, budget: &Budget) -> Result<Value, String> {
    items.map(|item| budget.copy(Cow::Borrowed(item), 1)).collect()
}
