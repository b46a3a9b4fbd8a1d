//! The rules once more, as naively as possible: no counters, no order of events, only outcomes.

use std::collections::{BTreeSet, VecDeque};

use super::world::Last;
use crate::plan::{Edge, Join, NodeIndex, OnFailure, Plan, QueueItem, Shape, When};
use crate::run::Run;
use crate::scheduler::{NodeStatus, display_name};

/// Where every node stands once nothing is left to do, if failures do not stop the run. `last` tells
/// how a node comes out that runs.
pub(super) fn statuses(plan: &Plan, last: &dyn Fn(NodeIndex) -> Last) -> Vec<NodeStatus> {
    match &plan.shape {
        Shape::Graph { edges } => {
            let mut graph = Graph { plan, edges, last, known: vec![None; plan.nodes.len()] };
            (0..plan.nodes.len()).map(|node| graph.status(node as NodeIndex)).collect()
        }
        Shape::Queue { items } => {
            let mut statuses = vec![NodeStatus::Waiting; plan.nodes.len()];
            for node in execution_order(plan, items, last) {
                statuses[node as usize] = ran(last(node));
            }
            statuses
        }
    }
}

fn ran(last: Last) -> NodeStatus {
    match last {
        Last::Completed(_) => NodeStatus::Completed,
        Last::Failed => NodeStatus::Failed,
    }
}

struct Graph<'a> {
    plan: &'a Plan,
    edges: &'a [Edge],
    last: &'a dyn Fn(NodeIndex) -> Last,
    known: Vec<Option<NodeStatus>>,
}

impl Graph<'_> {
    fn status(&mut self, node: NodeIndex) -> NodeStatus {
        if let Some(status) = self.known[node as usize] {
            return status;
        }
        let status = self.judge(node);
        self.known[node as usize] = Some(status);
        status
    }

    fn judge(&mut self, node: NodeIndex) -> NodeStatus {
        let edges = self.edges;
        let incoming: Vec<&Edge> = edges.iter().filter(|edge| edge.to == node).collect();
        let live = incoming.iter().filter(|edge| self.is_live(edge)).count();
        let runs = match self.plan.nodes[node as usize].join {
            _ if incoming.is_empty() => true,
            Join::Every => live == incoming.len(),
            Join::All => live >= 1,
            Join::First(count) => live >= count.max(1) as usize,
        };
        if !runs || !self.plan.nodes[node as usize].selections.is_empty() {
            return NodeStatus::Skipped;
        }
        ran((self.last)(node))
    }

    fn is_live(&mut self, edge: &Edge) -> bool {
        let completed = self.status(edge.from) == NodeStatus::Completed;
        match &edge.when {
            When::Settled => true,
            When::Never => false,
            When::Failed => self.status(edge.from) == NodeStatus::Failed,
            When::Completed => completed,
            When::Port(wanted) => {
                let port = match (self.last)(edge.from) {
                    Last::Completed(port) => port,
                    Last::Failed => None,
                };
                completed && port == Some(wanted)
            }
        }
    }
}

/// Whether the failure of a node is caught by an edge that leads on from it.
pub(super) fn is_caught(plan: &Plan, node: NodeIndex) -> bool {
    let Shape::Graph { edges } = &plan.shape else { return false };
    edges.iter().any(|edge| edge.from == node && edge.when == When::Failed)
}

/// The contract of instruction chains, transcribed: the nodes in the order in which they run.
pub(super) fn execution_order(
    plan: &Plan,
    items: &[QueueItem],
    last: &dyn Fn(NodeIndex) -> Last,
) -> Vec<NodeIndex> {
    let targets: BTreeSet<u32> =
        items.iter().flat_map(|item| item.if_true.iter().chain(&item.if_false)).copied().collect();
    let (mut queue, mut executed, mut order) = (VecDeque::from([0]), BTreeSet::new(), Vec::new());
    while let Some(index) = queue.pop_front() {
        if index as usize >= items.len() || !executed.insert(index) {
            continue;
        }
        let item = &items[index as usize];
        let mut verdict = None;
        let own = [Some(item.node), item.condition].into_iter().flatten();
        for node in item.before.iter().copied().chain(own) {
            order.push(node);
            match last(node) {
                Last::Completed(port) => verdict = Some(port == Some("true")),
                Last::Failed if plan.on_failure == OnFailure::Stop => return order,
                Last::Failed => {
                    verdict = None;
                    break;
                }
            }
        }
        let branch = match (item.condition, verdict) {
            (Some(_), Some(true)) => Some(&item.if_true),
            (Some(_), Some(false)) => Some(&item.if_false),
            _ => None,
        };
        match branch {
            Some(list) if !list.is_empty() => queue.extend(list),
            None if targets.contains(&index) => {}
            _ => queue.push_back(index + 1),
        }
    }
    order
}

/// Every reason that a dead edge of this node could give for its skip.
pub(super) fn reasons(run: &Run, node: NodeIndex) -> Vec<String> {
    let plan = &run.program.plan;
    let Shape::Graph { edges } = &plan.shape else { return Vec::new() };
    let incoming = edges.iter().filter(|edge| edge.to == node && edge.when != When::Settled);
    let reason = |edge: &Edge| {
        let name = display_name(&plan.nodes[edge.from as usize]);
        let port = run.nodes[edge.from as usize].port.as_deref();
        match (run.status(edge.from), &edge.when) {
            (_, When::Never) => Some("It is not reached from where the graph begins".to_owned()),
            (NodeStatus::Completed, When::Failed) => Some(format!("{name} did not fail")),
            (NodeStatus::Failed, When::Failed) => None,
            (NodeStatus::Failed, _) => Some(format!("Dependency {name} failed")),
            (NodeStatus::Skipped, _) => Some(format!("Dependency {name} was aborted")),
            (NodeStatus::Completed, When::Port(wanted)) if port != Some(wanted) => {
                Some(format!("{name} took another branch"))
            }
            _ => None,
        }
    };
    incoming.filter_map(reason).collect()
}
