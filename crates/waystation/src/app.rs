//! The program put together: store, secrets, outgoing HTTP, engine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use waystation_core::error::{Code, Error};
use waystation_engine::driver::{Engine, LinkMaker, Parts};
use waystation_engine::egress::{HttpClient, Policy, Reach};
use waystation_engine::event::redis::OutputSink;
use waystation_engine::event::signature::SigningKey;
use waystation_engine::event::trace::export::Tracer;
use waystation_engine::node::Registry;
use waystation_engine::node::catalog::Catalog;
use waystation_engine::node::data_source::Files;
use waystation_engine::provider::installed::Installed;
use waystation_engine::provider::models::{ModelParts, Models};
use waystation_engine::sandbox::python::Python;
use waystation_engine::sandbox::{Sandbox, WorkerCommand};
use waystation_engine::secret::{Sealer, Vault};
use waystation_engine::store::Store;
use waystation_engine::store::sqlite::{Options, SqliteStore};

use crate::auth::Auth;
use crate::config::Config;
use crate::links;
use crate::workflows::Shelf;

/// The command, for this program alone, that makes a process a sandbox worker.
pub const SANDBOX_WORKER: &str = "sandbox-worker";

/// What all requests and commands share.
pub struct App {
    /// The engine.
    pub engine: Engine,
    /// Models, for what is asked outside of runs.
    pub models: Arc<Models>,
    /// What nodes may use and nobody may see.
    pub vault: Arc<Vault>,
    /// For targets that requests name.
    pub client: Arc<HttpClient>,
    /// For targets that the operator names.
    pub trusted_client: Arc<HttpClient>,
    /// Verifies webhooks that come in.
    pub webhook_key: Option<Arc<SigningKey>>,
    /// The engine that block workflows are sent to, instead of running here.
    pub workflow_engine_url: Option<String>,
    /// How others reach this server.
    pub public_url: Option<String>,
    /// Tells who calls.
    pub auth: Arc<Auth>,
    /// The largest request body.
    pub body_bytes_max: usize,
    /// The most steps of a definition.
    pub steps_max: usize,
    /// The names of the providers of models.
    pub providers: Vec<String>,
    /// Where links lead to: known once it is said, or once the server listens.
    base_url: Arc<OnceLock<String>>,
}

impl App {
    /// Opens everything. A resident app takes care of all runs in the store; any other only of its own.
    pub async fn open(config: Config, is_resident: bool) -> Result<App, Error> {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&config.data, &Options::default())?);
        let vault = Arc::new(open_vault(&config, Arc::clone(&store)).await?);
        let auth = Arc::new(Auth::load(config.auth, Arc::clone(&store)).await?);
        let Clients { confined: client, trusted: trusted_client } = clients(config.egress)?;
        let webhook_key = config.webhook_key.map(Arc::new);
        let providers = config.providers.setups.keys().cloned().collect();
        let known = Some(Arc::clone(&vault));
        let directory =
            Installed::new(config.providers, known, trusted_client.clone(), client.clone());
        let mut settings = config.engine;
        settings.is_resident = is_resident;
        settings.run_budget = config.models.run_budget;
        let models = Arc::new(Models::new(ModelParts {
            directory: Arc::new(directory),
            prices: config.prices,
            store: Some(Arc::clone(&store)),
            redis: config.redis.clone(),
            settings: config.models,
        }));
        let mut registry = Registry::standard(&client, &models);
        registry.connect_mail(client.clone(), trusted_client.clone(), config.mail);
        if let Some(directory) = config.sqlite_dir {
            registry.open_files(Arc::clone(&client), Files::below(directory, config.data));
        }
        registry.add_programs(&sandbox(config.python_component)?);
        let shelf = Shelf {
            store: Arc::clone(&store),
            catalog: Arc::clone(registry.catalog()),
            steps_max: config.steps_max,
        };
        let base_url = Arc::new(OnceLock::new());
        if let Some(url) = &config.public_url {
            let _ = base_url.set(url.trim_end_matches('/').to_owned());
        }
        let links = link_maker(Arc::clone(&base_url), Arc::clone(&vault));
        let traced = config.traces.filter(|_| is_resident);
        let tracer = traced
            .map(|to| Tracer::start(&to, Arc::clone(&trusted_client), Arc::clone(&store)))
            .transpose()?;
        let parts = Parts {
            store,
            tracer,
            registry,
            vault: Arc::clone(&vault),
            client: Arc::clone(&client),
            webhook_key: webhook_key.clone(),
            events: config.redis.clone().zip(config.redis_events),
            outputs: config.redis.map(OutputSink::start),
            library: Arc::new(shelf),
            links: Some(links),
            settings,
        };
        Ok(App {
            engine: Engine::new(parts),
            models,
            vault,
            client,
            trusted_client,
            webhook_key,
            workflow_engine_url: config.workflow_engine_url,
            public_url: config.public_url,
            auth,
            body_bytes_max: config.body_bytes_max,
            steps_max: config.steps_max,
            providers,
            base_url,
        })
    }

    /// Tells where this server listens and what it knows its own steps by, so that a URL of a path alone
    /// means it, and starts the engine.
    pub async fn start(&self, address: SocketAddr, pass: &str) -> Result<(), Error> {
        self.client.set_own_address(address);
        self.client.set_own_pass(pass);
        // Where a public address is said, that one stays.
        let _ = self.base_url.set(format!("http://{address}"));
        self.engine.start().await
    }
}

/// Makes links at which somebody ends the wait of a run. Before the server listens they are paths.
fn link_maker(base_url: Arc<OnceLock<String>>, vault: Arc<Vault>) -> LinkMaker {
    Arc::new(move |run, node: &str, attempt| {
        let ticket = links::Ticket { run, node: node.to_owned(), attempt };
        let base = base_url.get().map(String::as_str).unwrap_or_default();
        format!("{base}/decide/{}", links::seal(&vault, &ticket))
    })
}

/// The vault of a data directory.
pub async fn open_vault(config: &Config, store: Arc<dyn Store>) -> Result<Vault, Error> {
    let sealer = match &config.secret_key {
        Some(text) => Sealer::from_key_text(text).map_err(|error| Error {
            message: format!("WAYSTATION_SECRET_KEY: {}", error.message),
            ..error
        })?,
        None => Sealer::from_file(&key_file(config, &*store).await?)?,
    };
    let vault = Vault::new(sealer, store);
    let unreadable = vault.load().await?;
    if !unreadable.is_empty() {
        tracing::warn!(names = unreadable.join(", "), "secrets sealed with another key");
    }
    Ok(vault)
}

/// The file with the key. A new one must not be made where there are secrets that another key sealed.
async fn key_file(config: &Config, store: &dyn Store) -> Result<PathBuf, Error> {
    let path = config.data.join("secret.key");
    if !path.exists() && !store.secrets().await?.is_empty() {
        let text = format!("There are sealed secrets, and {} is missing", path.display());
        return Err(Error::new(Code::SecretUnreadable, text));
    }
    Ok(path)
}

/// The node types that definitions may use, for those who only read definitions.
pub fn catalog(config: &Config) -> Result<Arc<Catalog>, Error> {
    let client = Arc::new(http_client(config.egress.clone())?);
    let mut registry = Registry::standard(&client, &Arc::default());
    registry.add_programs(&sandbox(config.python_component.clone())?);
    Ok(Arc::clone(registry.catalog()))
}

/// Where user code runs: in workers of this very program, and in the Python that lies there, if any.
pub fn sandbox(python: PathBuf) -> Result<Arc<Sandbox>, Error> {
    let worker = WorkerCommand { program: own_program()?, arguments: vec![SANDBOX_WORKER.into()] };
    Ok(Arc::new(Sandbox::new(worker, Python::new(python))))
}

/// This program, also when its file has been replaced by a newer one.
fn own_program() -> Result<PathBuf, Error> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe().map_err(|error| {
        tracing::error!(%error, "this program's own file");
        Error::new(Code::Internal, "this program does not find its own file")
    })
}

/// Those who call others.
pub struct Clients {
    /// For targets that requests name.
    pub confined: Arc<HttpClient>,
    /// For targets that the operator names.
    pub trusted: Arc<HttpClient>,
}

/// Both clients; the policy is for what requests name.
pub fn clients(egress: Policy) -> Result<Clients, Error> {
    let confined = Arc::new(http_client(egress)?);
    let trusted = Arc::new(http_client(Policy::new(Reach::AnyButMetadata))?);
    Ok(Clients { confined, trusted })
}

/// A client that goes out under a policy.
pub fn http_client(policy: Policy) -> Result<HttpClient, Error> {
    HttpClient::new(policy).map_err(|error| {
        tracing::error!(%error, "outgoing HTTP");
        Error::new(Code::Internal, "the outgoing HTTP client could not be made")
    })
}
