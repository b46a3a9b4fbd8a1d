//! Everything known about one run, folded from its journal. Replies, events and templates read it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::entry::{
    Body, BodySource, Ending, Entry, Fact, ItemFailure, Level, Outcome, Start, Timer,
};
use crate::error::{Class, Code, Failure};
use crate::limits::LOG_LINES_PER_RUN;
use crate::plan::NodeIndex;
use crate::program::Program;
use crate::scheduler::{Action, NodeStatus, Scheduler};
use crate::usage::Usage;

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it executes.
    pub program: Arc<Program>,
    /// Where it stands.
    pub scheduler: Scheduler,
    /// How it began; `None` before the first entry.
    pub start: Option<Arc<Start>>,
    /// Its input.
    pub input: Arc<Value>,
    /// What is known about each node, by index.
    pub nodes: Vec<NodeRecord>,
    /// Its log, oldest first.
    pub log: Vec<LogLine>,
    /// Entries folded so far: the place of the next one.
    pub next_seq: u32,
    /// Unix milliseconds.
    pub started_at: u64,
    /// Unix milliseconds.
    pub finished_at: Option<u64>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// What its calls of models have used so far.
    pub spent: Usage,
}

/// What is known about one node of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeRecord {
    /// Its recorded result.
    pub output: Option<Arc<Value>>,
    /// The port it left by.
    pub port: Option<Box<str>>,
    /// What is worth knowing about its last attempt and is no part of the result.
    pub details: Option<Box<Map<String, Value>>>,
    /// Start of the first attempt, in Unix milliseconds.
    pub started_at: Option<u64>,
    /// When it settled, in Unix milliseconds.
    pub settled_at: Option<u64>,
    /// Attempts made or under way.
    pub attempts: u32,
    /// Why the last failed attempt failed.
    pub failure: Option<Box<Failure>>,
    /// Why it was skipped.
    pub skipped: Option<Box<str>>,
    /// What its attempts have used.
    pub spent: Option<Box<Usage>>,
    /// What ends its wait, while it is suspended.
    pub suspension: Option<Box<Suspension>>,
    /// Its items, from when they begin until it completes.
    pub body: Option<Box<BodyRecord>>,
}

/// What a suspended node waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspension {
    /// The moment at which the wait is over, in Unix milliseconds.
    pub until: Option<u64>,
    /// How the node ends then.
    pub then: Ending,
}

/// What is known about the items of a node with a body.
#[derive(Clone, Debug, PartialEq)]
pub struct BodyRecord {
    /// What runs, and how.
    pub body: Body,
    /// How items have ended, by their number.
    pub endings: Vec<Option<Ending>>,
}

impl BodyRecord {
    /// The values of the items.
    pub fn items(&self) -> &[Value] {
        let items = self.body.items.value().and_then(|items| items.as_array());
        items.map(Vec::as_slice).unwrap_or_default()
    }

    /// How the node ends, once nothing of its items is awaited.
    pub fn gathered(&self) -> Ending {
        let failed = self.endings.iter().enumerate().find_map(|(item, ending)| match ending {
            Some(Ending::Failed(failure)) => Some((item, failure)),
            _ => None,
        });
        let is_one = matches!(self.body.source, BodySource::Workflow { .. });
        match failed {
            Some((item, failure)) if self.body.on_failure == ItemFailure::Stop => {
                let place = if is_one { String::new() } else { format!("Item {item}: ") };
                let message = format!("{place}{}", failure.message);
                Ending::Failed(Failure { message, class: Class::Fatal, ..failure.clone() })
            }
            _ => {
                let mut results = self.endings.iter().map(|ending| self.result(ending.as_ref()));
                let output = match is_one {
                    true => results.next().unwrap_or_default(),
                    false => results.collect(),
                };
                Ending::Completed { output: output.into(), port: None }
            }
        }
    }

    fn result(&self, ending: Option<&Ending>) -> Value {
        match ending {
            Some(Ending::Completed { output, .. }) => {
                output.value().map(|value| value.as_ref().clone()).unwrap_or_default()
            }
            Some(Ending::Failed(failure)) if self.body.on_failure == ItemFailure::Collect => {
                json!({ "error": { "code": failure.code.as_str(), "message": failure.message } })
            }
            _ => Value::Null,
        }
    }
}

/// One line of a run's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// Unix milliseconds.
    pub at: u64,
    /// The node it is about.
    pub node: Option<NodeIndex>,
    /// How serious it is.
    pub level: Level,
    /// The line.
    pub message: String,
}

impl Run {
    /// A run of this program before its first entry.
    pub fn new(program: Arc<Program>) -> Run {
        let scheduler = Scheduler::new(program.rules());
        let nodes = vec![NodeRecord::default(); program.plan.nodes.len()];
        Run {
            program,
            scheduler,
            start: None,
            input: Arc::new(Value::Null),
            nodes,
            log: Vec::new(),
            next_seq: 0,
            started_at: 0,
            finished_at: None,
            outcome: None,
            spent: Usage::default(),
        }
    }

    /// Folds a journal.
    pub fn replay<'a>(program: Arc<Program>, entries: impl IntoIterator<Item = &'a Entry>) -> Run {
        let mut run = Run::new(program);
        let mut ignored = Vec::new();
        for entry in entries {
            run.apply(entry, &mut ignored);
            ignored.clear();
        }
        run
    }

    /// Folds one entry and adds what follows from it to `actions`. Answers whether the entry changed
    /// anything: a stale or repeated one does not.
    pub fn apply(&mut self, entry: &Entry, actions: &mut Vec<Action>) -> bool {
        self.next_seq += 1;
        let program = Arc::clone(&self.program);
        let applied = self.scheduler.apply(program.rules(), entry, actions);
        if applied {
            self.record(entry);
        }
        applied
    }

    fn record(&mut self, entry: &Entry) {
        match &entry.fact {
            Fact::RunStarted(start) => {
                self.started_at = entry.at;
                self.input = start.input.value().cloned().unwrap_or_default();
                self.start = Some(Arc::new(Start::clone(start)));
            }
            Fact::NodeStarted { node, attempt } => {
                self.begin(*node, *attempt, entry.at);
            }
            Fact::NodeCompleted { node, attempt, output, port, details } => {
                let record = self.settle(*node, entry.at);
                record.attempts = *attempt;
                record.output = output.value().cloned();
                record.body = None;
                record.port = port.as_deref().map(Into::into);
                record.details = (!details.is_empty()).then(|| Box::new(details.clone()));
            }
            Fact::NodeFailed { node, attempt, failure, .. } => {
                let settled = self.scheduler.status(*node).is_settled();
                let record = &mut self.nodes[*node as usize];
                record.attempts = *attempt;
                record.failure = Some(Box::new(failure.clone()));
                record.started_at.get_or_insert(entry.at);
                record.settled_at = settled.then_some(entry.at);
                if !settled {
                    let (node, level) = (Some(*node), Level::Info);
                    let message = format!("Attempt {attempt} failed: {}", failure.message);
                    self.log_line(LogLine { at: entry.at, node, level, message });
                }
            }
            Fact::Spent { node, usage } => {
                self.spent.add(usage);
                let record = self.nodes.get_mut(*node as usize);
                record.into_iter().for_each(|node| node.spent.get_or_insert_default().add(usage));
            }
            Fact::NodeSuspended { node, attempt, until, then } => {
                let record = self.begin(*node, *attempt, entry.at);
                let suspension = Suspension { until: *until, then: then.clone() };
                record.suspension = Some(Box::new(suspension));
            }
            Fact::BodyStarted { node, attempt, body } => {
                let record = self.begin(*node, *attempt, entry.at);
                let body = Body::clone(body);
                let mut record_of = BodyRecord { body, endings: Vec::new() };
                record_of.endings = vec![None; record_of.items().len()];
                record.body = Some(Box::new(record_of));
            }
            Fact::ItemEnded { node, item, ending, .. } => {
                let body = self.nodes[*node as usize].body.as_mut();
                let place = body.and_then(|body| body.endings.get_mut(*item as usize));
                if let Some(place) = place {
                    *place = Some(ending.clone());
                }
            }
            Fact::NodeSkipped { node, reason } => {
                self.settle(*node, entry.at).skipped = Some(reason.as_str().into());
            }
            Fact::Logged { node, level, message } => {
                let (node, level, message) = (*node, *level, message.clone());
                self.log_line(LogLine { at: entry.at, node, level, message });
            }
            Fact::RunFinished { outcome } => {
                self.finished_at = Some(entry.at);
                self.outcome = Some(outcome.clone());
            }
            Fact::TimerFired { .. } | Fact::CancelRequested { .. } => {}
        }
    }

    fn begin(&mut self, node: NodeIndex, attempt: u32, at: u64) -> &mut NodeRecord {
        let record = &mut self.nodes[node as usize];
        record.started_at.get_or_insert(at);
        record.attempts = attempt;
        record
    }

    fn settle(&mut self, node: NodeIndex, at: u64) -> &mut NodeRecord {
        let record = &mut self.nodes[node as usize];
        record.started_at.get_or_insert(at);
        record.settled_at = Some(at);
        record.suspension = None;
        record
    }

    /// The fact that a moment brings about, when it has come.
    pub fn due(&self, timer: Timer) -> Fact {
        let Timer::Wait { node, attempt } = timer else { return Fact::TimerFired { timer } };
        match self.nodes[node as usize].suspension.as_deref() {
            Some(suspension) => Fact::ended(node, attempt, suspension.then.clone()),
            None => Fact::TimerFired { timer },
        }
    }

    /// How a node with a body ends, when nothing of its items is awaited any more.
    pub fn gathered(&self, node: NodeIndex, attempt: u32) -> Option<Fact> {
        let body = self.nodes[node as usize].body.as_deref()?;
        Some(Fact::ended(node, attempt, body.gathered()))
    }

    /// The run's result: what its last nodes give. Where it has several such nodes, those that have
    /// completed by id, and the value alone where only one has.
    pub fn result(&self) -> Value {
        let completed = self.program.plan.results.iter().filter_map(|node| {
            let output = self.nodes[*node as usize].output.as_deref()?;
            Some((self.program.plan.nodes[*node as usize].id.clone(), output.clone()))
        });
        let mut completed: Vec<(String, Value)> = completed.collect();
        match completed.len() {
            0 => Value::Null,
            1 => completed.remove(0).1,
            _ => Value::Object(completed.into_iter().collect()),
        }
    }

    /// How the run ends for the run that it is a part of.
    pub fn ending(&self) -> Option<Ending> {
        Some(match self.outcome.as_ref()? {
            Outcome::Completed => Ending::Completed { output: self.result().into(), port: None },
            Outcome::Failed { failure, node } => {
                let place = node.map(|node| self.program.plan.nodes[node as usize].id.as_str());
                let place = place.map(|id| format!("{id}: ")).unwrap_or_default();
                let message = format!("{place}{}", failure.message);
                Ending::Failed(Failure { message, class: Class::Fatal, ..failure.clone() })
            }
            Outcome::Cancelled { reason } => {
                let text = format!("the run of it was cancelled: {reason}");
                Ending::Failed(Failure::fatal(Code::Cancelled, text))
            }
        })
    }

    /// Keeps a line unless it is the last one once more, or the log is full.
    fn log_line(&mut self, line: LogLine) {
        if self.log.len() >= LOG_LINES_PER_RUN as usize || self.log.last() == Some(&line) {
            return;
        }
        let at = line.at;
        self.log.push(line);
        if self.log.len() + 1 == LOG_LINES_PER_RUN as usize {
            let message = "The log is full: further lines are dropped".to_owned();
            self.log.push(LogLine { at, node: None, level: Level::Warning, message });
        }
    }

    /// Where a node stands.
    pub fn status(&self, node: NodeIndex) -> NodeStatus {
        self.scheduler.status(node)
    }

    /// How many of the definition's own nodes stand there.
    pub fn count(&self, status: NodeStatus) -> usize {
        self.program.visible().filter(|node| self.status(*node) == status).count()
    }

    /// The result of a queue's item: the `text` of its node's output where there is one, else all of it.
    pub fn item_result(&self, item: u32) -> Option<&Value> {
        let node = self.program.item_node(item)?;
        let output = self.nodes[node as usize].output.as_deref()?;
        Some(output.get("text").unwrap_or(output))
    }

    /// The value of a named output: of the last node in listing order that completed and makes it.
    pub fn named_output(&self, name: &str) -> Option<&Value> {
        let producers = self.program.producers.get(name)?;
        producers.iter().rev().find_map(|node| {
            let output = self.nodes[*node as usize].output.as_deref()?;
            output.get(name)
        })
    }
}
