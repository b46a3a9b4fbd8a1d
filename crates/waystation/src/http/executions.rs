//! `/workflows`: the same stored workflows and their runs, in the shape of executions.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::dialect::graph::execution;
use waystation_core::error::{Code, Error};
use waystation_core::plan::Dialect;
use waystation_core::time::rfc3339;
use waystation_engine::driver::Origin;
use waystation_engine::id::{RunId, WorkflowId, now_ms};
use waystation_engine::store::{Expected, RunFilter, RunRow, Status, WorkflowFilter};

use super::access::Caller;
use super::body::Body;
use super::detail::Detail;
use super::extract::{Path, Query};
use super::route::{EDIT, RUN, Routes, VIEW};
use super::service::{check_version, expected, input_of, saved_reply, tag};
use super::{Context, claims};
use crate::auth::Api;
use crate::workflows::{self, NAMESPACE, view};

/// Executions or workflows in one list, at the most.
const LIST_MAX: usize = 1_000;

pub(super) fn routes() -> Routes {
    Routes::of(Api::Executions)
        .get("/workflows", VIEW, list)
        .post("/workflows", EDIT, create)
        .get("/workflows/", VIEW, list)
        .post("/workflows/", EDIT, create)
        .get("/workflows/{id}", VIEW, show)
        .put("/workflows/{id}", EDIT, replace)
        .delete("/workflows/{id}", EDIT, remove)
        .get("/workflows/{id}/", VIEW, show)
        .put("/workflows/{id}/", EDIT, replace)
        .delete("/workflows/{id}/", EDIT, remove)
        .post("/workflows/{id}/execute", RUN, execute)
        .get("/workflows/{id}/executions", VIEW, executions)
        .get("/workflows/executions/{execution}", VIEW, execution_of)
        .post("/workflows/executions/{execution}/cancel", RUN, cancel)
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
    Ok((StatusCode::CREATED, saved_reply(&saved)).into_response())
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
) -> Result<Response, Detail> {
    let row = workflows::load(&context.app, &id(&text)?, None).await?;
    Ok(([tag(row.version)], Json(view(&row))).into_response())
}

async fn replace(
    State(context): State<Context>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Detail> {
    let (id, source) = (id(&text)?, Value::Object(body.object()?));
    let saved = workflows::save(&context.app, id, expected(&headers)?, source).await?;
    Ok(saved_reply(&saved))
}

async fn remove(
    State(context): State<Context>,
    Path(text): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Detail> {
    let id = id(&text)?;
    check_version(&context, &id, &headers).await?;
    if context.app.engine.store().remove_workflow(&id).await.map_err(Error::from)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(workflows::unknown(&text).into())
    }
}

async fn execute(
    State(context): State<Context>,
    caller: Caller,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Detail> {
    let row = workflows::load(&context.app, &id(&text)?, None).await?;
    let (input, is_async) = wanted(&body)?;
    let claim = claims::of_call(&headers, &row.id, &[&input])?;
    let (origin, started_at) =
        (Origin { claim, trace: caller.trace(), ..Origin::default() }, now_ms());
    let begun = claims::begin(&context, &row, input, origin).await?;
    let (id, run) = match begun {
        claims::Begun::Now(submitted) if is_async => {
            submitted.finished.accepted().await?;
            (submitted.id, None)
        }
        claims::Begun::Now(submitted) => (submitted.id, Some(submitted.finished.wait().await?)),
        claims::Begun::Before(id) if is_async => (id, None),
        claims::Begun::Before(id) => {
            claims::ended(&context, id).await?;
            (id, Some(Arc::new(context.app.engine.run(id).await?)))
        }
    };
    let reply = execution::begun(run.as_deref(), &id.to_string(), &text, started_at);
    Ok((StatusCode::ACCEPTED, Json(reply)).into_response())
}

/// The input of a run, and whether the caller does not wait for its end.
fn wanted(body: &Body) -> Result<(Value, bool), Detail> {
    if body.text()?.trim().is_empty() {
        return Ok((json!({}), false));
    }
    let mut fields = body.object()?;
    let is_async = match fields.shift_remove("async_execution") {
        None | Some(Value::Null) => false,
        Some(Value::Bool(is_async)) => is_async,
        Some(_) => return Err(Detail::at(&["body", "async_execution"], "must be true or false")),
    };
    let input = input_of(fields);
    if !input.is_object() {
        return Err(Detail::at(&["body", "inputs"], "must be an object"));
    }
    Ok((input, is_async))
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
