//! A run as a job: the shape of `/api/v1/jobs`.

use serde_json::{Map, Value, json};

use crate::entry::Outcome;
use crate::plan::NodeIndex;
use crate::run::{NodeRecord, Run};
use crate::scheduler::NodeStatus;
use crate::time::rfc3339;

/// Everything about a job.
pub fn render(run: &Run, id: &str) -> Value {
    let start = run.start.as_deref();
    let retry_of = start.and_then(|start| start.retry_of.as_deref());
    let mut job = json!({
        "id": id,
        "workflow_id": start.map(|start| start.workflow.as_str()),
        "workflow_version": start.and_then(|start| start.version),
        "status": status(run),
        "input_data": &*run.input,
        "result": run.outcome.as_ref().map(|_| run.result()),
        "error": error(run),
        "node_results": node_results(run),
        "created_at": rfc3339(run.started_at),
        "started_at": rfc3339(run.started_at),
        "completed_at": run.finished_at.map(rfc3339),
        "retry_of": retry_of,
        "trigger": start.and_then(|start| start.trigger.as_deref()),
    });
    if let Some(parent) = start.and_then(|start| start.parent.as_ref()) {
        job["parent"] = json!({ "job_id": parent.run, "item": parent.item });
    }
    job
}

/// Where the job stands.
pub fn status(run: &Run) -> &'static str {
    match &run.outcome {
        None => "running",
        Some(Outcome::Completed) => "completed",
        Some(Outcome::Failed { .. }) => "failed",
        Some(Outcome::Cancelled { .. }) => "cancelled",
    }
}

/// Why the run did not go well, in words; null where it did.
pub fn error(run: &Run) -> Value {
    match &run.outcome {
        None | Some(Outcome::Completed) => Value::Null,
        Some(Outcome::Cancelled { reason }) => format!("Cancelled: {reason}").into(),
        Some(Outcome::Failed { node: None, failure }) => failure.message.as_str().into(),
        Some(Outcome::Failed { node: Some(node), failure }) => {
            let node = &run.program.plan.nodes[*node as usize];
            let what = match node.hidden {
                true => format!("The condition of the edge {}", node.name),
                false => format!("Node {}", node.id),
            };
            format!("{what} failed: {}", failure.message).into()
        }
    }
}

fn node_results(run: &Run) -> Value {
    let program = &run.program;
    let result = |node: NodeIndex| {
        let id = program.plan.nodes[node as usize].id.clone();
        // What a run did not get to before its end will not run.
        let status = match run.status(node) {
            NodeStatus::Waiting | NodeStatus::Ready if run.outcome.is_some() => NodeStatus::Skipped,
            status => status,
        };
        (id, node_result(&run.nodes[node as usize], status))
    };
    Value::Object(program.visible().map(result).collect())
}

fn node_result(record: &NodeRecord, status: NodeStatus) -> Value {
    let failure = record.failure.as_deref();
    // The failure of an attempt that was repeated with success is history.
    let failure = failure.filter(|_| status != NodeStatus::Completed);
    let duration = record.started_at.zip(record.settled_at);
    let mut result = json!({
        "status": node_status(status),
        "output": record.output.as_deref(),
        "error": failure.map(|failure| failure.message.as_str()),
        "attempts": record.attempts,
        "started_at": record.started_at.map(rfc3339),
        "completed_at": record.settled_at.map(rfc3339),
        "duration_ms": duration.map(|(from, to)| to.saturating_sub(from)),
    });
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            result[name] = value;
        }
    };
    put("error_code", failure.map(|failure| failure.code.as_str()).into());
    put("hint", failure.and_then(|failure| failure.hint()).into());
    put("reason", record.skipped.as_deref().into());
    put("port", record.port.as_deref().into());
    put("details", record.details.as_deref().cloned().map(Value::Object).unwrap_or_default());
    put("items", items(record));
    let waits = record.suspension.as_ref().filter(|_| status == NodeStatus::Suspended);
    put("waits_until", waits.and_then(|wait| wait.until).map(rfc3339).into());
    result
}

/// How many items there are, and how many have ended.
fn items(record: &NodeRecord) -> Value {
    let Some(body) = &record.body else { return Value::Null };
    let ended = body.endings.iter().filter(|ending| ending.is_some()).count();
    json!({ "total": body.endings.len(), "ended": ended })
}

/// Where a node stands, in the words of jobs.
pub fn node_status(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Waiting | NodeStatus::Ready | NodeStatus::Skipping => "pending",
        NodeStatus::Running | NodeStatus::InBody => "running",
        NodeStatus::Backoff => "retrying",
        NodeStatus::Suspended => "waiting",
        NodeStatus::Completed => "completed",
        NodeStatus::Failed => "failed",
        NodeStatus::Skipped => "skipped",
        NodeStatus::Cancelled => "cancelled",
    }
}

/// The names and values that a definition's settings may add to what a node gives.
pub(super) fn details(record: &NodeRecord) -> Map<String, Value> {
    record.details.as_deref().cloned().unwrap_or_default()
}
