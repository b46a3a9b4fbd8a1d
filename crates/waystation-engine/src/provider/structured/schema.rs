//! Which JSON Schemas are taken, and whether a value follows one. Nothing is ever fetched.

use std::fmt;

use jsonschema::{PatternOptions, ValidationError, Validator};
use serde_json::Value;

/// Bytes of a schema.
const SCHEMA_BYTES: usize = 64 << 10;
/// Nesting of a schema.
const SCHEMA_DEPTH: usize = 64;
/// Regular expressions in a schema, and bytes that each may take once compiled.
const PATTERNS: usize = 100;
const PATTERN_BYTES: usize = 256 << 10;
/// Parts of a schema, each counted as often as references lead to it.
const PARTS: usize = 10_000;
/// Violations that are named, and letters of each.
const VIOLATIONS: usize = 10;
const VIOLATION_LETTERS: usize = 200;

/// Keywords that make the meaning of a reference depend on where it is met.
const UNSUPPORTED: [&str; 4] = ["$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor"];

/// Says what is wrong with a schema, if anything.
pub fn check_schema(schema: &Value) -> Result<(), String> {
    Schema::new(schema).map(drop)
}

/// A schema that values can be checked by.
pub(super) struct Schema(Validator);

/// What does not follow a schema.
#[derive(Debug)]
pub(super) struct Violations {
    named: Vec<String>,
    are_more: bool,
}

impl Schema {
    pub(super) fn new(schema: &Value) -> Result<Schema, String> {
        if !schema.is_object() {
            return Err("a JSON Schema is an object".to_owned());
        }
        check_depth(schema, SCHEMA_DEPTH)?;
        if schema.to_string().len() > SCHEMA_BYTES {
            return Err(format!("it is longer than {SCHEMA_BYTES} bytes"));
        }
        let mut survey = Survey { root: schema, patterns: 0, parts: 0, followed: Vec::new() };
        survey.visit(schema)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES);
        let options = jsonschema::options().with_pattern_options(patterns).offline();
        let validator = options.build(schema).map_err(|problem| described(&problem))?;
        Ok(Schema(validator))
    }

    pub(super) fn check(&self, value: &Value) -> Result<(), Violations> {
        if self.0.is_valid(value) {
            return Ok(());
        }
        let mut named: Vec<String> =
            self.0.iter_errors(value).take(VIOLATIONS + 1).map(|one| described(&one)).collect();
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

fn check_depth(value: &Value, left: usize) -> Result<(), String> {
    if left == 0 {
        return Err(format!("it is nested deeper than {SCHEMA_DEPTH}"));
    }
    children(value).try_for_each(|child| check_depth(child, left - 1))
}

fn children(value: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match value {
        Value::Object(fields) => Box::new(fields.values()),
        Value::Array(items) => Box::new(items.iter()),
        _ => Box::new(std::iter::empty()),
    }
}

/// A walk through a schema along its references, which finds out how much checking by it may take.
struct Survey<'a> {
    root: &'a Value,
    patterns: usize,
    parts: usize,
    /// The references that led here; one that leads back to itself is not followed again.
    followed: Vec<&'a str>,
}

impl<'a> Survey<'a> {
    fn visit(&mut self, part: &'a Value) -> Result<(), String> {
        self.parts += 1;
        if self.parts > PARTS {
            return Err(format!("with its references followed it has more than {PARTS} parts"));
        }
        let Value::Object(fields) = part else {
            return children(part).try_for_each(|child| self.visit(child));
        };
        for (name, child) in fields {
            self.count_patterns(name, child)?;
            match child {
                Value::String(text) if name == "$ref" => self.follow(text)?,
                Value::String(_) if UNSUPPORTED.contains(&name.as_str()) => {
                    return Err(format!("{name} is not supported"));
                }
                Value::String(_) if name == "$id" && !std::ptr::eq(part, self.root) => {
                    return Err("$id is supported at the top only".to_owned());
                }
                // Definitions count where references lead to them.
                Value::Object(_) if matches!(name.as_str(), "$defs" | "definitions") => {}
                _ => self.visit(child)?,
            }
        }
        Ok(())
    }

    fn follow(&mut self, reference: &'a str) -> Result<(), String> {
        let pointer =
            reference.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let Some(pointer) = pointer else {
            return Err(format!("$ref may only point into the schema itself (#/...): {reference}"));
        };
        if self.followed.contains(&reference) {
            return Ok(());
        }
        let Some(target) = self.root.pointer(pointer) else {
            return Err(format!("$ref points to nothing: {reference}"));
        };
        self.followed.push(reference);
        let visited = self.visit(target);
        self.followed.pop();
        visited
    }

    fn count_patterns(&mut self, name: &str, value: &Value) -> Result<(), String> {
        self.patterns += match value {
            Value::String(_) if name == "pattern" => 1,
            Value::Object(patterns) if name == "patternProperties" => patterns.len(),
            _ => 0,
        };
        match self.patterns > PATTERNS {
            true => Err(format!("it has more than {PATTERNS} regular expressions")),
            false => Ok(()),
        }
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
        let mut schema = json!({ "properties": { "a": { "$ref": "#" } } });
        for _ in 0..29 {
            schema = json!({ "allOf": [schema] });
        }
        let text = format!("{}1{}", "{\"a\":".repeat(126), "}".repeat(126));
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let check = move || Schema::new(&schema).expect("a schema").check(&value).is_ok();
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(check);
        assert!(thread.expect("a thread").join().expect("no overflow"));
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
