//! A run as events: the one object that sockets, streams and Redis carry.
//!
//! Events are a projection of the journal. The same journal gives the same events with the same numbers,
//! counted from 1 without gaps, so that who was cut off knows what is missing.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{history, job};
use crate::dialect::{instructions, pipeline};
use crate::entry::{Ending, Entry, Fact, Outcome, Start, Timer};
use crate::error::Failure;
use crate::extract::bytes_about;
use crate::limits::EVENT_VALUE_BYTES;
use crate::plan::{Dialect, NodeIndex};
use crate::program::Program;
use crate::run::Run;
use crate::scheduler::{Action, NodeStatus};
use crate::time::rfc3339;

/// One thing that happened to a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Its number among the run's events, from 1. A piece of a model's answer has none: it is live only.
    pub id: Option<u32>,
    /// What happened: `node_completed` and the like.
    pub event_type: &'static str,
    /// The run's workflow.
    pub workflow_id: Arc<str>,
    /// The run.
    pub job_id: Arc<str>,
    /// The node that it happened to.
    pub node_id: Option<String>,
    /// Unix milliseconds.
    pub at: u64,
    /// What else there is to know, an object.
    pub data: Value,
}

impl Event {
    /// As it goes to others.
    pub fn to_json(&self) -> Value {
        let mut event = json!({
            "id": self.id,
            "event_type": self.event_type,
            "workflow_id": &*self.workflow_id,
            "job_id": &*self.job_id,
            "timestamp": rfc3339(self.at),
            "data": self.data,
        });
        if let Some(node) = &self.node_id {
            event["node_id"] = node.as_str().into();
        }
        event
    }

    /// Whether nothing follows it.
    pub fn is_last(&self) -> bool {
        ["workflow_completed", "workflow_failed", "workflow_cancelled"].contains(&self.event_type)
    }
}

/// Makes a run's events out of its journal, entry by entry from the first.
pub struct Projector {
    run: Run,
    /// Attempts whose start has been told, by node.
    started: Vec<u32>,
    workflow_id: Arc<str>,
    job_id: Arc<str>,
    next_id: u32,
}

impl Projector {
    /// For a run of which nothing is known yet.
    pub fn new(program: Arc<Program>, job_id: &str) -> Projector {
        let started = vec![0; program.plan.nodes.len()];
        let (workflow_id, job_id) = ("".into(), job_id.into());
        Projector { run: Run::new(program), started, workflow_id, job_id, next_id: 1 }
    }

    /// How many entries it has seen.
    pub fn entries_seen(&self) -> u32 {
        self.run.next_seq
    }

    /// The events of the next entry, in order.
    pub fn apply(&mut self, entry: &Entry, events: &mut Vec<Event>) {
        let mut actions = Vec::new();
        // A line of the log changes nothing, whenever it comes.
        let is_line = matches!(entry.fact, Fact::Logged { .. });
        let is_news = self.run.apply(entry, &mut actions) || is_line;
        if let Fact::RunStarted(start) = &entry.fact {
            self.workflow_id = start.workflow.as_str().into();
        }
        if !is_news {
            return;
        }
        if let Some((node, attempt)) = self.begun(&entry.fact) {
            self.started[node as usize] = attempt;
            let event =
                self.event(entry, "node_started", Some(node), json!({ "attempt": attempt }));
            events.push(event);
        }
        if let Some((name, node, data)) = self.told(entry, &actions) {
            let event = self.event(entry, name, node, data);
            events.push(event);
        }
    }

    /// Whether the start of an attempt has been told.
    pub fn has_begun(&self, node: NodeIndex, attempt: u32) -> bool {
        self.started.get(node as usize).is_some_and(|started| *started >= attempt)
    }

    /// A piece of a model's answer, as it comes; none once the whole answer has been told.
    pub fn token(&self, node: NodeIndex, attempt: u32, text: &str, at: u64) -> Option<Event> {
        let is_this = self.started.get(node as usize) == Some(&attempt);
        if !is_this || self.run.status(node) != NodeStatus::Running {
            return None;
        }
        let shown = self.run.program.plan.nodes.get(node as usize)?;
        Some(Event {
            id: None,
            event_type: "llm_token",
            workflow_id: Arc::clone(&self.workflow_id),
            job_id: Arc::clone(&self.job_id),
            node_id: Some(shown.id.clone()),
            at,
            data: json!({ "text": text, "attempt": attempt, "live": true }),
        })
    }

    fn event(
        &mut self,
        entry: &Entry,
        event_type: &'static str,
        node: Option<NodeIndex>,
        data: Value,
    ) -> Event {
        let id = self.next_id;
        self.next_id += 1;
        Event {
            id: Some(id),
            event_type,
            workflow_id: Arc::clone(&self.workflow_id),
            job_id: Arc::clone(&self.job_id),
            node_id: node.map(|node| self.run.program.plan.nodes[node as usize].id.clone()),
            at: entry.at,
            data,
        }
    }

    fn is_shown(&self, node: NodeIndex) -> bool {
        self.run.program.plan.nodes.get(node as usize).is_some_and(|node| !node.hidden)
    }

    /// The attempt that a fact is the first to tell of: pure nodes have no entry for their start.
    fn begun(&self, fact: &Fact) -> Option<(NodeIndex, u32)> {
        let (Fact::NodeStarted { node, attempt }
        | Fact::NodeCompleted { node, attempt, .. }
        | Fact::NodeFailed { node, attempt, .. }
        | Fact::NodeSuspended { node, attempt, .. }
        | Fact::BodyStarted { node, attempt, .. }) = fact
        else {
            return None;
        };
        let is_new = self.is_shown(*node) && !self.has_begun(*node, *attempt);
        is_new.then_some((*node, *attempt))
    }

    /// What an entry tells beyond the start of an attempt.
    fn told(
        &self,
        entry: &Entry,
        actions: &[Action],
    ) -> Option<(&'static str, Option<NodeIndex>, Value)> {
        let (name, node, data) = match &entry.fact {
            Fact::RunStarted(start) => ("workflow_started", None, started(start)),
            Fact::NodeCompleted { node, attempt, output, port, .. } => {
                let mut data = json!({ "attempt": attempt });
                put_value(&mut data, "output", output.value().map(|output| &**output));
                put(&mut data, "port", port.as_deref().map(Value::from));
                ("node_completed", Some(*node), data)
            }
            Fact::NodeFailed { node, attempt, failure, .. } => {
                let (name, data) = self.failed((*node, *attempt), failure, actions);
                (name, Some(*node), data)
            }
            Fact::NodeSkipped { node, reason } => {
                ("node_skipped", Some(*node), json!({ "reason": reason }))
            }
            Fact::NodeSuspended { node, attempt, until, .. } => {
                let data = json!({ "attempt": attempt, "until": until.map(rfc3339) });
                ("node_waiting", Some(*node), data)
            }
            Fact::BodyStarted { node, body, .. } => {
                ("node_waiting", Some(*node), json!({ "items": body.count() }))
            }
            Fact::ItemEnded { node, item, ending: Ending::Failed(failure), .. } => {
                let message = history::item_failed(*item, failure);
                ("log", Some(*node), json!({ "level": "warning", "message": message }))
            }
            Fact::Logged { node, level, message } => {
                let data = json!({ "level": level.as_str(), "message": message });
                ("log", *node, data)
            }
            Fact::RunFinished { outcome } => {
                let (name, data) = self.finished(outcome);
                (name, None, data)
            }
            Fact::NodeStarted { .. }
            | Fact::ItemEnded { .. }
            | Fact::Spent { .. }
            | Fact::TimerFired { .. }
            | Fact::CancelRequested { .. } => return None,
        };
        node.is_none_or(|node| self.is_shown(node)).then_some((name, node, data))
    }

    /// The end of an attempt that will be repeated, or of the node.
    fn failed(
        &self,
        (node, attempt): (NodeIndex, u32),
        failure: &Failure,
        actions: &[Action],
    ) -> (&'static str, Value) {
        let mut data = error(failure);
        data["attempt"] = attempt.into();
        if self.run.status(node) != NodeStatus::Backoff {
            return ("node_failed", data);
        }
        let at = actions.iter().find_map(|action| match action {
            Action::SetTimer { timer: Timer::Retry { node: of, .. }, at } if *of == node => {
                Some(*at)
            }
            _ => None,
        });
        put(&mut data, "retry_at", at.map(|at| rfc3339(at).into()));
        ("node_retrying", data)
    }

    fn finished(&self, outcome: &Outcome) -> (&'static str, Value) {
        match outcome {
            Outcome::Completed => {
                let mut data = json!({});
                put_value(&mut data, "result", Some(&result(&self.run)));
                ("workflow_completed", data)
            }
            Outcome::Failed { node, failure } => {
                let mut data = error(failure);
                data["error"] = job::error(&self.run);
                let node = node.filter(|node| self.is_shown(*node));
                let id = node.map(|node| self.run.program.plan.nodes[node as usize].id.as_str());
                put(&mut data, "failed_node", id.map(Value::from));
                ("workflow_failed", data)
            }
            Outcome::Cancelled { reason } => ("workflow_cancelled", json!({ "reason": reason })),
        }
    }
}

fn started(start: &Start) -> Value {
    let mut data = json!({ "name": start.name, "version": start.version });
    put_value(&mut data, "input_data", start.input.value().map(|input| &**input));
    put(&mut data, "trigger", start.trigger.as_deref().map(Value::from));
    put(&mut data, "retry_of", start.retry_of.as_deref().map(Value::from));
    data
}

/// The result of a run in the words of its own format.
fn result(run: &Run) -> Value {
    match run.program.plan.dialect {
        Dialect::Pipeline => pipeline::reply::final_result(run),
        Dialect::Instructions => instructions::reply::final_text(run).into(),
        Dialect::Graph => run.result(),
    }
}

fn error(failure: &Failure) -> Value {
    let mut data = json!({ "error": failure.message, "error_code": failure.code.as_str() });
    put(&mut data, "hint", failure.hint().map(Value::from));
    data
}

fn put(data: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        data[name] = value;
    }
}

/// A value, or how large it is where it is too large for an event: the job has it.
fn put_value(data: &mut Value, name: &str, value: Option<&Value>) {
    let bytes = value.map_or(0, bytes_about);
    let Value::Object(fields) = data else { return };
    if bytes > EVENT_VALUE_BYTES {
        fields.insert(name.to_owned(), Value::Null);
        let omitted = Map::from_iter([(name.to_owned(), bytes.into())]);
        fields.insert("omitted_bytes".to_owned(), Value::Object(omitted));
    } else {
        fields.insert(name.to_owned(), value.cloned().unwrap_or_default());
    }
}
