//! HTTP: the router, and what all routes share. Each API is one file.

mod blocks;
mod body;
mod echo;
mod extract;
mod guard;
mod pipelines;
mod progress;
mod reply;
mod runs;
mod secrets;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tower_http::catch_panic::CatchPanicLayer;
use waystation_engine::id::RunId;

use crate::app::App;

/// What handlers are given.
#[derive(Clone)]
pub struct Context {
    app: Arc<App>,
    metrics: Option<PrometheusHandle>,
    /// Refuses requests that a web page elsewhere could have made.
    is_local: bool,
    /// Tells this process from any other that may listen at its address one day.
    instance: Arc<str>,
}

/// The header of `/ping` that names the process.
pub const INSTANCE_HEADER: &str = "waystation-instance";

impl Context {
    /// A server for this app. Without a handle there are no metrics.
    pub fn new(app: Arc<App>, metrics: Option<PrometheusHandle>, is_local: bool) -> Context {
        Context { app, metrics, is_local, instance: RunId::new().to_string().into() }
    }

    /// What [`INSTANCE_HEADER`] says here.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

/// All routes.
pub fn router(context: Context) -> Router {
    let secrets = if context.is_local { secrets::routes() } else { Router::new() };
    Router::new()
        .merge(secrets)
        .merge(pipelines::routes())
        .merge(runs::routes())
        .merge(blocks::routes())
        .merge(progress::routes())
        .merge(status::routes())
        .merge(echo::routes())
        .fallback(reply::no_such_route)
        .method_not_allowed_fallback(reply::no_such_method)
        .layer(axum::middleware::from_fn_with_state(context.clone(), guard::check))
        .layer(CatchPanicLayer::custom(reply::panicked))
        .with_state(context)
}

/// Opens the listening socket.
pub async fn listen(host: &str, port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((host, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// How long connections may take to end after the server was asked to stop.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `stop` is done, then ends the connections within a bound.
pub async fn serve(
    listener: TcpListener,
    context: Context,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|stream| {
        // Small replies must not wait for more to come; without it they are merely later.
        let _ = stream.set_nodelay(true);
    });
    let stopped = Arc::new(tokio::sync::Notify::new());
    let told = Arc::clone(&stopped);
    let stop = async move {
        stop.await;
        told.notify_one();
    };
    let serving = axum::serve(listener, router(context)).with_graceful_shutdown(stop).into_future();
    tokio::select! {
        result = serving => result,
        () = async { stopped.notified().await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}
