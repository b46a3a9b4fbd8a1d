//! Named outputs out of a response.

use serde_json::{Map, Value};

use crate::error::{Code, Failure};
use crate::limits::OUTPUT_BYTES;

/// A response's body, as it could be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// It is JSON.
    Json(Value),
    /// It is anything else.
    Text(String),
}

impl Body {
    /// JSON where the text is that, and the text itself otherwise.
    pub fn parse(text: String) -> Body {
        match serde_json::from_str(&text) {
            Ok(value) => Body::Json(value),
            Err(_) => Body::Text(text),
        }
    }
}

/// Gives each name its value. In order: Anthropic's text goes to every name; OpenAI's text is read
/// like a body of its own; an object gives each name the field it is called by, or else itself;
/// everything else goes to every name whole.
pub fn named_outputs(names: &[String], body: Body) -> Result<Map<String, Value>, Failure> {
    let value = match body {
        Body::Text(text) => return to_all(names, &Value::String(text)),
        Body::Json(value) => value,
    };
    if let Some(text @ Value::String(_)) = value.pointer("/content/0/text") {
        return to_all(names, text);
    }
    match value.pointer("/choices/0/message/content") {
        Some(Value::String(text)) => match Body::parse(text.clone()) {
            Body::Json(inner) => by_name(names, &inner),
            Body::Text(text) => to_all(names, &Value::String(text)),
        },
        _ => by_name(names, &value),
    }
}

fn to_all(names: &[String], value: &Value) -> Result<Map<String, Value>, Failure> {
    copies(names, |_| value)
}

/// Gives each name the field it is called by, or else the whole value.
pub fn by_name(names: &[String], value: &Value) -> Result<Map<String, Value>, Failure> {
    copies(names, |name| value.get(name).unwrap_or(value))
}

/// One value a name, as long as all of them together are not too large: many names for a large value
/// would multiply it.
fn copies<'a>(
    names: &[String],
    of: impl Fn(&str) -> &'a Value,
) -> Result<Map<String, Value>, Failure> {
    let total = names.iter().map(|name| bytes_about(of(name))).fold(0, usize::saturating_add);
    if names.len() > 1 && total > OUTPUT_BYTES {
        let text = format!("the outputs take more than {OUTPUT_BYTES} bytes together");
        let failure = Failure::fatal(Code::LimitExceeded, text);
        return Err(Failure { hint: Some("give fewer outputs to this step".into()), ..failure });
    }
    Ok(names.iter().map(|name| (name.clone(), of(name).clone())).collect())
}

/// What a value takes in memory, roughly.
pub fn bytes_about(value: &Value) -> usize {
    const EACH: usize = 32;
    match value {
        Value::String(text) => EACH + text.len(),
        Value::Array(items) => EACH + items.iter().map(bytes_about).sum::<usize>(),
        Value::Object(fields) => {
            EACH + fields.iter().map(|(name, value)| name.len() + bytes_about(value)).sum::<usize>()
        }
        _ => EACH,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn outputs(names: &[&str], text: &str) -> Value {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Value::Object(named_outputs(&names, Body::parse(text.to_owned())).unwrap())
    }

    #[test]
    fn each_rule_in_order() {
        let cases = [
            // Anthropic: the text, even where a key has the output's name or the text is JSON.
            (r#"{"content":[{"type":"text","text":"Hi"}],"a":1}"#, json!({"a": "Hi", "b": "Hi"})),
            (r#"{"content":[{"text":"{\"a\":1}"}]}"#, json!({"a": "{\"a\":1}", "b": "{\"a\":1}"})),
            // It comes before OpenAI.
            (
                r#"{"choices":[{"message":{"content":"o"}}],"content":[{"text":"t"}]}"#,
                json!({"a": "t", "b": "t"}),
            ),
            // OpenAI: text, JSON by key, JSON whole.
            (r#"{"choices":[{"message":{"content":"Hi"}}]}"#, json!({"a": "Hi", "b": "Hi"})),
            (
                r#"{"choices":[{"message":{"content":"{\"a\": 1}"}}],"b":2}"#,
                json!({"a": 1, "b": {"a": 1}}),
            ),
            (r#"{"choices":[{"message":{"content":" [1] "}}]}"#, json!({"a": [1], "b": [1]})),
            (r#"{"choices":[{"message":{"content":""}}]}"#, json!({"a": "", "b": ""})),
            // What only looks like either is plain JSON.
            (r#"{"content":[{"text":5}],"a":1,"b":2}"#, json!({"a": 1, "b": 2})),
            (r#"{"content":"x","a":1,"b":2}"#, json!({"a": 1, "b": 2})),
            (r#"{"choices":[{"message":{"content":null}}],"a":1,"b":2}"#, json!({"a": 1, "b": 2})),
            (r#"{"choices":[],"a":1,"b":2}"#, json!({"a": 1, "b": 2})),
            // JSON: by key, a null that is there counts, else the whole.
            (r#"{"a":null}"#, json!({"a": null, "b": {"a": null}})),
            ("[1,2]", json!({"a": [1, 2], "b": [1, 2]})),
            ("7", json!({"a": 7, "b": 7})),
            (r#""quoted""#, json!({"a": "quoted", "b": "quoted"})),
            // No JSON.
            ("plain", json!({"a": "plain", "b": "plain"})),
            ("", json!({"a": "", "b": ""})),
            (r#"{"a":1} trailing"#, json!({"a": "{\"a\":1} trailing", "b": "{\"a\":1} trailing"})),
        ];
        for (body, expected) in cases {
            assert_eq!(outputs(&["a", "b"], body), expected, "{body}");
        }
    }

    #[test]
    fn many_names_do_not_multiply_a_large_value() {
        let text = "x".repeat(1 << 20);
        let names = |count: usize| (0..count).map(|n| format!("n{n}")).collect::<Vec<_>>();
        assert_eq!(by_name(&names(60), &json!(text)).unwrap().len(), 60);
        let failure = by_name(&names(64), &json!(text)).unwrap_err();
        assert_eq!(failure.code, Code::LimitExceeded);
        assert!(
            by_name(&names(1), &json!("x".repeat(OUTPUT_BYTES))).is_ok(),
            "one copy is no more"
        );
    }

    #[test]
    fn a_name_like_an_index_is_no_index() {
        assert_eq!(outputs(&["0"], "[1,2]"), json!({"0": [1, 2]}));
    }

    #[test]
    fn json_too_deep_to_read_is_text() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(outputs(&["a"], &deep), json!({ "a": deep }));
    }

    proptest! {
        #[test]
        fn every_name_gets_a_value(
            names in prop::collection::hash_set("[a-z]{1,3}", 0..5),
            body in r#"[\[\]{}":,a-c0-9 ]{0,40}|\PC{0,40}"#,
        ) {
            let names: Vec<String> = names.into_iter().collect();
            let outputs = named_outputs(&names, Body::parse(body)).unwrap();
            prop_assert_eq!(outputs.len(), names.len());
            prop_assert!(names.iter().all(|name| outputs.contains_key(name)));
        }
    }
}
