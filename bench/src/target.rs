//! The service that the steps call: it answers at once, always the same.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::serve::ListenerExt;
use bytes::Bytes;
use tokio::net::TcpListener;

const REPLY: &str = r#"{"value":42,"state":"accepted","note":"a small answer"}"#;

/// Serves until the process is ended.
pub(crate) async fn serve(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address).await.context("listen")?;
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, Router::new().fallback(answer)).await.context("serve")
}

/// Takes the whole body first, so that the connection can be used again.
async fn answer(_body: Bytes) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], REPLY)
}
