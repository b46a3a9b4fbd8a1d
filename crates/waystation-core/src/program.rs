//! A plan made ready to run: templates compiled, edges and names indexed. Shared by all its runs.

use std::collections::HashMap;
use std::sync::Arc;

use crate::expr::{Condition, Problem, Template};
use crate::plan::{Edge, NodeIndex, Plan, Shape};
use crate::scheduler::{Rules, Topology};

/// A plan and what is derived from it once.
#[derive(Debug)]
pub struct Program {
    /// The plan itself.
    pub plan: Plan,
    /// The plan's content hash, hexadecimal.
    pub hash: Arc<str>,
    /// Each node's settings, compiled.
    pub templates: Vec<Template>,
    /// Each node's condition, compiled.
    pub conditions: Vec<Option<Condition>>,
    /// Output names and the nodes that make them, in listing order.
    pub producers: HashMap<String, Vec<NodeIndex>>,
    /// Nodes by id.
    pub by_id: HashMap<String, NodeIndex>,
    /// Nodes by the name people gave them, where it differs from every id.
    pub by_name: HashMap<String, NodeIndex>,
    topology: Topology,
}

/// A problem in one node's settings.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeProblem {
    /// Which node.
    pub node: NodeIndex,
    /// What is wrong and where.
    pub problem: Problem,
}

impl Program {
    /// Compiles a plan; all problems at once.
    pub fn load(plan: Plan, hash: impl Into<Arc<str>>) -> Result<Program, Vec<NodeProblem>> {
        let (by_id, by_name, producers) = index_names(&plan);
        let mut problems = Vec::new();
        let mut templates = Vec::with_capacity(plan.nodes.len());
        let mut conditions = Vec::with_capacity(plan.nodes.len());
        let known = |name: &str| {
            by_id.contains_key(name) || by_name.contains_key(name) || producers.contains_key(name)
        };
        for (index, node) in plan.nodes.iter().enumerate() {
            match Template::compile(&node.templates(), &known) {
                Ok(template) => templates.push(template),
                Err(found) => problems.extend(
                    found
                        .into_iter()
                        .map(|problem| NodeProblem { node: index as NodeIndex, problem }),
                ),
            }
        }
        for (index, node) in plan.nodes.iter().enumerate() {
            // A condition sees the node's own settings first.
            let known = |name: &str| node.config.get(name).is_some() || known(name);
            let condition = node.condition.as_deref();
            match condition.map(|source| Condition::parse(source, &known)).transpose() {
                Ok(condition) => conditions.push(condition),
                Err(problem) => problems.push(NodeProblem { node: index as NodeIndex, problem }),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let topology = Topology::new(&plan);
        Ok(Program {
            plan,
            hash: hash.into(),
            templates,
            conditions,
            producers,
            by_id,
            by_name,
            topology,
        })
    }

    /// What the scheduler needs.
    pub fn rules(&self) -> Rules<'_> {
        Rules { plan: &self.plan, topology: &self.topology }
    }

    /// The edges that lead to a node.
    pub fn edges_to(&self, node: NodeIndex) -> impl Iterator<Item = &Edge> {
        let edges = match &self.plan.shape {
            Shape::Graph { edges } => edges.as_slice(),
            Shape::Queue { .. } => &[],
        };
        edges.iter().filter(move |edge| edge.to == node)
    }

    /// A node of a graph and all that edges lead to from it.
    pub fn downstream(&self, node: NodeIndex) -> Vec<NodeIndex> {
        let Shape::Graph { edges } = &self.plan.shape else { return vec![node] };
        let mut next = vec![Vec::new(); self.plan.nodes.len()];
        for edge in edges {
            next[edge.from as usize].push(edge.to);
        }
        let mut reached = vec![false; self.plan.nodes.len()];
        let (mut open, mut found) = (vec![node], Vec::new());
        while let Some(node) = open.pop() {
            if !std::mem::replace(&mut reached[node as usize], true) {
                found.push(node);
                open.extend(&next[node as usize]);
            }
        }
        found
    }

    /// The node that gives an item of a queue its result.
    pub fn item_node(&self, item: u32) -> Option<NodeIndex> {
        match &self.plan.shape {
            Shape::Queue { items } => items.get(item as usize).map(|item| item.node),
            Shape::Graph { .. } => None,
        }
    }

    /// The nodes that the definition's author wrote, in listing order.
    pub fn visible(&self) -> impl Iterator<Item = NodeIndex> {
        let nodes = self.plan.nodes.iter().enumerate();
        nodes.filter(|(_, node)| !node.hidden).map(|(index, _)| index as NodeIndex)
    }
}

type Names =
    (HashMap<String, NodeIndex>, HashMap<String, NodeIndex>, HashMap<String, Vec<NodeIndex>>);

fn index_names(plan: &Plan) -> Names {
    let mut by_id = HashMap::with_capacity(plan.nodes.len());
    let mut by_name = HashMap::with_capacity(plan.nodes.len());
    let mut producers: HashMap<String, Vec<NodeIndex>> = HashMap::new();
    let nodes = plan.nodes.iter().enumerate();
    for (index, node) in nodes {
        by_id.insert(node.id.clone(), index as NodeIndex);
        if node.hidden {
            continue;
        }
        by_name.entry(node.name.clone()).or_insert(index as NodeIndex);
        for output in &node.outputs {
            producers.entry(output.clone()).or_default().push(index as NodeIndex);
        }
    }
    (by_id, by_name, producers)
}
