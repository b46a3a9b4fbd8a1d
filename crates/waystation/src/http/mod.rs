//! HTTP: the router, and what all routes share. Each API is one file.

mod access;
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
mod keys;
mod listen;
mod nodes;
mod openapi;
mod page;
mod patience;
mod peer;
mod pipelines;
mod progress;
mod reply;
mod room;
mod route;
mod runs;
mod safety;
mod secrets;
mod service;
mod sse;
mod status;
mod triggers;
mod watch;

use std::sync::Arc;

use std::num::NonZeroU32;

use axum::Router;
use axum::middleware::from_fn_with_state;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;
use waystation_engine::id::RunId;

use self::access::{Door, Meter};
use self::route::{Routes, Table};
use crate::app::App;
use crate::auth::Auth;
use crate::origins::Origins;
pub use endpoints::own_server as endpoint_server;
pub use keys::view as view_key;
pub use listen::{Connections, listen, serve};
pub use peer::Proxies;

/// What handlers are given.
#[derive(Clone)]
pub struct Context {
    app: Arc<App>,
    metrics: Option<PrometheusHandle>,
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
    /// The description of the API.
    description: Arc<str>,
}

/// Runs that are watched at once; a further watcher is refused as busy.
const WATCHERS_MAX: usize = 1_000;

/// Clients that listen to events at once; a further one is refused as busy.
const LISTENERS_MAX: usize = 9_000;

/// Runs that are looked up whole at once, each with all its results in memory; a further one waits.
const READERS_MAX: usize = 4;

/// The header of `/ping` that names the process.
pub const INSTANCE_HEADER: &str = "waystation-instance";

/// The header by which a command on this machine shows that it can read the data directory.
pub const TOKEN_HEADER: &str = "waystation-token";

impl Context {
    /// A server for this app. Without a handle there are no metrics.
    pub fn new(app: Arc<App>, metrics: Option<PrometheusHandle>) -> Context {
        let instance = RunId::new().to_string().into();
        let watchers = Arc::new(Semaphore::new(WATCHERS_MAX));
        let listeners = Arc::new(Semaphore::new(LISTENERS_MAX));
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        let description = openapi::document(&all(&app).table).to_string().into();
        Context {
            app,
            metrics,
            description,
            watchers,
            listeners,
            readers,
            room: room::Room::default(),
            instance,
        }
    }

    /// What [`INSTANCE_HEADER`] says here.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// How callers are let in.
#[derive(Default)]
pub struct DoorSettings {
    /// Pages of other origins that are let in.
    pub origins: Origins,
    /// Proxies that are believed whom they speak for.
    pub proxies: Proxies,
    /// How often each caller may do what is costly, a minute.
    pub costly_per_minute: Option<NonZeroU32>,
}

/// Who is let in, and as whom.
pub struct Doors {
    /// Tells who calls.
    pub auth: Arc<Auth>,
    /// How callers are let in.
    pub settings: DoorSettings,
    /// Only this machine reaches the server.
    pub is_local: bool,
    /// What a command on this machine shows to be let in as an admin; nothing fits an empty one.
    pub token: Arc<str>,
    /// What a step of this server's own runs shows; nothing fits an empty one.
    pub pass: Arc<str>,
}

/// All routes.
pub fn router(context: Context, doors: Doors) -> Router {
    assemble(all(&context.app), doors).with_state(context)
}

fn all(app: &App) -> Routes {
    Routes::of(crate::auth::Api::Own)
        .merge(secrets::routes())
        .merge(keys::routes())
        .merge(pipelines::routes())
        .merge(runs::routes())
        .merge(blocks::routes())
        .merge(progress::routes())
        .merge(status::routes())
        .merge(echo::routes())
        .merge(page::routes())
        .merge(openapi::routes())
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
        .merge(instructions::routes())
        .merge(endpoints::routes(Arc::clone(&app.client), app.body_bytes_max))
}

/// Routes with what stands before all of them: nobody reaches a handler, or what is not there, but through
/// the door.
fn assemble<S: Clone + Send + Sync + 'static>(routes: Routes<S>, doors: Doors) -> Router<S> {
    let Doors { auth, settings, is_local, token, pass } = doors;
    let DoorSettings { origins, proxies, costly_per_minute } = settings;
    let door = Arc::new(Door {
        table: Table::of(&routes),
        auth,
        origins,
        proxies,
        is_local,
        token,
        pass,
        failures: Meter::of_failures(),
        costly: costly_per_minute.map(Meter::per_minute),
    });
    routes
        .router
        .fallback(reply::no_such_route)
        .method_not_allowed_fallback(reply::no_such_method)
        .layer(from_fn_with_state(Arc::clone(&door), access::check))
        .layer(CatchPanicLayer::custom(reply::panicked))
        .layer(from_fn_with_state(door, cors::answer))
        .layer(axum::middleware::map_response(safety::tell))
}

#[cfg(test)]
mod tests;
