//! Graphs: in-degree counters over compact adjacency, joins, and the elimination of dead paths.

use std::num::NonZeroU32;

use super::{Action, NodeState, NodeStatus, Rules, Settled, display_name};
use crate::plan::{Edge, Join, NodeIndex, Plan, Shape, When};

/// A plan's edges, grouped by their source.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    edges: Vec<Edge>,
    /// Where a node's outgoing edges begin in `edges`; one longer than the nodes.
    offsets: Vec<u32>,
    incoming: Vec<u32>,
    /// Nodes with an edge that is followed when they fail.
    catching: Vec<bool>,
}

impl Topology {
    /// Groups the edges of a graph; empty for a queue.
    pub fn new(plan: &Plan) -> Topology {
        let Shape::Graph { edges } = &plan.shape else { return Topology::default() };
        let mut edges = edges.clone();
        edges.sort_by_key(|edge| edge.from);
        let mut offsets = vec![0; plan.nodes.len() + 1];
        let mut incoming = vec![0; plan.nodes.len()];
        let mut catching = vec![false; plan.nodes.len()];
        for edge in &edges {
            offsets[edge.from as usize + 1] += 1;
            incoming[edge.to as usize] += 1;
            catching[edge.from as usize] |= edge.when == When::Failed;
        }
        for index in 1..offsets.len() {
            offsets[index] += offsets[index - 1];
        }
        Topology { edges, offsets, incoming, catching }
    }

    /// Whether the failure of a node is no failure of the run, because an edge leads on from it.
    pub(super) fn catches_failure(&self, node: NodeIndex) -> bool {
        self.catching.get(node as usize).copied().unwrap_or_default()
    }

    /// The edges that leave a node, numbered from 1 over the whole graph.
    fn outgoing(&self, node: NodeIndex) -> impl Iterator<Item = (Option<NonZeroU32>, &Edge)> {
        let (from, to) = (self.offsets[node as usize], self.offsets[node as usize + 1]);
        let numbers = (from + 1..=to).map(NonZeroU32::new);
        numbers.zip(&self.edges[from as usize..to as usize])
    }

    fn edge(&self, number: NonZeroU32) -> &Edge {
        &self.edges[number.get() as usize - 1]
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// Incoming edges of each node that have not settled.
    pending: Vec<u32>,
    /// Incoming edges of each node that are live.
    live: Vec<u32>,
    /// The dead edge of each node that settled last: the reason, if the node is skipped.
    blamed: Vec<Option<NonZeroU32>>,
    unsettled: usize,
}

impl State {
    pub(super) fn new(topology: &Topology) -> State {
        let count = topology.incoming.len();
        let pending = topology.incoming.clone();
        State { pending, live: vec![0; count], blamed: vec![None; count], unsettled: count }
    }

    pub(super) fn start(&self, nodes: &mut [NodeState], actions: &mut Vec<Action>) {
        for (index, state) in nodes.iter_mut().enumerate() {
            if self.pending[index] == 0 {
                state.status = NodeStatus::Ready;
                actions.push(Action::Start { node: index as NodeIndex, attempt: state.attempt });
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.unsettled == 0
    }

    pub(super) fn settled(
        &mut self,
        rules: Rules<'_>,
        nodes: &mut [NodeState],
        node: NodeIndex,
        how: Settled<'_>,
        actions: &mut Vec<Action>,
    ) {
        self.unsettled -= 1;
        for (number, edge) in rules.topology.outgoing(node) {
            let alive = is_live(&edge.when, how);
            let to = edge.to as usize;
            self.pending[to] -= 1;
            self.live[to] += u32::from(alive);
            if nodes[to].status != NodeStatus::Waiting {
                continue;
            }
            if !alive {
                self.blamed[to] = number;
            }
            match self.verdict(rules.plan.nodes[to].join, to, alive) {
                Verdict::Wait => {}
                Verdict::Run => {
                    nodes[to].status = NodeStatus::Ready;
                    actions.push(Action::Start { node: edge.to, attempt: nodes[to].attempt });
                }
                Verdict::Skip => {
                    nodes[to].status = NodeStatus::Skipping;
                    actions.push(self.skip(rules, nodes, edge.to));
                }
            }
        }
    }

    fn verdict(&self, join: Join, node: usize, alive: bool) -> Verdict {
        let (pending, live) = (self.pending[node], self.live[node]);
        match join {
            Join::Every if !alive => Verdict::Skip,
            Join::First(count) if live >= count.max(1) => Verdict::Run,
            _ if pending > 0 => Verdict::Wait,
            Join::Every => Verdict::Run,
            Join::All if live > 0 => Verdict::Run,
            Join::All | Join::First(_) => Verdict::Skip,
        }
    }

    /// The skip of a node whose fate is decided.
    pub(super) fn skip(&self, rules: Rules<'_>, nodes: &[NodeState], node: NodeIndex) -> Action {
        let reason = match self.blamed[node as usize] {
            Some(number) => skip_reason(rules.plan, rules.topology.edge(number), nodes),
            None => "More dependencies are required than there are".into(),
        };
        Action::Skip { node, reason }
    }
}

enum Verdict {
    Wait,
    Run,
    Skip,
}

fn is_live(when: &When, how: Settled<'_>) -> bool {
    match (when, how) {
        (When::Settled, _)
        | (When::Completed, Settled::Completed(_))
        | (When::Failed, Settled::Failed(_)) => true,
        (When::Port(wanted), Settled::Completed(port)) => port == Some(wanted),
        _ => false,
    }
}

fn skip_reason(plan: &Plan, edge: &Edge, nodes: &[NodeState]) -> String {
    let source = &plan.nodes[edge.from as usize];
    let name = edge.label.as_deref().unwrap_or(display_name(source));
    match nodes[edge.from as usize].status {
        _ if edge.when == When::Never => "It is not reached from where the graph begins".into(),
        NodeStatus::Completed if edge.when == When::Failed => {
            format!("{} did not fail", display_name(source))
        }
        NodeStatus::Failed => format!("Dependency {name} failed"),
        NodeStatus::Completed => format!("{} took another branch", display_name(source)),
        _ => format!("Dependency {name} was aborted"),
    }
}
