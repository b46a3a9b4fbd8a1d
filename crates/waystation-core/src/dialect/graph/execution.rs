//! A run as an execution: the shape of `/workflows/executions`.

use serde_json::{Map, Value, json};

use super::history::{self, Line};
use super::job;
use crate::entry::{Entry, Level, Outcome};
use crate::plan::NodeIndex;
use crate::run::{NodeRecord, Run};
use crate::scheduler::NodeStatus;
use crate::time::rfc3339;

/// The engine's type of nodes that wait for somebody.
const WAIT: &str = "wait";

/// Everything about an execution.
pub fn render(run: &Run, entries: &[Entry], id: &str) -> Value {
    let lines = history::lines(&run.program, entries);
    let workflow = run.start.as_deref().map(|start| start.workflow.as_str());
    json!({
        "execution_id": id,
        "workflow_id": workflow,
        "status": status(run),
        "start_time": rfc3339(run.started_at),
        "end_time": run.finished_at.map(rfc3339),
        "variables": &*run.input,
        "node_states": node_states(run),
        "logs": lines.iter().map(log_line).collect::<Vec<Value>>(),
        "errors": errors(run, &lines),
        "result": run.outcome.as_ref().map(|_| run.result()),
    })
}

/// The reply to whoever began an execution.
pub fn begun(run: Option<&Run>, id: &str, workflow: &str, started_at: u64) -> Value {
    let (status, message) = match run {
        None => ("queued", "Workflow execution started in background".to_owned()),
        Some(run) => match &run.outcome {
            Some(Outcome::Completed) => ("success", "Workflow execution completed".to_owned()),
            None => ("running", "Workflow execution is running".to_owned()),
            Some(outcome) => {
                let error = job::error(run);
                let why = error.as_str().unwrap_or("unknown");
                (word(outcome), format!("Workflow execution failed: {why}"))
            }
        },
    };
    json!({
        "execution_id": id,
        "workflow_id": workflow,
        "status": status,
        "message": message,
        "started_at": rfc3339(started_at),
    })
}

/// Where the execution stands.
pub fn status(run: &Run) -> &'static str {
    if let Some(outcome) = &run.outcome {
        return word(outcome);
    }
    let stands = |wanted: NodeStatus| {
        let nodes = run.program.visible();
        nodes.filter(move |node| run.status(*node) == wanted)
    };
    let is_busy = stands(NodeStatus::Running).chain(stands(NodeStatus::InBody)).next().is_some();
    let kind = |node: NodeIndex| run.program.plan.nodes[node as usize].kind.as_str();
    let asks = stands(NodeStatus::Suspended).any(|node| kind(node) == WAIT);
    if asks && !is_busy { "paused" } else { "running" }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "success",
        Outcome::Failed { .. } => "error",
        Outcome::Cancelled { .. } => "cancelled",
    }
}

fn node_states(run: &Run) -> Value {
    let program = &run.program;
    let state = |node: NodeIndex| {
        let id = program.plan.nodes[node as usize].id.clone();
        Some((id, node_state(&run.nodes[node as usize], run.status(node))?))
    };
    Value::Object(program.visible().filter_map(state).collect::<Map<_, _>>())
}

/// What is known of a node that has begun or will not run.
fn node_state(record: &NodeRecord, status: NodeStatus) -> Option<Value> {
    let word = match status {
        NodeStatus::Waiting | NodeStatus::Ready | NodeStatus::Skipping => return None,
        NodeStatus::Running | NodeStatus::InBody => "running",
        NodeStatus::Backoff | NodeStatus::Suspended => "waiting",
        NodeStatus::Completed => "completed",
        NodeStatus::Failed => "error",
        NodeStatus::Skipped | NodeStatus::Cancelled => "skipped",
    };
    let at = record.settled_at.or(record.started_at).map(rfc3339);
    let mut state = json!({ "status": word, "output": record.output.as_deref(), "timestamp": at });
    let failure = record.failure.as_deref().filter(|_| status != NodeStatus::Completed);
    if let Some(failure) = failure {
        state["error"] = failure.message.as_str().into();
    }
    if let Some(reason) = &record.skipped {
        state["reason"] = reason.as_ref().into();
    }
    if let Value::Object(fields) = &mut state {
        for (name, value) in job::details(record) {
            fields.entry(name).or_insert(value);
        }
    }
    Some(state)
}

fn log_line(line: &Line) -> Value {
    json!({ "timestamp": rfc3339(line.at), "node_id": line.node, "message": line.message })
}

fn errors(run: &Run, lines: &[Line]) -> Value {
    let failed = lines.iter().filter(|line| line.level == Level::Error);
    let mut errors: Vec<Value> = failed
        .map(|line| {
            json!({ "timestamp": rfc3339(line.at), "node_id": line.node, "error": line.error() })
        })
        .collect();
    if let Some(Outcome::Failed { node: None, failure }) = &run.outcome {
        let at = run.finished_at.map(rfc3339);
        errors.push(json!({ "timestamp": at, "node_id": null, "error": failure.message }));
    }
    errors.into()
}
