//! Edges between nodes: by the port they leave by, under a condition of their own, or after a failure.

use std::collections::{HashMap, HashSet};

use super::definition::{EdgeDefinition, Graph, Label};
use super::issue::{Issue, Issues};
use super::types::Lowered;
use crate::plan::{Edge, NodeIndex, When};

/// The label of edges that are followed when their node fails.
const ERROR: &str = "error";

/// A graph's edges.
pub(super) struct Wiring {
    /// Between its nodes.
    pub(super) edges: Vec<Edge>,
    /// Those with a condition of their own: each becomes a node.
    pub(super) conditions: Vec<Conditional>,
}

/// An edge with a condition of its own.
pub(super) struct Conditional {
    pub(super) from: NodeIndex,
    pub(super) to: NodeIndex,
    pub(super) condition: String,
    /// Its number in the definition.
    pub(super) edge: usize,
}

impl Wiring {
    /// The edges as written, and those that the settings of nodes imply.
    pub(super) fn new(
        graph: &Graph,
        nodes: &[Option<Lowered>],
        by_id: &HashMap<&str, NodeIndex>,
        issues: &mut Issues,
    ) -> Wiring {
        let mut wiring = Wiring { edges: Vec::new(), conditions: Vec::new() };
        let mut silent = HashSet::new();
        for (number, edge) in graph.edges.iter().enumerate() {
            let ends = (end(edge, true, by_id, issues), end(edge, false, by_id, issues));
            let (Some(from), Some(to)) = ends else { continue };
            let Some(lowered) = &nodes[from as usize] else {
                // Where it leads is still to be known, for all else that is wrong.
                wiring.edges.push(Edge { from, to, when: When::Completed, label: None });
                continue;
            };
            if edge.label.is_none() {
                silent.insert((from, to));
            }
            match way_out(edge, lowered, issues) {
                None => {}
                Some(Way::When(when)) => wiring.edges.push(Edge { from, to, when, label: None }),
                Some(Way::If(condition)) => {
                    wiring.conditions.push(Conditional { from, to, condition, edge: number });
                }
            }
        }
        let targets = targets(graph, nodes, by_id, issues);
        wiring.lead(targets, &silent);
        wiring.drop_repeated();
        wiring
    }

    /// Adds the edges that settings mean. One between the same nodes that says nothing of its port is the
    /// same.
    fn lead(&mut self, targets: Vec<Edge>, silent: &HashSet<(NodeIndex, NodeIndex)>) {
        let led: HashSet<_> = targets.iter().map(|edge| (edge.from, edge.to)).collect();
        self.edges.retain(|edge| {
            let ends = (edge.from, edge.to);
            !(led.contains(&ends) && silent.contains(&ends)) || edge.when == When::Failed
        });
        self.edges.extend(targets);
    }

    /// The same edge twice would count twice where a node waits for so many.
    fn drop_repeated(&mut self) {
        let mut seen = HashSet::new();
        self.edges.retain(|edge| {
            let port = match &edge.when {
                When::Port(port) => Some(port.clone()),
                _ => None,
            };
            seen.insert((edge.from, edge.to, port, edge.when == When::Failed))
        });
    }
}

/// The edges to nodes that settings name.
fn targets(
    graph: &Graph,
    nodes: &[Option<Lowered>],
    by_id: &HashMap<&str, NodeIndex>,
    issues: &mut Issues,
) -> Vec<Edge> {
    let mut led = Vec::new();
    let names = graph.edges.iter().flat_map(|edge| {
        let label = edge.label.as_ref().map(|label| label.text.as_str());
        [edge.id.as_deref(), label].into_iter().flatten().map(|name| (edge.from.as_str(), name))
    });
    let named: HashSet<(&str, &str)> = names.collect();
    for (from, lowered) in nodes.iter().enumerate() {
        for (port, target) in lowered.iter().flat_map(|lowered| &lowered.targets) {
            if let Some(to) = by_id.get(target.as_str()) {
                let when = When::Port(port.clone());
                led.push(Edge { from: from as NodeIndex, to: *to, when, label: None });
                continue;
            }
            let node = &graph.nodes[from];
            if named.contains(&(node.id.as_str(), target.as_str())) {
                continue;
            }
            let near = issues.did_you_mean(target, by_id.keys().copied());
            let text =
                format!("there is no node {target}: the branch {port} ends here at run time{near}");
            issues.warn(node.place.field("config"), text);
        }
    }
    led
}

fn end(
    edge: &EdgeDefinition,
    is_source: bool,
    by_id: &HashMap<&str, NodeIndex>,
    issues: &mut Issues,
) -> Option<NodeIndex> {
    let (id, field) = if is_source { (&edge.from, "source") } else { (&edge.to, "target") };
    let known = by_id.get(id.as_str()).copied();
    if known.is_none() {
        let near = issues.did_you_mean(id, by_id.keys().copied());
        let text = format!("there is no node {id}{near}");
        issues.error(Issue::new(edge.place.field(field), text));
    }
    known
}

/// Whether settings mean this edge by that name: its id, or its label.
fn is_called(edge: &EdgeDefinition, name: &str) -> bool {
    edge.id.as_deref() == Some(name) || edge.label.as_ref().is_some_and(|label| label.text == name)
}

enum Way {
    When(When),
    If(String),
}

/// When an edge is followed. A node with one way out may have labels for the eye.
fn way_out(edge: &EdgeDefinition, node: &Lowered, issues: &mut Issues) -> Option<Way> {
    if let Some((port, _)) = node.targets.iter().find(|(_, target)| is_called(edge, target)) {
        return Some(Way::When(When::Port(port.clone())));
    }
    let Some(Label { field, text }) = &edge.label else {
        let first = node.ports.first().map(|port| When::Port(port.clone()));
        return Some(Way::When(first.unwrap_or(When::Completed)));
    };
    let port = node.ports.iter().find(|port| port.eq_ignore_ascii_case(text));
    match port {
        Some(port) => Some(Way::When(When::Port(port.clone()))),
        None if text.eq_ignore_ascii_case(ERROR) => Some(Way::When(When::Failed)),
        None if !node.ports.is_empty() => {
            let near = issues.did_you_mean(text, node.ports.iter().map(String::as_str));
            let ports = node.ports.join(", ");
            let text = format!(
                "the node has no way out called {text}; its ways out are {ports}, and error{near}"
            );
            issues.error(Issue::new(edge.place.field(field), text));
            None
        }
        None if *field == "condition" => Some(Way::If(text.clone())),
        None => Some(Way::When(When::Completed)),
    }
}
