//! `/echo`: answers with what it was sent, so that pipelines can be tried without anything outside.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};

use super::Context;
use super::body::Body;
use super::extract::Query;
use super::reply::Failed;
use super::route::{Access, Place, Routes};
use crate::auth::Api;
use crate::auth::principal::Role;

/// The longest delay that a request may ask for.
const DELAY_MAX: Duration = Duration::from_secs(60);

pub(super) fn routes() -> Routes {
    let access = Access::of(Role::Viewer, Place::Nowhere).for_steps();
    Routes::of(Api::Pipelines).any("/echo", access, echo)
}

/// `?only=json` answers with the body alone, `?status=503` with that status, `?delay_ms=300` later.
async fn echo(
    State(_): State<Context>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    Query(args): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Failed> {
    let number = |name: &str| args.get(name).and_then(|value| value.parse::<u64>().ok());
    if let Some(delay_ms) = number("delay_ms") {
        tokio::time::sleep(Duration::from_millis(delay_ms).min(DELAY_MAX)).await;
    }
    // Those below are no answers, but steps on the way to one.
    let status = number("status").and_then(|status| u16::try_from(status).ok());
    let status = status.filter(|status| *status >= 200);
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    let data = body.text()?;
    let json_body: Value = serde_json::from_str(data).unwrap_or_default();
    let reply = match args.get("only").map(String::as_str) {
        Some("json") => json_body,
        _ => json!({
            "args": args,
            "headers": readable(&headers),
            "json": json_body,
            "data": data,
            "method": method.as_str(),
            "url": uri.to_string(),
        }),
    };
    Ok((status.unwrap_or(StatusCode::OK), Json(reply)))
}

fn readable(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}
