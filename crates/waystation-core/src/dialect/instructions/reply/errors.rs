//! What failed, in the words of this format.

use serde_json::{Value, json};

use super::steps::Step;
use crate::dialect::words;
use crate::entry::Outcome;
use crate::error::Failure;
use crate::plan::NodeIndex;
use crate::run::Run;
use crate::time::rfc3339;

/// What the words of a router's failures begin with.
const ROUTER_MODEL: &str = "Router LLM selection failed: ";
const ROUTER_ENDPOINT: &str = "Router endpoint call failed: ";

/// Why an instance has not completed.
pub fn error_text(run: &Run, outcome: &Outcome) -> String {
    words::error_text(outcome, |node, failure| node_error(run, node, failure))
}

/// A failed node's words. What stops an attempt from outside, such as its time limit, does not know
/// that it stops a router.
pub(super) fn node_error(run: &Run, node: NodeIndex, failure: &Failure) -> String {
    let beginning = match run.program.plan.nodes[node as usize].kind.as_str() {
        "choose" => ROUTER_MODEL,
        "router" => ROUTER_ENDPOINT,
        _ => "",
    };
    match failure.message.starts_with(beginning) {
        true => failure.message.clone(),
        false => format!("{beginning}{}", failure.message),
    }
}

/// What sort of thing failed.
pub(super) fn error_type(run: &Run, node: NodeIndex) -> &'static str {
    let definition = &run.program.plan.nodes[node as usize];
    match definition.kind.as_str() {
        "judge" if definition.id.ends_with(":check") => "thread",
        "judge" | "condition" => "condition",
        "endpoint" => "endpoint",
        "thread" => "thread",
        "choose" => "router-llm",
        "router" => router_error(run, node),
        "agent" if has_chosen(run, node, "tool") => "endpoint",
        _ => "llm",
    }
}

/// A router whose model chose nothing fails for that.
fn router_error(run: &Run, node: NodeIndex) -> &'static str {
    if has_chosen(run, node, "choice") { "router-endpoint" } else { "router-selection" }
}

/// Whether the stage before a node, which stands right before it, has chosen something.
fn has_chosen(run: &Run, node: NodeIndex, field: &str) -> bool {
    let stage = node.checked_sub(1).and_then(|stage| run.nodes.get(stage as usize));
    let output = stage.and_then(|stage| stage.output.as_deref());
    output.is_some_and(|output| !output[field].is_null())
}

/// The list of what ended the run.
pub(super) fn list(run: &Run, steps: &[Step<'_>]) -> Value {
    let Some(Outcome::Failed { node, failure }) = &run.outcome else { return json!([]) };
    let mut context = json!({ "code": failure.code });
    if let Some(hint) = failure.hint() {
        context["hint"] = hint.into();
    }
    let mut error = json!({ "timestamp": run.finished_at.map(rfc3339), "context": context });
    let Some(node) = node else {
        error["error"] = failure.message.as_str().into();
        return json!([error]);
    };
    error["error"] = node_error(run, *node, failure).into();
    error["errorType"] = error_type(run, *node).into();
    error["context"]["attempts"] = run.nodes[*node as usize].attempts.into();
    if let Some(step) = steps.iter().find(|step| step.failure().is_some()) {
        error["stepNumber"] = step.number.into();
        error["stepIndex"] = step.index.into();
    }
    json!([error])
}
