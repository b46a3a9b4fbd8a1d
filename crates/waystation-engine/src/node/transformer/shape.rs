//! Items given another shape, one by one: `map`, `pick`, `rename`; and all of them at once: `template`.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};
use waystation_core::error::Failure;

use crate::node::items::{Items, template_size};

/// What a template becomes for each item.
pub(super) fn map_fields(items: &Items<'_>, fields: &Map<String, Value>) -> Result<Value, Failure> {
    let fields = Value::Object(fields.clone());
    let size = template_size(&fields);
    let template = items.template("fields", &fields)?;
    each(items, |index| items.render(&template, size, index))
}

/// What an expression gives for each item.
pub(super) fn map(items: &Items<'_>, expression: &str) -> Result<Value, Failure> {
    let expression = items.expression("expression", expression)?;
    each(items, |index| items.value(&expression, index))
}

/// What a template becomes, once.
pub(super) fn template(whole: &Items<'_>, template: &Value) -> Result<Value, Failure> {
    let rule = whole.template("template", template)?;
    whole.render(&rule, template_size(template), 0)
}

/// Some fields of each item.
pub(super) fn pick(items: &Items<'_>, fields: &[String]) -> Result<Value, Failure> {
    let paths: Vec<(&str, Vec<&str>)> =
        fields.iter().map(|path| (path.as_str(), path.split('.').collect())).collect();
    each(items, |index| {
        items.look("fields", index, paths.len())?;
        let item = items.fields("pick", index)?;
        let mut picked = Map::new();
        for (name, path) in &paths {
            // A field may have a dot in its name.
            let path = if item.contains_key(*name) { std::slice::from_ref(name) } else { path };
            let mut below = path.iter();
            let first = below.next().and_then(|name| item.get(*name));
            let Some(value) =
                below.try_fold(first, |value, name| Some(value?.as_object()?.get(*name)))
            else {
                continue;
            };
            let Some(value) = value else { continue };
            put(&mut picked, path, items.copy("fields", index, Cow::Borrowed(value))?);
        }
        Ok(Value::Object(picked))
    })
}

/// Puts a value where a path leads, with objects on the way.
fn put(fields: &mut Map<String, Value>, path: &[&str], value: Value) {
    match path {
        [] => {}
        [name] => {
            fields.insert((*name).to_owned(), value);
        }
        [name, rest @ ..] => {
            let below = fields.entry(*name).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(below) = below {
                put(below, rest, value);
            }
        }
    }
}

/// Each item with other names for some of its fields.
pub(super) fn rename(items: &Items<'_>, names: &[(String, String)]) -> Result<Value, Failure> {
    let names: HashMap<&str, &str> =
        names.iter().map(|(old, new)| (old.as_str(), new.as_str())).collect();
    each(items, |index| {
        let item = items.fields("rename", index)?;
        let taken: HashSet<&str> =
            item.keys().filter_map(|old| names.get(old.as_str()).copied()).collect();
        let mut renamed = Map::with_capacity(item.len());
        for (name, value) in item {
            match names.get(name.as_str()) {
                Some(new) => renamed.insert((*new).to_owned(), value.clone()),
                None if taken.contains(name.as_str()) => None,
                None => renamed.insert(name.clone(), value.clone()),
            };
        }
        Ok(Value::Object(renamed))
    })
}

fn each(items: &Items<'_>, of: impl Fn(usize) -> Result<Value, Failure>) -> Result<Value, Failure> {
    let results: Result<Vec<Value>, Failure> = (0..items.list.len()).map(of).collect();
    Ok(items.in_their_form(results?))
}
