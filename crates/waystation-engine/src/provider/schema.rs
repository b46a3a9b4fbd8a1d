//! Which JSON Schemas providers guarantee to follow. A schema beyond that is still sent, but as a
//! wish: who asks has to check the answer.

use serde_json::{Map, Value};

/// What both vendors can follow to the letter.
const COMMON: &[&str] = &[
    "$defs",
    "$schema",
    "additionalProperties",
    "anyOf",
    "const",
    "definitions",
    "description",
    "enum",
    "items",
    "properties",
    "required",
    "title",
    "type",
];

/// What OpenAI can follow besides.
const STRICT: &[&str] = &[
    "$ref",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "maxItems",
    "maximum",
    "minItems",
    "minimum",
    "multipleOf",
    "pattern",
];

/// Whether OpenAI's strict mode takes the schema: an object at its root, every object closed and all
/// of its properties required, and no keyword that the mode does not know.
pub(super) fn is_strict(schema: &Value) -> bool {
    let takes = |part: &Map<String, Value>| {
        knows(part, &[COMMON, STRICT]) && is_closed(part) && requires_all(part)
    };
    is_object(schema) && fits(schema, &takes)
}

/// Whether Anthropic's structured output takes the schema: every object closed, and no keyword that
/// it does not know. References are left out, for those that go in circles are refused.
pub(super) fn is_guaranteed(schema: &Value) -> bool {
    is_object(schema) && fits(schema, &|part| knows(part, &[COMMON]) && is_closed(part))
}

fn is_object(schema: &Value) -> bool {
    schema["type"] == "object"
}

fn knows(part: &Map<String, Value>, keywords: &[&[&str]]) -> bool {
    part.keys().all(|key| keywords.iter().any(|list| list.contains(&key.as_str())))
}

fn is_closed(part: &Map<String, Value>) -> bool {
    let may_be_object = match part.get("type") {
        Some(Value::Array(types)) => types.contains(&"object".into()),
        Some(one) => one == "object",
        None => part.contains_key("properties"),
    };
    !may_be_object || part.get("additionalProperties") == Some(&Value::Bool(false))
}

fn requires_all(part: &Map<String, Value>) -> bool {
    let required = part.get("required").and_then(Value::as_array);
    let is_required =
        |name: &String| required.is_some_and(|list| list.iter().any(|item| item == name.as_str()));
    let properties = part.get("properties").and_then(Value::as_object);
    properties.is_none_or(|properties| properties.keys().all(is_required))
}

/// Whether a schema and all schemas within it pass.
fn fits(schema: &Value, takes: &dyn Fn(&Map<String, Value>) -> bool) -> bool {
    let Value::Object(part) = schema else { return false };
    let named = ["properties", "$defs", "definitions"].into_iter();
    let named = named.filter_map(|name| part.get(name)?.as_object()).flat_map(Map::values);
    let listed = part.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let within = named.chain(listed).chain(part.get("items"));
    takes(part) && within.into_iter().all(|inner| fits(inner, takes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_guaranteed_counts_as_guaranteed() {
        let object = |properties: Value, required: Value| {
            json!({"type": "object", "properties": properties, "required": required,
                   "additionalProperties": false})
        };
        let text = json!({"type": "string"});
        let with = |keyword: &str, value: Value| {
            let mut schema = object(json!({"a": text}), json!(["a"]));
            schema["properties"]["a"][keyword] = value;
            schema
        };
        let closed = object(json!({"a": text}), json!(["a"]));
        let cases = [
            ("closed, all required", closed.clone(), true, true),
            ("one optional", object(json!({"a": text, "b": text}), json!(["a"])), false, true),
            (
                "open",
                json!({"type": "object", "properties": {"a": text}, "required": ["a"]}),
                false,
                false,
            ),
            ("open within", object(json!({"a": {"type": "object"}}), json!(["a"])), false, false),
            (
                "open or null within",
                object(json!({"a": {"type": ["object", "null"]}}), json!(["a"])),
                false,
                false,
            ),
            (
                "open in a list",
                object(json!({"a": {"type": "array", "items": {"type": "object"}}}), json!(["a"])),
                false,
                false,
            ),
            (
                "closed in a choice",
                object(json!({"a": {"anyOf": [closed, text]}}), json!(["a"])),
                true,
                true,
            ),
            ("a bound", with("minimum", json!(1)), true, false),
            ("a default", with("default", json!("x")), false, false),
            (
                "a keyword as a name",
                object(json!({"default": text}), json!(["default"])),
                true,
                true,
            ),
            ("a reference", with("$ref", json!("#/$defs/a")), true, false),
            ("no object", json!({"type": "array", "items": text}), false, false),
            ("nothing", json!({}), false, false),
            ("anything", json!(true), false, false),
        ];
        for (case, schema, strict, guaranteed) in cases {
            assert_eq!(
                (is_strict(&schema), is_guaranteed(&schema)),
                (strict, guaranteed),
                "{case}"
            );
        }
    }
}
