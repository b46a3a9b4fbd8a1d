//! Node types: what a step can do. Each is one file, known to the engine by one line in the registry.

mod agent;
pub mod catalog;
mod choose;
pub mod code;
mod condition;
pub mod context;
mod control;
mod decide;
pub mod endpoint;
pub mod http;
mod jq;
mod judge;
mod llm;
mod model;
mod router;
mod set;
pub mod spec;
mod thread;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use waystation_core::error::Failure;
use waystation_core::expr::Scope;

use self::catalog::Catalog;
use self::spec::Spec;
use crate::egress::HttpClient;
use crate::provider::models::Models;
use crate::sandbox::Sandbox;
pub use context::AttemptContext;

/// What a node is given for one attempt.
#[derive(Clone, Debug)]
pub struct Call {
    /// The same on every attempt of this node in this run.
    pub idempotency_key: String,
    /// The node's settings, with all templates rendered. May hold secrets: never log it.
    pub config: Value,
    /// The names that the node's result is known by; empty where it is known as a whole.
    pub outputs: Vec<String>,
    /// Whether this very attempt began before, and a crash or restart cut it short: what it did then is
    /// not known.
    pub is_repeated: bool,
    /// The attempt's ties to its run.
    pub context: AttemptContext,
}

/// What a pure node is given.
pub struct PureCall<'a> {
    /// The node's settings, with all templates rendered.
    pub config: Value,
    /// The names that the node's result is known by; empty where it is known as a whole.
    pub outputs: &'a [String],
    /// Whether the node's condition holds, if it has one.
    pub holds: Option<bool>,
    /// The run's input.
    pub input: &'a Value,
    /// What names mean in the run, for settings that are templates or conditions by themselves. Secrets
    /// are not among them.
    pub names: &'a dyn Scope,
    /// The results of the nodes that lead here, by id.
    pub upstream: &'a dyn Fn() -> Vec<(String, Arc<Value>)>,
}

/// What a completed attempt gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// The node's result.
    pub output: Value,
    /// The port it leaves by, where the type has several.
    pub port: Option<String>,
    /// What is worth knowing about the attempt and is no part of the result.
    pub details: Map<String, Value>,
}

impl From<Value> for Completion {
    fn from(output: Value) -> Completion {
        Completion { output, ..Completion::default() }
    }
}

/// How an attempt ended. Cancelled attempts are dropped and say nothing.
pub type Outcome = std::result::Result<Completion, Failure>;

/// A node type with effects outside: it runs after everything it depends on is durable.
#[async_trait]
pub trait Effect: Send + Sync + 'static {
    /// Makes one attempt. Dropping the future stops it.
    async fn attempt(&self, call: Call) -> Outcome;
}

/// How nodes of a type are run.
#[derive(Clone)]
pub enum NodeType {
    /// In memory, at once, and again after a crash: it depends on nothing but what it is given.
    Pure(fn(&mut PureCall<'_>) -> Outcome),
    /// With effects outside.
    Effect(Arc<dyn Effect>),
}

/// All node types by name.
pub struct Registry {
    types: HashMap<&'static str, NodeType>,
    catalog: Catalog,
}

impl Registry {
    /// The types that the engine comes with.
    pub fn standard(client: Arc<HttpClient>, models: Arc<Models>) -> Registry {
        let (client, models) = (move || Arc::clone(&client), move || Arc::clone(&models));
        let effect = |effect: Arc<dyn Effect>| NodeType::Effect(effect);
        let mut registry = Registry { types: HashMap::new(), catalog: Catalog::default() };
        registry.add("start", NodeType::Pure(control::start));
        registry.add("end", NodeType::Pure(control::end));
        registry.add("merge", NodeType::Pure(control::merge));
        registry.add("set", NodeType::Pure(set::set));
        registry.add("condition", NodeType::Pure(condition::condition));
        registry.add("thread", NodeType::Pure(thread::thread));
        registry.add("http", effect(Arc::new(http::Http { client: client() })));
        registry.add("endpoint", effect(Arc::new(endpoint::Endpoint { client: client() })));
        registry.add("llm", effect(Arc::new(llm::Llm { models: models() })));
        registry.add("judge", effect(Arc::new(judge::Judge { models: models() })));
        registry.add("choose", effect(Arc::new(choose::Choose { models: models() })));
        registry.add("decide", effect(Arc::new(decide::Decide { models: models() })));
        registry.add("router", effect(Arc::new(router::Router { client: client() })));
        let agent = agent::Agent { client: client(), models: models() };
        registry.add("agent", effect(Arc::new(agent)));
        registry
    }

    /// Adds the types that run programs of users.
    pub fn add_programs(&mut self, sandbox: &Arc<Sandbox>) {
        let sandbox = || Arc::clone(sandbox);
        self.describe(code::spec(sandbox().python().is_there()));
        self.add("code", NodeType::Effect(Arc::new(code::Code { sandbox: sandbox() })));
        self.add("jq", NodeType::Effect(Arc::new(jq::Jq { sandbox: sandbox() })));
    }

    /// Adds or replaces a type.
    pub fn add(&mut self, name: &'static str, node_type: NodeType) {
        self.types.insert(name, node_type);
    }

    /// Makes a type known to definitions.
    pub fn describe(&mut self, spec: Spec) {
        self.catalog.add(spec);
    }

    /// What definitions may use.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The names of all types.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.types.keys().copied()
    }

    /// A type by its name.
    pub fn get(&self, name: &str) -> Option<&NodeType> {
        self.types.get(name)
    }
}
