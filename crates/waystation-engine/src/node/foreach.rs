//! `foreach`: a graph of its own for each item of a list, so many at once, with the results in order.

use schemars::{JsonSchema, Schema};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::entry::{Body, BodySource, ItemFailure};
use waystation_core::error::{Code, Failure};

use super::PureCall;
use super::model::settings::{invalid, read};
use super::spec::{Category, Spec, holds_template, schema_of};
use crate::limits::{ITEMS_PER_NODE, ITEMS_UNDER_WAY};

/// The setting that holds the graph.
const BODY: &str = "body";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(transform = require_body)]
struct Settings {
    /// The list. An object is the list of its `{key, value}` pairs.
    items: Value,
    /// What is done with each item: a graph of its own, whose result is the item's result.
    #[serde(default)]
    #[schemars(extend("type" = "object"))]
    #[expect(
        dead_code,
        reason = "it is compiled with the definition, and told here for the schema"
    )]
    body: Option<BodySettings>,
    /// How many items are under way at once.
    #[serde(default = "concurrency")]
    #[schemars(range(min = 1, max = 1_000))]
    concurrency: u32,
    /// What a failed item does: `stop` fails this node, `continue` leaves null as its result, `collect`
    /// leaves `{"error": {code, message}}`.
    #[serde(default)]
    on_error: OnError,
    /// The name under which nodes of the body see the item.
    #[serde(default = "item_name")]
    #[schemars(length(min = 1, max = 100), regex(pattern = "^[A-Za-z_][A-Za-z0-9_]*$"))]
    item_name: String,
    #[serde(default)]
    #[schemars(skip)]
    outer: Value,
}

/// Definitions must have it; the node that runs has it no longer.
fn require_body(schema: &mut Schema) {
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.push(BODY.into());
    }
}

/// A graph within a node.
#[derive(Deserialize, JsonSchema)]
#[expect(dead_code, reason = "it tells the schema what a body looks like")]
struct BodySettings {
    /// The nodes, as in a workflow.
    nodes: Vec<Map<String, Value>>,
    /// The edges, as in a workflow.
    #[serde(default)]
    edges: Vec<Map<String, Value>>,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnError {
    #[default]
    Stop,
    Continue,
    Collect,
}

fn concurrency() -> u32 {
    10
}

fn item_name() -> String {
    "item".to_owned()
}

/// What definitions know about it.
pub(super) fn spec() -> Spec {
    Spec {
        name: "foreach",
        title: "For each",
        description: "Runs a graph of its own for each item of a list, so many at once. Nodes of the \
            body see the item as `item` (or as `item_name` says), its place from 0 as `index`, the run's \
            `input`, and the outputs of the nodes around it; within another `foreach`, `parent.item` and \
            `parent.index` are those of the outer one. Each item is a run of its own: after a crash, \
            those that have ended are not done again.\n\nGives the list of the items' results, in the \
            order of the items.",
        category: Category::Flow,
        schema: schema_of::<Settings>,
        example: || {
            json!({
                "items": "{{input.orders}}",
                "concurrency": 5,
                "body": {
                    "nodes": [{ "id": "total", "type": "transformer", "config": {
                        "transform_type": "template", "template": "{{item.price * item.count}}" } }],
                    "edges": [],
                },
            })
        },
        effort: None,
        lower,
    }
}

fn lower(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    if config.contains_key("outer") {
        return Err(vec!["outer: no such setting".into()]);
    }
    if config.get("item_name").is_some_and(holds_template) {
        return Err(vec!["item_name: must be known before the workflow runs: no templates".into()]);
    }
    let body = config.shift_remove(BODY);
    Ok(Lowered { body, ..Lowered::new("foreach", config.into()) })
}

/// The items and how to go through them.
pub(super) fn foreach(call: &mut PureCall<'_>) -> Result<Body, Failure> {
    let settings: Settings = read("foreach", std::mem::take(&mut call.config))?;
    if !(1..=ITEMS_UNDER_WAY).contains(&settings.concurrency) {
        let text = format!("`concurrency` is a whole number from 1 to {ITEMS_UNDER_WAY}");
        return Err(invalid("foreach", &text));
    }
    let items = list(settings.items)?;
    if items.len() > ITEMS_PER_NODE {
        let text = format!("{} items are more than the {ITEMS_PER_NODE} allowed", items.len());
        return Err(Failure::fatal(Code::LimitExceeded, text));
    }
    Ok(Body {
        source: BodySource::Node,
        items: Value::Array(items).into(),
        item_name: settings.item_name,
        limit: settings.concurrency,
        on_failure: match settings.on_error {
            OnError::Stop => ItemFailure::Stop,
            OnError::Continue => ItemFailure::Continue,
            OnError::Collect => ItemFailure::Collect,
        },
        outer: settings.outer.into(),
    })
}

fn list(items: Value) -> Result<Vec<Value>, Failure> {
    match items {
        Value::Array(items) => Ok(items),
        Value::Object(fields) => {
            let pair = |(key, value)| json!({ "key": key, "value": value });
            Ok(fields.into_iter().map(pair).collect())
        }
        _ => Err(invalid("foreach", "`items` must be a list or an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::control::testing::call;

    fn body(config: Value) -> Result<Body, String> {
        call(config, &[], foreach).map_err(|failure| failure.message)
    }

    #[test]
    fn each_setting_has_its_effect() {
        let plain = body(json!({ "items": [1, 2] })).unwrap();
        assert_eq!(plain.items, json!([1, 2]).into());
        assert_eq!((plain.limit, plain.on_failure), (10, ItemFailure::Stop));
        assert_eq!(plain.item_name, "item");
        let own = json!({ "items": { "a": 1 }, "concurrency": 3, "on_error": "collect",
                          "item_name": "order", "outer": { "outputs": {} } });
        let own = body(own).unwrap();
        assert_eq!(own.items, json!([{ "key": "a", "value": 1 }]).into());
        assert_eq!((own.limit, own.on_failure), (3, ItemFailure::Collect));
        assert_eq!(own.item_name, "order");
        assert_eq!(own.outer, json!({ "outputs": {} }).into());
    }

    #[test]
    fn what_is_no_list_is_refused_and_so_is_what_is_too_long() {
        for items in [json!(1), json!("abc"), Value::Null] {
            let expected = "foreach settings: `items` must be a list or an object";
            assert_eq!(body(json!({ "items": items })), Err(expected.to_owned()));
        }
        let many = vec![0; ITEMS_PER_NODE + 1];
        let expected = "100001 items are more than the 100000 allowed";
        assert_eq!(body(json!({ "items": many })), Err(expected.to_owned()));
        assert!(body(json!({ "items": [], "concurrency": 0 })).is_err());
    }
}
