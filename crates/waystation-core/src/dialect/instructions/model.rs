//! Which model an instruction asks, and how.

use serde_json::{Map, Value};

use super::super::definition::{is_absolute_address, secret_name};
use super::compile::Known;
use super::fields::{Fields, did_you_mean};
use super::template::literal;
use crate::error::nearest;
use crate::limits::{ANSWER_TOKENS, NAME_BYTES, TEMPERATURE};

/// The provider of requests that name none.
pub(super) const PROVIDER: &str = "openai";

/// Bytes of a provider's address.
const ADDRESS_BYTES: usize = 2_048;

/// What may be said of a model, for a whole request or for one instruction.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    provider: Option<String>,
    model: Option<String>,
    temperature: Option<f64>,
    max_tokens: Option<u64>,
    cache: Option<bool>,
    stream: Option<bool>,
    api_key: Option<String>,
}

impl Model {
    pub(super) fn read(fields: &mut Fields<'_>, known: &Known<'_>) -> Model {
        Model {
            provider: fields
                .name("provider", ADDRESS_BYTES)
                .and_then(|name| provider(name, fields, known)),
            model: fields.name("model", NAME_BYTES),
            temperature: fields.number("temperature", TEMPERATURE),
            max_tokens: fields.whole("max_tokens", 1, ANSWER_TOKENS),
            cache: fields.flag("cache"),
            stream: fields.flag("stream"),
            api_key: fields.text("api_key").and_then(|key| api_key(&key, fields)),
        }
    }

    /// This where it says something, else what the request says. What belongs to another provider, its
    /// model and above all its key, is not taken over.
    pub(super) fn or(&self, request: &Model) -> Model {
        let named = |model: &Model| model.provider.clone().unwrap_or_else(|| PROVIDER.into());
        let provider = self.provider.clone().unwrap_or_else(|| named(request));
        let is_same = provider == named(request);
        let of_provider = |text: &Option<String>| text.clone().filter(|_| is_same);
        Model {
            provider: Some(provider),
            model: self.model.clone().or_else(|| of_provider(&request.model)),
            temperature: self.temperature.or(request.temperature),
            max_tokens: self.max_tokens.or(request.max_tokens),
            cache: self.cache.or(request.cache),
            stream: self.stream.or(request.stream),
            api_key: self.api_key.clone().or_else(|| of_provider(&request.api_key)),
        }
    }

    /// For a verdict, which is one word: how long and how lively answers are is not its business.
    pub(super) fn for_verdicts(&self) -> Model {
        Model { temperature: None, max_tokens: None, stream: None, ..self.clone() }
    }

    /// The settings of a node that asks it.
    pub(super) fn config(&self) -> Map<String, Value> {
        let text = |text: &Option<String>| text.as_deref().map(|text| literal(text).into());
        let settings: [(&str, Option<Value>); 7] = [
            ("provider", text(&self.provider)),
            ("model", text(&self.model)),
            ("temperature", self.temperature.map(Value::from)),
            ("max_tokens", self.max_tokens.map(Value::from)),
            ("cache", self.cache.map(Value::from)),
            ("stream", self.stream.map(Value::from)),
            ("api_key", self.api_key.clone().map(Value::from)),
        ];
        let given = settings.into_iter().filter_map(|(name, value)| Some((name.into(), value?)));
        given.collect()
    }
}

/// A provider's name, or the address of one.
fn provider(name: String, fields: &mut Fields<'_>, known: &Known<'_>) -> Option<String> {
    if known.providers.contains(&name) {
        return Some(name);
    }
    if !name.contains("://") {
        let near = nearest(&name, known.providers.iter().map(String::as_str));
        return fields.problem(&format!("Unknown provider: {name}{}", did_you_mean(&near)));
    }
    if !is_absolute_address(&name) || name.contains("{{") {
        return fields.must("provider", "a provider's name or an http or https URL");
    }
    // Requests are recorded.
    let host = name.split("://").nth(1).unwrap_or_default();
    if host.split(['/', '?', '#']).next().unwrap_or_default().contains('@') {
        return fields.must("provider", "a URL without a user and password; use api_key");
    }
    Some(name)
}

/// Requests are recorded, so a key must not stand in one.
fn api_key(key: &str, fields: &mut Fields<'_>) -> Option<String> {
    if secret_name(key).is_some() {
        return Some(key.trim().to_owned());
    }
    fields.must(
        "api_key",
        "a secret's name in braces, as in {{secrets.MY_KEY}}: requests are recorded",
    )
}
