//! Blocks of a namespace, and pipelines made of them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::error::{Code, Error};
use waystation_engine::id::{RunId, now_ms};
use waystation_engine::store::BlockRow;

use super::Context;
use super::body::Body;
use super::extract::{Path, Query};
use super::reply::{Failed, error_body};
use super::route::{Access, Place, Routes};
use crate::auth::Api;
use crate::auth::principal::Role;
use crate::blocks::{self, ExecuteFailed};

/// Blocks in one page, at the most.
const PAGE_MAX: usize = 200;

pub(super) fn routes() -> Routes {
    let [view, run, edit] =
        [Role::Viewer, Role::Runner, Role::Editor].map(|role| Access::of(role, Place::Path));
    Routes::of(Api::Pipelines)
        .get("/namespaces/{ns}/blocks", view, list)
        .post("/namespaces/{ns}/blocks", edit, create)
        .get("/namespaces/{ns}/blocks/{id}", view, show)
        .put("/namespaces/{ns}/blocks/{id}", edit, replace)
        .delete("/namespaces/{ns}/blocks/{id}", edit, remove)
        .post("/namespaces/{ns}/workflows/{workflow_id}/execute", run, execute)
}

#[derive(Deserialize)]
struct Page {
    after: Option<String>,
    limit: Option<usize>,
}

async fn list(
    State(context): State<Context>,
    Path(namespace): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Failed> {
    let limit = page.limit.unwrap_or(50).clamp(1, PAGE_MAX);
    let store = context.app.engine.store();
    let blocks =
        store.blocks(&namespace, page.after.as_deref(), limit).await.map_err(Error::from)?;
    let next = blocks.last().filter(|_| blocks.len() == limit).map(|block| block.id.clone());
    let blocks: Vec<Value> = blocks.iter().map(blocks::view).collect();
    Ok(Json(json!({ "blocks": blocks, "next_after": next })))
}

async fn create(
    State(context): State<Context>,
    Path(namespace): Path<String>,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Failed> {
    let mut fields = body.object()?;
    let id = match fields.shift_remove("id") {
        None | Some(Value::Null) => RunId::new().to_string(),
        Some(Value::String(id)) if !id.is_empty() && id.len() <= 256 => id,
        Some(_) => return Err(invalid("Field id must be a non-empty string of at most 256 bytes")),
    };
    let block = row(&id, fields, now_ms())?;
    let store = context.app.engine.store();
    if !store.put_block(&namespace, block.clone(), true).await.map_err(Error::from)? {
        return Err(Error::new(Code::Conflict, format!("Block {id} exists already")).into());
    }
    Ok((StatusCode::CREATED, Json(blocks::view(&block))))
}

async fn show(
    State(context): State<Context>,
    Path((namespace, id)): Path<(String, String)>,
) -> Result<Json<Value>, Failed> {
    Ok(Json(blocks::view(&known(&context, &namespace, &id).await?)))
}

async fn replace(
    State(context): State<Context>,
    Path((namespace, id)): Path<(String, String)>,
    body: Body,
) -> Result<Json<Value>, Failed> {
    let mut fields = body.object()?;
    fields.shift_remove("id");
    let created = known(&context, &namespace, &id).await?.created;
    let block = row(&id, fields, created)?;
    let store = context.app.engine.store();
    if !store.put_block(&namespace, block.clone(), false).await.map_err(Error::from)? {
        return Err(blocks::unknown(&id).into());
    }
    Ok(Json(blocks::view(&block)))
}

async fn remove(
    State(context): State<Context>,
    Path((namespace, id)): Path<(String, String)>,
) -> Result<StatusCode, Failed> {
    let store = context.app.engine.store();
    match store.remove_block(&namespace, &id).await.map_err(Error::from)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(blocks::unknown(&id).into()),
    }
}

async fn known(context: &Context, namespace: &str, id: &str) -> Result<BlockRow, Failed> {
    let block = context.app.engine.store().block(namespace, id).await.map_err(Error::from)?;
    block.ok_or_else(|| blocks::unknown(id).into())
}

fn row(id: &str, fields: Map<String, Value>, created: u64) -> Result<BlockRow, Failed> {
    if !fields.get("title").is_some_and(Value::is_string) {
        return Err(invalid("Field title must be a string"));
    }
    for name in ["content", "labels"] {
        if fields.get(name).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return Err(invalid(&format!("Field {name} must be an object")));
        }
    }
    let body = Value::Object(fields);
    Ok(BlockRow { id: id.to_owned(), body, created, updated: now_ms() })
}

fn invalid(message: &str) -> Failed {
    Error::new(Code::BodyInvalid, message).into()
}

/// Runs the named blocks as a pipeline, here or on the configured engine, and keeps the result as a
/// block.
async fn execute(
    State(context): State<Context>,
    Path((namespace, workflow)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Failed> {
    let request = blocks::Request::parse(body.object()?)?;
    let reply = blocks::execute(&context.app, &namespace, &workflow, request).await;
    match reply {
        Ok(reply) => Ok(Json(reply).into_response()),
        Err(ExecuteFailed::Transform(problems)) => {
            let text = format!("Failed to transform blocks: {}", problems.join("; "));
            let body = json!({ "success": false, "error": text, "validation_errors": problems });
            Ok((StatusCode::UNPROCESSABLE_ENTITY, Json(body)).into_response())
        }
        Err(ExecuteFailed::Engine(error)) => {
            Ok((StatusCode::BAD_GATEWAY, Json(error_body(&error))).into_response())
        }
        Err(ExecuteFailed::Error(error)) => Err(error.into()),
    }
}
