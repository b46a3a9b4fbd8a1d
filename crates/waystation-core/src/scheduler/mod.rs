//! The state machine of a run: facts in, actions out, nothing else. Total and deterministic.

mod body;
mod graph;
mod queue;
mod retry;
#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use crate::entry::{Body, Ending, Entry, Fact, Outcome, Timer};
use crate::error::{Class, Code, Failure};
use crate::limits::INTERRUPTIONS_PER_NODE;
use crate::plan::{Dialect, Node, NodeIndex, OnFailure, Plan, Shape};
pub use graph::Topology;

/// What has to happen next.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make an attempt at a node.
    Start {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
    },
    /// Record that a node will not run.
    Skip {
        /// Which node.
        node: NodeIndex,
        /// Why, in words for the user.
        reason: String,
    },
    /// Tell when a moment has come.
    SetTimer {
        /// Which one.
        timer: Timer,
        /// Unix milliseconds.
        at: u64,
    },
    /// Begin the run of an item of a node with a body.
    StartItem {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
        /// Which item, from 0.
        item: u32,
    },
    /// Record how a node with a body ends: all that its items have to say is known.
    Gather {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
    },
    /// Stop what is under way: an attempt, or the runs of items.
    Cancel {
        /// Which node.
        node: NodeIndex,
    },
    /// Record the end of the run.
    Finish {
        /// How it ended.
        outcome: Outcome,
    },
}

/// Where one node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeStatus {
    /// Its dependencies have not settled.
    Waiting,
    /// It may start.
    Ready,
    /// It cannot run any more, which is not recorded yet.
    Skipping,
    /// An attempt has been recorded as started.
    Running,
    /// It waits for its next attempt.
    Backoff,
    /// It waits for a moment or for somebody, with no attempt under way.
    Suspended,
    /// Runs of its items are under way.
    InBody,
    /// Its result is recorded.
    Completed,
    /// Its last attempt failed.
    Failed,
    /// It will not run.
    Skipped,
    /// It was stopped with the run.
    Cancelled,
}

impl NodeStatus {
    /// Whether nothing more will happen to the node.
    pub fn is_settled(self) -> bool {
        use NodeStatus::*;
        matches!(self, Completed | Failed | Skipped | Cancelled)
    }

    /// Whether something is under way or owed.
    fn is_transient(self) -> bool {
        use NodeStatus::*;
        matches!(self, Ready | Skipping | Running | Backoff | Suspended | InBody)
    }
}

#[derive(Clone, Debug, PartialEq)]
struct NodeState {
    status: NodeStatus,
    /// The attempt that is under way or next.
    attempt: u32,
    /// How often the present attempt was recorded as started: more than once after a crash.
    starts: u32,
    /// In `Running` when the attempt last started, in `Backoff` when the next one is due, in
    /// `Suspended` when the wait is over, if it ends by itself.
    moment: u64,
}

/// In [`NodeState::moment`]: the wait ends only when somebody ends it.
const NEVER: u64 = u64::MAX;

impl NodeState {
    /// The timer of a suspended node.
    fn alarm(&self, node: NodeIndex) -> Option<Action> {
        let timer = Timer::Wait { node, attempt: self.attempt };
        (self.moment < NEVER).then_some(Action::SetTimer { timer, at: self.moment })
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Phase {
    New,
    Running,
    /// The end is decided and not yet recorded.
    Ending(Outcome),
    Ended,
}

#[derive(Clone, Debug, PartialEq)]
enum Flow {
    Graph(graph::State),
    Queue(queue::State),
}

/// The live state of one run: the fold of its journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Scheduler {
    phase: Phase,
    nodes: Vec<NodeState>,
    flow: Flow,
    /// The bodies under way.
    bodies: BTreeMap<NodeIndex, body::State>,
    /// How many nodes are suspended.
    suspended: u32,
    deadline_at: Option<u64>,
}

/// What the scheduler reads and never changes.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its edges, indexed.
    pub topology: &'a Topology,
}

impl Scheduler {
    /// A run that has not started.
    pub fn new(rules: Rules<'_>) -> Scheduler {
        let fresh = NodeState { status: NodeStatus::Waiting, attempt: 1, starts: 0, moment: 0 };
        let flow = match &rules.plan.shape {
            Shape::Graph { .. } => Flow::Graph(graph::State::new(rules.topology)),
            Shape::Queue { items } => Flow::Queue(queue::State::new(items)),
        };
        let nodes = vec![fresh; rules.plan.nodes.len()];
        let bodies = BTreeMap::new();
        Scheduler { phase: Phase::New, nodes, flow, bodies, suspended: 0, deadline_at: None }
    }

    /// Where a node stands.
    pub fn status(&self, node: NodeIndex) -> NodeStatus {
        self.nodes[node as usize].status
    }

    /// The items of a queue that have begun, in the order in which they did; empty for a graph.
    pub fn begun(&self) -> &[u32] {
        match &self.flow {
            Flow::Graph(_) => &[],
            Flow::Queue(queue) => queue.begun(),
        }
    }

    /// Whether a node's present attempt was cut short so often that it must not be made again.
    pub fn is_worn_out(&self, node: NodeIndex) -> bool {
        let state = &self.nodes[node as usize];
        state.status == NodeStatus::Running && state.starts >= INTERRUPTIONS_PER_NODE
    }

    /// Whether nodes wait for a moment or for somebody.
    pub fn has_suspended_nodes(&self) -> bool {
        self.suspended > 0
    }

    /// Whether the end of an item is awaited.
    pub fn awaits_item(&self, node: NodeIndex, item: u32) -> bool {
        self.bodies.get(&node).is_some_and(|body| body.awaits(item))
    }

    /// Whether a node's present attempt is recorded as started: after a crash it was cut short.
    pub fn was_started(&self, node: NodeIndex) -> bool {
        self.nodes[node as usize].status == NodeStatus::Running
    }

    /// Whether the run's last entry has been applied.
    #[cfg(test)]
    pub(crate) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether the run's end is decided, though perhaps not recorded.
    #[cfg(test)]
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_) | Phase::Ended)
    }

    /// Applies one fact and adds what follows from it to `actions`. Answers whether the fact changed
    /// anything: a stale, repeated or impossible one does not.
    pub fn apply(&mut self, rules: Rules<'_>, entry: &Entry, actions: &mut Vec<Action>) -> bool {
        match (&self.phase, &entry.fact) {
            (Phase::New, Fact::RunStarted(_)) => self.start(rules, entry.at, actions),
            (Phase::Running, fact) => return self.progress(rules, entry.at, fact, actions),
            // What stopped attempts have used is known only when they are stopped.
            (Phase::Ending(_), Fact::Spent { .. }) => {}
            (Phase::Ending(_), Fact::RunFinished { .. }) => self.phase = Phase::Ended,
            _ => return false,
        }
        true
    }

    fn start(&mut self, rules: Rules<'_>, now: u64, actions: &mut Vec<Action>) {
        self.phase = Phase::Running;
        self.deadline_at = rules.plan.deadline_ms.map(|limit| now.saturating_add(limit));
        if let Some(at) = self.deadline_at {
            actions.push(Action::SetTimer { timer: Timer::Deadline, at });
        }
        match &mut self.flow {
            Flow::Graph(graph) => graph.start(&mut self.nodes, actions),
            Flow::Queue(queue) => queue.advance(rules.plan, &mut self.nodes, actions),
        }
        self.finish_if_done(actions);
    }

    fn progress(
        &mut self,
        rules: Rules<'_>,
        now: u64,
        fact: &Fact,
        actions: &mut Vec<Action>,
    ) -> bool {
        match fact {
            Fact::NodeStarted { node, attempt } => self.node_started(now, *node, *attempt),
            Fact::NodeCompleted { node, attempt, port, .. } => {
                self.expects(*node, *attempt)
                    && self.settle(rules, *node, Settled::Completed(port.as_deref()), actions)
            }
            Fact::NodeFailed { node, attempt, failure, jitter } => {
                self.expects(*node, *attempt)
                    && self.node_failed(rules, now, *node, (failure, *jitter), actions)
            }
            Fact::NodeSkipped { node, .. } => {
                self.may_skip(*node) && self.settle(rules, *node, Settled::Skipped, actions)
            }
            Fact::NodeSuspended { node, attempt, until, .. } => {
                self.suspended((*node, *attempt), *until, actions)
            }
            Fact::BodyStarted { node, attempt, body } => {
                self.body_started((*node, *attempt), body, actions)
            }
            Fact::ItemEnded { node, attempt, item, ending } => {
                let failed = matches!(ending, Ending::Failed(_));
                self.item_ended((*node, *attempt), (*item, failed), actions)
            }
            Fact::TimerFired { timer } => self.timer_fired(rules, *timer, actions),
            Fact::CancelRequested { reason } => {
                self.end(Outcome::Cancelled { reason: reason.clone() }, actions)
            }
            Fact::Logged { .. } | Fact::Spent { .. } => true,
            Fact::RunStarted(_) | Fact::RunFinished { .. } => false,
        }
    }

    /// Whether a result of this attempt is awaited.
    fn expects(&self, node: NodeIndex, attempt: u32) -> bool {
        let awaited = |state: &NodeState| {
            state.attempt == attempt
                && matches!(
                    state.status,
                    NodeStatus::Ready
                        | NodeStatus::Running
                        | NodeStatus::Suspended
                        | NodeStatus::InBody
                )
        };
        self.nodes.get(node as usize).is_some_and(awaited)
    }

    /// Whether this attempt may begin, or begin to wait.
    fn may_begin(&self, node: NodeIndex, attempt: u32) -> bool {
        let status = self.nodes.get(node as usize).map(|state| state.status);
        let begins = matches!(status, Some(NodeStatus::Ready | NodeStatus::Running));
        begins && self.expects(node, attempt)
    }

    /// A gate is looked at before every attempt, so it may close on one that a crash cut short.
    fn may_skip(&self, node: NodeIndex) -> bool {
        let status = self.nodes.get(node as usize).map(|state| state.status);
        matches!(status, Some(NodeStatus::Skipping | NodeStatus::Ready | NodeStatus::Running))
    }

    /// A second start of the same attempt at another moment means that a crash cut the first short.
    fn node_started(&mut self, now: u64, node: NodeIndex, attempt: u32) -> bool {
        if !self.may_begin(node, attempt) {
            return false;
        }
        let state = &mut self.nodes[node as usize];
        if state.status == NodeStatus::Running && state.moment == now {
            return false;
        }
        state.status = NodeStatus::Running;
        state.starts = state.starts.saturating_add(1);
        state.moment = now;
        true
    }

    fn suspended(
        &mut self,
        (node, attempt): (NodeIndex, u32),
        until: Option<u64>,
        actions: &mut Vec<Action>,
    ) -> bool {
        if !self.may_begin(node, attempt) {
            return false;
        }
        let state = &mut self.nodes[node as usize];
        state.status = NodeStatus::Suspended;
        state.moment = until.unwrap_or(NEVER);
        actions.extend(state.alarm(node));
        self.suspended += 1;
        true
    }

    fn body_started(
        &mut self,
        (node, attempt): (NodeIndex, u32),
        body: &Body,
        actions: &mut Vec<Action>,
    ) -> bool {
        if !self.may_begin(node, attempt) {
            return false;
        }
        self.nodes[node as usize].status = NodeStatus::InBody;
        let mut state = body::State::new(body);
        state.go_on((node, attempt), actions);
        self.bodies.insert(node, state);
        true
    }

    fn item_ended(
        &mut self,
        (node, attempt): (NodeIndex, u32),
        (item, failed): (u32, bool),
        actions: &mut Vec<Action>,
    ) -> bool {
        if !self.expects(node, attempt) {
            return false;
        }
        let Some(body) = self.bodies.get_mut(&node) else { return false };
        let ended = body.ended((node, item), failed, actions);
        if ended {
            body.go_on((node, attempt), actions);
        }
        ended
    }

    fn node_failed(
        &mut self,
        rules: Rules<'_>,
        now: u64,
        node: NodeIndex,
        (failure, jitter): (&Failure, u16),
        actions: &mut Vec<Action>,
    ) -> bool {
        let policy = rules.plan.nodes[node as usize].retry;
        if let Class::Retryable { after_ms } = failure.class
            && self.nodes[node as usize].attempt < policy.attempts
        {
            self.leave(node, actions);
            let state = &mut self.nodes[node as usize];
            let at = now.saturating_add(retry::wait_ms(policy, state.attempt, after_ms, jitter));
            state.attempt += 1;
            state.starts = 0;
            state.status = NodeStatus::Backoff;
            state.moment = at;
            let timer = Timer::Retry { node, attempt: state.attempt };
            actions.push(Action::SetTimer { timer, at });
            return true;
        }
        self.settle(rules, node, Settled::Failed(failure), actions)
    }

    /// Records that nothing more will happen to a node, and lets the rest of the run follow.
    fn settle(
        &mut self,
        rules: Rules<'_>,
        node: NodeIndex,
        how: Settled<'_>,
        actions: &mut Vec<Action>,
    ) -> bool {
        self.leave(node, actions);
        self.nodes[node as usize].status = how.status();
        if let Settled::Failed(failure) = how
            && rules.plan.on_failure == OnFailure::Stop
            && !rules.topology.catches_failure(node)
        {
            return self
                .end(Outcome::Failed { node: Some(node), failure: failure.clone() }, actions);
        }
        match &mut self.flow {
            Flow::Graph(graph) => graph.settled(rules, &mut self.nodes, node, how, actions),
            Flow::Queue(queue) => queue.settled(rules.plan, &mut self.nodes, how, actions),
        }
        self.finish_if_done(actions);
        true
    }

    /// Ends the wait of a node that settles or is tried again. What is still under way of its body has no
    /// meaning any more.
    fn leave(&mut self, node: NodeIndex, actions: &mut Vec<Action>) {
        if self.status(node) == NodeStatus::Suspended {
            self.suspended -= 1;
        }
        if self.bodies.remove(&node).is_some_and(|body| body.has_items_under_way()) {
            actions.push(Action::Cancel { node });
        }
    }

    fn timer_fired(&mut self, rules: Rules<'_>, timer: Timer, actions: &mut Vec<Action>) -> bool {
        match timer {
            Timer::Retry { node, attempt } => {
                let Some(state) = self.nodes.get_mut(node as usize) else { return false };
                if state.status != NodeStatus::Backoff || state.attempt != attempt {
                    return false;
                }
                state.status = NodeStatus::Ready;
                actions.push(Action::Start { node, attempt });
                true
            }
            Timer::Wait { .. } => false,
            Timer::Deadline => {
                let Some(limit_ms) = rules.plan.deadline_ms else { return false };
                let seconds = limit_ms as f64 / 1000.0;
                let what = match rules.plan.dialect {
                    Dialect::Graph => "The workflow",
                    _ => "Pipeline",
                };
                let text = format!("{what} timed out after {seconds} seconds");
                let failure = Failure::fatal(Code::DeadlineExceeded, text);
                self.end(Outcome::Failed { node: None, failure }, actions)
            }
        }
    }

    fn finish_if_done(&mut self, actions: &mut Vec<Action>) {
        let done = match &self.flow {
            Flow::Graph(graph) => graph.is_done(),
            Flow::Queue(queue) => queue.is_done(),
        };
        if done && self.phase == Phase::Running {
            self.end(Outcome::Completed, actions);
        }
    }

    fn end(&mut self, outcome: Outcome, actions: &mut Vec<Action>) -> bool {
        for (index, state) in self.nodes.iter_mut().enumerate() {
            if matches!(state.status, NodeStatus::Running | NodeStatus::Ready | NodeStatus::InBody)
            {
                actions.push(Action::Cancel { node: index as NodeIndex });
            }
            if state.status.is_transient() {
                state.status = NodeStatus::Cancelled;
            }
        }
        self.bodies.clear();
        self.suspended = 0;
        self.phase = Phase::Ending(outcome.clone());
        actions.push(Action::Finish { outcome });
        true
    }

    /// What is still to be done after a fold: the actions whose facts the journal does not have.
    pub fn resume(&self, rules: Rules<'_>) -> Vec<Action> {
        let mut actions = Vec::new();
        match &self.phase {
            Phase::New | Phase::Ended => return actions,
            Phase::Ending(outcome) => {
                return vec![Action::Finish { outcome: outcome.clone() }];
            }
            Phase::Running => {}
        }
        if let Some(at) = self.deadline_at {
            actions.push(Action::SetTimer { timer: Timer::Deadline, at });
        }
        for (index, state) in self.nodes.iter().enumerate() {
            let (node, attempt) = (index as NodeIndex, state.attempt);
            match state.status {
                NodeStatus::Ready | NodeStatus::Running => {
                    actions.push(Action::Start { node, attempt });
                }
                NodeStatus::Backoff => {
                    let timer = Timer::Retry { node, attempt };
                    actions.push(Action::SetTimer { timer, at: state.moment });
                }
                NodeStatus::Suspended => actions.extend(state.alarm(node)),
                NodeStatus::InBody => {
                    if let Some(body) = self.bodies.get(&node) {
                        body.resume((node, attempt), &mut actions);
                    }
                }
                NodeStatus::Skipping => {
                    if let Flow::Graph(graph) = &self.flow {
                        actions.push(graph.skip(rules, &self.nodes, node));
                    }
                }
                _ => {}
            }
        }
        actions
    }
}

/// How a node came to rest.
#[derive(Clone, Copy)]
enum Settled<'a> {
    Completed(Option<&'a str>),
    Failed(&'a Failure),
    Skipped,
}

impl Settled<'_> {
    fn status(self) -> NodeStatus {
        match self {
            Settled::Completed(_) => NodeStatus::Completed,
            Settled::Failed(_) => NodeStatus::Failed,
            Settled::Skipped => NodeStatus::Skipped,
        }
    }
}

/// The name that messages use for a node.
fn display_name(node: &Node) -> &str {
    if node.name.is_empty() { &node.id } else { &node.name }
}
