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
mod rendered;
mod route;
mod router;
mod set;
pub mod spec;
mod subject;
pub(crate) mod subworkflow;
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
    /// Completes the settings of an attempt from what leads to the node, where they do not say.
    fn complete(&self, _call: &mut PureCall<'_>) -> std::result::Result<(), Failure> {
        Ok(())
    }

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
    pub fn standard(client: &Arc<HttpClient>, models: &Arc<Models>) -> Registry {
        let mut registry = Registry { types: HashMap::new(), catalog: Arc::default() };
        registry.add_flow();
        registry.add_values();
        registry.add_models(client, models);
        registry.add_services(client);
        registry
    }

    /// Where graphs begin, end, branch, wait and repeat.
    fn add_flow(&mut self) {
        self.add("start", NodeType::Pure(control::start));
        self.add("end", NodeType::Pure(control::end));
        self.add("merge", NodeType::Pure(control::merge));
        self.add("condition", NodeType::Pure(condition::condition));
        self.add("switch", NodeType::Pure(switch::switch));
        self.add("gather", NodeType::Pure(merge::gather));
        self.add("delay", NodeType::Wait(delay::delay));
        self.add("wait", NodeType::Wait(wait::wait));
        self.add("foreach", NodeType::Body(foreach::foreach));
        self.add(subworkflow::KIND, NodeType::Body(subworkflow::subworkflow));
        let branches = [conditional::conditional_spec(), conditional::condition_spec()];
        let ends = [control::start_spec(), control::end_spec()];
        let rest = [switch::spec(), merge::spec(), foreach::spec(), subworkflow::spec()];
        let waits = [delay::spec(), wait::spec()];
        for spec in ends.into_iter().chain(branches).chain(rest).chain(waits) {
            self.describe(spec);
        }
    }

    /// What works on values alone.
    fn add_values(&mut self) {
        self.add("set", NodeType::Pure(set::set));
        self.add("thread", NodeType::Pure(thread::thread));
        self.add("filter", NodeType::Pure(filter::filter));
        self.add("transformer", NodeType::Pure(transformer::transformer));
        self.describe(filter::spec());
        self.describe(transformer::spec());
    }

    /// What asks models.
    fn add_models(&mut self, client: &Arc<HttpClient>, models: &Arc<Models>) {
        let (client, models) = (|| Arc::clone(client), || Arc::clone(models));
        let mut add = |name, effect: Arc<dyn Effect>| self.add(name, NodeType::Effect(effect));
        add("llm", Arc::new(llm::Llm { models: models() }));
        add("ai-processor", Arc::new(ai_processor::AiProcessor { models: models() }));
        add("route", Arc::new(route::Route { models: models() }));
        add("judge", Arc::new(judge::Judge { models: models() }));
        add("choose", Arc::new(choose::Choose { models: models() }));
        add("decide", Arc::new(decide::Decide { models: models() }));
        add("router", Arc::new(router::Router { client: client() }));
        add("agent", Arc::new(agent::Agent { client: client(), models: models() }));
        for spec in [llm::spec::spec(), ai_processor::spec(), route::spec()] {
            self.describe(spec);
        }
    }

    /// What calls other systems.
    fn add_services(&mut self, client: &Arc<HttpClient>) {
        let client = || Arc::clone(client);
        let mut add = |name, effect: Arc<dyn Effect>| self.add(name, NodeType::Effect(effect));
        add("http", Arc::new(http::Http { client: client() }));
        add("endpoint", Arc::new(endpoint::Endpoint { client: client() }));
        self.connect_mail(client(), client(), MailSettings::default());
        self.open_files(client(), data_source::Files::closed());
        let web = [http::spec::http(), http::spec::webhook()];
        for spec in web.into_iter().chain([email::spec(), data_source::spec()]) {
            self.describe(spec);
        }
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
