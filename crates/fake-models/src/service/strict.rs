//! Which JSON Schemas the services take for structured output: closed objects, and OpenAI's strict
//! mode only such as require all that they name.

use serde_json::Value;

/// The first object in the schema that is not as it has to be, and why.
pub(crate) fn problem(schema: &Value, all_required: bool) -> Option<&'static str> {
    if schema["type"] == "object" {
        if schema["additionalProperties"] != false {
            return Some("'additionalProperties' is required to be supplied and to be false");
        }
        if all_required && !requires_all(schema) {
            return Some("'required' is required to be supplied and to name every property");
        }
    }
    match schema {
        Value::Object(members) => members.values().find_map(|inner| problem(inner, all_required)),
        Value::Array(items) => items.iter().find_map(|inner| problem(inner, all_required)),
        _ => None,
    }
}

fn requires_all(schema: &Value) -> bool {
    let required = schema["required"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name);
    names.all(|name| required.iter().any(|item| item == name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn only_closed_objects_pass() {
        let open = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let closed =
            json!({"type": "object", "properties": {"a": {}}, "additionalProperties": false});
        let mut strict = closed.clone();
        strict["required"] = json!(["a"]);
        let nested = json!({"type": "array", "items": open});
        for (schema, anthropic, openai) in [
            (&open, false, false),
            (&closed, true, false),
            (&strict, true, true),
            (&nested, false, false),
        ] {
            assert_eq!(super::problem(schema, false).is_none(), anthropic, "{schema}");
            assert_eq!(super::problem(schema, true).is_none(), openai, "{schema}");
        }
    }
}
