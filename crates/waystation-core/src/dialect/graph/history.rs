//! What a run's journal tells, line by line, for people.

use crate::entry::{Ending, Entry, Fact, Level, Outcome};
use crate::error::Failure;
use crate::plan::{Node, NodeIndex};
use crate::program::Program;
use crate::time::rfc3339;

/// What stands before a failure's own words.
const FAILED: &str = "Failed: ";

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Unix milliseconds.
    pub at: u64,
    /// How serious it is.
    pub level: Level,
    /// The node that it is about.
    pub node: Option<String>,
    /// What happened.
    pub message: String,
}

impl Line {
    /// A failure in its own words.
    pub(super) fn error(&self) -> &str {
        self.message.strip_prefix(FAILED).unwrap_or(&self.message)
    }
}

/// All lines, in order. What is the plan's mechanics is left out.
pub fn lines(program: &Program, entries: &[Entry]) -> Vec<Line> {
    entries.iter().filter_map(|entry| line(program, entry)).collect()
}

fn line(program: &Program, entry: &Entry) -> Option<Line> {
    let node = |index: &NodeIndex| &program.plan.nodes[*index as usize];
    let (about, level, message) = match &entry.fact {
        Fact::RunStarted(_) => (None, Level::Info, "Workflow started".to_owned()),
        Fact::NodeStarted { node: of, attempt } => {
            (Some(node(of)), Level::Info, started(node(of), *attempt))
        }
        Fact::NodeCompleted { node: of, port, .. } => {
            let way = port.as_ref().map(|port| format!(" ({port})")).unwrap_or_default();
            (Some(node(of)), Level::Info, format!("Completed{way}"))
        }
        Fact::NodeFailed { node: of, attempt, failure, .. } => {
            let is_last = *attempt >= node(of).retry.attempts
                || matches!(failure.class, crate::error::Class::Fatal);
            let level = if is_last { Level::Error } else { Level::Warning };
            let before = if is_last { FAILED.to_owned() } else { format!("Attempt {attempt}: ") };
            (Some(node(of)), level, format!("{before}{}", failure.message))
        }
        Fact::NodeSkipped { node: of, reason } => {
            (Some(node(of)), Level::Info, format!("Skipped: {reason}"))
        }
        Fact::NodeSuspended { node: of, until, .. } => {
            let until = until.map(|at| format!(" until {}", rfc3339(at))).unwrap_or_default();
            (Some(node(of)), Level::Info, format!("Waiting{until}"))
        }
        Fact::BodyStarted { node: of, body, .. } => {
            let text = format!("Running {} items", body.count().unwrap_or_default());
            (Some(node(of)), Level::Info, text)
        }
        Fact::ItemEnded { node: of, item, ending: Ending::Failed(failure), .. } => {
            (Some(node(of)), Level::Warning, item_failed(*item, failure))
        }
        Fact::Logged { node: of, level, message } => {
            (of.as_ref().map(node), *level, message.clone())
        }
        Fact::CancelRequested { reason } => {
            (None, Level::Warning, format!("Cancellation requested: {reason}"))
        }
        Fact::RunFinished { outcome } => (None, Level::Info, finished(outcome).to_owned()),
        Fact::ItemEnded { .. } | Fact::Spent { .. } | Fact::TimerFired { .. } => return None,
    };
    if about.is_some_and(|node| node.hidden) {
        return None;
    }
    let node = about.map(|node| node.id.clone());
    Some(Line { at: entry.at, level, node, message })
}

/// What is said of an item that failed.
pub(super) fn item_failed(item: u32, failure: &Failure) -> String {
    format!("Item {item} failed: {}", failure.message)
}

fn started(node: &Node, attempt: u32) -> String {
    let kind = node.metadata.get("type").and_then(|kind| kind.as_str()).unwrap_or(&node.kind);
    match attempt {
        1 => format!("Executing {kind} node"),
        again => format!("Executing {kind} node, attempt {again}"),
    }
}

fn finished(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Completed => "Workflow completed",
        Outcome::Failed { .. } => "Workflow failed",
        Outcome::Cancelled { .. } => "Workflow cancelled",
    }
}
