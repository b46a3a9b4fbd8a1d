//! What the node types that ask models have in common.
//!
//! - [`settings`]: typed settings out of a rendered configuration
//! - [`prompt`]: the parts that prompts are made of
//! - [`answer`]: an answer as the fields of a node's result
//! - [`choice`]: which of several options an answer means
//! - [`selection`]: a question about a list of choices
//! - [`tool`]: the endpoint of what was chosen

pub(super) mod answer;
pub(super) mod choice;
pub(super) mod prompt;
pub(super) mod selection;
pub(super) mod settings;
#[cfg(test)]
pub(super) mod testing;
pub(super) mod tool;

use serde_json::Value;
use waystation_core::error::Failure;

/// A value as text: a string as it is, anything else as compact JSON.
pub(super) fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// The same failure, with what was being tried before its text.
pub(super) fn while_trying(what: &str, mut failure: Failure) -> Failure {
    failure.message = format!("{what} failed: {}", failure.message);
    failure
}
