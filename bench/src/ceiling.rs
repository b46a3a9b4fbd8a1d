//! The ceilings: what the same HTTP server and the same store can do with no engine between them.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use bytes::Bytes;
use tokio::net::TcpListener;

use crate::journal::Journal;
use crate::workload::STEPS;

/// The name under which the engine and the ceilings count their commits.
pub(crate) const COMMITS: &str = "waystation_store_commits_total";

/// What a ceiling does for each request.
pub(crate) enum Work {
    /// One durable write.
    OneWrite,
    /// Calls to a service, each result durable before the next call.
    Calls { service: SocketAddr },
}

/// How many bytes a ceiling writes and answers for each request.
#[derive(Clone, Copy, clap::Args)]
pub(crate) struct Sizes {
    /// Bytes written to the journal for a run.
    #[arg(long, default_value_t = 384)]
    pub(crate) journal_bytes: usize,
    /// Bytes of the answer's body.
    #[arg(long, default_value_t = 512)]
    pub(crate) reply_bytes: usize,
}

struct Ceiling {
    journal: Journal,
    runs: AtomicU64,
    client: reqwest::Client,
    work: Work,
    row: Bytes,
    reply: Bytes,
}

/// Serves a ceiling until the process is ended.
pub(crate) async fn serve(
    address: SocketAddr,
    directory: &Path,
    work: Work,
    sizes: Sizes,
) -> Result<()> {
    let rows = if matches!(work, Work::OneWrite) { 1 } else { STEPS };
    let ceiling = Ceiling {
        journal: Journal::create(directory)?,
        runs: AtomicU64::new(1),
        client: http_client()?,
        work,
        row: vec![b'x'; sizes.journal_bytes / rows].into(),
        reply: reply(sizes.reply_bytes),
    };
    let router = Router::new()
        .route("/execute", post(execute))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(ceiling));
    let listener = TcpListener::bind(address).await.context("listen")?;
    // Without a delay, as the engine; a socket that refuses the option works all the same.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    axum::serve(listener, router).await.context("serve")
}

fn http_client() -> Result<reqwest::Client> {
    // Only one provider is linked, and no other place installs it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tcp_nodelay(true).no_proxy().build().context("HTTP client")
}

/// An answer that says success and has the wanted size.
fn reply(bytes: usize) -> Bytes {
    let around = r#"{"success":true,"final_result":""}"#.len();
    let filler = "x".repeat(bytes.saturating_sub(around));
    format!(r#"{{"success":true,"final_result":"{filler}"}}"#).into()
}

async fn execute(State(ceiling): State<Arc<Ceiling>>, body: Bytes) -> Response {
    match ceiling.run(body).await {
        Ok(reply) => ([(header::CONTENT_TYPE, "application/json")], reply).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")).into_response(),
    }
}

async fn metrics(State(ceiling): State<Arc<Ceiling>>) -> String {
    format!("{COMMITS} {}\n", ceiling.journal.commits())
}

impl Ceiling {
    async fn run(&self, body: Bytes) -> Result<Bytes> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        match self.work {
            Work::OneWrite => self.journal.append(run, self.row.clone()).await?,
            Work::Calls { service } => {
                let mut payload = body;
                for _ in 0..STEPS {
                    payload = self.call(service, payload).await?;
                    self.journal.append(run, self.row.clone()).await?;
                }
            }
        }
        Ok(self.reply.clone())
    }

    async fn call(&self, service: SocketAddr, payload: Bytes) -> Result<Bytes> {
        let request = self.client.post(format!("http://{service}/"));
        let request = request.header(header::CONTENT_TYPE, "application/json").body(payload);
        Ok(request.send().await?.error_for_status()?.bytes().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_has_the_wanted_size_and_is_json() {
        for bytes in [64, 512, 4096] {
            let reply = reply(bytes);
            assert_eq!(reply.len(), bytes);
            let value: serde_json::Value = serde_json::from_slice(&reply).unwrap();
            assert_eq!(value["success"], true);
        }
    }
}
