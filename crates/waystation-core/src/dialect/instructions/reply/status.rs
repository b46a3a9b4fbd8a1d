//! The state of an instance, with its steps as far as they are.

use serde_json::{Value, json};

use super::steps::Step;
use super::{errors, log};
use crate::entry::Outcome;
use crate::plan::NodeIndex;
use crate::run::Run;
use crate::scheduler::NodeStatus;
use crate::time::rfc3339;
use crate::usage::Usage;

/// The `status` object of an instance; `waiting` tells what attempts under way wait for.
pub fn status(run: &Run, waiting: &[(NodeIndex, String)]) -> Value {
    let mut status = json!({ "status": state(run, waiting) });
    if let Some(outcome) = run.outcome.as_ref().filter(|outcome| **outcome != Outcome::Completed) {
        status["error"] = errors::error_text(run, outcome).into();
    }
    if run.start.is_some() {
        status["output"] = output(run, waiting);
    }
    status
}

fn state(run: &Run, waiting: &[(NodeIndex, String)]) -> &'static str {
    match run.outcome {
        Some(Outcome::Completed) => return "complete",
        Some(Outcome::Failed { .. }) => return "errored",
        Some(Outcome::Cancelled { .. }) => return "terminated",
        None => {}
    }
    let mut nodes = 0..run.nodes.len() as NodeIndex;
    let has_begun = run.nodes.iter().any(|node| node.started_at.is_some());
    if !waiting.is_empty() || nodes.any(|node| run.status(node) == NodeStatus::Backoff) {
        "waiting"
    } else if has_begun {
        "running"
    } else {
        "queued"
    }
}

fn output(run: &Run, waiting: &[(NodeIndex, String)]) -> Value {
    let steps: Vec<Step<'_>> = Step::all(run).collect();
    let mut output = json!({
        "originalContext": run.input.get("context"),
        "steps": steps.iter().filter_map(Step::render).collect::<Value>(),
        "errors": errors::list(run, &steps),
        "logs": log::lines(run, &steps, waiting),
        "usage": usage(&run.spent),
    });
    if let Some(at) = run.finished_at {
        output["finalizedAt"] = rfc3339(at).into();
    }
    output
}

/// What calls of models have used.
pub fn usage(spent: &Usage) -> Value {
    json!({
        "calls": spent.calls,
        "cached": spent.cached,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "total_tokens": spent.total_tokens(),
        "cost_usd": spent.usd(),
    })
}
