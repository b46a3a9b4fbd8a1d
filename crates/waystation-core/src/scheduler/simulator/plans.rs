//! Random plans: graphs and queues of every kind that the scheduler promises to run.

use serde_json::{Map, Value};

use super::random::Random;
use crate::plan::{
    Budget, Dialect, Edge, Join, Missing, Node, NodeIndex, OnFailure, PLAN_FORMAT, Plan, QueueItem,
    Retry, Selection, Shape, When,
};

/// The kind of nodes that have effects outside; any other kind is pure.
pub(in crate::scheduler) const EFFECT: &str = "effect";
const PURE: &str = "pure";
/// The kind of nodes that wait for a moment, or for somebody where their wait has none.
pub(super) const WAIT: &str = "wait";
/// The kind of nodes with items.
pub(super) const BODY: &str = "body";

pub(super) fn random_plan(random: &mut Random) -> Plan {
    let graph = random.percent(70);
    let (shape, count) = if graph { random_graph(random) } else { random_queue(random) };
    let pure = random.pick(&[0, 10, 40, 100]);
    let nodes = (0..count).map(|index| random_node(random, index, pure, graph)).collect();
    let mut plan =
        plan(shape, nodes, if random.percent(30) { OnFailure::Stop } else { OnFailure::Continue });
    plan.deadline_ms = random.percent(10).then(|| random.below(2_000));
    plan
}

/// A plan with nothing in it but nodes and how they follow one another.
pub(in crate::scheduler) fn plan(shape: Shape, nodes: Vec<Node>, on_failure: OnFailure) -> Plan {
    Plan {
        format: PLAN_FORMAT,
        dialect: Dialect::Pipeline,
        shape,
        nodes,
        results: Vec::new(),
        variables: Map::new(),
        missing: Missing::Verbatim,
        on_failure,
        deadline_ms: None,
        webhook_url: None,
        budget: Budget::default(),
    }
}

/// A node that waits for every edge and is tried once.
pub(in crate::scheduler) fn node(id: impl Into<String>, kind: &str) -> Node {
    Node {
        id: id.into(),
        name: String::new(),
        kind: kind.into(),
        config: Value::Null,
        outputs: Vec::new(),
        join: Join::Every,
        selections: Vec::new(),
        retry: Retry::NEVER,
        timeout_ms: 1_000,
        hidden: false,
        metadata: Map::new(),
        condition: None,
        needs: Vec::new(),
        literal: Vec::new(),
        body: None,
    }
}

pub(in crate::scheduler) fn edge(from: NodeIndex, to: NodeIndex, when: When) -> Edge {
    Edge { from, to, when, label: None }
}

fn random_node(random: &mut Random, index: u64, pure: u64, gates: bool) -> Node {
    let kind = match random.below(100) {
        0..5 => WAIT,
        5..12 => BODY,
        _ if random.percent(pure) => PURE,
        _ => EFFECT,
    };
    let mut node = node(format!("n{index}"), kind);
    node.join = match random.below(10) {
        0..5 => Join::Every,
        5..8 => Join::All,
        _ => Join::First(random.pick(&[0, 1, 1, 2, 2, 3, 9])),
    };
    if random.percent(50) {
        node.retry =
            Retry { attempts: 1 + random.below(3) as u32, delay_ms: 10 + random.below(500) };
    }
    if gates && random.percent(4) {
        // Nothing makes this output, so the gate is closed.
        node.selections.push(Selection { output: "nothing".into(), member: "member".into() });
    }
    node
}

fn random_graph(random: &mut Random) -> (Shape, u64) {
    let count = if random.percent(5) { 0 } else { 2 + random.below(11) };
    let density = random.pick(&[5, 15, 15, 30, 80]);
    let mut place: Vec<NodeIndex> = (0..count as NodeIndex).collect();
    for index in (1..place.len()).rev() {
        place.swap(index, random.below(index as u64 + 1) as usize);
    }
    let mut edges = Vec::new();
    for to in 1..place.len() {
        for from in 0..to {
            while random.percent(density) && edges.len() < 60 {
                edges.push(edge(place[from], place[to], random_when(random)));
                if random.percent(95) {
                    break;
                }
            }
        }
    }
    (Shape::Graph { edges }, count)
}

fn random_when(random: &mut Random) -> When {
    match random.below(10) {
        0..6 => When::Completed,
        6 if random.percent(30) => When::Failed,
        6 if random.percent(10) => When::Never,
        6..7 => When::Port(random.pick(&["true", "false"]).into()),
        _ => When::Settled,
    }
}

fn random_queue(random: &mut Random) -> (Shape, u64) {
    let count = if random.percent(5) { 0 } else { 2 + random.below(8) };
    let mut nodes = count;
    let mut items = Vec::new();
    for node in 0..count as NodeIndex {
        let mut item =
            QueueItem { before: vec![], node, condition: None, if_true: vec![], if_false: vec![] };
        let before = random.pick(&[0, 0, 0, 1, 2]);
        item.before = (nodes..nodes + before).map(|node| node as NodeIndex).collect();
        nodes += before;
        if random.percent(50) {
            item.condition = Some(nodes as NodeIndex);
            item.if_true = random_targets(random, count);
            item.if_false = random_targets(random, count);
            nodes += 1;
        }
        items.push(item);
    }
    (Shape::Queue { items }, nodes)
}

/// Targets may lead back, to themselves, twice to the same place, or out of the list.
fn random_targets(random: &mut Random, count: u64) -> Vec<u32> {
    (0..random.pick(&[0, 0, 1, 2, 3, 5])).map(|_| random.below(count + 2) as u32).collect()
}
