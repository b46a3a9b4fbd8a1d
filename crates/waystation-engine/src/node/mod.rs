//! Node types: what a step can do. Each is one file, known to the engine by one line in the registry.

mod agent;
mod choose;
mod condition;
pub mod context;
mod control;
mod decide;
pub mod endpoint;
pub mod http;
mod judge;
mod llm;
mod model;
mod router;
mod set;
mod thread;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;
use waystation_core::error::Failure;

use crate::egress::HttpClient;
use crate::provider::models::Models;
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
    /// The results of the nodes that lead here, by id.
    pub upstream: &'a dyn Fn() -> Vec<(String, Arc<Value>)>,
}

/// What a completed attempt gives.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The node's result.
    pub output: Value,
    /// The port it leaves by, where the type has several.
    pub port: Option<String>,
}

impl From<Value> for Completion {
    fn from(output: Value) -> Completion {
        Completion { output, port: None }
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
}

impl Registry {
    /// The types that the engine comes with.
    pub fn standard(client: Arc<HttpClient>, models: Arc<Models>) -> Registry {
        let (client, models) = (move || Arc::clone(&client), move || Arc::clone(&models));
        let effect = |effect: Arc<dyn Effect>| NodeType::Effect(effect);
        let mut registry = Registry { types: HashMap::new() };
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

    /// Adds or replaces a type.
    pub fn add(&mut self, name: &'static str, node_type: NodeType) {
        self.types.insert(name, node_type);
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
