//! What a pipeline's webhook gets: the journal, entry by entry, as progress notifications.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::reply::{error_text, execution_seconds, final_result, node_error, node_outputs};
use crate::entry::{Entry, Fact, Outcome};
use crate::plan::NodeIndex;
use crate::program::Program;
use crate::run::Run;
use crate::scheduler::NodeStatus;
use crate::time::{plain_utc, seconds_between};

/// Characters of an output that a notification shows.
const OUTPUT_CHARS: usize = 500;
/// Characters of the final result that a notification shows.
const RESULT_CHARS: usize = 1_000;

/// Folds a run's journal and tells what its receiver has to hear of each entry.
pub struct Notifier {
    run: Run,
    execution_id: String,
    /// Each visible node's place in the listing, from 1.
    places: Vec<u32>,
    total: u32,
}

impl Notifier {
    /// A notifier before the run's first entry.
    pub fn new(program: Arc<Program>, execution_id: &str) -> Notifier {
        let mut total = 0;
        let count = |node: &crate::plan::Node| {
            total += u32::from(!node.hidden);
            if node.hidden { 0 } else { total }
        };
        let places = program.plan.nodes.iter().map(count).collect();
        Notifier { run: Run::new(program), execution_id: execution_id.into(), places, total }
    }

    /// The notifications that one entry calls for, in order.
    pub fn fold(&mut self, entry: &Entry) -> Vec<Value> {
        let was_known = |run: &Run, node: NodeIndex| run.nodes[node as usize].attempts > 0;
        let known = node_of(&entry.fact).is_some_and(|node| was_known(&self.run, node));
        if !self.run.apply(entry, &mut Vec::new()) {
            return Vec::new();
        }
        let events = self.events(&entry.fact, known);
        events.into_iter().map(|(event, data)| self.envelope(event, entry.at, &data)).collect()
    }

    fn envelope(&self, event: &str, at: u64, data: &Value) -> Value {
        let start = self.run.start.as_ref();
        json!({
            "event": event,
            "workflow_id": start.map(|start| start.workflow.as_str()),
            "namespace": start.map(|start| start.namespace.as_str()),
            "execution_id": self.execution_id,
            "timestamp": plain_utc(at),
            "data": data,
        })
    }

    fn events(&self, fact: &Fact, known: bool) -> Vec<(&'static str, Value)> {
        if let Some(node) = node_of(fact)
            && self.places[node as usize] == 0
        {
            return Vec::new();
        }
        match fact {
            Fact::RunStarted(start) => {
                vec![("workflow_started", self.started(start.name.as_deref()))]
            }
            Fact::NodeStarted { node, .. } if !known => vec![self.step_started(*node)],
            Fact::NodeCompleted { node, .. } => {
                let opening = (!known).then(|| self.step_started(*node));
                opening.into_iter().chain([self.step_completed(*node)]).collect()
            }
            Fact::NodeFailed { node, .. } => {
                let opening = (!known).then(|| self.step_started(*node));
                opening.into_iter().chain(self.step_failed(*node)).collect()
            }
            Fact::NodeSkipped { node, reason } => {
                vec![("step_aborted", self.step(*node, "aborted", json!({ "reason": reason })))]
            }
            Fact::RunFinished { outcome } => vec![self.finished(outcome)],
            _ => Vec::new(),
        }
    }

    fn started(&self, name: Option<&str>) -> Value {
        let workflow = self.run.start.as_ref().map(|start| start.workflow.as_str());
        json!({
            "workflow_name": name.or(workflow),
            "total_steps": self.total,
            "status": "running",
        })
    }

    fn step(&self, node: NodeIndex, status: &str, more: Value) -> Value {
        let definition = &self.run.program.plan.nodes[node as usize];
        let mut data = json!({
            "step_name": definition.name,
            "usid": definition.id,
            "step_index": self.places[node as usize],
            "total_steps": self.total,
            "status": status,
        });
        if let (Value::Object(data), Value::Object(more)) = (&mut data, more) {
            data.extend(more);
        }
        data
    }

    fn step_started(&self, node: NodeIndex) -> (&'static str, Value) {
        ("step_started", self.step(node, "running", json!({})))
    }

    fn step_completed(&self, node: NodeIndex) -> (&'static str, Value) {
        let record = &self.run.nodes[node as usize];
        let (from, to) = (record.started_at.unwrap_or(0), record.settled_at.unwrap_or(0));
        let outputs: Map<String, Value> = node_outputs(&self.run, node)
            .map(|(name, value)| (name.to_owned(), cut(value, OUTPUT_CHARS)))
            .collect();
        let more =
            json!({ "execution_time_seconds": seconds_between(from, to), "outputs": outputs });
        ("step_completed", self.step(node, "completed", more))
    }

    /// Only the last failed attempt is told.
    fn step_failed(&self, node: NodeIndex) -> Option<(&'static str, Value)> {
        if self.run.status(node) != NodeStatus::Failed {
            return None;
        }
        let failure = self.run.nodes[node as usize].failure.as_deref()?;
        let error = node_error(&self.run, node, failure);
        Some(("step_failed", self.step(node, "failed", json!({ "error": error }))))
    }

    fn finished(&self, outcome: &Outcome) -> (&'static str, Value) {
        let run = &self.run;
        let (seconds, completed) = (execution_seconds(run), run.count(NodeStatus::Completed));
        if *outcome != Outcome::Completed {
            let data = json!({
                "status": "failed",
                "error": error_text(run, outcome),
                "execution_time_seconds": seconds,
                "steps_completed": completed,
            });
            return ("workflow_failed", data);
        }
        let data = json!({
            "status": "completed",
            "execution_time_seconds": seconds,
            "steps_completed": completed,
            "steps_failed": run.count(NodeStatus::Failed),
            "steps_aborted": run.count(NodeStatus::Skipped),
            "final_result": cut(&final_result(run), RESULT_CHARS),
        });
        ("workflow_completed", data)
    }
}

fn node_of(fact: &Fact) -> Option<NodeIndex> {
    match fact {
        Fact::NodeStarted { node, .. }
        | Fact::NodeCompleted { node, .. }
        | Fact::NodeFailed { node, .. }
        | Fact::NodeSkipped { node, .. } => Some(*node),
        _ => None,
    }
}

/// A value as text, cut to so many characters.
fn cut(value: &Value, chars: usize) -> Value {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}...", &text[..end]).into(),
        None => text.into(),
    }
}
