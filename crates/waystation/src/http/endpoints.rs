//! `/endpoint-1`, `/endpoints/{name}`: endpoint workers, and samples to try them with.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRef, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};
use waystation_engine::egress::HttpClient;
use waystation_engine::worker::{Reply, Worker};

use super::body::{Body, BytesMax};
use super::cors::Sendable;
use super::extract::Path;
use super::reply::{Failed, status_of};
use super::route::{Access, Place, Routes};
use super::{Doors, assemble};
use crate::auth::Api;
use crate::auth::principal::Role;

/// Where a server has workers. They are all alike: callers use several to tell their calls apart.
/// Beside each, where its samples are.
const PLACES: [(&str, &str); 4] = [
    ("/endpoint-1", "/endpoint-1/mock/{sample}"),
    ("/endpoint-2", "/endpoint-2/mock/{sample}"),
    ("/endpoint-3", "/endpoint-3/mock/{sample}"),
    ("/endpoints/{name}", "/endpoints/{name}/mock/{sample}"),
];

/// What pages of other origins may send to them.
const SENDABLE: Sendable = Sendable {
    methods: "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    names: "Content-Type, Authorization",
    names_with_credentials: "Content-Type, Authorization, X-API-Key",
};

/// A call is no more than what any step may do itself.
const CALLS: Access = Access::of(Role::Editor, Place::Nowhere).for_steps();
/// What is the same for everybody who may see something.
const LOOKS: Access = Access::of(Role::Viewer, Place::Nowhere).for_steps();

#[derive(Clone)]
struct Desk {
    worker: Arc<Worker>,
    bytes_max: BytesMax,
}

impl Desk {
    fn new(client: Arc<HttpClient>, body_bytes_max: usize) -> Desk {
        Desk { worker: Arc::new(Worker::new(client)), bytes_max: BytesMax(body_bytes_max) }
    }
}

impl FromRef<Desk> for BytesMax {
    fn from_ref(desk: &Desk) -> BytesMax {
        desk.bytes_max
    }
}

/// The workers of a server that does other things too.
pub(super) fn routes<S>(client: Arc<HttpClient>, body_bytes_max: usize) -> Routes<S>
where
    S: Clone + Send + Sync + 'static,
{
    let mut routes = Routes::of(Api::Endpoints).open_to_pages(SENDABLE);
    for (place, samples) in PLACES {
        routes = routes.get(place, LOOKS, usage).post(place, CALLS, call);
        routes = routes.get(samples, LOOKS, sample);
    }
    routes.with_state(Desk::new(client, body_bytes_max))
}

/// A server that is a worker and nothing else.
pub fn own_server(client: Arc<HttpClient>, body_bytes_max: usize, doors: Doors) -> Router {
    let routes = Routes::of(Api::Endpoints)
        .open_to_pages(SENDABLE)
        .get("/", LOOKS, usage)
        .post("/", CALLS, call)
        .get("/mock/{sample}", LOOKS, sample);
    assemble(routes, doors).with_state(Desk::new(client, body_bytes_max))
}

async fn call(State(desk): State<Desk>, headers: HeaderMap, body: Body) -> Response {
    let reply = match body.object() {
        Ok(request) => desk.worker.answer(&request, headers.get("idempotency-key")).await,
        Err(Failed(error)) => Reply::invalid(&error.message).with_status(status_of(&error)),
    };
    let Reply { status, retry_after, body } = reply;
    let mut response = (status, Json(body)).into_response();
    if let Some(retry_after) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, retry_after);
    }
    // Some of the body may be unread, so that the connection cannot be used again.
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

async fn usage() -> Json<Value> {
    Json(json!({
        "service": "endpoint worker",
        "usage": "POST a JSON object with the call to make; the reply says how it went",
        "request": {
            "url": "required: a whole http or https address",
            "method": "GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS; GET if absent",
            "headers": "an object",
            "body": "for POST, PUT, PATCH and DELETE: text as it is, else JSON",
            "retries": 3,
            "retryDelay": 1_000,
            "timeout": 30_000,
        },
        "samples": ["mock/weather", "mock/news", "mock/finance"],
    }))
}

/// Invented and always the same: for trying things without a network.
async fn sample(Path(path): Path<BTreeMap<String, String>>) -> Result<Json<Value>, Failed> {
    let name = path.get("sample").map_or("", String::as_str);
    let data = match name {
        "weather" => json!({
            "location": "Sampleville",
            "temperature": 21,
            "unit": "celsius",
            "condition": "partly cloudy",
            "humidity": 55,
            "wind_kmh": 12,
        }),
        "news" => json!({
            "articles": [
                { "title": "Sample river reopens to swimmers", "topic": "environment" },
                { "title": "Sample team wins the sample cup", "topic": "sports" },
                { "title": "Sample library stays open at night", "topic": "culture" },
            ],
        }),
        "finance" => json!({
            "currency": "USD",
            "quotes": [
                { "symbol": "SMPL", "price": 101.25, "change_percent": 1.5 },
                { "symbol": "DEMO", "price": 48.5, "change_percent": -0.75 },
            ],
        }),
        _ => {
            let error = Error::new(Code::NotFound, format!("There is no sample {name:?}"));
            return Err(error.with_hint("there are weather, news and finance").into());
        }
    };
    Ok(Json(json!({ "sample": true, "kind": name, "data": data })))
}
