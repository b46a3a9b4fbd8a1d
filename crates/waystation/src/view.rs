//! A run as JSON, for people and programs that look it up.

use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::job;
use waystation_core::dialect::instructions::{self, reply::usage};
use waystation_core::dialect::pipeline::reply;
use waystation_core::plan::{Dialect, NodeIndex, QueueItem, Shape};
use waystation_core::run::Run;
use waystation_core::scheduler::NodeStatus;
use waystation_core::time::{rfc3339, seconds_between};
use waystation_core::usage::Usage;
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

/// What is known of a run at a moment: its journal, and what only the process that drives it knows.
pub struct Seen<'a> {
    /// Its line.
    pub line: &'a RunRow,
    /// Its journal, folded.
    pub run: &'a Run,
    /// How far its webhook is.
    pub cursor: Option<&'a Cursor>,
    /// What its attempts wait for, by node.
    pub waiting: &'a [(NodeIndex, String)],
}

/// All about one run: its line, its steps, its log, its webhook, what it used, and its reply: of a
/// pipeline once it has ended, of a chain at any time.
pub fn detail(seen: &Seen<'_>) -> Value {
    let Seen { line, run, cursor, waiting } = seen;
    let mut view = row(line);
    view["dialect"] = json!(run.program.plan.dialect);
    view["plan"] = line.plan.as_str().into();
    let retry_of = run.start.as_ref().and_then(|start| start.retry_of.as_deref());
    view["retry_of"] = retry_of.into();
    view["steps"] = steps(run, waiting);
    view["log"] = log(run);
    view["webhook"] = cursor.map(webhook).unwrap_or_default();
    view["usage"] = usage(&run.spent);
    view["result"] = match (run.program.plan.dialect, &run.outcome) {
        (Dialect::Instructions, _) => instructions::reply::status(run, waiting),
        (Dialect::Graph, _) => job::render(run, &line.id.to_string()),
        (Dialect::Pipeline, Some(_)) => reply::render(run, &line.id.to_string()),
        (Dialect::Pipeline, None) => Value::Null,
    };
    view
}

/// The steps of a run, in listing order, with what they wait for.
pub fn steps(run: &Run, waiting: &[(NodeIndex, String)]) -> Value {
    let program = &run.program;
    match &program.plan.shape {
        Shape::Graph { .. } => {
            program.visible().map(|node| step(run, node, &[node], waiting)).collect()
        }
        Shape::Queue { items } => {
            let mut ordinals = vec![None; items.len()];
            for (place, item) in run.scheduler.begun().iter().enumerate() {
                ordinals[*item as usize] = Some(place + 1);
            }
            items.iter().zip(ordinals).map(|item| item_step(run, item, waiting)).collect()
        }
    }
}

/// An item of a queue as one step, whatever number of nodes it takes.
fn item_step(
    run: &Run,
    (item, ordinal): (&QueueItem, Option<usize>),
    waiting: &[(NodeIndex, String)],
) -> Value {
    let nodes: Vec<NodeIndex> = item.nodes().collect();
    let mut step = step(run, item.node, &nodes, waiting);
    let metadata = &run.program.plan.nodes[item.node as usize].metadata;
    step["step_number"] = ordinal.into();
    if ordinal.is_none() && run.outcome.is_some() {
        step["status"] = "skipped".into();
    }
    for name in ["type", "instruction"] {
        step[name] = metadata.get(name).cloned().unwrap_or_default();
    }
    step["output"] = run.nodes[item.node as usize].output.as_deref().cloned().unwrap_or_default();
    step
}

/// A step, and the nodes that it takes one after another.
fn step(run: &Run, node: NodeIndex, nodes: &[NodeIndex], waiting: &[(NodeIndex, String)]) -> Value {
    let definition = &run.program.plan.nodes[node as usize];
    let telling = telling(run, nodes).unwrap_or(node);
    let (stands, record) = (run.status(telling), &run.nodes[telling as usize]);
    let started = nodes.iter().filter_map(|node| run.nodes[*node as usize].started_at).min();
    let settled = nodes.iter().filter_map(|node| run.nodes[*node as usize].settled_at).max();
    let settled = settled.filter(|_| stands.is_settled());
    let duration = started.zip(settled);
    let outputs: Map<String, Value> = reply::node_outputs(run, node)
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    let waits = waiting.iter().find(|(node, _)| nodes.contains(node));
    json!({
        "step_name": definition.name,
        "usid": definition.id,
        "type": definition.kind,
        "status": status(stands),
        "waiting": waits.map(|(_, reason)| reason.as_str()),
        "attempts": record.attempts,
        "started_at": started.map(rfc3339),
        "finished_at": settled.map(rfc3339),
        "execution_time": duration.map(|(from, to)| seconds_between(from, to)),
        "error": record.failure.as_ref().map(|failure| failure.message.as_str()),
        "hint": record.failure.as_ref().and_then(|failure| failure.hint()),
        "reason": record.skipped,
        "outputs": outputs,
        "usage": spent(run, nodes).as_ref().map(usage),
    })
}

/// Of a step's nodes the one that says how the step is: the one under way, or the one that failed it.
fn telling(run: &Run, nodes: &[NodeIndex]) -> Option<NodeIndex> {
    let the = |wanted: &[NodeStatus]| {
        nodes.iter().copied().find(|node| wanted.contains(&run.status(*node)))
    };
    the(&[NodeStatus::Running, NodeStatus::Backoff])
        .or_else(|| the(&[NodeStatus::Failed, NodeStatus::Cancelled]))
}

/// What these nodes have used, if anything.
fn spent(run: &Run, nodes: &[NodeIndex]) -> Option<Usage> {
    let mut total = Usage::default();
    let spent = nodes.iter().filter_map(|node| run.nodes[*node as usize].spent.as_deref());
    spent.for_each(|used| total.add(used));
    (!total.is_nothing()).then_some(total)
}

/// The word for where a step stands.
pub fn status(status: NodeStatus) -> &'static str {
    match status {
        NodeStatus::Waiting | NodeStatus::Ready | NodeStatus::Suspended => "waiting",
        NodeStatus::Running | NodeStatus::InBody => "running",
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
