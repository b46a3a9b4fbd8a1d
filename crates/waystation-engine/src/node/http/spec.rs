//! How definitions know the HTTP request: as `http`, which usually asks, and as `webhook`, which usually
//! tells.

use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::error::Failure;

use super::auth::Auth;
use super::request::{Settings, method};
use crate::node::spec::{
    Category, Effort, Spec, add_defaults, holds_template, schema_of, with_defaults,
};

const EFFORT: Option<Effort> = Some(Effort { timeout_ms: 30_000, retries: 3 });

/// The request that usually asks.
pub(in crate::node) fn http() -> Spec {
    Spec {
        name: "http",
        title: "HTTP request",
        description: include_str!("http.md"),
        category: Category::Integration,
        schema: schema_of::<Settings>,
        example: || json!({ "url": "/echo", "method": "POST", "body": { "greeting": "hello" } }),
        effort: EFFORT,
        lower: |config| lower(config, Map::new()),
    }
}

/// The request that usually tells.
pub(in crate::node) fn webhook() -> Spec {
    Spec {
        name: "webhook",
        title: "Webhook",
        description: include_str!("webhook.md"),
        category: Category::Integration,
        schema: || with_defaults(schema_of::<Settings>(), &posted()),
        example: || json!({ "url": "/echo", "body": { "event": "order.paid", "order": 17 } }),
        effort: EFFORT,
        lower: |config| lower(config, posted()),
    }
}

fn posted() -> Map<String, Value> {
    Map::from_iter([("method".to_owned(), "POST".into())])
}

fn lower(
    mut config: Map<String, Value>,
    defaults: Map<String, Value>,
) -> Result<Lowered, Problems> {
    add_defaults(&mut config, defaults);
    config.retain(|_, value| !value.is_null());
    let problems = problems(&config);
    if !problems.is_empty() {
        return Err(problems);
    }
    config.insert("spread".into(), true.into());
    Ok(Lowered::new("http", config.into()))
}

/// What is known to be wrong before the node runs.
fn problems(config: &Map<String, Value>) -> Problems {
    let literal = |name: &str| config.get(name).filter(|value| !holds_template(value));
    let mut problems = Problems::new();
    let mut check = |name: &str, checked: Result<(), Failure>| {
        if let Err(Failure { message, .. }) = checked {
            let message = message.trim_start_matches("HTTP settings: ");
            let is_named = message.starts_with(name);
            problems.push(if is_named { message.to_owned() } else { format!("{name}: {message}") });
        }
    };
    if let Some(name) = literal("method").and_then(Value::as_str) {
        check("method", method(name).map(drop));
    }
    if let Some(auth) = literal("auth") {
        check("auth", Auth::read(auth.clone()).map(drop));
    }
    if let Some(expected) = literal("expected_status") {
        let settings = Settings::read(json!({ "url": "/", "expected_status": expected }));
        check("expected_status", settings.and_then(|settings| settings.expected().map(drop)));
    }
    problems
}
