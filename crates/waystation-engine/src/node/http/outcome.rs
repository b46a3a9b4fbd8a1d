//! From what came back to the node's result or failure.

use std::time::{Duration, SystemTime};

use encoding_rs::{Encoding, UTF_8};
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use serde_json::{Map, Value, json};
use waystation_core::error::{Code, Failure};
use waystation_core::extract::{Body, named_outputs};
use waystation_core::limits::RETRY_DELAY_MS_MAX;

use super::expected::Statuses;
use crate::egress::{Response, SendError};
use crate::node::Outcome;

/// Letters of a body that an error message quotes.
const QUOTED_LETTERS: usize = 200;
/// Letters before the quotation: `HTTP 404: `.
const STATUS_LETTERS: usize = 10;
/// Letters of a message about a model: 500 of the provider's own, and what stands before them.
const MODEL_LETTERS: usize = 560;

/// What a node makes of a response.
pub(super) struct Reading<'a> {
    /// The statuses that are a success, where they are not the usual ones.
    pub(super) expected: Option<&'a Statuses>,
    /// The names that the result is known by.
    pub(super) outputs: &'a [String],
    /// Whether the fields of a JSON object are given directly, where the result has no names.
    pub(super) spread: bool,
}

impl Reading<'_> {
    /// Whether a status is a success.
    pub(super) fn takes(&self, status: StatusCode) -> bool {
        self.expected.map_or(status.is_success(), |expected| expected.contains(status))
    }

    /// A response as a result, in parts or whole, or as the failure that its status means.
    pub(super) fn judge(&self, response: &Response, now: SystemTime) -> Outcome {
        if !self.takes(response.status) {
            return Err(self.status_failure(response, now));
        }
        let text = text(response);
        let output = match self.outputs {
            [] => whole(response, text, self.spread),
            names => named_outputs(names, Body::parse(text))?,
        };
        Ok(Value::Object(output).into())
    }

    fn status_failure(&self, response: &Response, now: SystemTime) -> Failure {
        let status = response.status;
        let expected = self.expected.map(|expected| format!(" (expected: {expected})"));
        let expected = expected.unwrap_or_default();
        // The client has read no more of it than an error may have.
        let message = format!("HTTP {}{expected}: {}", status.as_u16(), text(response));
        if may_pass(status) {
            let after_ms = retry_after_ms(&response.headers, now);
            Failure::retryable(Code::HttpStatus, message, after_ms)
        } else {
            Failure::fatal(Code::HttpStatus, message)
        }
    }
}

/// What became of a request that got no response.
pub(crate) fn send_failure(error: &SendError) -> Failure {
    let message = error.to_string();
    match error {
        SendError::Refused(_) => Failure::fatal(Code::EgressRefused, message),
        SendError::Invalid(_) => Failure::fatal(Code::DefinitionInvalid, message),
        SendError::TooLarge { .. } | SendError::Redirects { .. } => {
            Failure::fatal(Code::LimitExceeded, message)
        }
        SendError::Transport(_) => Failure::retryable(Code::Transport, message, None),
        SendError::Timeout(_) => {
            let hint = "check the address, and that no firewall drops the connection";
            let failure = Failure::retryable(Code::Timeout, message, None);
            Failure { hint: Some(hint.to_owned()), ..failure }
        }
    }
}

/// Cuts the answer that an error message quotes.
pub(crate) fn cut_quotation(mut failure: Failure) -> Failure {
    let letters = match failure.code {
        Code::HttpStatus if failure.message.starts_with("HTTP ") => STATUS_LETTERS + QUOTED_LETTERS,
        Code::HttpStatus | Code::ModelAnswer => MODEL_LETTERS,
        _ => return failure,
    };
    if let Some((end, _)) = failure.message.char_indices().nth(letters) {
        failure.message.truncate(end);
    }
    failure
}

/// Whether the same request may fare better later.
pub(crate) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 425 | 429) || status.is_server_error()
}

/// The wait that the other side asks for, as seconds or as a date.
pub(crate) fn retry_after_ms(headers: &HeaderMap, now: SystemTime) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).min(RETRY_DELAY_MS_MAX))
}

fn whole(response: &Response, text: String, spread: bool) -> Map<String, Value> {
    let header = |name| response.headers.get(name).map(|value| lossy(value.as_bytes()));
    let mut output = Map::new();
    let mut put = |name: &str, value: Value| drop(output.insert(name.to_owned(), value));
    put("status_code", json!(response.status.as_u16()));
    put("headers", Value::Object(header_fields(&response.headers)));
    if let Ok(parsed) = serde_json::from_str(&text) {
        put("json", parsed);
    }
    put("text", text.into());
    put("url", response.url.as_str().into());
    put("content_type", header(CONTENT_TYPE).into());
    put("size", json!(response.body.len()));
    if spread && let Some(Value::Object(fields)) = output.get("json").cloned() {
        for (name, field) in fields {
            output.entry(name).or_insert(field);
        }
    }
    output
}

/// Names in lower case; repeated headers joined by commas.
pub(crate) fn header_fields(headers: &HeaderMap) -> Map<String, Value> {
    let joined = |name| {
        let values: Vec<String> =
            headers.get_all(name).iter().map(|value| lossy(value.as_bytes())).collect();
        Value::String(values.join(", "))
    };
    headers.keys().map(|name| (name.as_str().to_owned(), joined(name))).collect()
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The body in the charset that it declares, else UTF-8; what does not decode is replaced.
pub(crate) fn text(response: &Response) -> String {
    let content_type = response.headers.get(CONTENT_TYPE).map(|value| value.as_bytes());
    let encoding = content_type.and_then(charset).unwrap_or(UTF_8);
    encoding.decode(&response.body).0.into_owned()
}

/// The body: the value that it says as JSON, else its text.
pub(crate) fn content(response: &Response) -> Value {
    match Body::parse(text(response)) {
        Body::Json(value) => value,
        Body::Text(text) => text.into(),
    }
}

fn charset(content_type: &[u8]) -> Option<&'static Encoding> {
    let parameters = content_type.split(|byte| *byte == b';').skip(1);
    let label = parameters.map(<[u8]>::trim_ascii).find_map(|parameter| {
        let (name, value) = parameter.split_at_checked(b"charset=".len())?;
        name.eq_ignore_ascii_case(b"charset=").then_some(value)
    })?;
    let quoted = label.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
    Encoding::for_label(quoted.unwrap_or(label))
}
