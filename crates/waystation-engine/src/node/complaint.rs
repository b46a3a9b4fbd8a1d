//! What a schema says against settings, in words that begin with the setting's name.

use jsonschema::error::ValidationErrorKind;
use jsonschema::{ValidationError, Validator};
use serde_json::{Map, Value};
use waystation_core::dialect::graph::types::Problems;
use waystation_core::error::nearest;

/// Problems of one node that are listed.
const PROBLEMS: usize = 50;
/// Letters of one problem: it may quote a setting, which may be long.
const PROBLEM_LETTERS: usize = 300;

/// A schema that settings are checked against.
pub(super) struct Checker {
    schema: Value,
    validator: Validator,
}

impl Checker {
    /// Makes a schema ready.
    pub(super) fn new(schema: &Value) -> Checker {
        let validator = jsonschema::validator_for(schema);
        let validator = validator.expect("the schema of a built-in type is one");
        Checker { schema: schema.clone(), validator }
    }

    /// What the schema says against settings. What is a template has its value only when the node runs,
    /// and is judged then.
    pub(super) fn problems(&self, config: &Map<String, Value>) -> Problems {
        let config = Value::Object(config.clone());
        let mut problems = Problems::new();
        for error in self.validator.iter_errors(&config) {
            problems.extend(self.told(&error));
            if problems.len() >= PROBLEMS {
                break;
            }
        }
        problems.truncate(PROBLEMS);
        problems
    }

    fn told(&self, error: &ValidationError<'_>) -> Problems {
        if is_template(error.instance()) {
            return Problems::new();
        }
        match error.kind() {
            ValidationErrorKind::OneOfNotValid { context }
            | ValidationErrorKind::AnyOf { context } => self.told_of_forms(error, context),
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                unexpected.iter().map(|name| self.unknown_setting(error, name)).collect()
            }
            ValidationErrorKind::Required { property: Value::String(name) } => {
                vec![format!("{}: it is required", place(error, Some(name)))]
            }
            ValidationErrorKind::FalseSchema => vec!["there are no settings here".to_owned()],
            _ => vec![worded(error, &error.to_string())],
        }
    }

    fn unknown_setting(&self, error: &ValidationError<'_>, name: &str) -> String {
        let keyword = error.schema_path().to_string();
        let (parent, _) = keyword.rsplit_once('/').unwrap_or_default();
        let known = self.schema.pointer(&format!("{parent}/properties")).and_then(Value::as_object);
        let known = known.into_iter().flat_map(|known| known.keys().map(String::as_str));
        let near = nearest(name, known).join("`, `");
        let near = if near.is_empty() { near } else { format!("; nearest: `{near}`") };
        format!("{}: there is no such setting{near}", place(error, Some(name)))
    }

    /// Where a value may have one of several forms: what is wrong with it in the form that it is meant to
    /// have, which is the one that it names, or that least is wrong with.
    fn told_of_forms(
        &self,
        error: &ValidationError<'_>,
        forms: &[Vec<ValidationError<'static>>],
    ) -> Problems {
        // That it is not `null` is no complaint about an object.
        let fits = |errors: &&Vec<ValidationError<'_>>| !is_other_type(error, errors);
        let is_any = !forms.iter().any(|errors| fits(&errors));
        let forms = || forms.iter().filter(|errors| is_any || fits(errors));
        let named = forms().filter(|errors| !errors.iter().any(is_other_name));
        let told = |error: &ValidationError<'_>| self.told(error);
        let mut named: Vec<Problems> =
            named.map(|errors| errors.iter().flat_map(told).collect()).collect();
        if named.is_empty() {
            return unknown_name(&forms().flatten().collect::<Vec<_>>()).into_iter().collect();
        }
        let least = named.iter().map(Vec::len).min().unwrap_or_default();
        named.retain(|problems| problems.len() == least);
        named.dedup();
        match named.pop() {
            Some(problems) if named.is_empty() => problems,
            _ => vec![worded(error, "it has none of the forms that are possible here")],
        }
    }
}

/// Whether a value is a text with placeholders.
pub(super) fn is_template(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("{{"))
}

fn is_other_name(error: &ValidationError<'_>) -> bool {
    matches!(error.kind(), ValidationErrorKind::Constant { .. })
}

/// Whether a form is for values of another type altogether.
fn is_other_type(error: &ValidationError<'_>, form: &[ValidationError<'_>]) -> bool {
    form.iter().any(|one| {
        let is_type = matches!(one.kind(), ValidationErrorKind::Type { .. });
        is_type && one.instance_path() == error.instance_path()
    })
}

/// Where a value names a form that there is not: the names that there are.
fn unknown_name(errors: &[&ValidationError<'_>]) -> Option<String> {
    let error = errors.iter().find(|error| is_other_name(error))?;
    let names = errors.iter().filter_map(|other| match other.kind() {
        ValidationErrorKind::Constant { expected_value }
            if other.instance_path() == error.instance_path() =>
        {
            Some(expected_value.to_string())
        }
        _ => None,
    });
    let names: Vec<String> = names.collect();
    Some(worded(error, &format!("{} is none of {}", error.instance(), names.join(", "))))
}

/// A problem's text, as far as it is told.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(PROBLEM_LETTERS).collect()
}

fn worded(error: &ValidationError<'_>, text: &str) -> String {
    let (place, message) = (place(error, None), cut(text));
    if place.is_empty() { message } else { format!("{place}: {message}") }
}

/// The setting that is concerned, or one below it.
fn place(error: &ValidationError<'_>, below: Option<&str>) -> String {
    let path = error.instance_path().to_string();
    let path = path.trim_start_matches('/').replace('/', ".");
    let below = below.map(cut);
    match below {
        Some(below) if path.is_empty() => below,
        Some(below) => format!("{path}.{below}"),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told_of(schema: &Value, config: &Value) -> String {
        Checker::new(schema).problems(config.as_object().expect("settings")).join("\n")
    }

    #[test]
    fn the_form_that_is_meant_says_what_is_wrong() {
        let schema = json!({ "oneOf": [
            { "properties": { "kind": { "const": "a" }, "n": { "type": "integer" } },
              "required": ["kind", "n"], "additionalProperties": false },
            { "properties": { "kind": { "const": "b" }, "list": { "type": "array" } },
              "required": ["kind"], "additionalProperties": false },
        ]});
        let told = |config: Value| told_of(&schema, &config);
        assert_eq!(told(json!({ "kind": "a", "n": 1 })), "");
        insta::assert_snapshot!(told(json!({ "kind": "a", "n": "x" })), @r#"n: "x" is not of type "integer""#);
        insta::assert_snapshot!(told(json!({ "kind": "b", "n": 1 })), @"n: there is no such setting");
        insta::assert_snapshot!(told(json!({ "kind": "c", "n": 1 })), @r#"kind: "c" is none of "a", "b""#);
        insta::assert_snapshot!(told(json!({})), @"kind: it is required");
    }

    #[test]
    fn what_may_be_left_out_is_judged_by_its_form() {
        let named = |name: &str, field: &str| {
            json!({
                "type": "object", "properties": { "kind": { "const": name }, field: { "type": "string" } },
                "required": ["kind", field], "additionalProperties": false,
            })
        };
        let forms = json!({ "oneOf": [named("a", "n"), named("b", "m")] });
        let schema = json!({ "properties": { "x": { "anyOf": [forms, { "type": "null" }] } } });
        let told = |config: Value| told_of(&schema, &json!({ "x": config }));
        assert_eq!(told(json!(null)), "");
        insta::assert_snapshot!(told(json!({ "kind": "a" })), @"x.n: it is required");
        insta::assert_snapshot!(told(json!({ "kind": "b", "m": "m", "n": "n" })), @"x.n: there is no such setting");
        insta::assert_snapshot!(told(json!({ "kind": "c" })), @r#"x.kind: "c" is none of "a", "b""#);
    }

    #[test]
    fn a_value_that_fits_no_form_better_than_another_is_told_as_a_whole() {
        let schema = json!({ "properties": { "x": { "anyOf": [
            { "type": "object", "required": ["equals"] },
            { "type": "object", "required": ["when"] },
        ]}}});
        insta::assert_snapshot!(told_of(&schema, &json!({ "x": {} })), @"x: it has none of the forms that are possible here");
        insta::assert_snapshot!(told_of(&schema, &json!({ "x": 1 })), @r#"x: 1 is not of type "object""#);
    }

    #[test]
    fn a_template_is_judged_when_it_has_its_value() {
        let schema = json!({ "properties": {
            "n": { "type": "integer" },
            "x": { "anyOf": [{ "properties": { "n": { "type": "integer" } }, "type": "object" }, { "type": "null" }] },
        }});
        assert_eq!(
            told_of(&schema, &json!({ "n": "{{input.n}}", "x": { "n": "{{input.n}}" } })),
            ""
        );
        insta::assert_snapshot!(told_of(&schema, &json!({ "n": "x".repeat(1_000) })).len(), @"303");
    }
}
