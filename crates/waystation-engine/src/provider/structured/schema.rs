//! Which JSON Schemas are taken, and whether a value follows one. Nothing is ever fetched.

use std::fmt;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

use super::bounds::{self, PATTERN_BYTES};

/// Violations that are named, and letters of each.
const VIOLATIONS: usize = 10;
const VIOLATION_LETTERS: usize = 200;

/// Says what is wrong with a schema, if anything.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    Schema::new(schema).map(drop)
}

/// A schema that values can be checked by.
pub(super) struct Schema {
    source: Value,
    validator: Validator,
}

/// What does not follow a schema.
#[derive(Debug)]
pub(super) struct Violations {
    named: Vec<String>,
    are_more: bool,
}

impl Schema {
    pub(super) fn new(schema: &Value) -> Result<Schema, String> {
        bounds::check(schema)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES);
        let options = jsonschema::options().with_pattern_options(patterns).offline();
        let validator = options.build(schema).map_err(|problem| described(&problem))?;
        Ok(Schema { source: schema.clone(), validator })
    }

    pub(super) fn check(&self, value: &Value) -> Result<(), Violations> {
        if !bounds::are_kept(&self.source, value) {
            let named = vec!["it is too deep or too large to be checked".to_owned()];
            return Err(Violations { named, are_more: false });
        }
        if self.validator.is_valid(value) {
            return Ok(());
        }
        let errors = self.validator.iter_errors(value).take(VIOLATIONS + 1);
        let mut named: Vec<String> = errors.map(|one| described(&one)).collect();
        let are_more = named.len() > VIOLATIONS;
        named.truncate(VIOLATIONS);
        Err(Violations { named, are_more })
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let more = if self.are_more { "; and more" } else { "" };
        write!(f, "{}{more}", self.named.join("; "))
    }
}

/// Where and what, without the value: it may be long, and is not for everybody.
fn described(problem: &ValidationError<'_>) -> String {
    let what = problem.masked_with("the value").to_string();
    let at = problem.instance_path().as_str();
    let text = if at.is_empty() { what } else { format!("{at}: {what}") };
    match text.char_indices().nth(VIOLATION_LETTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;

    fn nested(levels: usize, mut value: Value) -> Value {
        for _ in 0..levels {
            value = json!({ "items": value });
        }
        value
    }

    /// Definitions of which each is nothing but the next.
    fn chain(length: usize) -> Value {
        let next = |n| (format!("d{n}"), json!({ "$ref": format!("#/$defs/d{}", n + 1) }));
        let mut definitions: serde_json::Map<String, Value> = (0..length).map(next).collect();
        let last = json!({ "properties": { "a": { "$ref": "#" } } });
        definitions.insert(format!("d{length}"), last);
        json!({ "$defs": definitions, "$ref": "#/$defs/d0" })
    }

    fn deep(levels: usize) -> Value {
        let text = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        serde_json::from_str(&text).expect("JSON")
    }

    #[test]
    fn what_cannot_be_checked_by_is_refused() {
        let doubled: serde_json::Map<String, Value> = (0..40)
            .map(|n| {
                let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
                (format!("d{n}"), json!({ "allOf": [next, next] }))
            })
            .chain([("d40".to_owned(), json!({}))])
            .collect();
        let many: Vec<Value> = (0..101).map(|n| json!({ "pattern": format!("{n}") })).collect();
        let cases = [
            (json!(true), "a JSON Schema is an object"),
            (json!({ "type": "strin" }), ""),
            (json!({ "required": "a" }), ""),
            (chain(1_000), "its references go through more than 64 others"),
            (nested(64, json!({})), "it is nested deeper than 64"),
            (json!({ "enum": ["a".repeat(65 << 10)] }), "it is longer than 65536 bytes"),
            (json!({ "$defs": doubled, "$ref": "#/$defs/d0" }), "with its references followed"),
            (json!({ "anyOf": many }), "it has more than 100 regular expressions"),
            (json!({ "pattern": "(" }), ""),
            (json!({ "pattern": "(a{1000}){1000}" }), ""),
            (
                json!({ "$ref": "https://example.com/schema.json" }),
                "$ref may only point into the schema itself (#/...): https://example.com/schema.json",
            ),
            (json!({ "$ref": "file:///etc/passwd" }), "$ref may only point into the schema itself"),
            (json!({ "$ref": "#/$defs/none" }), "$ref points to nothing: #/$defs/none"),
            (json!({ "items": { "$dynamicRef": "#x" } }), "$dynamicRef is not supported"),
            (json!({ "items": { "$id": "a" } }), "$id is supported at the top only"),
            (json!({ "$schema": "https://example.com/meta.json" }), ""),
        ];
        for (schema, expected) in cases {
            let began = Instant::now();
            let problem = check_schema(&schema).expect_err(expected);
            assert!(problem.starts_with(expected), "{problem}");
            assert!(problem.chars().count() <= 300, "{problem}");
            assert!(began.elapsed().as_secs() < 2, "{problem}");
        }
    }

    #[test]
    fn common_schemas_are_taken() {
        for schema in [
            json!({}),
            json!({ "type": "object", "properties": { "$ref": { "type": "string" } } }),
            json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "array" }),
            json!({ "$id": "https://example.com/mine", "$schema": "https://json-schema.org/draft/2020-12/schema" }),
            json!({ "$defs": { "n": { "type": "null" } }, "anyOf": [{ "$ref": "#/$defs/n" }] }),
            json!({ "properties": { "next": { "anyOf": [{ "$ref": "#" }, { "type": "null" }] } } }),
            json!({ "type": "string", "pattern": "^\\d{4}-\\d{2}$", "format": "date" }),
        ] {
            assert_eq!(check_schema(&schema), Ok(()), "{schema}");
        }
    }

    #[test]
    fn violations_are_bounded_and_keep_the_values_to_themselves() {
        let schema = json!({
            "type": "object",
            "properties": { "list": { "type": "array", "items": { "type": "integer" } } },
            "required": ["name"],
            "additionalProperties": false,
        });
        let schema = Schema::new(&schema).expect("a schema");
        assert!(schema.check(&json!({ "list": [1] })).is_err());
        let secret = "swordfish".repeat(1 << 16);
        let violations = schema.check(&json!({ "list": [1, secret, true] })).expect_err("wrong");
        insta::assert_snapshot!(violations.to_string(), @r#"/list/1: the value is not of type "integer"; /list/2: the value is not of type "integer"; "name" is a required property"#);
        let list: Vec<&str> = vec!["x"; 10_000];
        let violations = schema.check(&json!({ "name": 1, "list": list })).expect_err("wrong");
        let text = violations.to_string();
        assert!(text.ends_with("; and more") && text.len() < 3_000, "{text}");
    }

    /// A schema and a value that are as deep as they may be do not exhaust a thread's stack.
    #[test]
    fn depth_is_survived() {
        let mut all = json!({ "properties": { "a": { "$ref": "#" } } });
        for _ in 0..29 {
            all = json!({ "allOf": [all] });
        }
        for schema in [all, chain(20), chain(60)] {
            let check = move || {
                let schema = Schema::new(&schema).expect("a schema");
                (10..127).map(|levels| schema.check(&deep(levels)).is_ok()).collect::<Vec<bool>>()
            };
            let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(check);
            let fine = thread.expect("a thread").join().expect("no overflow");
            assert!(fine[0]);
        }
    }

    /// Each level of the value doubles the work.
    #[test]
    fn work_without_end_is_not_begun() {
        let branch = |name| json!({ "properties": { "a": { "$ref": "#" } }, "required": [name] });
        let schema = json!({ "anyOf": [branch("b"), branch("c")] });
        let schema = Schema::new(&schema).expect("a schema");
        let violations = schema.check(&deep(126)).expect_err("too much");
        assert_eq!(violations.to_string(), "it is too deep or too large to be checked");
        assert!(!schema.check(&deep(5)).expect_err("b or c").to_string().contains("too deep"));
    }

    #[test]
    fn large_values_are_checked() {
        let schema = Schema::new(&json!({ "items": { "type": "integer" } })).expect("a schema");
        assert!(schema.check(&Value::from(vec![1; 1 << 20])).is_ok());
    }

    #[test]
    fn references_in_a_circle_come_to_an_end() {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "allOf": [{ "$ref": "#" }] }),
            json!({ "$defs": { "a": { "$ref": "#/$defs/b" }, "b": { "$ref": "#/$defs/a" } }, "$ref": "#/$defs/a" }),
        ] {
            if let Ok(schema) = Schema::new(&schema) {
                let _ = schema.check(&json!({ "a": [1] }));
            }
        }
    }
}
