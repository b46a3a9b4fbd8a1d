//! Ways through a graph: cycles, what is reached from where it begins, what comes before what.

use std::cell::OnceCell;

use crate::plan::{Edge, NodeIndex};

/// The targets of each node's edges.
pub(super) struct Paths {
    next: Vec<Vec<NodeIndex>>,
    before: OnceCell<Option<Before>>,
}

/// For each node a bit for every one: whether that one comes before it.
struct Before {
    words: usize,
    bits: Vec<u64>,
}

impl Paths {
    pub(super) fn new(count: usize, edges: &[Edge]) -> Paths {
        let mut next = vec![Vec::new(); count];
        for edge in edges {
            next[edge.from as usize].push(edge.to);
        }
        Paths { next, before: OnceCell::new() }
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

    /// Whether one node comes before another. In a circle all do.
    pub(super) fn leads(&self, from: NodeIndex, to: NodeIndex) -> bool {
        let before = self.before.get_or_init(|| self.order().ok().map(|order| self.before(&order)));
        before.as_ref().is_none_or(|before| {
            let word = before.bits[to as usize * before.words + from as usize / 64];
            word >> (from % 64) & 1 == 1
        })
    }

    /// What comes before each node, for all at once: graphs are small enough for a bit for each pair.
    fn before(&self, order: &[NodeIndex]) -> Before {
        let words = self.next.len().div_ceil(64);
        let mut bits = vec![0; self.next.len() * words];
        let mut own = vec![0; words];
        for from in order.iter().map(|node| *node as usize) {
            own.copy_from_slice(&bits[from * words..][..words]);
            own[from / 64] |= 1 << (from % 64);
            for to in &self.next[from] {
                let of_target = &mut bits[*to as usize * words..][..words];
                of_target.iter_mut().zip(&own).for_each(|(word, more)| *word |= more);
            }
        }
        Before { words, bits }
    }
}
