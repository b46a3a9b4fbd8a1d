//! What names mean inside a node: input, outputs, variables, secrets, facts about the run.

use std::borrow::Cow;
use std::cell::RefCell;

use serde_json::Value;

use crate::expr::{Found, Key, Scope};
use crate::plan::{Dialect, NodeIndex, Shape};
use crate::run::Run;
use crate::time::rfc3339;

/// Where secrets come from. The value exists only while a node is being prepared and run.
pub type Secrets<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What lies outside of a run, and its templates may ask for.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// Secrets by name.
    pub secrets: Secrets<'a>,
    /// The address at which somebody ends the wait of a node of this run, by the node's id.
    pub links: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Outside<'a> {
    /// Secrets and nothing else.
    pub fn only(secrets: Secrets<'a>) -> Outside<'a> {
        Outside { secrets, links: &|_| None }
    }
}

/// The names that one attempt of a node sees.
pub struct NodeScope<'a> {
    run: &'a Run,
    run_id: &'a str,
    attempt: u32,
    now_ms: u64,
    outside: Outside<'a>,
    used: RefCell<Vec<String>>,
}

impl<'a> NodeScope<'a> {
    /// The names for one attempt; `now_ms` is the moment at which it starts.
    pub fn new(
        run: &'a Run,
        run_id: &'a str,
        attempt: u32,
        now_ms: u64,
        outside: Outside<'a>,
    ) -> NodeScope<'a> {
        NodeScope { run, run_id, attempt, now_ms, outside, used: RefCell::default() }
    }

    /// The names of the secrets that were looked up, so that their values can be kept out of what
    /// the node gives back.
    pub fn into_used_secrets(self) -> Vec<String> {
        self.used.into_inner()
    }

    fn output_of(&self, node: NodeIndex) -> Option<&Value> {
        self.run.nodes[node as usize].output.as_deref()
    }

    /// `outputs.<node>` and `<node>.output`, by id or by name.
    fn node_output(&self, head: &str, second: Option<&str>) -> Option<&Value> {
        let program = &self.run.program;
        let node = |name: &str| program.by_id.get(name).or_else(|| program.by_name.get(name));
        match (head, second) {
            ("outputs", Some(name)) => node(name).and_then(|node| self.output_of(*node)),
            (name, Some("output")) => node(name).and_then(|node| self.output_of(*node)),
            _ => None,
        }
    }

    /// The items of a queue that have begun, if the run is one.
    fn begun(&self) -> Option<&[u32]> {
        let is_queue = matches!(self.run.program.plan.shape, Shape::Queue { .. });
        is_queue.then(|| self.run.scheduler.begun())
    }

    /// `previous`: the result of the last item that has one, at first the context.
    fn previous(&self) -> Option<&Value> {
        let result = |item: &u32| self.run.item_result(*item);
        self.begun()?.iter().rev().find_map(result).or_else(|| self.run.input.get("context"))
    }

    /// `steps.<ordinal>.result` and `steps.<ordinal>.instruction`, counted from 1 in order of
    /// execution.
    fn step(&self, ordinal: &str, field: &str) -> Option<&Value> {
        let place = ordinal.parse::<usize>().ok()?.checked_sub(1)?;
        let item = *self.begun()?.get(place)?;
        match field {
            "result" => self.run.item_result(item),
            _ => {
                let node = self.run.program.item_node(item)?;
                self.run.program.plan.nodes[node as usize].metadata.get(field)
            }
        }
    }

    /// The run's input under its several spellings, after the outputs in order of look-up.
    fn in_input(&self, name: &str) -> Option<&Value> {
        let input = &self.run.input;
        let is_graph = self.run.program.plan.dialect == Dialect::Graph;
        match name {
            "original_input" | "input_data" => input.get(name).or(is_graph.then_some(input)),
            _ if is_graph => input.get(name),
            _ => {
                let data = input.get("input_data").and_then(|data| data.get(name));
                data.or_else(|| input.get(name))
            }
        }
    }

    /// The secret that a path names, and how much of the path its name takes: names may have dots.
    fn secret(&self, path: &[Key]) -> Option<(Value, usize)> {
        let parts: Vec<&str> = path
            .iter()
            .map_while(|key| match key {
                Key::Name(name) => Some(&**name),
                Key::Index(_) => None,
            })
            .collect();
        (2..=parts.len()).rev().find_map(|end| {
            let name = parts[1..end].join(".");
            let value = (self.outside.secrets)(&name)?;
            self.used.borrow_mut().push(name);
            Some((value.into(), end))
        })
    }

    /// What the run sees of the one that it is a part of: a name of its own, or a node's output. Also
    /// says how much of the path it takes.
    fn in_outer(&self, head: &str, second: Option<&str>) -> Option<(&Value, usize)> {
        let start = self.run.start.as_ref()?;
        let item = start.item.as_ref().and_then(|item| item.value()?.get(head));
        if let Some(value) = item {
            return Some((value, 1));
        }
        let outer = start.outer.as_ref()?.value()?;
        let outputs = outer.get("outputs");
        match (head, second) {
            ("outputs", Some(node)) => Some((outputs?.get(node)?, 2)),
            (node, Some("output"))
                if outputs.is_some_and(|outputs| outputs.get(node).is_some()) =>
            {
                Some((outputs?.get(node)?, 2))
            }
            ("outputs", None) => None,
            (name, _) => Some((outer.get(name)?, 1)),
        }
    }

    fn about_run(&self, name: &str) -> Option<Value> {
        match name {
            "id" => Some(self.run_id.into()),
            "workflow_id" => Some(self.run.start.as_ref()?.workflow.as_str().into()),
            "attempt" => Some(self.attempt.into()),
            _ => None,
        }
    }
}

impl Scope for NodeScope<'_> {
    fn lookup<'a>(&'a self, path: &[Key]) -> Option<Found<'a>> {
        let name = |index: usize| match path.get(index) {
            Some(Key::Name(name)) => Some(&**name),
            _ => None,
        };
        let second = match path.get(1) {
            // A node may be called by a number.
            Some(Key::Index(number)) => Some(Cow::Owned(number.to_string())),
            _ => name(1).map(Cow::Borrowed),
        };
        let borrowed = |value: &'a Value, used| Found { value: Cow::Borrowed(value), used };
        let owned = |value: Value, used| Found { value: Cow::Owned(value), used };
        let head = name(0)?;
        match head {
            "input" => return Some(borrowed(&self.run.input, 1)),
            // Nobody who begins a run takes the place of a secret.
            "secrets" => return self.secret(path).map(|(value, used)| owned(value, used)),
            _ => {}
        }
        if let Some(output) = self.node_output(head, second.as_deref()) {
            return Some(borrowed(output, 2));
        }
        if let Some((value, used)) = self.in_outer(head, second.as_deref()) {
            return Some(borrowed(value, used));
        }
        let plain = self.run.named_output(head).or_else(|| self.in_input(head));
        if let Some(value) = plain.or_else(|| self.run.program.plan.variables.get(head)) {
            return Some(borrowed(value, 1));
        }
        if let ("steps", Some(ordinal), Some(field)) = (head, second.as_deref(), name(2))
            && let Some(value) = self.step(ordinal, field)
        {
            return Some(borrowed(value, 3));
        }
        if let ("previous", Some(value)) = (head, self.previous()) {
            return Some(borrowed(value, 1));
        }
        match (head, name(1)) {
            ("run", Some(fact)) => self.about_run(fact).map(|value| owned(value, 2)),
            ("links", Some(node)) => (self.outside.links)(node).map(|link| owned(link.into(), 2)),
            ("now", _) => Some(owned(rfc3339(self.now_ms).into(), 1)),
            _ => None,
        }
    }

    fn names(&self) -> Vec<String> {
        let program = &self.run.program;
        let mut names: Vec<String> =
            ["input", "outputs", "secrets", "run", "now"].map(String::from).into();
        let made = program.producers.keys().filter(|name| self.run.named_output(name).is_some());
        names.extend(made.cloned());
        let is_shown = |node: NodeIndex| !program.plan.nodes[node as usize].hidden;
        let ended = program.by_id.iter();
        let ended = ended.filter(|(_, node)| is_shown(**node) && self.output_of(**node).is_some());
        names.extend(ended.map(|(id, _)| format!("outputs.{id}")));
        names.extend(program.plan.variables.keys().cloned());
        let start = self.run.start.as_ref();
        let item = start.and_then(|start| start.item.as_ref()?.value()?.as_object());
        names.extend(item.into_iter().flat_map(|item| item.keys().cloned()));
        let outer = start.and_then(|start| start.outer.as_ref()?.value());
        if let Some(Value::Object(outer)) = outer.map(AsRef::as_ref) {
            let nodes = outer.get("outputs").and_then(Value::as_object);
            names.extend(nodes.into_iter().flatten().map(|(id, _)| format!("outputs.{id}")));
            names.extend(outer.keys().filter(|name| *name != "outputs").cloned());
        }
        if let Some(input) = self.run.input.as_object() {
            names.extend(input.keys().cloned());
            let data = input.get("input_data").and_then(Value::as_object);
            names.extend(data.into_iter().flat_map(|data| data.keys().cloned()));
        }
        names.sort_unstable();
        names
    }
}

/// What a node's condition sees: the node's own settings, and behind them the run's names.
pub struct Within<'a> {
    /// The settings, rendered.
    pub config: &'a Value,
    /// The names.
    pub names: &'a NodeScope<'a>,
}

impl Scope for Within<'_> {
    fn lookup<'a>(&'a self, path: &[Key]) -> Option<Found<'a>> {
        let Key::Name(head) = path.first()? else { return None };
        match self.config.get(&**head) {
            Some(value) => Some(Found { value: Cow::Borrowed(value), used: 1 }),
            None => self.names.lookup(path),
        }
    }

    fn names(&self) -> Vec<String> {
        let own = self.config.as_object().into_iter().flat_map(|config| config.keys().cloned());
        own.chain(self.names.names()).collect()
    }
}
