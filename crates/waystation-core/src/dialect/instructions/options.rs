//! What routers and agents choose from, and the endpoint that is called.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::super::definition::{METHODS, header_problems, is_absolute_address, is_web_address};
use super::fields::Fields;
use super::template;
use crate::limits::{ENDPOINT_RETRIES, ENDPOINT_WAIT_MS, NAME_BYTES, OPTIONS_PER_NODE};

/// One option of a router, or one tool of an agent.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) description: String,
    /// What is called, as node settings.
    pub(super) endpoint: Map<String, Value>,
}

impl Choice {
    /// What the model is told.
    pub(super) fn told(&self) -> Value {
        let [id, name] = [&self.id, &self.name].map(|text| template::literal(text));
        json!({ "id": id, "name": name, "description": self.description })
    }

    /// What is called when it is chosen.
    pub(super) fn called(&self) -> Value {
        let [id, name] = [&self.id, &self.name].map(|text| template::literal(text));
        json!({ "id": id, "name": name, "endpoint": self.endpoint })
    }
}

/// Reads the choices in a field, which must not be empty.
pub(super) fn read(name: &'static str, fields: &mut Fields<'_>) -> Option<Vec<Choice>> {
    let Some(items) = fields.take(name) else { return fields.missing(name) };
    let Value::Array(items) = items else { return fields.must(name, "an array") };
    if items.is_empty() {
        return fields.must(name, "a non-empty array");
    }
    if items.len() > OPTIONS_PER_NODE {
        return fields.must(name, &format!("at most {OPTIONS_PER_NODE} long"));
    }
    let mut seen = HashSet::new();
    let read = |(index, item)| {
        let place = format!("{name}[{index}]");
        match item {
            Value::Object(item) => choice(fields.inside(&place, item), &mut seen),
            _ => fields.must(&place, "an object"),
        }
    };
    // All of them are read, so that all problems are found.
    let choices: Vec<Option<Choice>> = items.into_iter().enumerate().map(read).collect();
    choices.into_iter().collect()
}

fn choice(mut fields: Fields<'_>, seen: &mut HashSet<String>) -> Option<Choice> {
    let id = fields.required_text("id");
    if let Some(id) = &id {
        check_id(id, &mut fields, seen);
    }
    let name = fields.required_text("name");
    let description = fields.required_text("description");
    let description = description.map(|text| template::text("description", text, &mut fields));
    let endpoint = match fields.take("endpoint") {
        Some(Value::Object(inner)) => {
            let mut inner = fields.inside("endpoint", inner);
            let endpoint = endpoint(&mut inner);
            inner.finish();
            endpoint
        }
        Some(_) => fields.must("endpoint", "an object"),
        None => fields.missing("endpoint"),
    };
    fields.finish();
    Some(Choice { id: id?, name: name?, description: description?, endpoint: endpoint? })
}

fn check_id(id: &str, fields: &mut Fields<'_>, seen: &mut HashSet<String>) {
    if id.len() > NAME_BYTES {
        fields.must::<()>("id", &format!("at most {NAME_BYTES} bytes long"));
    } else if !seen.insert(id.to_owned()) {
        let name = fields.name_of("id");
        fields.problem::<()>(&format!("Field {name}: {id} is there twice"));
    }
}

/// The settings of a call that are the same for every type of instruction.
pub(super) fn endpoint(fields: &mut Fields<'_>) -> Option<Map<String, Value>> {
    let endpoint_url = worker(fields);
    let api_url = api(fields);
    let mut settings = Map::new();
    settings.insert("endpoint_url".into(), endpoint_url.unwrap_or_default().into());
    settings.insert("api_url".into(), api_url.unwrap_or_default().into());
    settings.insert("method".into(), method(fields)?.into());
    let headers = fields.object("headers").unwrap_or_default();
    for problem in header_problems(&headers) {
        let name = fields.name_of("headers");
        fields.problem::<()>(&format!("Field {name}: {problem}"));
    }
    if !headers.is_empty() {
        settings.insert("headers".into(), template::value("headers", headers.into(), fields));
    }
    if let Some(body) = fields.take("body") {
        settings.insert("body".into(), template::value("body", body, fields));
    }
    Some(settings)
}

/// Where a worker stands: a URL, a path on this server, or a template that becomes one.
fn worker(fields: &mut Fields<'_>) -> Option<String> {
    let what = "an http or https URL or a path on this server";
    address("endpointUrl", is_web_address, what, fields)
}

/// What a worker calls, which may be on another host than this server; samples are called directly.
fn api(fields: &mut Fields<'_>) -> Option<String> {
    let is_sample = |url: &str| is_web_address(url) && url.contains("/mock/");
    let is_api = |url: &str| is_absolute_address(url) || is_sample(url);
    address("apiUrl", is_api, "an http or https URL", fields)
}

fn address(
    name: &'static str,
    is_right: impl Fn(&str) -> bool,
    what: &str,
    fields: &mut Fields<'_>,
) -> Option<String> {
    let url = fields.required_text(name)?;
    if url.contains("{{") || is_right(&url) {
        return Some(template::text(name, url, fields));
    }
    fields.must(name, &format!("{what}, not {url}"))
}

fn method(fields: &mut Fields<'_>) -> Option<String> {
    let Some(method) = fields.text("method") else { return Some("GET".into()) };
    let upper = method.to_ascii_uppercase();
    match METHODS.contains(&upper.as_str()) {
        true => Some(upper),
        false => fields.must("method", &format!("one of {}, not {method}", METHODS.join(", "))),
    }
}

/// How often and how patiently an endpoint worker calls, in its own words.
pub(super) fn patience(fields: &mut Fields<'_>) -> Map<String, Value> {
    let settings = [
        ("retries", fields.whole("retries", 0, ENDPOINT_RETRIES).unwrap_or(3)),
        ("retry_delay", fields.whole("retryDelay", 0, ENDPOINT_WAIT_MS).unwrap_or(1_000)),
        ("timeout", fields.whole("timeout", 1, ENDPOINT_WAIT_MS).unwrap_or(30_000)),
    ];
    settings.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}
