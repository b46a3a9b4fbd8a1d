//! The service that the steps call: it answers always the same, at once or as an endpoint worker that
//! takes its time.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use axum::serve::ListenerExt;
use bytes::Bytes;
use tokio::net::TcpListener;

/// How long the worker takes.
pub(crate) const WORKER_TAKES: Duration = Duration::from_millis(400);
const WORKER_REPLY: &str = r#"{"success":true,"status":200,"statusText":"OK","headers":{},"body":"fine","attempts":1,"duration":400}"#;
const REPLY: &str = r#"{"value":42,"state":"accepted","note":"a small answer"}"#;

/// Serves until the process is ended.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await.context("listen")?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let routes = Router::new().route("/worker", post(work)).fallback(answer);
    axum::serve(listener, routes).await.context("serve")
}

/// Takes the whole body first, so that the connection can be used again.
async fn answer(_body: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], REPLY)
}

async fn work(_body: Bytes) -> impl IntoResponse {
    tokio::time::sleep(WORKER_TAKES).await;
    ([(header::CONTENT_TYPE, "application/json")], WORKER_REPLY)
}
