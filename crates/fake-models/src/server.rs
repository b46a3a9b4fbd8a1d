//! The routes, and the handle by which tests look at the fake and hold it back.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::calls::{Call, Calls, Ledger};
use crate::reply::{refuse, reply};
use crate::service::request::Request;
use crate::service::{ROUTES, Service};

/// The fake, listening until it is dropped.
pub struct FakeModels {
    port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    ledger: Ledger,
    /// The models whose answers are held back, once for each who holds them.
    held: watch::Sender<Vec<String>>,
}

/// Answers of a model are held back until it is dropped. Calls are counted all the same.
pub struct Held {
    shared: Arc<Shared>,
    model: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.held.send_modify(|held| {
            let place = held.iter().position(|model| *model == self.model);
            place.map(|place| held.swap_remove(place));
        });
    }
}

impl FakeModels {
    /// Starts on a free port of this machine.
    pub async fn start() -> std::io::Result<FakeModels> {
        FakeModels::listen(0).await
    }

    /// Starts on this port of this machine.
    pub async fn listen(port: u16) -> std::io::Result<FakeModels> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        let shared =
            Arc::new(Shared { ledger: Ledger::new(), held: watch::Sender::new(Vec::new()) });
        let router = router(Arc::clone(&shared));
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                panic!("the fake cannot go on: {error}");
            }
        });
        Ok(FakeModels { port, shared, task })
    }

    /// Its address, without a path: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was asked so far.
    pub fn calls(&self) -> Calls {
        self.shared.ledger.so_far()
    }

    /// Waits until there were so many calls, counted from the start.
    pub async fn reached(&self, count: usize) {
        self.shared.ledger.reached(count).await;
    }

    /// Holds the answers of a model back from now on.
    pub fn hold(&self, model: &str) -> Held {
        self.shared.held.send_modify(|held| held.push(model.to_owned()));
        Held { shared: Arc::clone(&self.shared), model: model.to_owned() }
    }
}

impl Drop for FakeModels {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new().route("/calls", get(calls));
    for (path, service) in ROUTES {
        let handler =
            move |state: State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes| {
                handle(service, state.0, uri, headers, body)
            };
        router = router.route(path, post(handler));
    }
    let body_max = axum::extract::DefaultBodyLimit::max(64 * 1024 * 1024);
    router.layer(body_max).with_state(shared)
}

async fn calls(State(shared): State<Arc<Shared>>) -> Json<Calls> {
    Json(shared.ledger.so_far())
}

async fn handle(
    service: Service,
    shared: Arc<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let digest = identity(&body);
    let body: Value = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&body)));
    let call = call(service, &uri, &headers, &body, &digest);
    let model = call.model.clone();
    shared.ledger.record(call);
    // The sender lives as long as what is shared, so waiting cannot fail.
    let _ = shared.held.subscribe().wait_for(|held| !held.contains(&model)).await;
    let request = service.admit(&headers).and_then(|()| Request::read(service, &body, &digest));
    match request {
        Ok(request) => reply(service, &shared.ledger, &request).await,
        Err(refusal) => refuse(service, &refusal, &digest),
    }
}

fn call(service: Service, uri: &Uri, headers: &HeaderMap, body: &Value, digest: &str) -> Call {
    let idempotency_key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    Call {
        path: uri.path().to_owned(),
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        has_key: service.key(headers).is_some(),
        idempotency_key: idempotency_key.map(str::to_owned),
        digest: digest.to_owned(),
        body: body.clone(),
    }
}

/// A digest of a body, short enough to read.
fn identity(body: &[u8]) -> String {
    let bytes = digest(&SHA256, body);
    bytes.as_ref()[..12].iter().map(|byte| format!("{byte:02x}")).collect()
}
