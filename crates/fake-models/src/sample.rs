//! A value that follows a JSON Schema, for whoever asks for structured output.

use serde_json::{Map, Value, json};

/// A schema that refers to itself is followed so deep and no deeper.
const DEPTH_MAX: usize = 16;

/// The simplest value that follows the schema.
pub(crate) fn of(schema: &Value) -> Value {
    value(schema, schema, 0)
}

fn value(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let within = |inner: &Value| value(inner, root, depth + 1);
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#'));
        return target.map_or(Value::Null, within);
    }
    if let Some(only) = schema.get("const").or_else(|| schema.pointer("/enum/0")) {
        return only.clone();
    }
    let alternative = ["anyOf", "oneOf", "allOf"].iter().find_map(|key| schema[key].get(0));
    if let Some(first) = alternative {
        return within(first);
    }
    match kind(schema) {
        "object" => Value::Object(members(schema, within)),
        "array" => (0..schema["minItems"].as_u64().unwrap_or(1))
            .map(|_| within(&schema["items"]))
            .collect(),
        "string" => text(schema["minLength"].as_u64().unwrap_or_default()),
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or(json!(1)),
        "boolean" => json!(true),
        _ => Value::Null,
    }
}

/// The first type that it allows.
fn kind(schema: &Value) -> &str {
    let kind = &schema["type"];
    kind.as_str().or_else(|| kind.get(0)?.as_str()).unwrap_or("object")
}

fn members(schema: &Value, within: impl Fn(&Value) -> Value) -> Map<String, Value> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    properties.map(|(name, inner)| (name.clone(), within(inner))).collect()
}

fn text(length_min: u64) -> Value {
    let mut text = String::from("text");
    while (text.len() as u64) < length_min {
        text.push('t');
    }
    json!(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_sample_has_what_the_schema_names() {
        let schema = json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "minLength": 6},
                "mood": {"enum": ["calm", "wild"]},
                "age": {"type": ["integer", "null"], "minimum": 18},
                "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
                "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
            },
            "$defs": {"tag": {"const": "new"}},
        });
        let expected = json!({
            "name": "texttt", "mood": "calm", "age": 18, "tags": ["new"], "either": true,
        });
        assert_eq!(super::of(&schema), expected);
    }

    #[test]
    fn a_schema_of_itself_ends() {
        let schema = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
        assert!(super::of(&schema)["next"]["next"].is_object());
    }
}
