//! Workflows as texts: JSON and YAML, read and written without loss.

use std::path::Path;

use clap::ValueEnum;
use serde_json::{Map, Value};
use waystation_core::error::{Code, Error};

use crate::workflows::{MOMENTS, OWN_FIELDS};

/// How a workflow is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Form {
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
}

impl Form {
    /// What a file is written in, by its name.
    pub(in crate::cli) fn of(file: &Path) -> Form {
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml")) { Form::Yaml } else { Form::Json }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Form::Json => "json",
            Form::Yaml => "yaml",
        }
    }
}

/// Whether a file is a workflow's, by its name.
pub(super) fn is_one(file: &Path) -> bool {
    let extension = file.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("json" | "yaml" | "yml"))
}

/// The workflow of a text. What is JSON is read as that, for YAML reads some of it differently.
pub(in crate::cli) fn read(text: &str) -> Result<Value, String> {
    let value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) if text.trim_start().starts_with(['{', '[']) => {
            return serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
        }
        Err(_) => serde_saphyr::from_str(text).map_err(|error| error.to_string())?,
    };
    match value {
        Value::Object(_) => Ok(value),
        _ => Err("a workflow is an object with a name, nodes and edges".into()),
    }
}

/// A workflow as text, without the moments of its versions, which are the server's.
pub(in crate::cli) fn text_of(workflow: &Value, form: Form) -> Result<String, Error> {
    let shown = without(workflow, &MOMENTS);
    let written = match form {
        Form::Json => serde_json::to_string_pretty(&shown).map_err(|error| error.to_string()),
        Form::Yaml => serde_saphyr::to_string(&shown).map_err(|error| error.to_string()),
    };
    written.map_err(|problem| Error::new(Code::Internal, problem))
}

/// What of a workflow its author wrote.
pub(super) fn comparable(workflow: &Value) -> Value {
    let mut written = without(workflow, &OWN_FIELDS);
    // What is said by default is as good as not said.
    if let Value::Object(fields) = &mut written
        && fields.get("status").is_some_and(|status| status == "active")
    {
        fields.shift_remove("status");
    }
    written
}

fn without(workflow: &Value, names: &[&str]) -> Value {
    let fields = workflow.as_object().into_iter().flatten();
    let kept = fields.filter(|(name, _)| !names.contains(&name.as_str()));
    Value::Object(kept.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_in_both_forms() {
        let workflow = json!({
            "id": "6b0aa0530e795009e646c3ec",
            "name": "yes: no # \"quoted\" 'text'",
            "nodes": [{ "id": "1", "type": "code", "config": {
                "code": "\ndef process(n):\n    return {\"n\": n}\n        ",
                "texts": ["null", "true", "~", "1e3", "0x10", "", " ", "- a", "{{a}}", "é\u{1F600}", "a\tb\r\nc",
                          "2026-01-01", "1_000", "NaN", ".inf", "=", "<<", "&a", "*a", "!t", "%"],
                "numbers": [0, -1, 1.5, 1e300, 9_007_199_254_740_993_u64, u64::MAX, i64::MIN],
                "others": [null, true, false, {}, [], [[]], { "a b": { "": [] } }],
            } }],
        });
        for form in [Form::Json, Form::Yaml] {
            let text = text_of(&workflow, form).unwrap();
            assert_eq!(read(&text).as_ref(), Ok(&workflow), "{text}");
        }
    }

    #[test]
    fn what_is_no_workflow_says_so() {
        assert!(read("- a\n- b").unwrap_err().contains("a workflow is an object"));
        assert!(read("{\"a\": }").unwrap_err().contains("line 1 column"));
        assert!(read("a: [").is_err());
    }
}
