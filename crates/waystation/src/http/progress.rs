//! Progress of workflows: notifications taken in, from this engine or another, and the history of runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::dialect::instructions::reply::final_text;
use waystation_core::dialect::pipeline::notify::Notifier;
use waystation_core::error::{Code, Error};
use waystation_core::limits::NAME_BYTES;
use waystation_core::plan::Dialect;
use waystation_core::run::Run;
use waystation_engine::event::signature::{Headers, ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use waystation_engine::id::{RunId, now_ms};
use waystation_engine::store::{Progress, RunFilter, RunRow};

use super::Context;
use super::access::Caller;
use super::body::Body;
use super::extract::{Path, Query};
use super::reply::Failed;
use super::route::{Access, Place, Routes};
use super::runs::before;
use crate::auth::Api;
use crate::auth::principal::Role;
use crate::view;

/// Characters of a chain's result that a history shows.
const RESULT_CHARS: usize = 1_000;
/// Runs in one page of history, at the most.
const PAGE_MAX: usize = 50;
/// Received notifications that a history looks through.
const NOTIFICATIONS_MAX: usize = 1_000;
/// Bytes of a received notification: this engine's own are far below.
const NOTIFICATION_BYTES_MAX: usize = 256 << 10;

pub(super) fn routes() -> Routes {
    let view = Access::of(Role::Viewer, Place::Path);
    Routes::of(Api::Pipelines)
        .post("/api/workflows/webhook", Access::PROVEN, receive_any)
        .post("/api/workflows/webhook/{workflow_id}", Access::PROVEN, receive)
        .get("/namespaces/{ns}/workflows/{workflow_id}/runs", view, history)
}

async fn receive_any(
    State(context): State<Context>,
    caller: Caller,
    request: Request,
) -> Result<Json<Value>, Failed> {
    take(&context, &caller, request, None).await
}

async fn receive(
    State(context): State<Context>,
    caller: Caller,
    Path(workflow): Path<String>,
    request: Request,
) -> Result<Json<Value>, Failed> {
    take(&context, &caller, request, Some(workflow)).await
}

/// Keeps a notification once. Its signature is checked first, when a secret is set; else its caller.
async fn take(
    context: &Context,
    caller: &Caller,
    request: Request,
    workflow: Option<String>,
) -> Result<Json<Value>, Failed> {
    if context.app.webhook_key.is_none() {
        caller.ask_for(Role::Runner)?;
    }
    let headers = request.headers().clone();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let webhook_id = header(ID_HEADER);
    let verify = |body: &[u8]| {
        let Some(key) = &context.app.webhook_key else { return Ok(()) };
        let signed = Headers {
            id: webhook_id,
            timestamp: header(TIMESTAMP_HEADER),
            signature: header(SIGNATURE_HEADER),
        };
        key.verify(signed, body, now_ms() / 1_000)
    };
    if header(SIGNATURE_HEADER).is_none() {
        // Nothing is read of what nobody has signed.
        verify(&[])?;
    }
    let body = Body::of(request, NOTIFICATION_BYTES_MAX).await;
    verify(body.text()?.as_bytes())?;
    let event = body.object()?;
    let named = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
    if named("event").is_none() {
        let error = Error::new(Code::BodyInvalid, "Field event must be a string");
        return Err(error.into());
    }
    let progress = Progress {
        // Without an id every delivery counts as a new one.
        webhook_id: webhook_id.map_or_else(|| RunId::new().to_string(), str::to_owned),
        namespace: named("namespace").unwrap_or_else(|| "default".into()),
        workflow: workflow.or_else(|| named("workflow_id")).unwrap_or_else(|| "unknown".into()),
        execution: named("execution_id").unwrap_or_default(),
        received: now_ms(),
        event: Value::Object(event),
    };
    if context.app.webhook_key.is_none() {
        caller.scope().enter(&progress.namespace)?;
    }
    let names =
        [&progress.webhook_id, &progress.namespace, &progress.workflow, &progress.execution];
    if names.iter().any(|name| name.len() > NAME_BYTES) {
        let text = format!("A name in the notification is longer than {NAME_BYTES} bytes");
        return Err(Error::new(Code::RequestInvalid, text).into());
    }
    let is_new = context.app.engine.store().put_progress(progress).await.map_err(Error::from)?;
    Ok(Json(json!({ "success": true, "received": is_new })))
}

#[derive(Deserialize)]
struct Page {
    before: Option<String>,
    limit: Option<usize>,
}

/// Newest first: the runs of this engine with what their journals tell, and those of other engines
/// with what was received.
async fn history(
    State(context): State<Context>,
    Path((namespace, workflow)): Path<(String, String)>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Failed> {
    let engine = &context.app.engine;
    let limit = page.limit.unwrap_or(20).clamp(1, PAGE_MAX);
    let filter = RunFilter {
        workflow: Some(workflow.clone()),
        namespace: Some(namespace.clone()),
        before: page.before.as_deref().map(before).transpose()?,
        limit,
        ..RunFilter::default()
    };
    let rows = engine.runs(filter).await?;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.id.to_string());
    let mut runs = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut run = view::row(row);
        run["progress"] = own_progress(&context, row).await?.into();
        runs.push(run);
    }
    if page.before.is_none() {
        let store = engine.store();
        let received = store.progress(&namespace, &workflow, NOTIFICATIONS_MAX).await;
        runs.extend(others(&context, &received.map_err(Error::from)?, limit).await?);
    }
    Ok(Json(json!({ "runs": runs, "next_before": next })))
}

async fn own_progress(context: &Context, row: &RunRow) -> Result<Vec<Value>, Error> {
    let engine = &context.app.engine;
    let run = engine.run(row.id).await?;
    let mut notifier = Notifier::new(Arc::clone(&run.program), &row.id.to_string());
    let entries = engine.store().journal(row.id, 0).await?;
    let mut told: Vec<Value> =
        entries.iter().flat_map(|entry| notifier.fold(entry)).map(brief).collect();
    if run.program.plan.dialect == Dialect::Instructions {
        told.iter_mut().for_each(|event| adapt(event, &run));
    }
    Ok(told)
}

/// Notifications are a pipeline's way to tell; a chain has no outputs by name, but a last result.
fn adapt(event: &mut Value, run: &Run) {
    if let Some(result) = event["data"].get_mut("final_result") {
        let letters = |text: &str| text.chars().take(RESULT_CHARS).collect::<String>();
        *result = final_text(run).map(letters).into();
    }
}

/// The runs of other engines, each with its notifications in order.
async fn others(
    context: &Context,
    received: &[Progress],
    limit: usize,
) -> Result<Vec<Value>, Error> {
    let mut by_run: BTreeMap<&str, Vec<&Progress>> = BTreeMap::new();
    for progress in received {
        by_run.entry(&progress.execution).or_default().push(progress);
    }
    let mut runs: Vec<_> = by_run.into_iter().collect();
    runs.sort_by_key(|(_, progress)| std::cmp::Reverse(progress.last().map(|last| last.received)));
    let mut others = Vec::new();
    for (execution, progress) in runs {
        if others.len() < limit && !is_own(context, execution).await? {
            others.push(other(execution, &progress));
        }
    }
    Ok(others)
}

async fn is_own(context: &Context, execution: &str) -> Result<bool, Error> {
    let Ok(id) = execution.parse::<RunId>() else { return Ok(false) };
    Ok(context.app.engine.store().run(id).await?.is_some())
}

fn other(execution: &str, progress: &[&Progress]) -> Value {
    let status = progress.iter().rev().find_map(|one| match one.event["event"].as_str()? {
        "workflow_completed" => Some("completed"),
        "workflow_failed" => Some("failed"),
        _ => None,
    });
    json!({
        "execution_id": execution,
        "workflow_id": progress.first().map(|one| one.workflow.as_str()),
        "namespace": progress.first().map(|one| one.namespace.as_str()),
        "status": status.unwrap_or("running"),
        "progress": progress.iter().map(|one| brief(one.event.clone())).collect::<Vec<_>>(),
    })
}

/// A notification without what its run says already.
fn brief(mut notification: Value) -> Value {
    json!({
        "event": notification["event"].take(),
        "timestamp": notification["timestamp"].take(),
        "data": notification["data"].take(),
    })
}
