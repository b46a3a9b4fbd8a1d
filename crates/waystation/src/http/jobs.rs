//! `/api/v1/jobs`: runs of stored workflows: looked up, cancelled, decided, tried again.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::dialect::graph::{history, job};
use waystation_core::error::{Code, Error};
use waystation_core::plan::Dialect;
use waystation_core::run::Run;
use waystation_core::time::{rfc3339, seconds_between};
use waystation_engine::driver::{Again, Decision};
use waystation_engine::id::RunId;
use waystation_engine::store::{RunFilter, RunRow, Status};

use super::Context;
use super::body::Body;
use super::detail::Detail;
use super::extract::{Path, Query};
use super::route::{RUN, Routes, VIEW};
use super::service::PageText;
use crate::auth::Api;
use crate::workflows::NAMESPACE;

/// Jobs in one page, at the most.
const PAGE_MAX: usize = 200;

pub(super) fn routes() -> Routes {
    Routes::of(Api::Service)
        .get("/api/v1/jobs", VIEW, list)
        .get("/api/v1/jobs/", VIEW, list)
        .get("/api/v1/jobs/{id}", VIEW, show)
        .post("/api/v1/jobs/{id}/cancel", RUN, cancel)
        .get("/api/v1/jobs/{id}/logs", VIEW, logs)
        .post("/api/v1/jobs/{id}/retry", RUN, retry)
        .post("/api/v1/jobs/{id}/nodes/{node}/signal", RUN, signal)
}

#[derive(Deserialize)]
struct Wanted {
    status: Option<String>,
    workflow_id: Option<String>,
    /// The job whose items and sub-workflows are wanted.
    parent: Option<String>,
    before: Option<String>,
    #[serde(flatten)]
    page: PageText,
}

async fn list(
    State(context): State<Context>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Detail> {
    let (page, limit) = wanted.page.read()?.place(PAGE_MAX)?;
    let before = wanted.before.as_deref().map(str::parse::<RunId>).transpose();
    let before = before.map_err(|_| Detail::parameter("before", "must be the id of a job"))?;
    let parent = match &wanted.parent {
        Some(job) => Some(find(&context, job).await?.id),
        None => None,
    };
    let filter = RunFilter {
        workflow: wanted.workflow_id,
        // Items are in their job's, whichever that is.
        namespace: parent.is_none().then(|| NAMESPACE.into()),
        parent,
        dialect: Some(Dialect::Graph),
        status: wanted.status.as_deref().map(status).transpose()?,
        before,
        offset: if before.is_some() { 0 } else { (page - 1).saturating_mul(limit) },
        limit,
    };
    let store = context.app.engine.store();
    let total = store.count_runs(&filter).await.map_err(Error::from)?;
    let rows = store.runs(filter).await.map_err(Error::from)?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.id.to_string());
    let items: Vec<Value> = rows.iter().map(line).collect();
    Ok(Json(json!({
        "items": items, "total": total, "page": page, "limit": limit, "next_before": next,
    })))
}

/// A state by its word. What is pending is under way here: a job begins as soon as it is accepted.
fn status(word: &str) -> Result<Status, Detail> {
    match word {
        "pending" => Ok(Status::Running),
        _ => word.parse().map_err(|words: String| Detail::parameter("status", &words)),
    }
}

/// A job in lists.
fn line(row: &RunRow) -> Value {
    json!({
        "id": row.id.to_string(),
        "workflow_id": row.workflow,
        "workflow_name": row.name,
        "workflow_version": row.version,
        "status": row.status.as_str(),
        "error_code": row.error,
        "created_at": rfc3339(row.created),
        "started_at": rfc3339(row.created),
        "completed_at": row.finished.map(rfc3339),
        "duration_ms": row.finished.map(|at| seconds_between(row.created, at) * 1_000.0),
    })
}

/// The job of an id, if there is one.
pub(super) async fn find(context: &Context, text: &str) -> Result<RunRow, Detail> {
    let unknown = || Error::new(Code::NotFound, format!("Job with ID {text} not found"));
    let id: RunId = text.parse().map_err(|_| unknown())?;
    let row = context.app.engine.store().run(id).await.map_err(Error::from)?;
    let row = row.filter(|row| row.dialect == Dialect::Graph);
    row.ok_or_else(|| unknown().into())
}

/// All about a job.
pub(super) async fn reply(context: &Context, id: RunId) -> Result<Response, Detail> {
    // Until the reply is made; the semaphore is never closed.
    let _place = context.readers.acquire().await;
    let run = context.app.engine.run(id).await?;
    reply_with(context, id, Arc::new(run)).await
}

/// Likewise, of a run that is at hand.
pub(super) async fn reply_with(
    context: &Context,
    id: RunId,
    run: Arc<Run>,
) -> Result<Response, Detail> {
    Ok(context.room.reply(move || job::render(&run, &id.to_string())).await?)
}

async fn show(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Response, Detail> {
    let row = find(&context, &text).await?;
    reply(&context, row.id).await
}

async fn cancel(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Response, Detail> {
    let row = find(&context, &text).await?;
    let run = context.app.engine.cancel(row.id, "requested by the user").await?;
    reply_with(&context, row.id, run).await
}

async fn logs(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Response, Detail> {
    let row = find(&context, &text).await?;
    // Until the reply is made; the semaphore is never closed.
    let _place = context.readers.acquire().await;
    let (run, entries) = context.app.engine.history(row.id).await?;
    let lines = move || {
        let lines = history::lines(&run.program, &entries);
        let lines: Vec<Value> = lines.iter().map(log_line).collect();
        json!({ "job_id": text, "logs": lines })
    };
    Ok(context.room.reply(lines).await?)
}

fn log_line(line: &history::Line) -> Value {
    json!({
        "timestamp": rfc3339(line.at),
        "level": line.level.as_str(),
        "node_id": line.node,
        "message": line.message,
    })
}

async fn retry(
    State(context): State<Context>,
    Path(text): Path<String>,
    body: Body,
) -> Result<Response, Detail> {
    let row = find(&context, &text).await?;
    let mut fields =
        if body.text()?.trim().is_empty() { Default::default() } else { body.object()? };
    let from = fields.shift_remove("from").as_ref().map(node_id).transpose()?.flatten();
    let inputs = ["input_data", "inputs", "input"].into_iter();
    let again = Again { from, input: inputs.filter_map(|name| fields.shift_remove(name)).next() };
    if let Some(unknown) = fields.keys().next() {
        return Err(Detail::at(&["body", unknown], "there are only from and input_data here"));
    }
    let submitted = context.app.engine.retry(row.id, again).await?;
    let id = submitted.id;
    submitted.finished.accepted().await?;
    Ok((StatusCode::ACCEPTED, reply(&context, id).await?).into_response())
}

/// The id of a node, which definitions may write as a number.
fn node_id(value: &Value) -> Result<Option<String>, Detail> {
    match value {
        Value::Null => Ok(None),
        Value::String(id) => Ok(Some(id.clone())),
        Value::Number(id) => Ok(Some(id.to_string())),
        _ => Err(Detail::at(&["body", "from"], "must be the id of a node")),
    }
}

async fn signal(
    State(context): State<Context>,
    Path((text, node)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Detail> {
    let row = find(&context, &text).await?;
    let mut fields =
        if body.text()?.trim().is_empty() { Default::default() } else { body.object()? };
    let choice = fields.get("choice").or_else(|| fields.get("decision"));
    let choice = choice.and_then(Value::as_str).map(str::to_owned);
    let data = fields.shift_remove("data").unwrap_or_default();
    let decision = Decision { node, attempt: None, choice, data };
    context.app.engine.decide(row.id, decision).await?;
    reply(&context, row.id).await
}
