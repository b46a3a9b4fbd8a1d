//! Ways through a graph: cycles, what is reached from where it begins, what comes before what.

use crate::plan::{Edge, NodeIndex};

/// The targets of each node's edges.
pub(super) struct Paths {
    next: Vec<Vec<NodeIndex>>,
}

impl Paths {
    pub(super) fn new(count: usize, edges: &[Edge]) -> Paths {
        let mut next = vec![Vec::new(); count];
        for edge in edges {
            next[edge.from as usize].push(edge.to);
        }
        Paths { next }
    }

    /// The nodes in an order in which each comes after those that lead to it; or a cycle, from a node
    /// back to it.
    pub(super) fn order(&self) -> Result<Vec<NodeIndex>, Vec<NodeIndex>> {
        let mut incoming = vec![0u32; self.next.len()];
        self.next.iter().flatten().for_each(|to| incoming[*to as usize] += 1);
        let nodes = 0..self.next.len() as NodeIndex;
        let mut order: Vec<NodeIndex> =
            nodes.filter(|node| incoming[*node as usize] == 0).collect();
        let mut read = 0;
        while let Some(node) = order.get(read).copied() {
            read += 1;
            for to in &self.next[node as usize] {
                incoming[*to as usize] -= 1;
                if incoming[*to as usize] == 0 {
                    order.push(*to);
                }
            }
        }
        if order.len() == self.next.len() { Ok(order) } else { Err(self.cycle(&incoming)) }
    }

    /// Follows edges among the nodes that never became free, each of which some other one leads to,
    /// until one comes up again.
    fn cycle(&self, incoming: &[u32]) -> Vec<NodeIndex> {
        let stuck = |node: &NodeIndex| incoming[*node as usize] > 0;
        let mut before = vec![None; self.next.len()];
        for (from, targets) in self.next.iter().enumerate() {
            let from = from as NodeIndex;
            if stuck(&from) {
                targets.iter().for_each(|to| before[*to as usize] = Some(from));
            }
        }
        let mut seen = vec![false; self.next.len()];
        let mut node = (0..self.next.len() as NodeIndex).find(stuck);
        while let Some(at) = node.filter(|at| !seen[*at as usize]) {
            seen[at as usize] = true;
            node = before[at as usize];
        }
        let Some(end) = node else { return Vec::new() };
        let mut cycle = vec![end];
        let mut at = before[end as usize];
        while let Some(node) = at.filter(|node| *node != end) {
            cycle.push(node);
            at = before[node as usize];
        }
        cycle.push(end);
        cycle.reverse();
        cycle
    }

    /// What edges lead to from these nodes, themselves included.
    pub(super) fn reached(&self, from: impl Iterator<Item = NodeIndex>) -> Vec<bool> {
        let mut reached = vec![false; self.next.len()];
        let mut open: Vec<NodeIndex> = from.collect();
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut reached[node as usize], true) {
                open.extend(&self.next[node as usize]);
            }
        }
        reached
    }

    /// Whether one node comes before another.
    pub(super) fn leads(&self, from: NodeIndex, to: NodeIndex) -> bool {
        from != to && self.reached([from].into_iter())[to as usize]
    }
}
