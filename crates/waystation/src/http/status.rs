//! `/health`, `/ready`, `/ping`, `/metrics`: how the server is.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use metrics::gauge;
use serde_json::{Value, json};
use waystation_engine::driver::Health;
use waystation_engine::event::redis::RedisStatus;

use super::route::{Access, Place, Routes};
use super::{Context, INSTANCE_HEADER};
use crate::auth::Api;
use crate::auth::principal::Role;

pub(super) fn routes() -> Routes {
    let view = Access::of(Role::Viewer, Place::Nowhere);
    Routes::of(Api::Own)
        .get("/health", Access::OPEN, health)
        .get("/ping", Access::OPEN, ping)
        .merge(Routes::of(Api::Ready).get("/ready", view, ready))
        .merge(Routes::of(Api::Metrics).get("/metrics", view, metrics))
}

/// Alive, and which process it is.
async fn ping(State(context): State<Context>) -> impl IntoResponse {
    ([(INSTANCE_HEADER, context.instance().to_owned())], "pong")
}

/// Alive. With Redis configured its state is told too, which never makes the server unhealthy.
async fn health(State(context): State<Context>) -> Json<Value> {
    // Existing clients know the service behind this API by that name.
    let mut body = json!({
        "status": "healthy",
        "service": "objspace-workflow-engine",
        "version": env!("CARGO_PKG_VERSION"),
    });
    if let Some(status) = context.app.engine.redis_status() {
        body["details"] = json!({ "redis": redis(&status) });
    }
    Json(body)
}

/// Able to take runs; what keeps it from that is named.
async fn ready(State(context): State<Context>) -> (StatusCode, Json<Value>) {
    let health = context.app.engine.health().await;
    let Health { store, redis: redis_status, runs_live, webhooks: (owed, dead), closing } = health;
    let is_ready = store.is_ok() && !closing;
    let body = json!({
        "status": if is_ready { "ready" } else { "not ready" },
        "store": store.map_or_else(|error| error.message, |()| "ok".into()),
        "shutting_down": closing,
        "runs_running": runs_live,
        "webhooks": { "active": owed, "dead": dead },
        "redis": redis_status.as_ref().map(redis),
    });
    let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body))
}

fn redis(status: &RedisStatus) -> Value {
    json!({
        "state": status.state.as_str(),
        "last_error": status.last_error,
        "written": status.written,
        "failed": status.failed,
        "dropped": status.dropped,
        "queued": status.queued,
    })
}

/// Prometheus' text format.
async fn metrics(State(context): State<Context>) -> Result<String, StatusCode> {
    let health = context.app.engine.health().await;
    gauge!("waystation_runs_running").set(health.runs_live as f64);
    gauge!("waystation_webhooks_active").set(health.webhooks.0 as f64);
    gauge!("waystation_webhooks_dead").set(health.webhooks.1 as f64);
    context.metrics.as_ref().map(|handle| handle.render()).ok_or(StatusCode::NOT_FOUND)
}
