//! The body of `POST /execute`, taken apart without parsing the steps, which are often known already.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::error::{Code, Error};

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
    /// Takes a body apart. The error is for a body that is no JSON object, or has a field of the
    /// wrong type.
    pub fn parse(body: &'a str) -> Result<Request<'a>, Error> {
        let mut fields: HashMap<Cow<'a, str>, &'a RawValue> =
            serde_json::from_str(body).map_err(|error| invalid(&not_an_object(body, &error)))?;
        let mut take = |name: &str| fields.remove(name).map(RawValue::get);
        let (steps, settings) = (present(take("STEPS_CONFIG")), present(take("PIPELINE_SETTINGS")));
        let workflow_id = text(take("workflow_id"), "workflow_id")?;
        let namespace = text(take("namespace"), "namespace")?;
        let workflow_name = text(take("workflow_name"), "workflow_name")?;
        let mut input = Map::new();
        input.insert("original_input".into(), value(take("original_input"), "original_input")?);
        input.insert("input_data".into(), object(take("input_data"), "input_data")?);
        for (name, raw) in fields {
            input.insert(name.to_string(), value(Some(raw.get()), &name)?);
        }
        Ok(Request {
            workflow_id: workflow_id.unwrap_or_else(|| "unknown".into()),
            namespace: namespace.unwrap_or_else(|| "default".into()),
            workflow_name,
            steps,
            settings,
            input: Value::Object(input),
        })
    }
}

fn present(raw: Option<&str>) -> Option<&str> {
    raw.filter(|raw| *raw != "null")
}

fn invalid(message: &str) -> Error {
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

fn value(raw: Option<&str>, name: &str) -> Result<Value, Error> {
    let Some(raw) = raw else { return Ok(Value::Null) };
    serde_json::from_str(raw).map_err(|error| invalid(&format!("Field {name}: {error}")))
}

fn object(raw: Option<&str>, name: &str) -> Result<Value, Error> {
    match value(raw, name)? {
        Value::Null => Ok(Value::Object(Map::new())),
        object @ Value::Object(_) => Ok(object),
        _ => Err(invalid(&format!("Field {name} must be an object"))),
    }
}

/// A name: a string, or a number, which is often used for one.
fn text(raw: Option<&str>, name: &str) -> Result<Option<String>, Error> {
    match value(raw, name)? {
        Value::Null => Ok(None),
        Value::String(text) if text.len() <= 256 => Ok(Some(text)),
        Value::String(_) => Err(invalid(&format!("Field {name} is longer than 256 bytes"))),
        Value::Number(number) => Ok(Some(number.to_string())),
        _ => Err(invalid(&format!("Field {name} must be a string"))),
    }
}
