//! Queues: items one after another, first in, first out, each at most once, with branches.

use std::collections::VecDeque;

use super::{Action, NodeState, NodeStatus, Settled};
use crate::plan::{NodeIndex, Plan, QueueItem, Shape};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    queue: VecDeque<u32>,
    executed: Vec<bool>,
    /// The executed items in order: an item's ordinal is its place here.
    begun: Vec<u32>,
    /// An item that some condition names is reached through it alone, and ends its branch.
    is_target: Vec<bool>,
    current: Option<u32>,
    /// Nodes of the current item that have completed.
    stage: usize,
}

impl State {
    pub(super) fn new(items: &[QueueItem]) -> State {
        let mut is_target = vec![false; items.len()];
        for target in items.iter().flat_map(|item| item.if_true.iter().chain(&item.if_false)) {
            if let Some(flag) = is_target.get_mut(*target as usize) {
                *flag = true;
            }
        }
        let executed = vec![false; items.len()];
        State {
            queue: VecDeque::from([0]),
            executed,
            begun: Vec::new(),
            is_target,
            current: None,
            stage: 0,
        }
    }

    pub(super) fn begun(&self) -> &[u32] {
        &self.begun
    }

    /// Starts the next item that is neither done nor out of range.
    pub(super) fn advance(
        &mut self,
        plan: &Plan,
        nodes: &mut [NodeState],
        actions: &mut Vec<Action>,
    ) {
        (self.current, self.stage) = (None, 0);
        while let Some(index) = self.queue.pop_front() {
            if self.executed.get(index as usize) != Some(&false) {
                continue;
            }
            self.executed[index as usize] = true;
            self.begun.push(index);
            self.current = Some(index);
            if let Some(first) = stage(&items(plan)[index as usize], 0) {
                return ready(nodes, first, actions);
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.current.is_none() && self.queue.is_empty()
    }

    pub(super) fn settled(
        &mut self,
        plan: &Plan,
        nodes: &mut [NodeState],
        how: Settled<'_>,
        actions: &mut Vec<Action>,
    ) {
        let Some(index) = self.current else { return };
        let item = &items(plan)[index as usize];
        self.stage += 1;
        let next = stage(item, self.stage);
        match (next, how) {
            (Some(next), Settled::Completed(_)) => return ready(nodes, next, actions),
            (None, Settled::Completed(port)) if item.condition.is_some() => {
                self.branch(item, index, port);
            }
            _ if self.is_target[index as usize] => {}
            _ => self.queue.push_back(index + 1),
        }
        self.advance(plan, nodes, actions);
    }

    fn branch(&mut self, item: &QueueItem, index: u32, port: Option<&str>) {
        let targets = if port == Some("true") { &item.if_true } else { &item.if_false };
        if targets.is_empty() {
            self.queue.push_back(index + 1);
        }
        self.queue.extend(targets);
    }
}

fn items(plan: &Plan) -> &[QueueItem] {
    match &plan.shape {
        Shape::Queue { items } => items,
        Shape::Graph { .. } => &[],
    }
}

/// The nodes of an item, in the order in which they run.
fn stage(item: &QueueItem, number: usize) -> Option<NodeIndex> {
    item.nodes().nth(number)
}

fn ready(nodes: &mut [NodeState], node: NodeIndex, actions: &mut Vec<Action>) {
    let state = &mut nodes[node as usize];
    state.status = NodeStatus::Ready;
    actions.push(Action::Start { node, attempt: state.attempt });
}
