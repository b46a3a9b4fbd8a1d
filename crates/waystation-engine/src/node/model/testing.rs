//! Help for tests of node types.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, NodeTypes, Problems};
use waystation_core::error::Failure;
use waystation_core::expr::{Scope, Template};
use waystation_core::plan::Missing;

use crate::egress::testing::open_client;
use crate::node::catalog::Catalog;
use crate::node::spec::Spec;
use crate::node::{
    AttemptContext, Call, Completion, Effect, NodeType, Outcome, PureCall, Registry,
};
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

/// Evaluates a pure node to which others lead.
pub(in crate::node) fn evaluate_after(
    node: fn(&mut PureCall<'_>) -> Outcome,
    config: Value,
    input: &Value,
    upstream: &[(&str, Value)],
) -> Outcome {
    let names = names(input, upstream);
    let upstream: Vec<_> =
        upstream.iter().map(|(id, value)| ((*id).to_owned(), Arc::new(value.clone()))).collect();
    let upstream = || upstream.clone();
    let mut call =
        PureCall { config, outputs: &[], holds: None, input, names: &names, upstream: &upstream };
    node(&mut call)
}

/// What a node of a definition gives, or what is wrong with it: its settings are lowered, rendered with
/// the names `input` and `outputs`, and given to the engine's type.
pub(in crate::node) fn run_described(
    (spec, node): (Spec, fn(&mut PureCall<'_>) -> Outcome),
    config: &Value,
    input: &Value,
    upstream: &[(&str, Value)],
) -> Result<Completion, String> {
    let Lowered { mut config, literal, .. } =
        lowered(spec, config).map_err(|all| all.join("\n"))?;
    let literals: Vec<_> = literal
        .into_iter()
        .map(|name| {
            let value = config.as_object_mut().and_then(|config| config.shift_remove(&name));
            (name, value.expect("a literal setting is one"))
        })
        .collect();
    let names = names(input, upstream);
    let template = Template::compile(&config, &|name| names.knows(name)).expect("templates");
    let mut config = template.render(&names, Missing::Fail).expect("values").value;
    config.as_object_mut().expect("settings").extend(literals);
    evaluate_after(node, config, input, upstream).map_err(|failure| told(&failure))
}

/// What a run with that input and those results knows.
fn names(input: &Value, upstream: &[(&str, Value)]) -> Value {
    let outputs = upstream.iter().map(|(id, value)| ((*id).to_owned(), value.clone()));
    json!({ "input": input, "outputs": outputs.collect::<Map<_, _>>() })
}

/// A failure as it is told, with its code and hint.
fn told(failure: &Failure) -> String {
    let Failure { code, message, hint, .. } = failure;
    let hint = hint.as_deref().map(|hint| format!(" [{hint}]")).unwrap_or_default();
    format!("{}: {message}{hint}", code.as_str())
}

/// What a definition's settings come to.
pub(in crate::node) fn lowered(spec: Spec, config: &Value) -> Result<Lowered, Problems> {
    let name = spec.name;
    let mut catalog = Catalog::default();
    catalog.add(spec);
    catalog.lower(name, config.as_object().expect("settings")).expect("the type is known")
}

/// The problems of a definition's settings, a line each.
pub(in crate::node) fn problems(spec: fn() -> Spec, config: &Value) -> String {
    lowered(spec(), config).map_or_else(|problems| problems.join("\n"), |_| String::new())
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
    let registry = Registry::standard(&Arc::new(open_client()), &Arc::default());
    registry.catalog().lower(name, fields(config)).expect("a type of this name")
}

/// What a node of a definition gives, asked of these models.
pub(in crate::node) async fn run(name: &str, config: Value, models: Arc<Models>) -> Outcome {
    let registry = Registry::standard(&Arc::new(open_client()), &models);
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
