//! `/api/v1/workflows`: stored workflows, their versions, and runs of them.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::definition::STATUSES;
use waystation_core::error::{Code, Error};
use waystation_core::time::rfc3339;
use waystation_engine::driver::{Origin, Submitted};
use waystation_engine::id::{RunId, WorkflowId};
use waystation_engine::store::{Expected, VersionLine, WorkflowFilter};

use super::Context;
use super::access::Caller;
use super::body::Body;
use super::detail::Detail;
use super::extract::{Path, Query};
use super::route::{EDIT, RUN, Routes, VIEW};
use super::{claims, jobs};
use crate::auth::Api;
use crate::workflows::{self, Saved, view, view_line, view_warnings};

/// Workflows in one page, at the most.
const PAGE_MAX: usize = 200;
/// Says that the reply is that of an earlier call.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) fn routes() -> Routes {
    Routes::of(Api::Service)
        .get("/api/v1/workflows", VIEW, list)
        .post("/api/v1/workflows", EDIT, create)
        .get("/api/v1/workflows/", VIEW, list)
        .post("/api/v1/workflows/", EDIT, create)
        .post("/api/v1/workflows/validate", EDIT, validate)
        .post("/api/v1/workflows/run", EDIT, run_once)
        .get("/api/v1/workflows/{id}", VIEW, show)
        .put("/api/v1/workflows/{id}", EDIT, replace)
        .patch("/api/v1/workflows/{id}", EDIT, amend)
        .delete("/api/v1/workflows/{id}", EDIT, remove)
        .get("/api/v1/workflows/{id}/versions", VIEW, versions)
        .post("/api/v1/workflows/{id}/execute", RUN, execute)
}

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct Page {
    pub(super) page: Option<usize>,
    pub(super) limit: Option<usize>,
}

impl Page {
    /// The page's number and its length.
    pub(super) fn place(&self, most: usize) -> Result<(usize, usize), Detail> {
        let page = self.page.unwrap_or(1);
        let limit = self.limit.unwrap_or(20);
        if page == 0 || limit == 0 {
            return Err(Detail::parameter("page, limit", "must be at least 1"));
        }
        Ok((page, limit.min(most)))
    }
}

#[derive(Deserialize)]
struct Wanted {
    status: Option<String>,
    q: Option<String>,
    #[serde(flatten)]
    page: PageText,
}

/// The same as [`Page`], as it stands in a query beside other fields.
#[derive(Deserialize)]
pub(super) struct PageText {
    page: Option<String>,
    limit: Option<String>,
}

impl PageText {
    pub(super) fn read(&self) -> Result<Page, Detail> {
        let number = |name: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(str::parse::<usize>).transpose();
            parsed.map_err(|_| Detail::parameter(name, "must be a whole number"))
        };
        Ok(Page { page: number("page", &self.page)?, limit: number("limit", &self.limit)? })
    }
}

async fn list(
    State(context): State<Context>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Detail> {
    let (page, limit) = wanted.page.read()?.place(PAGE_MAX)?;
    let offset = (page - 1).saturating_mul(limit);
    if let Some(status) = &wanted.status
        && !STATUSES.contains(&status.as_str())
    {
        let text = format!("must be one of {}", STATUSES.join(", "));
        return Err(Detail::parameter("status", &text));
    }
    let filter = WorkflowFilter { status: wanted.status, text: wanted.q, offset, limit };
    let store = context.app.engine.store();
    let (lines, total) = store.workflows(filter).await.map_err(Error::from)?;
    let items: Vec<Value> = lines.iter().map(view_line).collect();
    Ok(Json(json!({ "items": items, "total": total, "page": page, "limit": limit })))
}

async fn create(State(context): State<Context>, body: Body) -> Result<Response, Detail> {
    let source = Value::Object(body.object()?);
    let saved = workflows::save(&context.app, WorkflowId::new(), Expected::Absent, source).await?;
    let location = format!("/api/v1/workflows/{}", saved.row.id);
    let location = HeaderValue::from_str(&location).ok().map(|to| (header::LOCATION, to));
    let mut response = (StatusCode::CREATED, saved_reply(&saved)).into_response();
    response.headers_mut().extend(location);
    Ok(response)
}

/// The workflow, its version as a tag, and its warnings.
pub(super) fn saved_reply(saved: &Saved) -> Response {
    let mut body = view(&saved.row);
    body["warnings"] = view_warnings(&saved.warnings);
    ([tag(saved.row.version)], Json(body)).into_response()
}

pub(super) fn tag(version: u32) -> (HeaderName, HeaderValue) {
    let text = HeaderValue::from_str(&format!("\"{version}\""));
    (header::ETAG, text.unwrap_or(HeaderValue::from_static("*")))
}

async fn validate(State(context): State<Context>, body: Body) -> Result<Json<Value>, Detail> {
    let source = Value::Object(body.object()?);
    Ok(Json(match workflows::check(&context.app, &source) {
        Ok(mut compiled) => {
            compiled.warnings.extend(workflows::unset_secrets(&context.app, &compiled));
            json!({ "valid": true, "errors": [], "warnings": view_warnings(&compiled.warnings) })
        }
        Err(workflows::Refusal::Invalid(issues)) => {
            let errors: Vec<Value> = issues.iter().map(|issue| issue.to_json()).collect();
            json!({ "valid": false, "errors": errors, "warnings": [] })
        }
        Err(other) => return Err(other.into()),
    }))
}

/// A workflow's id in a path.
fn id(text: &str) -> Result<WorkflowId, Detail> {
    text.parse().map_err(|_| workflows::unknown(text).into())
}

#[derive(Deserialize)]
pub(super) struct Version {
    pub(super) version: Option<u32>,
}

async fn show(
    State(context): State<Context>,
    Path(text): Path<String>,
    Query(wanted): Query<Version>,
) -> Result<Response, Detail> {
    let row = workflows::load(&context.app, &id(&text)?, wanted.version).await?;
    Ok(([tag(row.version)], Json(view(&row))).into_response())
}

#[derive(Deserialize)]
struct Replacing {
    /// Whether a workflow that is not there is created under its id.
    create: Option<String>,
}

async fn replace(
    State(context): State<Context>,
    Path(text): Path<String>,
    Query(replacing): Query<Replacing>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Detail> {
    let source = Value::Object(body.object()?);
    let (id, expected) = (id(&text)?, expected(&headers)?);
    let saved = match flag("create", replacing.create.as_deref())? {
        true => workflows::save_or_create(&context.app, id, expected, source).await?,
        false => workflows::save(&context.app, id, expected, source).await?,
    };
    Ok(saved_reply(&saved))
}

/// Replaces the fields that the body has, on top of the version that it is based on.
async fn amend(
    State(context): State<Context>,
    Path(text): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Detail> {
    let id = id(&text)?;
    let row = workflows::load(&context.app, &id, None).await?;
    let expected = match expected(&headers)? {
        Expected::Version(version) => Expected::Version(version),
        _ => Expected::Version(row.version),
    };
    let mut source = row.definition.as_ref().clone();
    if let Value::Object(fields) = &mut source {
        fields.extend(body.object()?);
    }
    Ok(saved_reply(&workflows::save(&context.app, id, expected, source).await?))
}

/// Which present version the caller means to replace.
pub(super) fn expected(headers: &HeaderMap) -> Result<Expected, Detail> {
    if headers.get(header::IF_NONE_MATCH).is_some_and(|value| value == "*") {
        return Ok(Expected::Absent);
    }
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(Expected::Any) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Expected::Any);
    }
    let number = text.trim_start_matches("W/").trim_matches('"').parse();
    number.map(Expected::Version).map_err(|_| {
        let text = "takes the ETag of a workflow, such as \"3\"";
        Detail::at(&["header", "If-Match"], text)
    })
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

/// Refuses to remove another version than the one that the caller means.
pub(super) async fn check_version(
    context: &Context,
    id: &WorkflowId,
    headers: &HeaderMap,
) -> Result<(), Detail> {
    let Expected::Version(expected) = expected(headers)? else { return Ok(()) };
    let present = workflows::load(&context.app, id, None).await?.version;
    if present == expected { Ok(()) } else { Err(workflows::Refusal::Stale { present }.into()) }
}

async fn versions(
    State(context): State<Context>,
    Path(text): Path<String>,
) -> Result<Json<Value>, Detail> {
    let id = id(&text)?;
    let lines = context.app.engine.store().versions(&id).await.map_err(Error::from)?;
    if lines.is_empty() {
        return Err(workflows::unknown(&text).into());
    }
    let line = |line: &VersionLine| {
        json!({
            "version": line.version,
            "name": line.name,
            "created_at": rfc3339(line.created),
        })
    };
    let items: Vec<Value> = lines.iter().map(line).collect();
    Ok(Json(json!({ "workflow_id": text, "total": items.len(), "items": items })))
}

#[derive(Deserialize)]
struct Execution {
    #[serde(default)]
    wait: Option<String>,
    version: Option<String>,
}

async fn execute(
    State(context): State<Context>,
    caller: Caller,
    Path(text): Path<String>,
    Query(wanted): Query<Execution>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Detail> {
    let version = wanted.version.as_deref().map(str::parse).transpose();
    let version = version.map_err(|_| Detail::parameter("version", "must be a whole number"))?;
    let row = workflows::load(&context.app, &id(&text)?, version).await?;
    let waits = flag("wait", wanted.wait.as_deref())?;
    let input = input(body.text()?)?;
    let claim = claims::of_call(&headers, &row.id, &[&input, &json!(version)])?;
    let origin = Origin { claim, trace: caller.trace(), ..Origin::default() };
    match claims::begin(&context, &row, input, origin).await? {
        claims::Begun::Now(submitted) => begun(&context, submitted, waits).await,
        claims::Begun::Before(run) => begun_before(&context, run, waits).await,
    }
}

/// The job, once it is accepted, or once it has ended where the caller waits for that.
async fn begun(context: &Context, submitted: Submitted, waits: bool) -> Result<Response, Detail> {
    let id = submitted.id;
    if !waits {
        submitted.finished.accepted().await?;
        return Ok((StatusCode::ACCEPTED, jobs::reply(context, id).await?).into_response());
    }
    let run = submitted.finished.wait().await?;
    jobs::reply_with(context, id, run).await
}

/// The job that an earlier call with the same key has begun.
async fn begun_before(context: &Context, run: RunId, waits: bool) -> Result<Response, Detail> {
    let status = if waits { StatusCode::OK } else { StatusCode::ACCEPTED };
    if waits {
        claims::ended(context, run).await?;
    }
    let replayed = [(REPLAYED, HeaderValue::from_static("true"))];
    Ok((status, replayed, jobs::reply(context, run).await?).into_response())
}

/// Runs a definition that is not kept.
async fn run_once(
    State(context): State<Context>,
    Query(wanted): Query<Execution>,
    body: Body,
) -> Result<Response, Detail> {
    let waits = flag("wait", wanted.wait.as_deref())?;
    let mut fields = body.object()?;
    let missing = || Error::new(Code::BodyInvalid, "workflow: is required: the definition");
    let source = fields.shift_remove("workflow").ok_or_else(missing)?;
    let input = fields.shift_remove("input_data").unwrap_or_else(|| json!({}));
    let once = workflows::begin_once(&context.app, &source, input).await?;
    begun(&context, once.submitted, waits).await
}

/// A parameter that is set or not, as people and their libraries write it.
pub(super) fn flag(name: &str, text: Option<&str>) -> Result<bool, Detail> {
    match text.map(str::to_ascii_lowercase).as_deref() {
        None | Some("false" | "0" | "no" | "off") => Ok(false),
        Some("" | "true" | "1" | "yes" | "on") => Ok(true),
        Some(_) => Err(Detail::parameter(name, "must be true or false")),
    }
}

/// The input of a run: what `input_data`, `input` or `inputs` hold, else the whole body.
pub(super) fn input(body: &str) -> Result<Value, Detail> {
    if body.trim().is_empty() {
        return Ok(json!({}));
    }
    let invalid = |text: String| Error::new(Code::BodyInvalid, text);
    let parsed: Value = serde_json::from_str(body)
        .map_err(|error| invalid(format!("The body is not valid JSON: {error}")))?;
    match parsed {
        Value::Object(fields) => Ok(input_of(fields)),
        _ => Err(invalid("The body must be a JSON object".into()).into()),
    }
}

/// Likewise, out of the fields of the body.
pub(super) fn input_of(mut fields: Map<String, Value>) -> Value {
    let found = ["input_data", "inputs"].into_iter().find_map(|name| fields.shift_remove(name));
    if let Some(input) = found {
        return input;
    }
    // An input may have a field of this name.
    let is_alone = fields.len() == 1;
    let found = fields.get_mut("input").filter(|_| is_alone).map(Value::take);
    found.unwrap_or(Value::Object(fields))
}
