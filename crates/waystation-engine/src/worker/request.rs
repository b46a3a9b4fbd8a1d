//! What a caller asks of a worker, with everything that is wrong about it.

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use url::Url;
use waystation_core::limits::FINDINGS;

use crate::egress::Request;
use crate::limits::{WORKER_DURATION_MAX, WORKER_RETRIES_MAX};
use crate::node::http::{IDEMPOTENCY_KEY, encode, header, method};

const RETRIES: u64 = 3;
const RETRY_DELAY_MS: u64 = 1_000;
const TIMEOUT_MS: u64 = 30_000;
const DURATION_MS_MAX: u64 = WORKER_DURATION_MAX.as_millis() as u64;

/// A call to make.
pub(super) struct Task {
    pub(super) request: Request,
    /// Attempts after the first.
    pub(super) retries: u64,
    /// The wait after the first attempt; each further one is twice as long.
    pub(super) retry_delay: Duration,
    /// How long one attempt may take.
    pub(super) timeout: Duration,
}

impl Task {
    /// Reads a request. A field that is null counts as absent.
    pub(super) fn read(
        fields: &Map<String, Value>,
        key: Option<&HeaderValue>,
    ) -> Result<Task, Vec<String>> {
        let given = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let mut problems = Vec::new();
        let url = keep(url(given("url")), &mut problems);
        let method = keep(method_of(given("method")), &mut problems);
        let headers = headers(given("headers"), &mut problems);
        let mut number =
            |name, range, default| keep(number(name, given(name), range, default), &mut problems);
        let retries = number("retries", 0..=WORKER_RETRIES_MAX, RETRIES);
        let retry_delay = number("retryDelay", 0..=DURATION_MS_MAX, RETRY_DELAY_MS);
        let timeout = number("timeout", 1..=DURATION_MS_MAX, TIMEOUT_MS);
        let (Some(url), Some(method), Some(retries), Some(retry_delay), Some(timeout), true) =
            (url, method, retries, retry_delay, timeout, problems.is_empty())
        else {
            return Err(problems);
        };
        let mut request = Request { headers, ..Request::new(method, url) };
        complete(&mut request, given("body"), key);
        let milliseconds = Duration::from_millis;
        let (retry_delay, timeout) = (milliseconds(retry_delay), milliseconds(timeout));
        Ok(Task { request, retries, retry_delay, timeout })
    }
}

fn keep<T>(read: Result<T, String>, problems: &mut Vec<String>) -> Option<T> {
    read.map_err(|problem| problems.push(problem)).ok()
}

/// A whole address. A path would mean the worker's own server, behind its egress policy.
fn url(given: Option<&Value>) -> Result<String, String> {
    let value = given.ok_or("Missing required field: url")?;
    let text = value.as_str().ok_or("url must be a string")?.trim();
    let url = Url::parse(text)
        .map_err(|error| format!("url must be a whole http or https address: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(text.to_owned()),
        other => Err(format!("url must be an http or https address, and not begin with {other}:")),
    }
}

fn method_of(given: Option<&Value>) -> Result<Method, String> {
    match given {
        None => Ok(Method::GET),
        Some(Value::String(name)) => method(name).map_err(|failure| failure.message),
        Some(_) => Err("method must be a string".into()),
    }
}

fn headers(given: Option<&Value>, problems: &mut Vec<String>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    match given {
        None => {}
        Some(Value::Object(fields)) => {
            for (name, value) in fields {
                match header(name, value) {
                    Ok((name, value)) => drop(headers.insert(name, value)),
                    Err(failure) if problems.len() < FINDINGS => problems.push(failure.message),
                    Err(_) => break,
                }
            }
        }
        Some(_) => problems.push("headers must be an object".into()),
    }
    headers
}

fn number(
    name: &str,
    given: Option<&Value>,
    range: RangeInclusive<u64>,
    default: u64,
) -> Result<u64, String> {
    let Some(value) = given else { return Ok(default) };
    value.as_u64().filter(|number| range.contains(number)).ok_or_else(|| {
        format!("{name} must be a whole number from {} to {}", range.start(), range.end())
    })
}

/// Adds what depends on the method: a body, and the key where the call may change something.
fn complete(request: &mut Request, body: Option<&Value>, key: Option<&HeaderValue>) {
    if request.method == Method::GET || request.method == Method::HEAD {
        return;
    }
    if request.method != Method::OPTIONS {
        request.body = body.and_then(|body| content(body, &mut request.headers));
    }
    if let Some(key) = key.filter(|_| !request.headers.contains_key(IDEMPOTENCY_KEY)) {
        request.headers.insert(IDEMPOTENCY_KEY, key.clone());
    }
}

/// Text goes out as it is, everything else as JSON or as the form that the headers announce.
fn content(body: &Value, headers: &mut HeaderMap) -> Option<Bytes> {
    let Value::String(text) = body else { return encode(body, headers) };
    if !headers.contains_key(CONTENT_TYPE) {
        let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
        let guess = if is_json { "application/json" } else { "text/plain; charset=utf-8" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(guess));
    }
    Some(text.clone().into())
}
