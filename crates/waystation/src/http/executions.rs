//! `/workflows`: the same stored workflows and their runs, in the shape of executions.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::dialect::graph::execution;
use waystation_core::error::{Code, Error};
use waystation_core::plan::Dialect;
use waystation_core::time::rfc3339;
use waystation_engine::driver::Origin;
use waystation_engine::id::{RunId, WorkflowId, now_ms};
use waystation_engine::store::{Expected, RunFilter, RunRow, Status, WorkflowFilter};

use super::Context;
use super::body::Body;
use super::detail::Detail;
use super::extract::{Path, Query};
use super::service::{expected, input};
use crate::workflows::{self, NAMESPACE, view};

/// Executions or workflows in one list, at the most.
const LIST_MAX: usize = 1_000;

pub(super) fn routes() -> Router<Context> {
    let one = || get(show).put(replace).delete(remove);
    Router::new()
        .route("/workflows", get(list).post(create))
        .route("/workflows/", get(list).post(create))
        .route("/workflows/{id}", one())
        .route("/workflows/{id}/", one())
        .route("/workflows/{id}/execute", post(execute))
        .route("/workflows/{id}/executions", get(executions))
        .route("/workflows/executions/{execution}", get(execution_of))
        .route("/workflows/executions/{execution}/cancel", post(cancel))
}

async fn list(State(context): State<Context>) -> Result<Json<Value>, Detail> {
    let filter = WorkflowFilter { limit: LIST_MAX, ..WorkflowFilter::default() };
    let (lines, _) = context.app.engine.store().workflows(filter).await.map_err(Error::from)?;
    let line = |line: &waystation_engine::store::WorkflowLine| {
        json!({
            "id": line.id.to_string(),
            "name": line.name,
            "status": line.status,
            "updated_at": rfc3339(line.updated),
        })
    };
    Ok(Json(lines.iter().map(line).collect()))
}

async fn create(State(context): State<Context>, body: Body) -> Result<Response, Detail> {
    let source = Value::Object(body.object()?);
    let saved = workflows::save(&context.app, WorkflowId::new(), Expected::Absent, source).await?;
    Ok((StatusCode::CREATED, Json(view(&saved.row))).into_response())
}

/// A workflow's id in a path.
fn id(text: &str) -> Result<WorkflowId, Detail> {
    let malformed =
        |_| Detail::Plain(StatusCode::BAD_REQUEST, "Invalid workflow ID format".to_owned(), None);
    text.parse().map_err(malformed)
}

async fn show(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Json<Value>, Detail> {
    Ok(Json(view(&workflows::load(&context.app, &id(&text)?, None).await?)))
}

async fn replace(
    State(context): State<Context>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Value>, Detail> {
    let (id, source) = (id(&text)?, Value::Object(body.object()?));
    let saved = workflows::save(&context.app, id, expected(&headers)?, source).await?;
    Ok(Json(view(&saved.row)))
}

async fn remove(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<StatusCode, Detail> {
    let id = id(&text)?;
    if context.app.engine.store().remove_workflow(&id).await.map_err(Error::from)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(workflows::unknown(&text).into())
    }
}

async fn execute(
    State(context): State<Context>,
    Path(text): Path<String>,
    body: Body,
) -> Result<Response, Detail> {
    let row = workflows::load(&context.app, &id(&text)?, None).await?;
    let source = body.text()?;
    let is_async = is_async(source);
    let submitted = workflows::begin(&context.app, &row, input(source)?, Origin::default()).await?;
    let (run_id, started_at) = (submitted.id.to_string(), now_ms());
    let run = if is_async {
        submitted.finished.accepted().await?;
        None
    } else {
        Some(submitted.finished.wait().await?)
    };
    let reply = execution::begun(run.as_deref(), &run_id, &text, started_at);
    Ok((StatusCode::ACCEPTED, Json(reply)).into_response())
}

/// Whether the caller does not wait. What is no JSON is refused when the input is read.
fn is_async(body: &str) -> bool {
    #[derive(Default, Deserialize)]
    struct Wanted {
        #[serde(default)]
        async_execution: bool,
    }
    serde_json::from_str::<Wanted>(body).unwrap_or_default().async_execution
}

#[derive(Deserialize)]
struct Listing {
    limit: Option<usize>,
    before: Option<String>,
}

async fn executions(
    State(context): State<Context>,
    Path(text): Path<String>,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, Detail> {
    let id = id(&text)?;
    let before = listing.before.as_deref().map(str::parse::<RunId>).transpose();
    let before = before.map_err(|_| Detail::parameter("before", "must be an execution's id"))?;
    let filter = RunFilter {
        workflow: Some(id.to_string()),
        namespace: Some(NAMESPACE.into()),
        before,
        limit: listing.limit.unwrap_or(100).clamp(1, LIST_MAX),
        ..RunFilter::default()
    };
    let rows = context.app.engine.runs(filter).await?;
    Ok(Json(rows.iter().map(line).collect()))
}

/// An execution in lists.
fn line(row: &RunRow) -> Value {
    let status = match row.status {
        Status::Running => "running",
        Status::Completed => "success",
        Status::Failed => "error",
        Status::Cancelled => "cancelled",
    };
    json!({
        "execution_id": row.id.to_string(),
        "workflow_id": row.workflow,
        "status": status,
        "start_time": rfc3339(row.created),
        "end_time": row.finished.map(rfc3339),
    })
}

/// The execution of an id, if there is one.
async fn find(context: &Context, text: &str) -> Result<RunId, Detail> {
    let unknown = || Error::new(Code::NotFound, format!("Execution with ID {text} not found"));
    let id: RunId = text.parse().map_err(|_| unknown())?;
    let row = context.app.engine.store().run(id).await.map_err(Error::from)?;
    match row.filter(|row| row.dialect == Dialect::Graph) {
        Some(row) => Ok(row.id),
        None => Err(unknown().into()),
    }
}

async fn execution_of(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Response, Detail> {
    let id = find(&context, &text).await?;
    reply(&context, id).await
}

async fn cancel(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Response, Detail> {
    let id = find(&context, &text).await?;
    context.app.engine.cancel(id, "requested by the user").await?;
    reply(&context, id).await
}

async fn reply(context: &Context, id: RunId) -> Result<Response, Detail> {
    // Until the reply is made; the semaphore is never closed.
    let _place = context.readers.acquire().await;
    let (run, entries) = context.app.engine.history(id).await?;
    let made = move || execution::render(&run, &entries, &id.to_string());
    Ok(context.room.reply(made).await?)
}
