//! What the caller of a pipeline gets: the reply to a run, and the reply to a bad definition.

use serde_json::{Map, Value, json};

use crate::dialect::words;
use crate::entry::{Level, Outcome};
use crate::error::{Class, Failure};
use crate::plan::{NodeIndex, OnFailure};
use crate::run::{LogLine, Run};
use crate::scheduler::NodeStatus;
use crate::time::seconds_between;

/// Warnings that a reply shows; the run's log has the rest.
const WARNINGS_MAX: usize = 100;

/// The reply to a finished run.
pub fn render(run: &Run, execution_id: &str) -> Value {
    let mut reply = match &run.outcome {
        Some(Outcome::Completed) | None => success(run),
        Some(outcome) => failure(run, outcome),
    };
    reply["execution_id"] = execution_id.into();
    let warnings = warnings(run);
    if !warnings.is_empty() {
        reply["warnings"] = warnings.into();
    }
    reply
}

/// What is probably not as its author meant it: of the definition, and of this run's values.
fn warnings(run: &Run) -> Vec<String> {
    let warnings = run.log.iter().filter(|line| line.level == Level::Warning);
    let text = |line: &LogLine| match line.node {
        Some(node) => {
            format!("{}: {}", run.program.plan.nodes[node as usize].name, line.message)
        }
        None => line.message.clone(),
    };
    warnings.take(WARNINGS_MAX).map(text).collect()
}

fn success(run: &Run) -> Value {
    let mut reply = head(run, true);
    reply["execution_time"] = execution_seconds(run).into();
    reply["steps_completed"] = run.count(NodeStatus::Completed).into();
    reply["steps_aborted"] = run.count(NodeStatus::Skipped).into();
    if run.program.plan.on_failure == OnFailure::Continue {
        reply["steps_failed"] = run.count(NodeStatus::Failed).into();
    }
    reply["final_result"] = final_result(run);
    reply["all_outputs"] = outputs(run);
    reply
}

fn failure(run: &Run, outcome: &Outcome) -> Value {
    let mut reply = head(run, false);
    reply["error"] = error_text(run, outcome).into();
    reply["execution_time"] = execution_seconds(run).into();
    reply["steps_completed"] = run.count(NodeStatus::Completed).into();
    reply["steps_failed"] = run.count(NodeStatus::Failed).into();
    reply["partial_outputs"] = outputs(run);
    if let Outcome::Failed { node, failure } = outcome {
        if let Some(node) = node {
            reply["failed_step"] = run.program.plan.nodes[*node as usize].name.as_str().into();
        }
        if let Some(hint) = failure.hint() {
            reply["hint"] = hint.into();
        }
    }
    reply
}

fn head(run: &Run, success: bool) -> Value {
    let start = run.start.as_ref();
    json!({
        "success": success,
        "workflow_id": start.map(|start| start.workflow.as_str()),
        "namespace": start.map(|start| start.namespace.as_str()),
    })
}

/// The reply to a definition with problems.
pub fn invalid(errors: &[String]) -> Value {
    json!({
        "success": false,
        "error": format!("Payload validation failed:\n{}", errors.join("\n")),
        "validation_errors": errors,
    })
}

/// How long the run took, or has taken so far as its journal tells.
pub fn execution_seconds(run: &Run) -> f64 {
    let last = run.nodes.iter().filter_map(|node| node.settled_at).max();
    seconds_between(run.started_at, run.finished_at.or(last).unwrap_or(run.started_at))
}

/// Every value that is known by name: the input, and what the completed steps made.
pub fn outputs(run: &Run) -> Value {
    let mut outputs = Map::new();
    for name in ["original_input", "input_data"] {
        outputs.insert(name.into(), run.input.get(name).cloned().unwrap_or_default());
    }
    for node in run.program.visible() {
        outputs.extend(node_outputs(run, node).map(|(name, value)| (name.into(), value.clone())));
    }
    Value::Object(outputs)
}

/// What one completed step made, by name.
pub fn node_outputs(run: &Run, node: NodeIndex) -> impl Iterator<Item = (&str, &Value)> {
    let names = &run.program.plan.nodes[node as usize].outputs;
    let output = run.nodes[node as usize].output.as_deref();
    names.iter().filter_map(move |name| Some((name.as_str(), output?.get(name)?)))
}

/// The output named `final_result`, else the one named `result`, else all.
pub fn final_result(run: &Run) -> Value {
    let named = run.named_output("final_result").or_else(|| run.named_output("result"));
    named.cloned().unwrap_or_else(|| outputs(run))
}

/// The run's error in the words of this format.
pub fn error_text(run: &Run, outcome: &Outcome) -> String {
    words::error_text(outcome, |node, failure| node_error(run, node, failure))
}

/// A failed step's error: with the number of attempts, unless more of them would not have helped.
pub fn node_error(run: &Run, node: NodeIndex, failure: &Failure) -> String {
    match failure.class {
        Class::Fatal => failure.message.clone(),
        Class::Retryable { .. } => {
            let name = &run.program.plan.nodes[node as usize].name;
            let attempts = run.nodes[node as usize].attempts;
            format!("Step {name} failed after {attempts} attempts: {}", failure.message)
        }
    }
}
