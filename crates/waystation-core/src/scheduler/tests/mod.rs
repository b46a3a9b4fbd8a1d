//! The scheduler's promises one by one, each as a story: a fact, and the actions that follow from it.

mod graph;
mod journals;
mod lifecycle;
mod queue;

use std::sync::Arc;

use serde_json::{Map, Value};

use super::simulator::plans;
use super::{Action, NodeStatus};
use crate::entry::{Entry, Fact, Outcome, Start, Timer};
use crate::error::{Code, Failure};
use crate::plan::{Edge, Join, Node, NodeIndex, OnFailure, Plan, QueueItem, Shape, When};
use crate::program::Program;
use crate::run::Run;

/// A run that is told facts and whose actions are read as text.
struct Story {
    run: Run,
    now: u64,
}

impl Story {
    fn new(plan: Plan) -> Story {
        let program = Program::load(plan, "hash").expect("no templates, no problems");
        Story { run: Run::new(Arc::new(program)), now: 1_000 }
    }

    /// The actions that the run begins with.
    fn start(&mut self) -> String {
        let start = Start {
            plan: "hash".into(),
            workflow: "workflow".into(),
            namespace: "default".into(),
            input: Value::Null.into(),
            ..Start::default()
        };
        self.tell(Fact::RunStarted(Box::new(start)))
    }

    fn tell(&mut self, fact: Fact) -> String {
        let mut actions = Vec::new();
        self.run.apply(&Entry { at: self.now, fact }, &mut actions);
        spelled(&actions)
    }

    /// Starts the run and compares the actions after each fact.
    fn check(&mut self, start: &str, rest: &[(Fact, &str)]) {
        assert_eq!(self.start(), start, "at the start");
        self.go_on(rest);
    }

    fn go_on(&mut self, facts: &[(Fact, &str)]) {
        for (place, (fact, expected)) in facts.iter().enumerate() {
            let told = self.tell(fact.clone());
            assert_eq!(told, *expected, "after fact {place}, {fact:?}");
        }
    }

    fn resumed(&self) -> String {
        spelled(&self.run.scheduler.resume(self.run.program.rules()))
    }

    /// One letter a node: Waiting, Ready, sKipping, rUnning, Backoff, susPended, In body, Completed, Failed, Skipped, cAncelled.
    fn statuses(&self) -> String {
        let letter = |node| match self.run.status(node) {
            NodeStatus::Waiting => 'W',
            NodeStatus::Ready => 'R',
            NodeStatus::Skipping => 'K',
            NodeStatus::Running => 'U',
            NodeStatus::Backoff => 'B',
            NodeStatus::Suspended => 'P',
            NodeStatus::InBody => 'I',
            NodeStatus::Completed => 'C',
            NodeStatus::Failed => 'F',
            NodeStatus::Skipped => 'S',
            NodeStatus::Cancelled => 'A',
        };
        (0..self.run.nodes.len()).map(|node| letter(node as NodeIndex)).collect()
    }
}

fn spelled(actions: &[Action]) -> String {
    let spell = |action: &Action| match action {
        Action::Start { node, attempt: 1 } => format!("start {node}"),
        Action::Start { node, attempt } => format!("start {node} again as {attempt}"),
        Action::Skip { node, reason } => format!("skip {node}: {reason}"),
        Action::SetTimer { timer: Timer::Deadline, at } => format!("deadline at {at}"),
        Action::SetTimer { timer: Timer::Retry { node, attempt }, at } => {
            format!("retry {node} as {attempt} at {at}")
        }
        Action::SetTimer { timer: Timer::Wait { node, .. }, at } => format!("wake {node} at {at}"),
        Action::StartItem { node, item, .. } => format!("start {node}[{item}]"),
        Action::Gather { node, .. } => format!("gather {node}"),
        Action::Cancel { node } => format!("cancel {node}"),
        Action::Finish { outcome: Outcome::Completed } => "finish".into(),
        Action::Finish { outcome: Outcome::Failed { node, failure } } => {
            let node = node.map(|node| format!(" by {node}")).unwrap_or_default();
            format!("fail{node}: {}", failure.message)
        }
        Action::Finish { outcome: Outcome::Cancelled { reason } } => format!("cancelled: {reason}"),
    };
    actions.iter().map(spell).collect::<Vec<_>>().join(", ")
}

fn graph(joins: &[Join], edges: Vec<Edge>, on_failure: OnFailure) -> Plan {
    let mut nodes = named(joins.len());
    nodes.iter_mut().zip(joins).for_each(|(node, join)| node.join = *join);
    plans::plan(Shape::Graph { edges }, nodes, on_failure)
}

fn queue(items: Vec<QueueItem>, nodes: usize, on_failure: OnFailure) -> Plan {
    plans::plan(Shape::Queue { items }, named(nodes), on_failure)
}

fn named(count: usize) -> Vec<Node> {
    (0..count).map(|node| plans::node(format!("n{node}"), plans::EFFECT)).collect()
}

fn needs(from: NodeIndex, to: NodeIndex) -> Edge {
    plans::edge(from, to, When::Completed)
}

fn done(node: NodeIndex) -> Fact {
    done_as(node, 1, None)
}

fn done_by(node: NodeIndex, port: &str) -> Fact {
    done_as(node, 1, Some(port))
}

fn done_as(node: NodeIndex, attempt: u32, port: Option<&str>) -> Fact {
    let output = Value::Null.into();
    Fact::NodeCompleted { node, attempt, output, port: port.map(Into::into), details: Map::new() }
}

fn started(node: NodeIndex, attempt: u32) -> Fact {
    Fact::NodeStarted { node, attempt }
}

fn refused(node: NodeIndex, attempt: u32) -> Fact {
    let failure = Failure::fatal(Code::HttpStatus, "refused");
    Fact::NodeFailed { node, attempt, failure, jitter: 0 }
}

fn lost(node: NodeIndex, attempt: u32, after_ms: Option<u64>) -> Fact {
    let failure = Failure::retryable(Code::Transport, "lost", after_ms);
    Fact::NodeFailed { node, attempt, failure, jitter: 0 }
}

fn skipped(node: NodeIndex) -> Fact {
    Fact::NodeSkipped { node, reason: "so".into() }
}

fn due(node: NodeIndex, attempt: u32) -> Fact {
    Fact::TimerFired { timer: Timer::Retry { node, attempt } }
}

fn deadline() -> Fact {
    Fact::TimerFired { timer: Timer::Deadline }
}

fn cancel() -> Fact {
    Fact::CancelRequested { reason: "enough".into() }
}
