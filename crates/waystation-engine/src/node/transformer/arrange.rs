//! Items put elsewhere: `flatten`, `group`, `sort`.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::{Map, Value};
use waystation_core::error::{Code, Failure};
use waystation_core::expr::{compare_numbers, kind};

use super::settings::Order;
use crate::node::items::Items;

/// The items of lists within the list in the place of those lists.
pub(super) fn flatten(items: &Items<'_>, depth: u32) -> Result<Value, Failure> {
    let mut flat = Vec::new();
    open(items.as_list("flatten")?, depth, &mut flat);
    Ok(Value::Array(flat))
}

fn open(list: &[Value], depth: u32, flat: &mut Vec<Value>) {
    for item in list {
        match (item, depth.checked_sub(1)) {
            (Value::Array(inner), Some(depth)) => open(inner, depth, flat),
            _ => flat.push(item.clone()),
        }
    }
}

/// An object of lists, by what the items have in common.
pub(super) fn group(items: &Items<'_>, by: &str) -> Result<Value, Failure> {
    let list = items.as_list("group")?;
    let mut object = Map::new();
    for Group { key, members } in groups(items, by)? {
        let name = match key {
            Value::String(text) => text,
            key => key.to_string(),
        };
        let group = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(group) = group {
            group.extend(members.into_iter().map(|index| list[index].clone()));
        }
    }
    Ok(Value::Object(object))
}

/// Items that have something in common.
pub(super) struct Group {
    /// What they have in common; null where it is missing.
    pub(super) key: Value,
    /// Their places in the list.
    pub(super) members: Vec<usize>,
}

/// The items by what an expression gives for them, in the order in which that first occurs.
pub(super) fn groups(items: &Items<'_>, by: &str) -> Result<Vec<Group>, Failure> {
    let keys = items.keys(&items.expression("by", by)?)?;
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for (index, key) in keys.into_iter().enumerate() {
        let key = key.unwrap_or_default();
        if key.is_array() || key.is_object() {
            let problem = format!("{} cannot be what a group has in common", kind(&key));
            return Err(unfit("by", items, index, &problem));
        }
        let place = *places.entry(key.to_string()).or_insert(groups.len());
        if place == groups.len() {
            groups.push(Group { key, members: Vec::new() });
        }
        groups[place].members.push(index);
    }
    Ok(groups)
}

/// The items in order.
pub(super) fn sort(items: &Items<'_>, by: &str, order: Order) -> Result<Value, Failure> {
    let list = items.as_list("sort")?;
    let keys = items.keys(&items.expression("by", by)?)?;
    let present = keys.iter().enumerate().filter_map(|(index, key)| Some((index, key.as_ref()?)));
    check_comparable("by", items, present)?;
    let mut places: Vec<usize> = (0..list.len()).collect();
    places.sort_by(|left, right| match (&keys[*left], &keys[*right]) {
        (Some(left), Some(right)) if order == Order::Desc => compare(right, left),
        (Some(left), Some(right)) => compare(left, right),
        (left, right) => left.is_none().cmp(&right.is_none()),
    });
    Ok(places.into_iter().map(|place| list[place].clone()).collect())
}

/// Makes sure that values have an order: numbers alone, texts alone, or booleans alone.
pub(super) fn check_comparable<'v>(
    setting: &str,
    items: &Items<'_>,
    mut values: impl Iterator<Item = (usize, &'v Value)>,
) -> Result<(), Failure> {
    let Some((first, sample)) = values.next() else { return Ok(()) };
    if sample.is_array() || sample.is_object() {
        let problem = format!("{} has no place in an order", kind(sample));
        return Err(unfit(setting, items, first, &problem));
    }
    match values.find(|(_, value)| kind(value) != kind(sample)) {
        None => Ok(()),
        Some((index, value)) => {
            let (value, sample) = (kind(value), kind(sample));
            let problem = format!("{value} cannot be compared with {sample}, as in item {first}");
            Err(unfit(setting, items, index, &problem))
        }
    }
}

/// Orders two values that are comparable.
pub(super) fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => compare_numbers(left, right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        _ => left.as_str().cmp(&right.as_str()),
    }
}

/// A failure over an item's value that does not fit.
pub(super) fn unfit(setting: &str, items: &Items<'_>, index: usize, problem: &str) -> Failure {
    let text = format!("{setting}: {}{problem}", items.place(index));
    let hint = "convert it with `| number` or `| string`, or filter such items out".to_owned();
    Failure { hint: Some(hint), ..Failure::fatal(Code::ValueInvalid, text) }
}
