//! Node types: what a step can do. Each is one file, known to the engine by one line in the registry.

pub mod http;

use async_trait::async_trait;
use serde_json::Value;
use waystation_core::error::Failure;

/// What a node is given for one attempt.
#[derive(Clone, Debug)]
pub struct Call {
    /// The run's id, as text.
    pub run: String,
    /// The node's id in the plan.
    pub node: String,
    /// Counted from 1.
    pub attempt: u32,
    /// The same on every attempt of this node in this run.
    pub idempotency_key: String,
    /// The node's settings, with all templates rendered. May hold secrets: never log it.
    pub config: Value,
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
