//! Node types: what a step can do. Each is one file, known to the engine by one line in the registry.

mod agent;
mod ai_processor;
pub mod catalog;
mod choose;
pub mod code;
mod complaint;
mod condition;
mod conditional;
pub mod context;
mod control;
pub mod data_source;
mod decide;
mod delay;
pub mod docs;
pub mod email;
pub mod endpoint;
mod filter;
mod foreach;
pub mod http;
mod items;
mod jq;
mod judge;
mod llm;
mod merge;
mod model;
mod route;
mod router;
mod set;
pub mod spec;
mod subject;
mod subworkflow;
mod switch;
mod thread;
mod transformer;
pub mod wait;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use waystation_core::entry::{Body, Ending};
use waystation_core::error::Failure;
use waystation_core::expr::Scope;

use self::catalog::Catalog;
use self::email::server::MailSettings;
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
    /// Waits for a moment or for somebody, without being in memory meanwhile.
    Wait(fn(&mut PureCall<'_>) -> std::result::Result<Wait, Failure>),
    /// Runs a plan of its own, once for each of its items.
    Body(fn(&mut PureCall<'_>) -> std::result::Result<Body, Failure>),
}

/// What a node waits for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wait {
    /// How long; for ever where nothing is said.
    pub for_ms: Option<u64>,
    /// How the node ends then.
    pub then: Ending,
}

/// All node types by name.
pub struct Registry {
    types: HashMap<&'static str, NodeType>,
    catalog: Arc<Catalog>,
}

impl Registry {
    /// The types that the engine comes with.
    pub fn standard(client: Arc<HttpClient>, models: Arc<Models>) -> Registry {
        let (client, models) = (move || Arc::clone(&client), move || Arc::clone(&models));
        let effect = |effect: Arc<dyn Effect>| NodeType::Effect(effect);
        let mut registry = Registry { types: HashMap::new(), catalog: Arc::default() };
        registry.add("start", NodeType::Pure(control::start));
        registry.add("end", NodeType::Pure(control::end));
        registry.add("merge", NodeType::Pure(control::merge));
        registry.add("set", NodeType::Pure(set::set));
        registry.add("condition", NodeType::Pure(condition::condition));
        registry.add("gather", NodeType::Pure(merge::gather));
        registry.add("switch", NodeType::Pure(switch::switch));
        registry.add("filter", NodeType::Pure(filter::filter));
        registry.add("transformer", NodeType::Pure(transformer::transformer));
        registry.add("thread", NodeType::Pure(thread::thread));
        registry.add("http", effect(Arc::new(http::Http { client: client() })));
        registry.add("endpoint", effect(Arc::new(endpoint::Endpoint { client: client() })));
        registry.add("llm", effect(Arc::new(llm::Llm { models: models() })));
        registry.add("judge", effect(Arc::new(judge::Judge { models: models() })));
        registry.add("choose", effect(Arc::new(choose::Choose { models: models() })));
        registry.add("decide", effect(Arc::new(decide::Decide { models: models() })));
        registry.add("router", effect(Arc::new(router::Router { client: client() })));
        registry.add("delay", NodeType::Wait(delay::delay));
        registry.add("wait", NodeType::Wait(wait::wait));
        registry.add("foreach", NodeType::Body(foreach::foreach));
        registry.add("subworkflow", NodeType::Body(subworkflow::subworkflow));
        for spec in [delay::spec(), wait::spec(), foreach::spec(), subworkflow::spec()] {
            registry.describe(spec);
        }
        registry.add("route", effect(Arc::new(route::Route { models: models() })));
        let processor = ai_processor::AiProcessor { models: models() };
        registry.add("ai-processor", effect(Arc::new(processor)));
        for spec in [llm::spec::spec(), ai_processor::spec(), route::spec()] {
            registry.describe(spec);
        }
        registry.connect_mail(client(), client(), MailSettings::default());
        for spec in [email::spec(), http::spec::http(), http::spec::webhook()] {
            registry.describe(spec);
        }
        registry.open_files(client(), data_source::Files::closed());
        registry.describe(data_source::spec());
        let agent = agent::Agent { client: client(), models: models() };
        registry.add("agent", effect(Arc::new(agent)));
        registry.describe(control::start_spec());
        registry.describe(control::end_spec());
        registry.describe(conditional::conditional_spec());
        registry.describe(conditional::condition_spec());
        registry.describe(switch::spec());
        registry.describe(merge::spec());
        registry.describe(filter::spec());
        registry.describe(transformer::spec());
        registry
    }

    /// Tells how email is sent; until then no mail server is known but those that nodes name. The
    /// trusted client reaches the operator's server, the confined one those of nodes.
    pub fn connect_mail(
        &mut self,
        confined: Arc<HttpClient>,
        trusted: Arc<HttpClient>,
        settings: MailSettings,
    ) {
        let email = email::Email::new(confined, trusted, settings);
        self.add("email", NodeType::Effect(Arc::new(email)));
    }

    /// Lets data sources read files.
    pub fn open_files(&mut self, client: Arc<HttpClient>, files: data_source::Files) {
        let source = data_source::DataSource::new(client, files);
        self.add("data-source", NodeType::Effect(Arc::new(source)));
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
        // Nobody else has it before the registry is complete.
        if let Some(catalog) = Arc::get_mut(&mut self.catalog) {
            catalog.add(spec);
        }
    }

    /// What definitions may use.
    pub fn catalog(&self) -> &Arc<Catalog> {
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
