//! A definition into a plan.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::definition::{Definition, Graph, NodeDefinition};
use super::issue::{Issue, Issues, Place};
use super::mentions::{Mention, in_literal, in_template, secret};
use super::paths::Paths;
use super::types::{Lowered, NodeTypes};
use super::wiring::Wiring;
use crate::expr::{Condition, Template};
use crate::limits::BODY_DEPTH;
use crate::plan::{
    Dialect, Edge, Join, Missing, Node, NodeIndex, PLAN_FORMAT, Plan, Retry, Shape, When,
};

/// The type with which a graph begins.
const START: &str = "start";
/// The type with which a graph ends.
const END: &str = "end";
/// The engine's type that leaves by its condition.
const CONDITION: &str = "condition";
/// The setting that is a graph.
const BODY: &str = "body";
/// The setting under which a node with a body finds what its runs see of this one.
const OUTER: &str = "outer";
/// Circles of edges that are told at once.
const CYCLES_TOLD: usize = 10;
/// Names whose meaning comes before that of nodes and variables.
const HIDING: [&str; 3] = ["input", "outputs", "secrets"];
/// Names that are no nodes, whatever follows them.
const RESERVED: [&str; 7] = ["input", "secrets", "run", "now", "item", "parent", "links"];

/// What a definition comes to.
#[derive(Debug)]
pub struct Compiled {
    /// The definition.
    pub definition: Definition,
    /// Its plan.
    pub plan: Plan,
    /// What is probably not meant so.
    pub warnings: Vec<Issue>,
    /// The secrets that templates and conditions name, with what follows in their paths.
    pub secrets: BTreeSet<String>,
}

/// Compiles a definition; the error lists all problems.
pub fn compile(
    source: &Value,
    types: &dyn NodeTypes,
    nodes_max: usize,
) -> Result<Compiled, Vec<Issue>> {
    let mut issues = Issues::default();
    let definition = Definition::parse(source, &mut issues);
    let (definition_read, nodes_left) = (&definition, nodes_max);
    let mut compiler = Compiler {
        types,
        definition: definition_read,
        nodes_left,
        items: Vec::new(),
        secrets: BTreeSet::new(),
        issues,
    };
    compiler.check_variables();
    let (mut plan, _) = compiler.plan(&definition.graph, &[]);
    // Of the whole plan only: what becomes of items is told by the run around them.
    plan.webhook_url = definition.settings.webhook_url.clone();
    let (Issues { errors, warnings, .. }, secrets) = (compiler.issues, compiler.secrets);
    if errors.is_empty() {
        Ok(Compiled { definition, plan, warnings, secrets })
    } else {
        Err(errors)
    }
}

struct Compiler<'d> {
    types: &'d dyn NodeTypes,
    definition: &'d Definition,
    /// How many more nodes are allowed, over all bodies.
    nodes_left: usize,
    /// The names of the items of the bodies that the present graph lies in.
    items: Vec<String>,
    secrets: BTreeSet<String>,
    issues: Issues,
}

/// What names mean in a graph: its own nodes, and behind them those of the graphs around it.
struct Names<'g> {
    own: HashMap<&'g str, NodeIndex>,
    around: HashSet<&'g str>,
    variables: &'g Map<String, Value>,
}

impl Names<'_> {
    fn is_known(&self, name: &str) -> bool {
        self.own.contains_key(name)
            || self.around.contains(name)
            || self.variables.contains_key(name)
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.own.keys().copied().chain(self.around.iter().copied())
    }
}

impl<'d> Compiler<'d> {
    /// The plan of a graph, and the nodes of the graphs around it that it refers to.
    fn plan(&mut self, graph: &Graph, around: &[&str]) -> (Plan, BTreeSet<String>) {
        if !self.count(graph) {
            return (self.empty_plan(), BTreeSet::new());
        }
        let ids = self.ids(graph);
        let lowered: Vec<Option<Lowered>> =
            graph.nodes.iter().map(|node| self.lower(node)).collect();
        let wiring = Wiring::new(graph, &lowered, &ids, &mut self.issues);
        let names = self.names(graph, ids, around);
        let edges = direct(&wiring);
        let paths = Paths::new(graph.nodes.len(), &edges);
        self.check_cycles(graph, edges.clone());
        self.check_names(graph);
        self.check_joins(graph, &lowered, &edges);
        let mut outer = BTreeSet::new();
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for (node, lowered) in graph.nodes.iter().zip(lowered) {
            let Some(mut lowered) = lowered else {
                let place = node.place.field("config");
                let mentions = in_templates(&node.config, &names);
                outer.extend(self.check_mentions(&place, &node.id, &mentions, (&names, &paths)));
                continue;
            };
            let mut mentions = self.mentions(node, &lowered, &names);
            let body = self.body(node, &mut lowered, &names, &mut mentions);
            let place = node.place.field("config");
            outer.extend(self.check_mentions(&place, &node.id, &mentions, (&names, &paths)));
            nodes.push(plan_node(node, lowered, body));
        }
        outer.extend(self.check_conditions(graph, &wiring, (&names, &paths)));
        let is_whole = nodes.len() == graph.nodes.len();
        let mut plan = self.empty_plan();
        if is_whole {
            let unreached = self.unreached(graph, &edges, &paths);
            plan.results = results(graph, &edges);
            plan.nodes = nodes;
            let edges = Self::add_conditions(graph, wiring, unreached, &names, &mut plan.nodes);
            plan.shape = Shape::Graph { edges };
        }
        (plan, outer)
    }

    /// Whether there is room for the nodes of a graph. What is far too large is not looked at.
    fn count(&mut self, graph: &Graph) -> bool {
        let Some(left) = self.nodes_left.checked_sub(graph.nodes.len()) else {
            let text = "there are more nodes than are allowed (WAYSTATION_MAX_STEPS)";
            self.issues.error(Issue::new(graph.place.field("nodes"), text));
            return false;
        };
        self.nodes_left = left;
        true
    }

    fn ids<'g>(&mut self, graph: &'g Graph) -> HashMap<&'g str, NodeIndex> {
        let mut ids = HashMap::with_capacity(graph.nodes.len());
        for (index, node) in graph.nodes.iter().enumerate() {
            if ids.contains_key(node.id.as_str()) {
                let text = format!("there are several nodes {}", node.id);
                self.issues.error(Issue::new(node.place.field("id"), text));
            } else {
                ids.insert(node.id.as_str(), index as NodeIndex);
            }
        }
        ids
    }

    fn lower(&mut self, node: &NodeDefinition) -> Option<Lowered> {
        match self.types.lower(&node.kind, &node.config) {
            Some(Ok(lowered)) => Some(lowered),
            Some(Err(problems)) => {
                let place = node.place.field("config");
                for problem in problems {
                    self.issues.error(Issue::new(place.clone(), problem));
                }
                None
            }
            None => {
                let near = self.issues.did_you_mean(&node.kind, self.types.names().into_iter());
                let text = format!("there is no node type {}{near}", node.kind);
                self.issues.error(Issue::new(node.place.field("type"), text));
                None
            }
        }
    }

    fn names<'g>(
        &self,
        graph: &'g Graph,
        mut own: HashMap<&'g str, NodeIndex>,
        around: &[&'g str],
    ) -> Names<'g>
    where
        'd: 'g,
    {
        for (index, node) in graph.nodes.iter().enumerate() {
            if let Some(name) = &node.name {
                own.entry(name).or_insert(index as NodeIndex);
            }
        }
        Names {
            own,
            around: around.iter().copied().collect(),
            variables: &self.definition.variables,
        }
    }

    /// Circles that have no edge in common, some of them at least.
    fn check_cycles(&mut self, graph: &Graph, mut edges: Vec<Edge>) {
        for _ in 0..CYCLES_TOLD {
            let Err(cycle) = Paths::new(graph.nodes.len(), &edges).order() else { return };
            let ids: Vec<&str> =
                cycle.iter().map(|node| graph.nodes[*node as usize].id.as_str()).collect();
            let text = format!("edges lead in a circle: {}", ids.join(" -> "));
            self.issues.error(Issue::new(graph.place.field("edges"), text));
            let told: HashSet<_> = cycle.windows(2).map(|ends| (ends[0], ends[1])).collect();
            edges.retain(|edge| !told.contains(&(edge.from, edge.to)));
        }
    }

    /// Nodes that wait for more branches than lead to them would never run.
    fn check_joins(&mut self, graph: &Graph, lowered: &[Option<Lowered>], edges: &[Edge]) {
        let mut led_to = vec![0; graph.nodes.len()];
        edges.iter().for_each(|edge| led_to[edge.to as usize] += 1);
        for (index, lowered) in lowered.iter().enumerate() {
            let join = lowered.as_ref().and_then(|lowered| lowered.join);
            let Some(Join::First(count)) = join else { continue };
            let incoming = led_to[index];
            if incoming < count {
                let text = format!("waits for {count} of its branches, and has {incoming}");
                self.issues.error(Issue::new(graph.nodes[index].place.field("config"), text));
            }
        }
    }

    /// Variables that never count, because their names mean something else.
    fn check_variables(&mut self) {
        for name in self.definition.variables.keys().filter(|name| HIDING.contains(&name.as_str()))
        {
            let text = format!("{name} has another meaning in templates, which comes first");
            self.issues.warn(Place::default().field("variables").field(name), text);
        }
    }

    /// Nodes whose names mean something else, or that a variable is called like.
    fn check_names(&mut self, graph: &Graph) {
        for node in &graph.nodes {
            let hidden = [Some(&node.id), node.name.as_ref()].into_iter().flatten();
            for name in hidden.filter(|name| HIDING.contains(&name.as_str())) {
                let text = format!(
                    "{name} has another meaning in templates: its output is `outputs.{name}`, and not \
                     `{name}.output`"
                );
                self.issues.warn(node.place.clone(), text);
            }
            if self.definition.variables.contains_key(&node.id) {
                let text = format!(
                    "a variable is called {}, too: `{}.output` is the node's",
                    node.id, node.id
                );
                self.issues.warn(node.place.clone(), text);
            }
        }
    }

    /// Refers the conditions of edges to nodes, as those of nodes; what does not parse is a problem.
    fn check_conditions(
        &mut self,
        graph: &Graph,
        wiring: &Wiring,
        (names, paths): (&Names<'_>, &Paths),
    ) -> BTreeSet<String> {
        let known = |name: &str| names.is_known(name);
        let mut outer = BTreeSet::new();
        for conditional in &wiring.conditions {
            let edge = &graph.edges[conditional.edge];
            let place = edge.place.field("condition");
            match Condition::parse(&conditional.condition, &known) {
                Ok(condition) => {
                    let mentions = condition.paths().filter_map(Mention::read);
                    // The node that the edge leaves has ended when it is judged.
                    let mentions = mentions.filter(|mention| mention.node != edge.from).collect();
                    outer.extend(self.check_mentions(
                        &place,
                        &edge.from,
                        &mentions,
                        (names, paths),
                    ));
                }
                Err(problem) => self.issues.error(Issue::new(place, problem.to_string())),
            }
        }
        outer
    }

    /// The nodes that settings refer to; what does not parse is a problem.
    fn mentions(
        &mut self,
        node: &NodeDefinition,
        lowered: &Lowered,
        names: &Names<'_>,
    ) -> BTreeSet<Mention> {
        let known = |name: &str| names.is_known(name);
        let place = node.place.field("config");
        let mut found = BTreeSet::new();
        let (literal, config) = split(lowered);
        match Template::compile(&config, &known) {
            Ok(template) => {
                self.secrets.extend(template.paths().filter_map(secret));
                found.extend(template.paths().filter_map(Mention::read));
            }
            Err(problems) => {
                for problem in problems {
                    self.issues.error(Issue::new(place.clone(), problem.to_string()));
                }
                found.extend(in_templates(config.as_object().unwrap_or(&Map::new()), names));
            }
        }
        match lowered.condition.as_deref().map(|source| Condition::parse(source, &known)) {
            None => {}
            Some(Ok(condition)) => {
                self.secrets.extend(condition.paths().filter_map(secret));
                found.extend(condition.paths().filter_map(Mention::read));
            }
            Some(Err(problem)) => {
                self.issues.error(Issue::new(place.field("condition"), problem.to_string()));
            }
        }
        found.extend(in_literal(&literal, &known));
        found
    }

    /// Refers what a node mentions to nodes here or around, or finds that there are none. Gives those
    /// around.
    fn check_mentions(
        &mut self,
        place: &Place,
        node: &str,
        mentions: &BTreeSet<Mention>,
        (names, paths): (&Names<'_>, &Paths),
    ) -> BTreeSet<String> {
        let mut outer = BTreeSet::new();
        let own = names.own.get(node);
        for Mention { node: name, is_certain } in mentions {
            match (names.own.get(name.as_str()), own) {
                (Some(other), Some(own)) if !paths.leads(*other, *own) => {
                    let text = format!("refers to {name}, which does not come before this node");
                    self.issues.warn(place.clone(), text);
                }
                (Some(_), _) => {}
                (None, _) if names.around.contains(name.as_str()) => {
                    outer.insert(name.clone());
                }
                (None, _) if *is_certain || !self.may_be_value(name) => {
                    let near = self.issues.did_you_mean(name, names.all());
                    let text =
                        format!("refers to the output of {name}: there is no such node{near}");
                    self.issues.error(Issue::new(place.clone(), text));
                }
                (None, _) => {}
            }
        }
        outer
    }

    fn may_be_value(&self, name: &str) -> bool {
        RESERVED.contains(&name) || self.definition.variables.contains_key(name)
    }

    /// The plan of a node's body. What it refers to around it becomes a setting of the node, filled in
    /// when the body begins.
    fn body(
        &mut self,
        node: &NodeDefinition,
        lowered: &mut Lowered,
        names: &Names<'_>,
        mentions: &mut BTreeSet<Mention>,
    ) -> Option<Box<Plan>> {
        let body = lowered.body.take()?;
        let place = node.place.field("config").field("body");
        let Some(fields) = body.as_object().filter(|_| self.items.len() < BODY_DEPTH) else {
            let text =
                format!("must be an object {{nodes, edges}}, {BODY_DEPTH} bodies deep at most");
            self.issues.error(Issue::new(place, text));
            return None;
        };
        let graph = Graph::parse(fields, place, &mut self.issues);
        let around: Vec<&str> = names.all().collect();
        self.items.push(item_name(node).to_owned());
        let (plan, outer) = self.plan(&graph, &around);
        self.items.pop();
        let outputs: Map<String, Value> = outer
            .iter()
            .map(|id| (id.clone(), format!("{{{{ outputs[{}] ?? null }}}}", json!(id)).into()))
            .collect();
        let mut seen = json!({ "outputs": outputs });
        if let Some(item) = self.items.last() {
            let item = format!("{{{{{item}}}}}");
            seen["parent"] = json!({ "item": item, "index": "{{index}}" });
        }
        if let Value::Object(config) = &mut lowered.config {
            config.insert(OUTER.into(), seen);
        }
        mentions.extend(outer.into_iter().map(|node| Mention { node, is_certain: true }));
        Some(Box::new(plan))
    }

    /// Where a graph says where it begins, what is not reached from there does not run.
    fn unreached(&mut self, graph: &Graph, edges: &[Edge], paths: &Paths) -> Vec<Edge> {
        let starts = graph.nodes.iter().enumerate().filter(|(_, node)| node.kind == START);
        let starts: Vec<NodeIndex> = starts.map(|(index, _)| index as NodeIndex).collect();
        let Some(from) = starts.first().copied() else { return Vec::new() };
        let reached = paths.reached(starts.into_iter());
        let mut is_led_to = vec![false; graph.nodes.len()];
        edges.iter().for_each(|edge| is_led_to[edge.to as usize] = true);
        let mut dead = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate().filter(|(index, _)| !reached[*index]) {
            let text = format!("{} is not reached from a start node, and does not run", node.id);
            self.issues.warn(node.place.clone(), text);
            if !is_led_to[index] {
                let to = index as NodeIndex;
                dead.push(Edge { from, to, when: When::Never, label: None });
            }
        }
        dead
    }

    /// All edges, those with a condition led through a hidden node that judges it.
    fn add_conditions(
        graph: &Graph,
        wiring: Wiring,
        unreached: Vec<Edge>,
        names: &Names<'_>,
        nodes: &mut Vec<Node>,
    ) -> Vec<Edge> {
        let Wiring { mut edges, conditions } = wiring;
        edges.extend(unreached);
        for conditional in conditions {
            let judge = nodes.len() as NodeIndex;
            let (from, to) = (conditional.from, conditional.to);
            let mut id = format!("edge {}", conditional.edge);
            while names.own.contains_key(id.as_str()) {
                id.push('\'');
            }
            nodes.push(judge_of(id, graph, conditional.condition, from, to));
            edges.push(Edge { from, to: judge, when: When::Completed, label: None });
            let when = When::Port("true".into());
            edges.push(Edge { from: judge, to, when, label: None });
        }
        edges
    }

    fn empty_plan(&self) -> Plan {
        let settings = &self.definition.settings;
        Plan {
            format: PLAN_FORMAT,
            dialect: Dialect::Graph,
            shape: Shape::Graph { edges: Vec::new() },
            nodes: Vec::new(),
            results: Vec::new(),
            variables: self.definition.variables.clone(),
            missing: Missing::Fail,
            on_failure: settings.on_failure,
            deadline_ms: settings.timeout_ms,
            webhook_url: None,
            budget: settings.budget,
        }
    }
}

/// What the templates of settings refer to, as far as they parse.
fn in_templates(config: &Map<String, Value>, names: &Names<'_>) -> BTreeSet<Mention> {
    let known = |name: &str| names.is_known(name);
    let mut found = BTreeSet::new();
    // What a body refers to are its own nodes first.
    let values = config.iter().filter(|(name, _)| *name != BODY).map(|(_, value)| value);
    values.for_each(|value| in_template(value, &known, &mut found));
    found
}

/// The name under which a node's body sees its items.
fn item_name(node: &NodeDefinition) -> &str {
    node.config.get("item_name").and_then(Value::as_str).unwrap_or("item")
}

/// Every edge as if it had no condition of its own.
fn direct(wiring: &Wiring) -> Vec<Edge> {
    let conditional = wiring.conditions.iter().map(|edge| Edge {
        from: edge.from,
        to: edge.to,
        when: When::Completed,
        label: None,
    });
    wiring.edges.iter().cloned().chain(conditional).collect()
}

/// A node's settings: those that it evaluates by itself, and those that are filled in for it.
fn split(lowered: &Lowered) -> (Value, Value) {
    let Value::Object(config) = &lowered.config else {
        return (Value::Null, lowered.config.clone());
    };
    let is_literal = |name: &str| lowered.literal.iter().any(|literal| literal == name);
    let fields = config.iter().map(|(name, value)| (name.clone(), value.clone()));
    let (literal, templates): (Map<_, _>, Map<_, _>) =
        fields.partition(|(name, _)| is_literal(name));
    (Value::Object(literal), Value::Object(templates))
}

/// The nodes that give the run its result: those of the type `end`, else those that lead nowhere.
fn results(graph: &Graph, edges: &[Edge]) -> Vec<NodeIndex> {
    let indexes = || 0..graph.nodes.len() as NodeIndex;
    let ends: Vec<NodeIndex> =
        indexes().filter(|node| graph.nodes[*node as usize].kind == END).collect();
    if !ends.is_empty() {
        return ends;
    }
    let mut leads = vec![false; graph.nodes.len()];
    edges.iter().for_each(|edge| leads[edge.from as usize] = true);
    indexes().filter(|node| !leads[*node as usize]).collect()
}

fn plan_node(node: &NodeDefinition, lowered: Lowered, body: Option<Box<Plan>>) -> Node {
    let Lowered { kind, config, literal, condition, join, retry, timeout_ms, .. } = lowered;
    let metadata = json!({ "type": node.kind });
    Node {
        id: node.id.clone(),
        name: node.name.as_ref().unwrap_or(&node.id).clone(),
        kind,
        config,
        condition,
        needs: Vec::new(),
        literal,
        body,
        outputs: Vec::new(),
        join: join.unwrap_or(Join::All),
        selections: Vec::new(),
        retry,
        timeout_ms,
        hidden: false,
        metadata: metadata.as_object().cloned().unwrap_or_default(),
    }
}

/// The hidden node of an edge with a condition.
fn judge_of(
    hidden_id: String,
    graph: &Graph,
    condition: String,
    from: NodeIndex,
    to: NodeIndex,
) -> Node {
    let id = |node: NodeIndex| graph.nodes[node as usize].id.as_str();
    Node {
        id: hidden_id,
        name: format!("{} -> {}", id(from), id(to)),
        kind: CONDITION.into(),
        config: Value::Null,
        condition: Some(condition),
        needs: Vec::new(),
        literal: Vec::new(),
        body: None,
        outputs: Vec::new(),
        join: Join::All,
        selections: Vec::new(),
        retry: Retry::NEVER,
        timeout_ms: 0,
        hidden: true,
        metadata: Map::new(),
    }
}
