//! One step of `STEPS_CONFIG`: its fields read and checked.

use serde_json::{Map, Value};

use super::settings::{is_web_address, retries, timeout};

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// The step type of steps that do not say one.
const HTTP: &str = "http";
/// The step type whose output is its rendered `value`.
const SET: &str = "set";

/// A step as its author wrote it.
#[derive(Debug)]
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

/// Reads the fields of one step and gathers what is wrong with them.
struct Reader<'a> {
    fields: Map<String, Value>,
    prefix: String,
    errors: &'a mut Vec<String>,
}

impl Step {
    /// Reads step number `index`, counted from 1. A step with problems is read as far as possible, so
    /// that what is wrong elsewhere is found too, and what is right is not called unknown.
    pub(super) fn parse(value: Value, index: usize, errors: &mut Vec<String>) -> Step {
        let Value::Object(fields) = value else {
            errors.push(format!("Step {index} (unknown): must be an object"));
            return Step::nothing();
        };
        let name = fields.get("step_name").and_then(Value::as_str).unwrap_or("unknown");
        let prefix = format!("Step {index} ({name})");
        Reader { fields, prefix, errors }.step()
    }

    /// Holds the place of what is no step.
    fn nothing() -> Step {
        Step {
            name: String::new(),
            usid: String::new(),
            work: Work::Set { value: Value::Null },
            outputs: Vec::new(),
            dependencies: Vec::new(),
            labels: Vec::new(),
            timeout_ms: None,
            max_retries: None,
            metadata: Map::new(),
        }
    }
}

impl Reader<'_> {
    fn step(mut self) -> Step {
        let kind = self.optional_text("type").unwrap_or_else(|| HTTP.into());
        let (name, usid) = (self.required_text("step_name"), self.required_text("usid"));
        let work = match kind.as_str() {
            HTTP => Some(self.http()),
            SET => self.required("value").map(|value| Work::Set { value }),
            _ => self.problem(&format!("Unknown type: {kind}; the types are {HTTP} and {SET}")),
        };
        Step {
            outputs: self.outputs(),
            dependencies: self.texts("dependencies"),
            labels: self.texts("labels"),
            timeout_ms: self.checked("timeout", timeout),
            max_retries: self.checked("max_retries", retries),
            name: name.unwrap_or_default(),
            usid: usid.unwrap_or_default(),
            work: work.unwrap_or(Work::Set { value: Value::Null }),
            metadata: self.fields,
        }
    }

    fn http(&mut self) -> Work {
        let url = self.required_text("service_url").unwrap_or_default();
        let method = self.method().unwrap_or_default();
        let headers = self.headers();
        let mapping = self.mapping();
        if !url.is_empty() && !url.contains("{{") && !is_web_address(&url) {
            self.problem::<()>(&format!(
                "Invalid service_url: {url}; an http or https URL is expected, or a path on this server"
            ));
        }
        Work::Http { url, method, headers, mapping }
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
        match self.optional("headers") {
            None => Map::new(),
            Some(Value::Object(headers)) => headers,
            Some(_) => self.problem("Field headers must be an object").unwrap_or_default(),
        }
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
        config.remove("mapping").filter(|mapping| !mapping.is_null()).or(template)
    }

    fn outputs(&mut self) -> Vec<String> {
        let Some(value) = self.required("outputs") else { return Vec::new() };
        let names = value.as_array().filter(|names| !names.is_empty());
        let Some(names) = names else {
            return self.problem("Outputs must be a non-empty array").unwrap_or_default();
        };
        let texts = names.iter().map(|name| name.as_str().filter(|name| !name.is_empty()));
        let texts: Option<Vec<String>> = texts.map(|name| name.map(str::to_owned)).collect();
        match texts {
            Some(texts) => texts,
            None => self.problem("Outputs must be non-empty strings").unwrap_or_default(),
        }
    }

    fn texts(&mut self, field: &str) -> Vec<String> {
        let Some(value) = self.optional(field) else { return Vec::new() };
        match serde_json::from_value(value) {
            Ok(texts) => texts,
            Err(_) => {
                let text = format!("Field {field} must be an array of strings");
                self.problem(&text).unwrap_or_default()
            }
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
        self.fields.remove(field).filter(|value| !value.is_null())
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
        self.errors.push(format!("{}: {text}", self.prefix));
        None
    }
}
