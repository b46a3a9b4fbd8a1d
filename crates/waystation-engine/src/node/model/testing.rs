//! Help for tests of node types.

use std::fmt::Write as _;

use serde_json::Value;

use crate::node::{AttemptContext, Call, Effect, Outcome, PureCall};
use crate::provider::scripted::Scripted;

/// Makes one attempt.
pub(in crate::node) async fn attempt(effect: &dyn Effect, config: Value) -> Outcome {
    let context = AttemptContext::alone();
    effect
        .attempt(Call {
            idempotency_key: "key".into(),
            config,
            outputs: Vec::new(),
            is_repeated: false,
            context,
        })
        .await
}

/// Evaluates a pure node.
pub(in crate::node) fn evaluate(
    node: fn(&mut PureCall<'_>) -> Outcome,
    config: Value,
    holds: Option<bool>,
) -> Outcome {
    let (input, names) = (&Value::Null, &Value::Null);
    node(&mut PureCall { config, outputs: &[], holds, input, names, upstream: &Vec::new })
}

/// The conversation of the last question that was asked.
pub(in crate::node) fn prompt(script: &Scripted) -> String {
    let mut text = String::new();
    let question = script.questions().pop().expect("something was asked");
    for message in question.messages {
        writeln!(text, "[{:?}]\n{}\n", message.role, message.text).expect("memory");
    }
    text
}
