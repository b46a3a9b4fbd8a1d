//! A pipeline's definition into a plan.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value, json};

use super::super::definition::Findings;
use super::order::{self, Dependency, Names, Room};
use super::settings::Settings;
use super::step::{Step, Work, sends_query};
use crate::expr::{Key, Template};
use crate::limits::FINDINGS;
use crate::plan::{
    Budget, Dialect, Edge, Join, Missing, Node, NodeIndex, OnFailure, PLAN_FORMAT, Plan, Retry,
    Selection, Shape, When,
};

/// A plan, and what its author should know about it.
#[derive(Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// What has no effect, in words.
    pub warnings: Vec<String>,
}

/// Compiles the JSON texts of `STEPS_CONFIG` and `PIPELINE_SETTINGS`. The error lists all problems.
pub fn compile(
    steps: Option<&str>,
    settings: Option<&str>,
    steps_max: usize,
) -> Result<Compiled, Vec<String>> {
    let mut findings = Findings::default();
    let settings = read_settings(settings, &mut findings);
    let steps = read_steps(steps, steps_max, &mut findings);
    let (names, mut room) = (Names::new(&steps), Room::new());
    let dependencies = order::resolve(&steps, &names, &mut room, &mut findings);
    let references = references(&steps, &names, &mut room, &mut findings.errors);
    findings.errors.extend(room.problem());
    let order = order::topological(&steps, &dependencies).unwrap_or_else(|cycle| {
        let path = cycle.join(" -> ");
        findings.errors.push(format!("Cycle detected in workflow dependencies: {path}"));
        Vec::new()
    });
    findings.errors.truncate(FINDINGS);
    findings.warnings.truncate(FINDINGS);
    if !findings.errors.is_empty() {
        return Err(findings.errors);
    }
    let edges = Edges::new(&order, &dependencies, &references);
    Ok(Compiled { plan: plan(steps, &order, edges, settings), warnings: findings.warnings })
}

fn read_settings(text: Option<&str>, findings: &mut Findings) -> Settings {
    match text.map(serde_json::from_str::<Value>) {
        None => Settings::default(),
        Some(Ok(value)) => Settings::parse(&value, findings),
        Some(Err(error)) => {
            findings.errors.push(format!("PIPELINE_SETTINGS: {error}"));
            Settings::default()
        }
    }
}

fn read_steps(text: Option<&str>, steps_max: usize, findings: &mut Findings) -> Vec<Step> {
    let items = match items(text, steps_max) {
        Ok(items) => items,
        Err(problem) => {
            findings.errors.push(problem);
            return Vec::new();
        }
    };
    report_duplicates(&items, &mut findings.errors);
    let numbered = items.into_iter().enumerate();
    numbered.map(|(index, item)| Step::parse(item, index + 1, findings)).collect()
}

fn items(text: Option<&str>, steps_max: usize) -> Result<Vec<Value>, String> {
    let value = match text.map(serde_json::from_str::<Value>) {
        None | Some(Ok(Value::Null)) => return Err("Missing STEPS_CONFIG".into()),
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(format!("STEPS_CONFIG: {error}")),
    };
    match value {
        Value::Array(items) if items.len() > steps_max => Err(format!(
            "STEPS_CONFIG has {} steps; at most {steps_max} are allowed (WAYSTATION_MAX_STEPS)",
            items.len()
        )),
        Value::Array(items) if !items.is_empty() => Ok(items),
        _ => Err("STEPS_CONFIG must be a non-empty array".into()),
    }
}

fn report_duplicates(items: &[Value], errors: &mut Vec<String>) {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for usid in items.iter().filter_map(|item| item.get("usid")?.as_str()) {
        let count = seen.entry(usid).or_default();
        *count += 1;
        if *count == 2 {
            errors.push(format!("Duplicate USID: {usid}"));
        }
    }
}

/// The steps whose outputs each step's templates mention; templates that do not parse are problems.
fn references(
    steps: &[Step],
    names: &Names<'_>,
    room: &mut Room,
    errors: &mut Vec<String>,
) -> Vec<Vec<usize>> {
    let known = |name: &str| names.makers(name).or_else(|| names.called(name)).is_some();
    let mut all = Vec::with_capacity(steps.len());
    for (index, step) in steps.iter().enumerate() {
        let mut found = BTreeSet::new();
        match Template::compile(&config(&step.work), &known) {
            Ok(template) => {
                let mentioned: HashSet<_> = template.paths().filter_map(Mention::read).collect();
                let makers = mentioned.iter().filter_map(|mention| mention.makers(names));
                found.extend(makers.flat_map(|steps| room.take(steps)));
            }
            Err(problems) => errors.extend(
                problems
                    .iter()
                    .map(|problem| format!("Step {} ({}): {problem}", index + 1, step.name)),
            ),
        }
        all.push(found.into_iter().collect());
    }
    all
}

/// A path's way of naming a step or what it makes.
#[derive(PartialEq, Eq, Hash)]
enum Mention<'p> {
    /// `<output>`
    Output(Cow<'p, str>),
    /// `outputs.<step>`
    Step(Cow<'p, str>),
    /// `<step>.output`, unless no step is called that.
    Either(Cow<'p, str>),
}

impl<'p> Mention<'p> {
    fn read(path: &'p [Key]) -> Option<Mention<'p>> {
        let name = |index: usize| match path.get(index)? {
            Key::Name(name) => Some(Cow::Borrowed(&**name)),
            Key::Index(number) => Some(Cow::Owned(number.to_string())),
        };
        Some(match (name(0)?, name(1)) {
            (head, Some(step)) if head == "outputs" => Mention::Step(step),
            (head, Some(field)) if field == "output" => Mention::Either(head),
            (head, _) => Mention::Output(head),
        })
    }

    fn makers<'n>(&self, names: &'n Names<'_>) -> Option<&'n [usize]> {
        match self {
            Mention::Output(name) => names.makers(name),
            Mention::Step(name) => names.called(name),
            Mention::Either(name) => names.called(name).or_else(|| names.makers(name)),
        }
    }
}

/// The edges between nodes, which are numbered in listing order, and the hidden nodes they need.
struct Edges {
    edges: Vec<Edge>,
    /// Joins of several producers of one output: the names they join.
    merges: Vec<String>,
    count: usize,
    merge_of: HashMap<(String, Vec<NodeIndex>), NodeIndex>,
}

impl Edges {
    fn new(order: &[usize], dependencies: &[Vec<Dependency>], references: &[Vec<usize>]) -> Edges {
        let count = order.len();
        let mut edges =
            Edges { edges: Vec::new(), merges: Vec::new(), count, merge_of: HashMap::new() };
        let mut place = vec![0; count];
        for (position, step) in order.iter().enumerate() {
            place[*step] = position as NodeIndex;
        }
        for step in order {
            let to = place[*step];
            let mut joined = Vec::new();
            for dependency in &dependencies[*step] {
                let mut producers: Vec<_> =
                    dependency.producers.iter().map(|producer| place[*producer]).collect();
                producers.sort_unstable();
                joined.extend(&producers);
                edges.depend(to, dependency, producers);
            }
            edges.mention(to, references[*step].iter().map(|step| place[*step]), &joined);
        }
        edges
    }

    fn depend(&mut self, to: NodeIndex, dependency: &Dependency, producers: Vec<NodeIndex>) {
        let label = Some(dependency.name.clone());
        if dependency.is_selection() {
            let edge = |from| Edge { from, to, when: When::Settled, label: label.clone() };
            self.edges.extend(producers.into_iter().map(edge));
            return;
        }
        let from = match producers.as_slice() {
            [single] => *single,
            _ => self.merge(&dependency.name, producers),
        };
        self.edges.push(Edge { from, to, when: When::Completed, label });
    }

    /// A node that settles when all producers of an output have: it is live if one of them is.
    fn merge(&mut self, name: &str, producers: Vec<NodeIndex>) -> NodeIndex {
        let key = (name.to_owned(), producers);
        if let Some(known) = self.merge_of.get(&key) {
            return *known;
        }
        let node = (self.count + self.merges.len()) as NodeIndex;
        let edge =
            |from: &NodeIndex| Edge { from: *from, to: node, when: When::Completed, label: None };
        self.edges.extend(key.1.iter().map(edge));
        self.merges.push(name.to_owned());
        self.merge_of.insert(key, node);
        node
    }

    /// A template may mention an output without depending on it. It sees it as it would if steps ran
    /// one by one: of the steps listed before its own, whether they completed or not.
    fn mention(
        &mut self,
        to: NodeIndex,
        sources: impl Iterator<Item = NodeIndex>,
        joined: &[NodeIndex],
    ) {
        let earlier = sources.filter(|from| *from < to && !joined.contains(from));
        let edge = |from| Edge { from, to, when: When::Settled, label: None };
        self.edges.extend(earlier.map(edge));
    }
}

fn plan(steps: Vec<Step>, order: &[usize], edges: Edges, settings: Settings) -> Plan {
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let ordered = order.iter().filter_map(|index| steps[*index].take());
    let mut nodes: Vec<Node> = ordered.map(|step| node(step, &settings)).collect();
    let taken: HashSet<String> = nodes.iter().map(|node| node.id.clone()).collect();
    let free = (0..).map(|number| format!("merge {number}")).filter(|id| !taken.contains(id));
    nodes.extend(edges.merges.iter().zip(free).map(|(name, id)| merge_node(id, name)));
    Plan {
        format: PLAN_FORMAT,
        dialect: Dialect::Pipeline,
        shape: Shape::Graph { edges: edges.edges },
        nodes,
        results: Vec::new(),
        variables: Map::new(),
        missing: Missing::Verbatim,
        on_failure: if settings.raise_on_error { OnFailure::Stop } else { OnFailure::Continue },
        deadline_ms: Some(settings.total_timeout_ms),
        webhook_url: settings.webhook_url,
        budget: Budget::default(),
    }
}

fn node(step: Step, settings: &Settings) -> Node {
    let gates = step.dependencies.iter().filter(|name| order::names_selection(name));
    let selection = |name: &String| Selection { output: name.clone(), member: step.usid.clone() };
    let selections = gates.map(selection).collect();
    let retries = step.max_retries.unwrap_or(settings.max_retries);
    Node {
        kind: step.work.kind().into(),
        config: config(&step.work),
        join: Join::Every,
        selections,
        retry: Retry { attempts: retries + 1, delay_ms: settings.retry_delay_ms },
        timeout_ms: step.timeout_ms.unwrap_or(settings.step_timeout_ms),
        hidden: false,
        metadata: step.metadata,
        condition: None,
        needs: Vec::new(),
        literal: Vec::new(),
        body: None,
        outputs: step.outputs,
        name: step.name,
        id: step.usid,
    }
}

fn merge_node(id: String, name: &str) -> Node {
    Node {
        id,
        name: name.to_owned(),
        kind: "merge".into(),
        config: Value::Null,
        outputs: Vec::new(),
        join: Join::All,
        selections: Vec::new(),
        retry: Retry::NEVER,
        timeout_ms: 0,
        hidden: true,
        metadata: Map::new(),
        condition: None,
        needs: Vec::new(),
        literal: Vec::new(),
        body: None,
    }
}

impl Work {
    fn kind(&self) -> &'static str {
        match self {
            Work::Http { .. } => "http",
            Work::Set { .. } => "set",
        }
    }
}

/// The settings of the node type. GET and HEAD send the mapping in the query, the others as body.
fn config(work: &Work) -> Value {
    let Work::Http { url, method, headers, mapping } = work else {
        let Work::Set { value } = work else { return Value::Null };
        return json!({ "value": value });
    };
    let mut config = json!({ "method": method, "url": url });
    if !headers.is_empty() {
        config["headers"] = Value::Object(headers.clone());
    }
    let place = if sends_query(method) { "params" } else { "body" };
    if let Some(mapping) = mapping {
        config[place] = mapping.clone();
    }
    config
}
