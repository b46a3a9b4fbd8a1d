//! The body of `POST /execute`, taken apart without parsing the steps, which are often known already.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::step::TAKEN;
use crate::error::{Code, Error};

/// Bytes of a name.
const NAME_BYTES: usize = 256;

/// Hidden names that one answer lists.
const HIDDEN_MAX: usize = 100;

/// One request to run a pipeline.
#[derive(Debug)]
pub struct Request<'a> {
    /// The caller's name for the workflow.
    pub workflow_id: String,
    /// The namespace of the workflow.
    pub namespace: String,
    /// A name for people.
    pub workflow_name: Option<String>,
    /// `STEPS_CONFIG` as it came.
    pub steps: Option<&'a str>,
    /// `PIPELINE_SETTINGS` as it came.
    pub settings: Option<&'a str>,
    /// The run's input: `original_input`, `input_data`, and whatever else the body has.
    pub input: Value,
}

impl<'a> Request<'a> {
    /// What in the input templates cannot reach by its short name, because another has it: in words,
    /// with the name that does reach it.
    pub fn hidden(&self, is_output: impl Fn(&str) -> bool) -> Vec<String> {
        let owner = |name: &str| match name {
            _ if TAKEN.contains(&name) => Some("a name that templates already know"),
            _ if is_output(name) => Some("an output"),
            _ => None,
        };
        let data = self.input.get("input_data").and_then(Value::as_object);
        let data_names = data.into_iter().flat_map(Map::keys);
        let in_data = data_names.filter_map(|name| {
            let owner = owner(name)?;
            Some(format!(
                "input_data.{name} is hidden by {owner}: write {{{{input.input_data.{name}}}}} for it"
            ))
        });
        let fields = self.input.as_object().into_iter().flat_map(Map::keys);
        let beside =
            fields.filter(|name| !["original_input", "input_data"].contains(&name.as_str()));
        let in_fields = beside.filter_map(|name| {
            let in_data = data.is_some_and(|data| data.contains_key(name));
            let owner = owner(name).or(in_data.then_some("input_data"))?;
            Some(format!("{name} is hidden by {owner}: write {{{{input.{name}}}}} for it"))
        });
        in_data.chain(in_fields).take(HIDDEN_MAX).collect()
    }

    /// Takes a body apart. The error is for a body that is no JSON object, or has fields of the wrong
    /// type, all of which it names.
    pub fn parse(body: &'a str) -> Result<Request<'a>, Error> {
        // Sorted, so that the same body gives the same input every time.
        let fields: BTreeMap<Cow<'a, str>, &'a RawValue> =
            serde_json::from_str(body).map_err(|error| invalid(not_an_object(body, &error)))?;
        let mut reader = Reader { fields, problems: Vec::new() };
        let request = Request {
            workflow_id: reader.text("workflow_id").unwrap_or_else(|| "unknown".into()),
            namespace: reader.text("namespace").unwrap_or_else(|| "default".into()),
            workflow_name: reader.text("workflow_name"),
            steps: reader.raw("STEPS_CONFIG"),
            settings: reader.raw("PIPELINE_SETTINGS"),
            input: reader.input(),
        };
        if reader.problems.is_empty() {
            Ok(request)
        } else {
            Err(invalid(reader.problems.join("; ")))
        }
    }
}

/// The fields that are not read yet, and what was wrong with the others.
struct Reader<'a> {
    fields: BTreeMap<Cow<'a, str>, &'a RawValue>,
    problems: Vec<String>,
}

impl<'a> Reader<'a> {
    /// A field as it came; null is as good as nothing.
    fn raw(&mut self, name: &str) -> Option<&'a str> {
        self.fields.remove(name).map(RawValue::get).filter(|raw| *raw != "null")
    }

    fn value(&mut self, name: &str) -> Option<Value> {
        let raw = self.raw(name)?;
        let problem = |error| self.problems.push(format!("Field {name}: {error}"));
        serde_json::from_str(raw).map_err(problem).ok()
    }

    /// A name: a string, or a number, which is often used for one. An empty one says nothing.
    fn text(&mut self, name: &str) -> Option<String> {
        let problem = match self.value(name)? {
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) if text.len() <= NAME_BYTES => return Some(text),
            Value::Number(number) => return Some(number.to_string()),
            Value::String(_) => format!("Field {name} is longer than {NAME_BYTES} bytes"),
            _ => format!("Field {name} must be a string"),
        };
        self.problems.push(problem);
        None
    }

    fn object(&mut self, name: &str) -> Map<String, Value> {
        match self.value(name) {
            None => Map::new(),
            Some(Value::Object(fields)) => fields,
            Some(_) => {
                self.problems.push(format!("Field {name} must be an object"));
                Map::new()
            }
        }
    }

    /// What is left, after the two fields that always exist.
    fn input(&mut self) -> Value {
        let mut input = Map::new();
        input.insert("original_input".into(), self.value("original_input").unwrap_or_default());
        input.insert("input_data".into(), self.object("input_data").into());
        let names: Vec<String> = self.fields.keys().map(ToString::to_string).collect();
        for name in names {
            let value = self.value(&name).unwrap_or_default();
            input.insert(name, value);
        }
        Value::Object(input)
    }
}

fn invalid(message: String) -> Error {
    Error::new(Code::BodyInvalid, message)
}

fn not_an_object(body: &str, error: &serde_json::Error) -> String {
    let kind = match body.trim_start().bytes().next() {
        None => return "The body is empty; a JSON object is expected".into(),
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b'{') => return format!("The body is not valid JSON: {error}"),
        _ => "no object",
    };
    format!("The body must be a JSON object, but it is {kind}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_names_are_told_with_those_that_reach_them() {
        let body =
            r#"{"input_data": {"n": 5, "now": 1, "free": 2, "both": 3}, "both": 4, "other": 5}"#;
        let request = Request::parse(body).unwrap();
        insta::assert_snapshot!(request.hidden(|name| name == "n").join("\n"), @r#"
        input_data.n is hidden by an output: write {{input.input_data.n}} for it
        input_data.now is hidden by a name that templates already know: write {{input.input_data.now}} for it
        both is hidden by input_data: write {{input.both}} for it
        "#);
        assert_eq!(Request::parse("{}").unwrap().hidden(|_| true), [""; 0]);
    }
}
