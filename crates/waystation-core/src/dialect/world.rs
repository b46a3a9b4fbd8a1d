//! A world in memory for one run: a virtual clock and services that answer by script. Tests of all
//! formats run in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::entry::{Data, Entry, Fact, Level, Outcome, Start, Timer};
use crate::error::{Code, Failure};
use crate::plan::{Node, NodeIndex, Plan};
use crate::prepare::{Prepared, prepare};
use crate::program::Program;
use crate::run::Run;
use crate::scheduler::{Action, NodeStatus};
use crate::scope::Outside;
use crate::usage::Usage;

/// 2026-01-02 03:04:05 UTC.
const BEGINNING_MS: u64 = 1_767_323_045_000;
/// What every run is called.
pub(super) const EXECUTION_ID: &str = "execution-1";

/// What a node gives, and the port it leaves by.
pub(super) type Ending = Result<(Value, Option<String>), Failure>;

/// One attempt at a node.
pub(super) struct Task<'a> {
    pub(super) node: &'a Node,
    pub(super) attempt: u32,
    /// The settings, rendered.
    pub(super) config: Value,
    /// Whether the node's condition holds.
    pub(super) holds: Option<bool>,
    /// Milliseconds since the run began.
    pub(super) at_ms: u64,
}

/// How an attempt goes.
pub(super) enum Deed {
    /// At once, without effects outside.
    Pure(Ending),
    /// With effects outside, and so long after its start.
    Effect { after_ms: u64, ending: Ending, spent: Usage },
}

/// What stands behind the nodes.
pub(super) trait Services {
    /// Makes an attempt.
    fn perform(&mut self, task: Task<'_>) -> Deed;
}

/// A run that has ended, and its journal.
pub(super) struct Story<S> {
    pub(super) run: Run,
    pub(super) entries: Vec<Entry>,
    pub(super) services: S,
}

/// Runs a compiled definition to its end.
pub(super) fn live<S: Services>(
    plan: Plan,
    start: Start,
    warnings: Vec<String>,
    services: S,
) -> Story<S> {
    let program = Arc::new(Program::load(plan, "hash").expect("a compiled plan loads"));
    let mut world = World::new(program, services);
    world.record(Fact::RunStarted(Box::new(start)));
    for message in warnings {
        world.record(Fact::Logged { node: None, level: Level::Warning, message });
    }
    world.work();
    Story { run: world.run, entries: world.entries, services: world.services }
}

struct World<S> {
    run: Run,
    now: u64,
    /// What the scheduler asked for and is not done, last first.
    actions: Vec<Action>,
    entries: Vec<Entry>,
    timers: BTreeSet<(u64, Timer)>,
    /// Attempts under way, by the moment of their end and the order of their start.
    attempts: BTreeMap<(u64, usize), Ended>,
    begun: usize,
    services: S,
}

struct Ended {
    node: NodeIndex,
    attempt: u32,
    ending: Ending,
    spent: Usage,
}

impl<S: Services> World<S> {
    fn new(program: Arc<Program>, services: S) -> World<S> {
        World {
            run: Run::new(program),
            now: BEGINNING_MS,
            actions: Vec::new(),
            entries: Vec::new(),
            timers: BTreeSet::new(),
            attempts: BTreeMap::new(),
            begun: 0,
            services,
        }
    }

    /// Does what is to be done, then lets time pass to whatever comes next, until the run has ended.
    fn work(&mut self) {
        loop {
            while let Some(action) = self.actions.pop() {
                self.perform(action);
            }
            if self.run.outcome.is_some() {
                return;
            }
            let ends = self.attempts.first_key_value().map(|(key, _)| key.0);
            let alarm = self.timers.first().map(|(at, _)| *at);
            match (ends, alarm) {
                (Some(ends), alarm) if alarm.is_none_or(|alarm| ends <= alarm) => self.end_first(),
                (_, Some(_)) => self.fire_first(),
                _ => panic!("the run waits for nothing"),
            }
        }
    }

    fn end_first(&mut self) {
        let Some(((at, _), ended)) = self.attempts.pop_first() else { return };
        self.now = at;
        self.ended(ended);
    }

    fn fire_first(&mut self) {
        let Some((at, timer)) = self.timers.pop_first() else { return };
        self.now = at;
        self.record(Fact::TimerFired { timer });
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { node, attempt } => self.start(node, attempt),
            Action::Skip { node, reason } => self.record(Fact::NodeSkipped { node, reason }),
            Action::SetTimer { timer, at } => drop(self.timers.insert((at, timer))),
            Action::StartItem { .. } | Action::Gather { .. } => panic!("no node here has a body"),
            Action::Cancel { node } => self.attempts.retain(|_, ended| ended.node != node),
            Action::Finish { outcome } => self.finish(outcome),
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        assert!(self.attempts.is_empty(), "everything under way was cancelled");
        self.actions.clear();
        self.record(Fact::RunFinished { outcome });
    }

    fn record(&mut self, fact: Fact) {
        let entry = Entry { at: self.now, fact };
        let before = self.actions.len();
        assert!(self.run.apply(&entry, &mut self.actions), "{entry:?} changes nothing");
        self.actions[before..].reverse();
        self.entries.push(entry);
    }

    fn start(&mut self, node: NodeIndex, attempt: u32) {
        if self.run.status(node) != NodeStatus::Ready {
            return;
        }
        let secrets = |name: &str| (name != "UNKNOWN").then(|| format!("the secret {name}"));
        match prepare(&self.run, EXECUTION_ID, node, attempt, self.now, Outside::only(&secrets)) {
            Prepared::Skip { reason } => self.record(Fact::NodeSkipped { node, reason }),
            Prepared::Fail(failure) => {
                let (ending, spent) = (Err(failure), Usage::default());
                self.ended(Ended { node, attempt, ending, spent });
            }
            Prepared::Run { config, warnings, holds, .. } => {
                for message in warnings {
                    self.record(Fact::Logged { node: Some(node), level: Level::Warning, message });
                }
                self.dispatch(node, attempt, config, holds);
            }
        }
    }

    fn dispatch(&mut self, node: NodeIndex, attempt: u32, config: Value, holds: Option<bool>) {
        let program = Arc::clone(&self.run.program);
        let definition = &program.plan.nodes[node as usize];
        let at_ms = self.now - BEGINNING_MS;
        let task = Task { node: definition, attempt, config, holds, at_ms };
        let (after_ms, ending, spent) = match self.services.perform(task) {
            Deed::Pure(ending) => {
                return self.ended(Ended { node, attempt, ending, spent: Usage::default() });
            }
            Deed::Effect { after_ms, ending, spent } => (after_ms, ending, spent),
        };
        self.record(Fact::NodeStarted { node, attempt });
        self.begun += 1;
        let limit = definition.timeout_ms;
        let ending = if after_ms < limit { ending } else { Err(timed_out(limit)) };
        let ends = self.now + after_ms.min(limit);
        self.attempts.insert((ends, self.begun), Ended { node, attempt, ending, spent });
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { node, attempt, ending, spent: usage } = ended;
        if !usage.is_nothing() {
            self.record(Fact::Spent { node, usage });
        }
        self.record(match ending {
            Ok((output, port)) => Fact::NodeCompleted {
                node,
                attempt,
                output: Data::from(output),
                port,
                details: Map::new(),
            },
            Err(failure) => Fact::NodeFailed { node, attempt, failure, jitter: 0 },
        });
    }
}

fn timed_out(timeout_ms: u64) -> Failure {
    let text = format!("Timeout after {} seconds", timeout_ms as f64 / 1_000.0);
    Failure::retryable(Code::Timeout, text, None)
}
