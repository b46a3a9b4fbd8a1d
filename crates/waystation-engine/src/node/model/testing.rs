//! Help for tests of node types.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value};
use waystation_core::dialect::graph::types::{Lowered, NodeTypes, Problems};

use crate::egress::testing::open_client;
use crate::node::{AttemptContext, Call, Effect, NodeType, Outcome, PureCall, Registry};
use crate::provider::models::Models;
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

/// A node of a definition as the plan has it.
pub(in crate::node) fn lower(name: &str, config: &Value) -> Result<Lowered, Problems> {
    let registry = Registry::standard(Arc::new(open_client()), Arc::default());
    registry.catalog().lower(name, fields(config)).expect("a type of this name")
}

/// What a node of a definition gives, asked of these models.
pub(in crate::node) async fn run(name: &str, config: Value, models: Arc<Models>) -> Outcome {
    let registry = Registry::standard(Arc::new(open_client()), models);
    let lowered = registry.catalog().lower(name, fields(&config)).expect("a type of this name");
    let lowered = lowered.expect("good settings");
    let Some(NodeType::Effect(effect)) = registry.get(&lowered.kind) else {
        panic!("{} is no type with effects", lowered.kind);
    };
    attempt(&**effect, lowered.config).await
}

fn fields(config: &Value) -> &Map<String, Value> {
    config.as_object().expect("settings")
}
