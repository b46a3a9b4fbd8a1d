//! `POST /execute`: runs a pipeline and answers with its result.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use waystation_core::dialect::pipeline::reply as pipeline_reply;
use waystation_core::error::Code;

use super::Context;
use super::access::Caller;
use super::body::Body;
use super::reply::Failed;
use super::route::{Access, Place, Routes};
use crate::auth::Api;
use crate::auth::principal::Role;
use crate::begin::{Begun, Refusal};
use crate::pipeline::begin;

pub(super) fn routes() -> Routes {
    let access = Access::of(Role::Editor, Place::Told);
    Routes::of(Api::Pipelines).post("/execute", access, execute).post(
        "/api/execute",
        access,
        execute,
    )
}

/// 200 also when the pipeline failed: the body says so. With `Prefer: respond-async`, 202 as soon as
/// the run is durable.
async fn execute(
    State(context): State<Context>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failed> {
    let app = &context.app;
    let Begun { submitted, .. } = match begin(app, &caller.terms(), body.text()?).await {
        Ok(begun) => begun,
        Err(Refusal::Invalid(errors)) => {
            return Ok(Json(pipeline_reply::invalid(&errors)).into_response());
        }
        Err(Refusal::Error(error)) => return Err(error.into()),
    };
    let id = submitted.id.to_string();
    if prefers_async(&headers) {
        submitted.finished.accepted().await?;
        let body = json!({ "execution_id": id, "status": "running" });
        return Ok((StatusCode::ACCEPTED, [("preference-applied", "respond-async")], Json(body))
            .into_response());
    }
    let run = submitted.finished.wait().await.map_err(|error| match error.code {
        // The run is safe; the caller must know where to find it.
        Code::ShuttingDown => {
            Failed(error.with_hint(format!("GET /runs/{id} tells how the run goes on")))
        }
        _ => Failed(error),
    })?;
    Ok(Json(pipeline_reply::render(&run, &id)).into_response())
}

/// RFC 7240.
fn prefers_async(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    let mut each = preferences.flat_map(|value| value.split(','));
    each.any(|one| {
        let name = one.split(';').next().unwrap_or_default();
        name.trim().eq_ignore_ascii_case("respond-async")
    })
}
