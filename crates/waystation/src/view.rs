//! A run as JSON, for people and programs that look it up.

use serde_json::{Map, Value, json};
use waystation_core::dialect::pipeline::reply;
use waystation_core::plan::NodeIndex;
use waystation_core::run::Run;
use waystation_core::scheduler::NodeStatus;
use waystation_core::time::{rfc3339, seconds_between};
use waystation_engine::store::{Cursor, CursorState, RunRow};

/// A run's line in lists.
pub fn row(row: &RunRow) -> Value {
    json!({
        "execution_id": row.id.to_string(),
        "workflow_id": row.workflow,
        "namespace": row.namespace,
        "workflow_name": row.name,
        "status": row.status.as_str(),
        "created_at": rfc3339(row.created),
        "finished_at": row.finished.map(rfc3339),
        "execution_time": row.finished.map(|finished| seconds_between(row.created, finished)),
        "error_code": row.error,
    })
}

/// All about one run: its line, its steps, its log, its webhook, and its reply once it has ended.
pub fn detail(line: &RunRow, run: &Run, cursor: Option<&Cursor>) -> Value {
    let mut view = row(line);
    view["plan"] = line.plan.as_str().into();
    let retry_of = run.start.as_ref().and_then(|start| start.retry_of.as_deref());
    view["retry_of"] = retry_of.into();
    view["steps"] = steps(run);
    view["log"] = log(run);
    view["webhook"] = cursor.map(webhook).unwrap_or_default();
    view["result"] = match run.outcome {
        Some(_) => reply::render(run, &line.id.to_string()),
        None => Value::Null,
    };
    view
}

/// The steps of a run, in listing order.
pub fn steps(run: &Run) -> Value {
    run.program.visible().map(|node| step(run, node)).collect()
}

fn step(run: &Run, node: NodeIndex) -> Value {
    let definition = &run.program.plan.nodes[node as usize];
    let record = &run.nodes[node as usize];
    let outputs: Map<String, Value> = reply::node_outputs(run, node)
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    let duration = record.started_at.zip(record.settled_at);
    json!({
        "step_name": definition.name,
        "usid": definition.id,
        "type": definition.kind,
        "status": status(run.status(node)),
        "attempts": record.attempts,
        "started_at": record.started_at.map(rfc3339),
        "finished_at": record.settled_at.map(rfc3339),
        "execution_time": duration.map(|(from, to)| seconds_between(from, to)),
        "error": record.failure.as_ref().map(|failure| failure.message.as_str()),
        "hint": record.failure.as_ref().and_then(|failure| failure.hint()),
        "reason": record.skipped,
        "outputs": outputs,
    })
}

/// The word for where a step stands.
pub fn status(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Waiting | NodeStatus::Ready => "waiting",
        NodeStatus::Running => "running",
        NodeStatus::Backoff => "retrying",
        NodeStatus::Completed => "completed",
        NodeStatus::Failed => "failed",
        NodeStatus::Skipping | NodeStatus::Skipped => "aborted",
        NodeStatus::Cancelled => "cancelled",
    }
}

fn log(run: &Run) -> Value {
    let name = |node: NodeIndex| run.program.plan.nodes[node as usize].name.as_str();
    let line = |line: &waystation_core::run::LogLine| {
        json!({
            "timestamp": rfc3339(line.at),
            "level": line.level,
            "step_name": line.node.map(name),
            "message": line.message,
        })
    };
    run.log.iter().map(line).collect()
}

fn webhook(cursor: &Cursor) -> Value {
    let state = match cursor.state {
        CursorState::Active if cursor.attempts > 0 => "retrying",
        CursorState::Active => "active",
        CursorState::Done => "delivered",
        CursorState::Dead => "dead",
    };
    let waits = cursor.state == CursorState::Active && cursor.attempts > 0;
    let next = waits.then(|| rfc3339(cursor.next_at));
    json!({
        "state": state,
        "failed_attempts": cursor.attempts,
        "next_attempt_at": next,
        "error": cursor.error,
    })
}
