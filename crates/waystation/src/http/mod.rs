//! HTTP: the router, and what all routes share. Each API is one file.

mod analytics;
mod blocks;
mod body;
mod claims;
mod cors;
mod decide;
mod detail;
mod echo;
mod endpoints;
mod events;
mod executions;
mod extract;
mod generate;
mod guard;
mod hooks;
mod instructions;
mod jobs;
mod listen;
mod nodes;
mod page;
mod patience;
mod pipelines;
mod progress;
mod reply;
mod room;
mod runs;
mod secrets;
mod service;
mod sse;
mod status;
mod triggers;
mod watch;

use std::sync::Arc;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use waystation_engine::id::RunId;
use waystation_engine::secret::new_token;

use crate::app::App;
pub use endpoints::own_server as endpoint_server;
pub use guard::Gate;
pub use listen::{Connections, listen, serve};

/// What handlers are given.
#[derive(Clone)]
pub struct Context {
    app: Arc<App>,
    metrics: Option<PrometheusHandle>,
    /// Refuses requests that a web page elsewhere could have made.
    gate: Gate,
    /// Tells this process from any other that may listen at its address one day.
    instance: Arc<str>,
    /// Places for those who watch a run; who finds none asks again and again instead.
    watchers: Arc<Semaphore>,
    /// Places for those who listen to events.
    listeners: Arc<Semaphore>,
    /// Places for those who look up a whole run; who finds none waits.
    readers: Arc<Semaphore>,
    /// Room for large replies.
    room: room::Room,
    /// What a command on this machine has to show to set secrets.
    token: Arc<str>,
}

/// Runs that are watched at once; a further watcher is refused as busy.
const WATCHERS_MAX: usize = 1_000;

/// Clients that listen to events at once; a further one is refused as busy.
const LISTENERS_MAX: usize = 9_000;

/// Runs that are looked up whole at once, each with all its results in memory; a further one waits.
const READERS_MAX: usize = 4;

/// The header of `/ping` that names the process.
pub const INSTANCE_HEADER: &str = "waystation-instance";

/// The header by which a command on this machine shows that it may set secrets.
pub const TOKEN_HEADER: &str = "waystation-token";

impl Context {
    /// A server for this app. Without a handle there are no metrics.
    pub fn new(app: Arc<App>, metrics: Option<PrometheusHandle>, is_local: bool) -> Context {
        let instance = RunId::new().to_string().into();
        let watchers = Arc::new(Semaphore::new(WATCHERS_MAX));
        let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        let gate = Gate::new(is_local, app.cors_origins.clone());
        Context {
            app,
            metrics,
            gate,
            watchers,
            listeners,
            readers,
            room: room::Room::default(),
            instance,
            token: new_token().into(),
        }
    }

    /// What [`INSTANCE_HEADER`] says here.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// What [`TOKEN_HEADER`] has to say.
    pub fn token(&self) -> &str {
        &self.token
    }
}

/// All routes.
pub fn router(context: Context) -> Router {
    let Context { app, gate, .. } = &context;
    let endpoints = endpoints::routes(Arc::clone(&app.client), app.body_bytes_max, gate);
    let chains = cors::open(instructions::routes(), gate, instructions::SENDABLE);
    Router::new()
        .merge(secrets::routes())
        .merge(pipelines::routes())
        .merge(runs::routes())
        .merge(blocks::routes())
        .merge(progress::routes())
        .merge(status::routes())
        .merge(echo::routes())
        .merge(page::routes())
        .merge(service::routes())
        .merge(jobs::routes())
        .merge(events::routes())
        .merge(nodes::routes())
        .merge(executions::routes())
        .merge(analytics::routes())
        .merge(generate::routes())
        .merge(triggers::routes())
        .merge(hooks::routes())
        .merge(decide::routes())
        .fallback(reply::no_such_route)
        .method_not_allowed_fallback(reply::no_such_method)
        .layer(axum::middleware::from_fn_with_state(gate.is_local, guard::check))
        .merge(endpoints)
        .merge(chains)
        .layer(CatchPanicLayer::custom(reply::panicked))
        .with_state(context)
}
