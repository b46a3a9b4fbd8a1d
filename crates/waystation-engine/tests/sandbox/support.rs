//! Nodes that run user code, made ready for tests.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use waystation_core::entry::Level;
use waystation_core::error::{Code, Failure};
use waystation_engine::egress::{HttpClient, Policy, Reach};
use waystation_engine::node::{AttemptContext, Call, Effect, NodeType, Outcome, Registry};
use waystation_engine::sandbox::python::{Python, component_directory};
use waystation_engine::sandbox::{Sandbox, WorkerCommand};

/// How long a program may take that ends.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a program may take that may be stopped.
pub(crate) const SHORT: Duration = Duration::from_millis(1_500);

/// The node types over a sandbox whose worker is a program of its own.
pub(crate) struct Nodes {
    registry: Registry,
}

/// What came of a program: its lines and its outcome. A timeout is the error that the driver makes of it.
pub(crate) struct Ended {
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) outcome: Result<Value, Failure>,
}

impl Nodes {
    pub(crate) fn new() -> Nodes {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_sandbox-worker"));
        let worker = WorkerCommand { program, arguments: Vec::new() };
        let sandbox = Arc::new(Sandbox::new(worker, Python::new(python_directory())));
        let client = HttpClient::new(Policy::new(Reach::AnyButMetadata)).expect("a client");
        let mut registry = Registry::standard(&Arc::new(client), &Arc::default());
        registry.add_programs(&sandbox);
        Nodes { registry }
    }

    /// Makes one attempt at a node, in this time.
    pub(crate) async fn attempt(&self, kind: &str, config: Value, limit: Duration) -> Ended {
        let Some(NodeType::Effect(effect)) = self.registry.get(kind) else {
            panic!("{kind} has effects");
        };
        let effect: Arc<dyn Effect> = Arc::clone(effect);
        let context = AttemptContext::alone();
        let call = Call {
            idempotency_key: "key".into(),
            config,
            outputs: Vec::new(),
            is_repeated: false,
            context: context.clone(),
        };
        let outcome: Outcome = match tokio::time::timeout(limit, effect.attempt(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::retryable(Code::Timeout, "", None)),
        };
        Ended { log: context.take_log(), outcome: outcome.map(|completion| completion.output) }
    }

    /// Runs a program of a language, or a jq expression.
    pub(crate) async fn run(
        &self,
        language: &str,
        code: &str,
        input: Value,
        limit: Duration,
    ) -> Ended {
        let (kind, config) = match language {
            "jq" => ("jq", json!({ "expression": code, "value": input })),
            _ => ("code", json!({ "language": language, "code": code, "input_mapping": input })),
        };
        self.attempt(kind, config, limit).await
    }
}

/// Where `make python` leaves the component.
fn python_directory() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home directory"));
    let all = std::env::var_os("WAYSTATION_PYTHON_COMPONENT").map(PathBuf::from);
    component_directory(&all.unwrap_or_else(|| home().join(".cache/waystation/python")))
}
