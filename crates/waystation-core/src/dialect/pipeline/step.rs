//! One step of `STEPS_CONFIG`: its fields read and checked.

use serde_json::{Map, Value};

use super::super::definition::{Findings, METHODS, header_problems, is_deeper, is_web_address};
use super::settings::{retries, timeout};
use crate::limits::{DEFINITION_DEPTH, NAME_BYTES, OUTPUTS_PER_NODE};

/// The step type of steps that do not say one.
const HTTP: &str = "http";
/// The step type whose output is its rendered `value`.
const SET: &str = "set";

/// Names that templates already know, so that an output of that name hides it or is hidden.
pub(super) const TAKEN: [&str; 7] =
    ["input", "outputs", "original_input", "input_data", "secrets", "run", "now"];

/// Fields of a step that only an HTTP step reads.
const HTTP_ONLY: [&str; 5] =
    ["service_url", "method", "headers", "body_template", "input_prep_config"];

/// A step as its author wrote it.
#[derive(Debug, Default)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) usid: String,
    pub(super) work: Work,
    pub(super) outputs: Vec<String>,
    pub(super) dependencies: Vec<String>,
    pub(super) labels: Vec<String>,
    pub(super) timeout_ms: Option<u64>,
    pub(super) max_retries: Option<u32>,
    /// Fields that mean nothing to the engine.
    pub(super) metadata: Map<String, Value>,
}

/// What a step does.
#[derive(Debug)]
pub(super) enum Work {
    Http { url: String, method: String, headers: Map<String, Value>, mapping: Option<Value> },
    Set { value: Value },
}

impl Default for Work {
    fn default() -> Work {
        Work::Set { value: Value::Null }
    }
}

/// Reads the fields of one step and gathers what is wrong with them.
struct Reader<'a> {
    fields: Map<String, Value>,
    prefix: String,
    findings: &'a mut Findings,
}

impl Step {
    /// Reads step number `index`, counted from 1. What cannot be read is left empty, so that the other
    /// steps can still be checked against the rest.
    pub(super) fn parse(value: Value, index: usize, findings: &mut Findings) -> Step {
        let (fields, is_object) = match value {
            Value::Object(fields) => (fields, true),
            _ => (Map::new(), false),
        };
        let name = fields.get("step_name").and_then(Value::as_str);
        let name = name.filter(|name| !name.is_empty()).unwrap_or("unknown");
        let prefix = format!("Step {index} ({name})");
        let mut reader = Reader { fields, prefix, findings };
        if !is_object {
            reader.problem::<()>("must be an object");
            return Step::default();
        }
        reader.step()
    }
}

impl Reader<'_> {
    fn step(&mut self) -> Step {
        self.check_depth();
        let kind = self.optional_text("type").unwrap_or_else(|| HTTP.into());
        let (name, usid) = (self.required_text("step_name"), self.required_text("usid"));
        for (field, name) in [("step_name", &name), ("usid", &usid)] {
            self.check_names(field, name.as_slice());
        }
        let work = match kind.as_str() {
            HTTP => Some(self.http()),
            SET => self.set(),
            _ => self.problem(&format!("Unknown type: {kind}; the types are {HTTP} and {SET}")),
        };
        Step {
            outputs: self.outputs(),
            dependencies: self.texts("dependencies"),
            labels: self.texts("labels"),
            timeout_ms: self.checked("timeout", timeout),
            max_retries: self.checked("max_retries", retries),
            name: name.unwrap_or_else(|| "unknown".into()),
            usid: usid.unwrap_or_default(),
            work: work.unwrap_or_default(),
            metadata: std::mem::take(&mut self.fields),
        }
    }

    fn check_depth(&mut self) {
        let deep = self.fields.values().any(|field| is_deeper(field, DEFINITION_DEPTH - 1));
        if deep {
            let text = format!("Fields may be nested {DEFINITION_DEPTH} levels deep at most");
            self.problem::<()>(&text);
        }
    }

    /// A value may well be null.
    fn set(&mut self) -> Option<Work> {
        for field in HTTP_ONLY {
            if self.fields.contains_key(field) {
                let text =
                    format!("{}: Field {field} has no effect on a step of type set", self.prefix);
                self.findings.warnings.push(text);
            }
        }
        match self.fields.shift_remove("value") {
            Some(value) => Some(Work::Set { value }),
            None => self.problem("Missing required field: value"),
        }
    }

    /// What has a problem is left empty, so that the templates of the rest can be checked.
    fn http(&mut self) -> Work {
        let url = self.service_url().unwrap_or_default();
        let method = self.method().unwrap_or_default();
        let headers = self.headers();
        let mapping = self.mapping();
        if let Some(mapping) = &mapping
            && sends_query(&method)
            && !may_be_object(mapping)
        {
            self.problem::<()>(&format!(
                "The mapping must be an object: {method} sends it as query parameters"
            ));
        }
        Work::Http { url, method, headers, mapping }
    }

    fn service_url(&mut self) -> Option<String> {
        let url = self.required_text("service_url")?;
        if url.contains("{{") || is_web_address(&url) {
            return Some(url);
        }
        self.problem(&format!(
            "Invalid service_url: {url}; an http or https URL is expected, or a path on this server"
        ))
    }

    fn method(&mut self) -> Option<String> {
        let text = match self.required("method")? {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let upper = text.to_ascii_uppercase();
        if METHODS.contains(&upper.as_str()) {
            return Some(upper);
        }
        self.problem(&format!("Invalid HTTP method: {text}"))
    }

    fn headers(&mut self) -> Map<String, Value> {
        let headers = match self.optional("headers") {
            None => Map::new(),
            Some(Value::Object(headers)) => headers,
            Some(_) => self.problem("Field headers must be an object").unwrap_or_default(),
        };
        for problem in header_problems(&headers) {
            self.problem::<()>(&problem);
        }
        headers
    }

    /// The data to send: the mapping, else the body template.
    fn mapping(&mut self) -> Option<Value> {
        let template = self.optional("body_template");
        let Some(config) = self.optional("input_prep_config") else { return template };
        let Value::Object(mut config) = config else {
            return self.problem("Field input_prep_config must be an object");
        };
        match config.get("type") {
            None | Some(Value::Null) => {}
            Some(Value::String(kind)) if kind == "json" => {}
            Some(other) => {
                let text = format!("input_prep_config.type must be \"json\", not {other}");
                return self.problem(&text);
            }
        }
        config.shift_remove("mapping").filter(|mapping| !mapping.is_null()).or(template)
    }

    fn outputs(&mut self) -> Vec<String> {
        let Some(value) = self.required("outputs") else { return Vec::new() };
        let names = value.as_array().filter(|names| !names.is_empty());
        let Some(names) = names else {
            return self.problem("Outputs must be a non-empty array").unwrap_or_default();
        };
        let texts = names.iter().map(|name| name.as_str().filter(|name| !name.is_empty()));
        let texts: Option<Vec<String>> = texts.map(|name| name.map(str::to_owned)).collect();
        let Some(texts) = texts else {
            return self.problem("Outputs must be non-empty strings").unwrap_or_default();
        };
        if texts.len() > OUTPUTS_PER_NODE {
            return self
                .problem(&format!("Outputs must be at most {OUTPUTS_PER_NODE}"))
                .unwrap_or_default();
        }
        self.check_names("outputs", &texts);
        for name in texts.iter().filter(|name| TAKEN.contains(&name.as_str())) {
            let prefix = &self.prefix;
            let text =
                format!("{prefix}: The output {name} has a name that templates already know");
            self.findings.warnings.push(text);
        }
        texts
    }

    fn texts(&mut self, field: &str) -> Vec<String> {
        let Some(value) = self.optional(field) else { return Vec::new() };
        match serde_json::from_value::<Vec<String>>(value) {
            Ok(texts) => {
                self.check_names(field, &texts);
                texts
            }
            Err(_) => {
                let text = format!("Field {field} must be an array of strings");
                self.problem(&text).unwrap_or_default()
            }
        }
    }

    fn check_names(&mut self, field: &str, names: &[String]) {
        if names.iter().any(|name| name.len() > NAME_BYTES) {
            let text = format!("Field {field} has a name longer than {NAME_BYTES} bytes");
            self.problem::<()>(&text);
        }
    }

    fn checked<T>(
        &mut self,
        field: &str,
        check: fn(&Value, &str) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.optional(field)?;
        check(&value, &format!("Field {field}")).map_or_else(|text| self.problem(&text), Some)
    }

    fn optional(&mut self, field: &str) -> Option<Value> {
        self.fields.shift_remove(field).filter(|value| !value.is_null())
    }

    fn required(&mut self, field: &str) -> Option<Value> {
        let value = self.optional(field);
        if value.is_none() {
            self.problem::<()>(&format!("Missing required field: {field}"));
        }
        value
    }

    fn optional_text(&mut self, field: &str) -> Option<String> {
        match self.optional(field)? {
            Value::String(text) => Some(text),
            _ => self.problem(&format!("Field {field} must be a string")),
        }
    }

    fn required_text(&mut self, field: &str) -> Option<String> {
        match self.required(field)? {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::String(_) => self.problem(&format!("Missing required field: {field}")),
            _ => self.problem(&format!("Field {field} must be a string")),
        }
    }

    fn problem<T>(&mut self, text: &str) -> Option<T> {
        self.findings.errors.push(format!("{}: {text}", self.prefix));
        None
    }
}

/// Whether a method sends the mapping in the query rather than as body.
pub(super) fn sends_query(method: &str) -> bool {
    method == "GET" || method == "HEAD"
}

/// Whether a value is an object, or a template that may become one.
fn may_be_object(value: &Value) -> bool {
    value.is_object() || value.as_str().is_some_and(|text| text.trim_start().starts_with("{{"))
}
