//! `/runs`: what ran, what it did, and how to end or repeat it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::error::{Code, Error};
use waystation_engine::driver::{Again, unknown_run};
use waystation_engine::id::RunId;
use waystation_engine::store::{RunFilter, RunRow, Status};

use super::Context;
use super::access::Caller;
use super::extract::{Path, Query};
use super::reply::Failed;
use super::route::{Access, Place, Routes};
use crate::auth::Api;
use crate::auth::principal::{Role, Scope};
use crate::view::{self, Seen};
use crate::workflows::{NAMESPACE, ONCE_NAMESPACE};

/// Runs in one page, at the most.
const PAGE_MAX: usize = 200;

pub(super) fn routes() -> Routes {
    let [view, run] = [Role::Viewer, Role::Runner].map(|role| Access::of(role, Place::Told));
    Routes::of(Api::Own)
        .get("/runs", view, list)
        .get("/runs/{id}", view, show)
        .post("/runs/{id}/cancel", run, cancel)
        .post("/runs/{id}/retry", run, retry)
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
    caller: Caller,
    Query(listing): Query<Listing>,
) -> Result<Json<Value>, Failed> {
    let filter = RunFilter {
        workflow: listing.workflow_id,
        namespace: namespace(&caller.scope(), listing.namespace)?,
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

/// The namespace of a list: the one asked for, if the caller may see it, or the only one that it may.
fn namespace(scope: &Scope, asked: Option<String>) -> Result<Option<String>, Failed> {
    match (asked, scope) {
        (Some(asked), scope) => {
            scope.enter(&asked)?;
            Ok(Some(asked))
        }
        (None, Scope::All) => Ok(None),
        (None, Scope::Named(names)) if names.len() == 1 => Ok(names.first().cloned()),
        (None, Scope::Named(names)) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let error = Error::new(Code::Forbidden, "You may see some namespaces only");
            Err(error
                .with_hint(format!("ask for one with ?namespace=: {}", names.join(", ")))
                .into())
        }
    }
}

/// A run that the caller may see; any other is told to be unknown.
pub(super) async fn seen(context: &Context, caller: &Caller, id: RunId) -> Result<RunRow, Error> {
    let row = context.app.engine.row(id).await?;
    // What is run without being kept is where stored workflows are.
    let namespace =
        if row.namespace == ONCE_NAMESPACE { NAMESPACE } else { row.namespace.as_str() };
    match caller.scope().holds(namespace) {
        true => Ok(row),
        false => Err(unknown_run(id.to_string())),
    }
}

async fn show(
    State(context): State<Context>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Response, Failed> {
    let id = id(&text)?;
    let engine = &context.app.engine;
    // Until the reply is made; the semaphore is never closed.
    let _place = context.readers.acquire().await;
    let line = seen(&context, &caller, id).await?;
    let run = engine.run(id).await?;
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
    caller: Caller,
    Path(text): Path<String>,
) -> Result<Json<Value>, Failed> {
    let id = seen(&context, &caller, id(&text)?).await?.id;
    context.app.engine.cancel(id, "requested by the user").await?;
    Ok(Json(view::row(&context.app.engine.row(id).await?)))
}

async fn retry(
    State(context): State<Context>,
    caller: Caller,
    Path(text): Path<String>,
) -> Result<(StatusCode, Json<Value>), Failed> {
    let previous = seen(&context, &caller, id(&text)?).await?.id;
    let submitted = context.app.engine.retry(previous, Again::default()).await?;
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
