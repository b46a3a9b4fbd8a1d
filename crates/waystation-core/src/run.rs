//! Everything known about one run, folded from its journal. Replies, events and templates read it.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::entry::{Entry, Fact, Level, Outcome, Start};
use crate::error::Failure;
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
                self.nodes[*node as usize].started_at.get_or_insert(entry.at);
                self.nodes[*node as usize].attempts = *attempt;
            }
            Fact::NodeCompleted { node, attempt, output, port, details } => {
                let record = self.settle(*node, entry.at);
                record.attempts = *attempt;
                record.output = output.value().cloned();
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

    fn settle(&mut self, node: NodeIndex, at: u64) -> &mut NodeRecord {
        let record = &mut self.nodes[node as usize];
        record.started_at.get_or_insert(at);
        record.settled_at = Some(at);
        record
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
