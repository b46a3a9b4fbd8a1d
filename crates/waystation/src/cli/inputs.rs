//! Inputs of the command line, put into a definition's text.

use serde_json::{Map, Value, json};
use waystation_core::dialect::pipeline::Request;
use waystation_core::error::{Code, Error};

use super::definition::Format;
use super::workflow::document;

/// The fields of a request to run a workflow that is not kept.
pub(super) const WORKFLOW: &str = "workflow";
/// Likewise: its input.
pub(super) const INPUT: &str = "input_data";

/// The body with the inputs of the command line.
pub(super) fn with_inputs(text: &str, format: Format, inputs: &[String]) -> Result<String, Error> {
    match (format, inputs) {
        (Format::Workflow, inputs) => workflow_with(text, inputs),
        (_, []) => Ok(text.to_owned()),
        (Format::Pipeline, inputs) => with_names(text, inputs),
        (Format::Instructions, [context]) => with_context(text, context),
        (Format::Instructions, _) => {
            Err(invalid("An instruction chain has one context: give --input once".into()))
        }
    }
}

/// The body of a chain whose answers are told piece by piece from the first step on, before anybody can
/// have begun to listen.
pub(super) fn streamed(text: String) -> String {
    let Ok(mut body) = object(&text) else { return text };
    body.entry("stream").or_insert(true.into());
    json!(body).to_string()
}

fn invalid(what: String) -> Error {
    Error::new(Code::BodyInvalid, what)
}

/// The request to run a workflow that is not kept.
fn workflow_with(text: &str, inputs: &[String]) -> Result<String, Error> {
    let workflow = document::read(text).map_err(invalid)?;
    let mut input = json!({});
    for given in inputs {
        match (named(given), &mut input) {
            (Some((name, value)), Value::Object(fields)) => {
                fields.insert(name.to_owned(), value);
            }
            _ => {
                let parsed = serde_json::from_str(given);
                let wrong =
                    |error| invalid(format!("--input is neither JSON nor NAME=VALUE: {error}"));
                input = parsed.map_err(wrong)?;
            }
        }
    }
    Ok(json!({ WORKFLOW: workflow, INPUT: input }).to_string())
}

pub(super) fn object(text: &str) -> Result<Map<String, Value>, Error> {
    serde_json::from_str(text)
        .map_err(|error| invalid(format!("The body is not valid JSON: {error}")))
}

fn with_context(text: &str, context: &str) -> Result<String, Error> {
    let mut body = object(text)?;
    body.insert("context".into(), context.into());
    Ok(json!(body).to_string())
}

fn with_names(text: &str, inputs: &[String]) -> Result<String, Error> {
    // What the file says wrong is told in the same words as without inputs.
    Request::parse(text)?;
    let mut body = object(text)?;
    for input in inputs {
        match named(input) {
            Some((name, value)) => {
                let data = body.entry("input_data").or_insert_with(|| Value::Object(Map::new()));
                let data = data.as_object_mut();
                let data =
                    data.ok_or_else(|| invalid("Field input_data must be an object".into()))?;
                data.insert(name.to_owned(), value);
            }
            None => drop(body.insert("original_input".into(), json!(input))),
        }
    }
    Ok(json!(body).to_string())
}

/// `NAME=VALUE`, if it is that.
fn named(input: &str) -> Option<(&str, Value)> {
    let (name, value) = input.split_once('=')?;
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '-';
    let value = || serde_json::from_str(value).unwrap_or_else(|_| value.into());
    (!name.is_empty() && name.chars().all(is_name)).then(|| (name, value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str, format: Format, inputs: &[&str]) -> Option<Value> {
        let inputs: Vec<String> = inputs.iter().map(|input| (*input).into()).collect();
        let body = with_inputs(text, format, &inputs).ok()?;
        Some(serde_json::from_str(&body).unwrap())
    }

    #[test]
    fn inputs_replace_what_the_file_says() {
        let inputs = ["some text = more", "count=3", "name=Ada", "list=[1]"];
        let text = r#"{"original_input":"x","input_data":{"name":"Bob"}}"#;
        let expected = json!({
            "original_input": "some text = more",
            "input_data": { "name": "Ada", "count": 3, "list": [1] },
        });
        assert_eq!(body(text, Format::Pipeline, &inputs), Some(expected));
        assert_eq!(body("[]", Format::Pipeline, &inputs), None);
        assert_eq!(body(r#"{"input_data":1}"#, Format::Pipeline, &inputs), None);
    }

    #[test]
    fn inputs_of_a_workflow_are_names_or_all_of_it() {
        let text = "nodes: []";
        for (inputs, expected) in [
            (&[][..], json!({})),
            (&["a=1", "b=x y"], json!({ "a": 1, "b": "x y" })),
            (&["{\"a\": 1}", "b=2"], json!({ "a": 1, "b": 2 })),
            (&["[1]"], json!([1])),
        ] {
            let expected = json!({ "workflow": { "nodes": [] }, "input_data": expected });
            assert_eq!(body(text, Format::Workflow, inputs), Some(expected));
        }
        assert_eq!(body(text, Format::Workflow, &["some text"]), None);
        assert_eq!(body("- 1", Format::Workflow, &[]), None);
    }

    #[test]
    fn the_input_of_a_chain_is_its_context() {
        let text = r#"{"context":"x","instructions":[]}"#;
        let expected = json!({ "context": "name=Ada", "instructions": [] });
        assert_eq!(body(text, Format::Instructions, &["name=Ada"]), Some(expected));
        assert_eq!(body(text, Format::Instructions, &["a", "b"]), None);
        assert_eq!(body("7", Format::Instructions, &["a"]), None);
    }
}
