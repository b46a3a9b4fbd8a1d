//! `transformer`: a new value made of a list or of a single value.

mod aggregate;
mod arrange;
mod settings;
mod shape;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};

use self::settings::Transform;
use super::items::Items;
use super::model::settings::read;
use super::spec::{Category, Spec, read_settings, schema_of};
use super::subject::subject;
use super::{Outcome, PureCall};

/// How long a jq program may take, in milliseconds; then the node fails.
const JQ_TIMEOUT_MS: u64 = 10_000;
/// The settings in which expressions and templates see the items, and which are left alone until then.
const ON_ITEMS: [&str; 4] = ["fields", "expression", "by", "template"];

/// The type as definitions know it.
pub(super) fn spec() -> Spec {
    Spec {
        name: "transformer",
        title: "Transformer",
        description: DESCRIPTION,
        category: Category::Data,
        schema: schema_of::<Transform>,
        example: || {
            json!({
                "transform_type": "map",
                "items": [{ "name": "pen", "price": 2 }],
                "fields": { "label": "{{name | upper}}", "gross": "{{price * 2}}" },
            })
        },
        effort: None,
        lower,
    }
}

const DESCRIPTION: &str = "\
Makes a new value of a list, or of a single value, in the way that `transform_type` says.

It works on `items`, else on the result of the node that leads here, else on the run's input. What it works on \
is left as it is; the node gives a new value:

| `transform_type` | gives |
| --- | --- |
| `map` | for each item a new one: an object of `fields`, or what `expression` gives; without either, the items as they are |
| `pick` | each item with only the `fields` that are listed |
| `rename` | each item with other names for some `fields` |
| `flatten` | one list instead of lists within a list |
| `group` | an object of lists, by the text of what `by` gives; items where it gives nothing stand under `null` |
| `sort` | the items in order of what `by` gives; equal ones stay in their order, those where it gives nothing come last |
| `aggregate` | an object of figures; with `by` a list of such objects, one a group, each with the group's `key` |
| `template` | the value that `template` becomes, made once of all that the node got |
| `jq` | what a jq program gives |

`map`, `pick` and `rename` take a single value, too, and give a single value; `flatten`, `group`, `sort` and \
`aggregate` need a list.

In expressions and templates on items, an item's fields are names. Beside them stand `item` (the item itself), \
`value` (likewise, where the item has no field of that name) and `index` (from 0); behind them the run's \
names. A field of the item hides a name of the run. In a `template`, `item` and `index` are those of the \
`foreach` around the node, where there is one. `by` and `of` may lead nowhere in some items, but not in \
all of them: that is taken for a mistake and fails the node.

Numbers are compared as numbers and texts as texts; a list that mixes them cannot be sorted, and the node \
says which items they are. All items together may make the node look at 256 MiB of values, where each part \
of an expression counts as 64 bytes an item, and produce 16 MiB of new ones. Beyond, the node fails.";

fn lower(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    let open = ["items", "expression", "by", "template"];
    let transform: Transform = read_settings(config.clone(), &open)?;
    let problems = transform.problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    if let Transform::Jq { expression, items } = transform {
        let mut config = json!({ "expression": expression });
        if let Some(items) = items {
            config["value"] = items;
        }
        let literal = vec!["expression".to_owned()];
        return Ok(Lowered { literal, timeout_ms: JQ_TIMEOUT_MS, ..Lowered::new("jq", config) });
    }
    if !transform.has_items() {
        config.shift_remove("items");
    }
    let literal = ON_ITEMS.iter().filter(|name| config.contains_key(**name));
    let literal = literal.map(|name| (*name).to_owned()).collect();
    Ok(Lowered { literal, ..Lowered::new("transformer", Value::Object(config)) })
}

/// Gives the new value.
pub(super) fn transformer(call: &mut PureCall<'_>) -> Outcome {
    let subject = subject(call, "items");
    let transform: Transform = read("transformer", call.config.take())?;
    if let Transform::Template { template, .. } = &transform {
        let whole = Items::whole(subject.as_deref().ok(), call.names);
        return Ok(shape::template(&whole, template)?.into());
    }
    let subject = subject.map_err(|several| several.failure("transformer", "items"))?;
    let items = Items::new(&subject, call.names);
    let output = match &transform {
        Transform::Map { fields: Some(fields), .. } => shape::map_fields(&items, fields),
        Transform::Map { expression: Some(expression), .. } => shape::map(&items, expression),
        Transform::Pick { fields, .. } => shape::pick(&items, fields),
        Transform::Rename { fields, .. } => shape::rename(&items, fields),
        Transform::Flatten { depth, .. } => arrange::flatten(&items, *depth),
        Transform::Group { by, .. } => arrange::group(&items, by),
        Transform::Sort { by, order, .. } => arrange::sort(&items, by, *order),
        Transform::Aggregate { fields, by, .. } => {
            aggregate::aggregate(&items, fields, by.as_deref())
        }
        Transform::Map { .. } | Transform::Template { .. } | Transform::Jq { .. } => {
            Ok(subject.as_ref().clone())
        }
    };
    Ok(output?.into())
}
