//! `/hooks/…`: addresses at which other programs begin workflows.

use axum::Json;
use axum::extract::{OriginalUri, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::job;
use waystation_core::entry::Outcome;
use waystation_core::error::{Code, Error};
use waystation_engine::driver::Origin;
use waystation_engine::event::signature::{self, SigningKey};
use waystation_engine::id::now_ms;
use waystation_engine::store::{Claim, Fired, TriggerRow};

use super::access::Caller;
use super::body::Body;
use super::detail::Detail;
use super::extract::Path;
use super::route::{Access, Routes};
use super::{Context, claims};
use crate::auth::Api;
use crate::auth::principal::Role;
use crate::triggers::{self, Hook};
use crate::workflows::{self, NAMESPACE};

/// Words in the names of headers that prove who calls, and must not be kept with the run.
const SECRET_WORDS: [&str; 7] =
    ["auth", "cookie", "token", "secret", "api-key", "signature", "password"];
/// Headers that tell one delivery from its repetition; the first that is there counts.
const DELIVERY_HEADERS: [&str; 3] = ["idempotency-key", signature::ID_HEADER, "x-github-delivery"];
/// Letters of what tells one delivery from its repetition.
const DELIVERY_LETTERS: usize = 255;

pub(super) fn routes() -> Routes {
    Routes::of(Api::Service).any("/hooks/{*path}", Access::PROVEN, call)
}

async fn call(
    State(context): State<Context>,
    caller: Caller,
    Path(path): Path<String>,
    OriginalUri(uri): OriginalUri,
    method: Method,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Detail> {
    let unknown = || Error::new(Code::NotFound, format!("There is no hook at /hooks/{path}"));
    let path = path.trim_end_matches('/');
    let row = context.app.engine.store().hook(path).await.map_err(Error::from)?;
    let Some(row) = row.filter(|row| row.enabled) else {
        // Who may not begin anything does not learn either what there is.
        ask_for_rights(&caller)?;
        return Err(unknown().into());
    };
    let hook = triggers::hook_of(&row)?;
    let has_signature = is_signed(&hook, &headers);
    if !has_signature {
        ask_for_rights(&caller)?;
    }
    if hook.signature.is_none() {
        caller.scope().enter(NAMESPACE)?;
    }
    if !hook.methods.iter().any(|known| known == method.as_str()) {
        let text = format!("This hook takes {}", hook.methods.join(", "));
        return Err(Detail::Plain(StatusCode::METHOD_NOT_ALLOWED, text, None));
    }
    // Nobody makes this server read what nothing waits for, or what nobody has signed.
    if hook.signature.is_some() && !has_signature {
        verify(&context, &hook, &headers, &[])?;
    }
    let body = Body::of(request, context.app.body_bytes_max).await;
    let text = body.text()?;
    verify(&context, &hook, &headers, text.as_bytes())?;
    let input = json!({
        "method": method.as_str(),
        "path": path,
        "query": query(uri.query().unwrap_or_default()),
        "headers": shown(&headers, &hook),
        "body": serde_json::from_str(text).unwrap_or_else(|_| Value::from(text)),
    });
    let claim = delivery(&headers, &row, &hook, text);
    begin(&context, &caller, (&row, &hook), input, claim).await
}

/// Whoever has not signed has to be somebody who may begin runs.
fn ask_for_rights(caller: &Caller) -> Result<(), Error> {
    caller.ask_for(Role::Runner).map_err(|error| match error.code {
        Code::Unauthorized => error.with_hint("sign the request as the hook asks, or show a key"),
        _ => error,
    })
}

/// Whether there is a signature at all, of a hook that asks for one.
fn is_signed(hook: &Hook, headers: &HeaderMap) -> bool {
    hook.signature.as_ref().is_some_and(|signed| match signed.is_standard {
        true => headers.contains_key(signature::SIGNATURE_HEADER),
        false => headers.contains_key(&signed.header),
    })
}

/// Checks that the call comes from somebody with the secret.
fn verify(context: &Context, hook: &Hook, headers: &HeaderMap, body: &[u8]) -> Result<(), Detail> {
    let Some(signed) = &hook.signature else { return Ok(()) };
    let secret = context.app.vault.get(&signed.secret).map_err(|error| {
        // Whoever calls must not learn its name.
        tracing::error!(%error, path = hook.path, "a hook's secret is missing");
        let text = "This hook cannot check signatures: its secret is not set";
        let hint = Some("the log of the server names it".to_owned());
        Detail::Plain(StatusCode::INTERNAL_SERVER_ERROR, text.to_owned(), hint)
    })?;
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let verdict = if signed.is_standard {
        let key = SigningKey::parse(secret.expose())?;
        let told = signature::Headers {
            id: header(signature::ID_HEADER),
            timestamp: header(signature::TIMESTAMP_HEADER),
            signature: header(signature::SIGNATURE_HEADER),
        };
        key.verify(told, body, now_ms() / 1_000)
    } else {
        signature::verify_body(secret.expose(), header(&signed.header), body)
    };
    Ok(verdict?)
}

fn query(text: &str) -> Value {
    let pairs = url::form_urlencoded::parse(text.as_bytes());
    Value::Object(pairs.map(|(name, value)| (name.into_owned(), value.into())).collect())
}

/// The headers of a call, without those that are secrets.
fn shown(headers: &HeaderMap, hook: &Hook) -> Value {
    let signed = hook.signature.as_ref().map(|signed| signed.header.as_str());
    let mut fields = Map::new();
    for (name, value) in headers {
        let is_secret = SECRET_WORDS.iter().any(|word| name.as_str().contains(word))
            || signed == Some(name.as_str());
        if !is_secret && let Ok(text) = value.to_str() {
            fields.insert(name.as_str().to_owned(), text.into());
        }
    }
    Value::Object(fields)
}

/// What tells this delivery from its repetition, if the caller says. Where one of these headers is signed
/// it alone counts: with another, the same call could be made again by whoever has seen it.
fn delivery(headers: &HeaderMap, row: &TriggerRow, hook: &Hook, body: &str) -> Option<Claim> {
    let is_standard = hook.signature.as_ref().is_some_and(|signed| signed.is_standard);
    let names = if is_standard { &[signature::ID_HEADER][..] } else { &DELIVERY_HEADERS };
    let mut told = names.iter().filter_map(|name| headers.get(*name)?.to_str().ok());
    let id = told.find(|id| !id.is_empty() && id.len() <= DELIVERY_LETTERS)?;
    Some(claims::claim(&format!("hook:{}:{}:{id}", row.workflow, row.id), &[body]))
}

async fn begin(
    context: &Context,
    caller: &Caller,
    (row, hook): (&TriggerRow, &Hook),
    input: Value,
    claim: Option<Claim>,
) -> Result<Response, Detail> {
    let workflow = workflows::load(&context.app, &row.workflow, None).await?;
    let fired =
        Fired { workflow: row.workflow, trigger: row.id.clone(), occurrence: None, next_at: None };
    let origin = Origin { claim, fired: Some(fired), trace: caller.trace(), ..Origin::default() };
    let submitted = match claims::begin(context, &workflow, input, origin).await? {
        claims::Begun::Now(submitted) => submitted,
        claims::Begun::Before(run) => return Ok(accepted(&run.to_string())),
    };
    let id = submitted.id.to_string();
    if !hook.waits {
        submitted.finished.accepted().await?;
        return Ok(accepted(&id));
    }
    let run = submitted.finished.wait().await?;
    if run.outcome == Some(Outcome::Completed) {
        return Ok(Json(run.result()).into_response());
    }
    let text = job::error(&run).as_str().unwrap_or("The workflow did not complete").to_owned();
    let hint = Some(format!("see the job {id}"));
    Err(Detail::Plain(StatusCode::INTERNAL_SERVER_ERROR, text, hint))
}

fn accepted(job: &str) -> Response {
    (StatusCode::ACCEPTED, Json(json!({ "job_id": job, "status": "accepted" }))).into_response()
}
