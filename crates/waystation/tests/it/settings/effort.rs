//! Settings of all types that reach out of the program: how long and how often they are tried.

use serde_json::{Value, json};

use super::leaves::merged;
use super::row::{Row, row};
use super::scene::{Event, Scene};

/// The rows, with what a node needs to have a service that says nothing, and one that always fails for
/// the time being.
pub(super) fn rows(silent: &Value, busy: &Value) -> Vec<Row> {
    let with = |base: &Value, more: Value| merged(base, &more);
    vec![
        row("timeout", json!({ "timeout": 0.2 }))
            .on(with(silent, json!({ "timeout": 0.1, "retries": 0 }))),
        row("retries", json!({ "retries": 2 }))
            .on(with(busy, json!({ "retries": 0, "retry_delay": 0 }))),
        // Both wait: none at all, and as long as is seen.
        row("retry_delay", json!({ "retry_delay": 2 }))
            .on(with(busy, json!({ "retries": 1, "retry_delay": 0 })))
            .seen(Scene::alone().during(Event::Timed)),
    ]
}
