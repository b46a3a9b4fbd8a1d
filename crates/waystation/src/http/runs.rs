//! `/runs`: what ran, what it did, and how to end or repeat it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};
use waystation_engine::driver::unknown_run;
use waystation_engine::id::RunId;
use waystation_engine::store::{RunFilter, Status};

use super::Context;
use super::extract::{Path, Query};
use super::reply::Failed;
use crate::view::{self, Seen};

/// Runs in one page, at the most.
const PAGE_MAX: usize = 200;

pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/runs", get(list))
        .route("/runs/{id}", get(show))
        .route("/runs/{id}/cancel", post(cancel))
        .route("/runs/{id}/retry", post(retry))
}

#[derive(Deserialize)]
struct Listing {
    workflow_id: Option<String>,
    namespace: Option<String>,
    status: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

async fn list(
    State(context): State<Context>,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, Failed> {
    let filter = RunFilter {
        workflow: listing.workflow_id,
        namespace: listing.namespace,
        status: listing.status.as_deref().map(status).transpose()?,
        before: listing.before.as_deref().map(before).transpose()?,
        limit: listing.limit.unwrap_or(50).clamp(1, PAGE_MAX),
        ..RunFilter::default()
    };
    let full = filter.limit;
    let runs = context.app.engine.runs(filter).await?;
    let next = runs.last().filter(|_| runs.len() == full).map(|row| row.id.to_string());
    let rows: Vec<Value> = runs.iter().map(view::row).collect();
    Ok(Json(json!({ "runs": rows, "next_before": next })))
}

async fn show(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Response, Failed> {
    let id = id(&text)?;
    let engine = &context.app.engine;
    // Until the reply is made; the semaphore is never closed.
    let _place = context.readers.acquire().await;
    let (line, run) = (engine.row(id).await?, engine.run(id).await?);
    let cursor = engine.store().cursor(id).await.map_err(Error::from)?;
    let waiting = engine.waiting(id);
    let detail = move || {
        let seen = Seen { line: &line, run: &run, cursor: cursor.as_ref(), waiting: &waiting };
        view::detail(&seen)
    };
    Ok(context.room.reply(detail).await?)
}

async fn cancel(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Json<Value>, Failed> {
    let id = id(&text)?;
    context.app.engine.cancel(id, "requested by the user").await?;
    Ok(Json(view::row(&context.app.engine.row(id).await?)))
}

async fn retry(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<Value>), Failed> {
    let previous = id(&text)?;
    let submitted = context.app.engine.retry(previous).await?;
    let id = submitted.id;
    submitted.finished.accepted().await?;
    let body = json!({
        "execution_id": id.to_string(),
        "retry_of": previous.to_string(),
        "status": "running",
    });
    Ok((StatusCode::ACCEPTED, Json(body)))
}

/// The run before which a page begins.
pub(super) fn before(text: &str) -> Result<RunId, Failed> {
    let message = format!("Parameter before must be the id of a run, not {text:?}");
    text.parse().map_err(|_| Failed(Error::new(Code::RequestInvalid, message)))
}

/// A run's id in a path.
fn id(text: &str) -> Result<RunId, Failed> {
    text.parse().map_err(|_| Failed(unknown_run(text)))
}

fn status(text: &str) -> Result<Status, Failed> {
    text.parse().map_err(|words| {
        let message = format!("There is no status {text:?}; {words}");
        Failed(Error::new(Code::RequestInvalid, message))
    })
}
