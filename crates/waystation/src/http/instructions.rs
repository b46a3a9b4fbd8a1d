//! `/` and `/batch`: instruction chains begun, asked for and watched.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::dialect::instructions::reply::{batch, created, status, usage_document};
use waystation_core::error::{Code, Error};
use waystation_core::plan::Dialect;
use waystation_core::run::Run;
use waystation_engine::id::RunId;

use super::access::Caller;
use super::body::Body;
use super::cors::Sendable;
use super::extract::Query;
use super::reply::{Failed, status_of};
use super::route::{Access, Place, Routes};
use super::{Context, page, watch};
use crate::auth::Api;
use crate::auth::principal::Role;
use crate::begin::Refusal;
use crate::chain;

/// What pages of other origins may send here.
const SENDABLE: Sendable = Sendable {
    methods: "GET, POST, OPTIONS",
    names: "Content-Type",
    names_with_credentials: "Content-Type, Authorization, X-API-Key",
};

pub(super) fn routes() -> Routes {
    let begins = Access::of(Role::Editor, Place::Told);
    Routes::of(Api::Instructions)
        .open_to_pages(SENDABLE)
        .get("/", Access::PROVEN.by_query(), look)
        .post("/", begins, begin)
        .post("/batch", begins, begin_batch)
}

async fn begin(
    State(context): State<Context>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let begun = chain::begin(&context.app, &caller.terms(), body.text()?).await?;
    Ok(Json(created(&begun.submitted.id.to_string())))
}

async fn begin_batch(
    State(context): State<Context>,
    caller: Caller,
    body: Body,
) -> Result<Json<Value>, Refused> {
    let begun = chain::begin_batch(&context.app, &caller.terms(), body.text()?).await?;
    let ids: Vec<String> = begun.iter().map(|one| one.submitted.id.to_string()).collect();
    Ok(Json(batch(&ids)))
}

#[derive(Deserialize)]
struct Wanted {
    #[serde(rename = "instanceId")]
    instance: Option<String>,
}

/// An instance: its status once, or as a stream as it goes. Without one: the page, or how to use this.
async fn look(
    State(context): State<Context>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Failed> {
    let Some(instance) = wanted.instance.filter(|instance| !instance.is_empty()) else {
        let reply = if accepts(&headers, "text/html") {
            page::index()
        } else {
            Json(usage_document()).into_response()
        };
        return Ok(by_acceptance(reply));
    };
    caller.ask_for(Role::Viewer)?;
    // Until the reply is made; the semaphore is never closed.
    let _place = context.readers.acquire().await;
    let found = find(&context, &instance).await?;
    let scope = caller.scope();
    let is_seen = |run: &Run| run.start.as_ref().is_some_and(|start| scope.holds(&start.namespace));
    let found = found.filter(|(_, run)| is_seen(run));
    let Some((id, run)) = found else {
        let body = json!({ "error": format!("Instance not found: {instance}") });
        return Ok((StatusCode::NOT_FOUND, Json(body)).into_response());
    };
    if accepts(&headers, "text/event-stream") {
        return Ok(by_acceptance(watch::stream(&context, caller, id, run)?));
    }
    let waiting = context.app.engine.waiting(id);
    let body = move || json!({ "instanceId": id.to_string(), "status": status(&run, &waiting) });
    Ok(by_acceptance(
        ([(header::CACHE_CONTROL, "no-store")], context.room.reply(body).await?).into_response(),
    ))
}

/// The chain of that id. Reading its journal does not touch the run, which may be at work.
async fn find(context: &Context, text: &str) -> Result<Option<(RunId, Run)>, Error> {
    let Ok(id) = text.parse::<RunId>() else { return Ok(None) };
    match context.app.engine.run(id).await {
        Ok(run) => {
            let is_chain = run.program.plan.dialect == Dialect::Instructions;
            Ok(is_chain.then_some((id, run)))
        }
        Err(error) if error.code == Code::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn accepts(headers: &HeaderMap, media: &str) -> bool {
    let accepted = headers.get_all(header::ACCEPT).into_iter();
    let mut kinds =
        accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    kinds.any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(media)
    })
}

/// Tells caches that another kind of answer has the same address.
fn by_acceptance(mut reply: Response) -> Response {
    reply.headers_mut().append(header::VARY, header::HeaderValue::from_static("accept"));
    reply
}

/// A chain that did not begin, in the words of this API.
struct Refused(Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused(refusal)
    }
}

impl From<Failed> for Refused {
    fn from(failed: Failed) -> Refused {
        Refused(Refusal::Error(failed.0))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self.0 {
            Refusal::Invalid(problems) => invalid(&problems),
            Refusal::Error(error) if status_of(&error) == StatusCode::BAD_REQUEST => {
                invalid(&[error.message])
            }
            Refusal::Error(error) => Failed(error).into_response(),
        }
    }
}

/// All problems in one text, and one by one where there are several.
fn invalid(problems: &[String]) -> Response {
    let mut body = json!({ "error": problems.join("\n") });
    if problems.len() > 1 {
        body["errors"] = problems.into();
    }
    (StatusCode::BAD_REQUEST, Json(body)).into_response()
}
