//! What a worker tells its caller, and with which status.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value, json};

use crate::egress::Response;
use crate::id::RunId;
use crate::limits;
use crate::node::http::{content, header_fields};

/// Why a call is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// The API answered with a status that is no success.
    Http,
    /// It did not answer in time.
    Timeout,
    /// It could not be reached, broke off, or gave an answer that cannot be used.
    Network,
    /// The request to the worker is wrong.
    Validation,
    /// The egress policy refuses the target.
    Blocked,
}

impl ErrorType {
    /// Its name in a reply.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorType::Http => "http",
            ErrorType::Timeout => "timeout",
            ErrorType::Network => "network",
            ErrorType::Validation => "validation",
            ErrorType::Blocked => "blocked",
        }
    }

    /// The status of a reply where no API gave one.
    fn status(self) -> StatusCode {
        match self {
            ErrorType::Validation => StatusCode::BAD_REQUEST,
            ErrorType::Blocked => StatusCode::FORBIDDEN,
            ErrorType::Timeout => StatusCode::GATEWAY_TIMEOUT,
            ErrorType::Http | ErrorType::Network => StatusCode::BAD_GATEWAY,
        }
    }
}

/// How an attempt ended.
pub(super) enum End {
    /// With an answer, whatever its status.
    Answer(Response),
    /// Without.
    Problem {
        /// What sort of problem.
        error_type: ErrorType,
        /// The problem in words.
        message: String,
        /// Whether another attempt may fare better.
        may_pass: bool,
    },
}

/// How a call went.
pub(super) struct Account {
    /// How the last attempt ended.
    pub(super) end: End,
    /// Attempts made.
    pub(super) attempts: u64,
    /// Attempts after the first that were allowed.
    pub(super) retries: u64,
    /// How long the last attempt took.
    pub(super) duration: Duration,
    /// How long all took, with the waits between them.
    pub(super) total: Duration,
}

/// A reply: its status, its body, and when to come again, if that is known.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The status to answer with.
    pub status: StatusCode,
    /// The `Retry-After` to answer with.
    pub retry_after: Option<HeaderValue>,
    /// The body.
    pub body: Value,
}

impl Reply {
    /// The reply after a call.
    pub(super) fn new(account: Account) -> Reply {
        let Account { end, attempts, retries, duration, total } = account;
        let (mut reply, content) = match end {
            End::Answer(response) => answered(&response),
            End::Problem { error_type, message, .. } => {
                (failed(error_type.status(), error_type, &message), Content::default())
            }
        };
        let made = attempts.saturating_sub(1);
        let retry_info = json!({
            "retriesAttempted": made,
            "retriesRemaining": retries.saturating_sub(made),
        });
        for (name, value) in [
            ("attempts", json!(attempts)),
            ("duration", milliseconds(duration)),
            ("totalDuration", milliseconds(total)),
            ("requestId", RunId::new().to_string().into()),
            ("retryInfo", retry_info),
            ("headers", content.headers.into()),
            ("body", content.body),
        ] {
            reply.body[name] = value;
        }
        reply
    }

    /// The reply to a request that cannot be carried out as it is.
    pub fn invalid(message: &str) -> Reply {
        Reply::without_attempt(ErrorType::Validation, message)
    }

    /// The reply where all places are taken.
    pub(super) fn busy() -> Reply {
        let message = format!("{} calls are under way here", limits::WORKER_CALLS);
        let mut reply = Reply::without_attempt(ErrorType::Network, &message);
        reply.retry_after = Some(HeaderValue::from_static("1"));
        reply.with_status(StatusCode::SERVICE_UNAVAILABLE)
    }

    /// The same reply with another status.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Reply {
        self.status = status;
        self.body["status"] = status.as_u16().into();
        self.body["statusText"] = reason(status).into();
        self
    }

    fn without_attempt(error_type: ErrorType, message: &str) -> Reply {
        let end = End::Problem { error_type, message: message.to_owned(), may_pass: false };
        let none = Duration::ZERO;
        Reply::new(Account { end, attempts: 0, retries: 0, duration: none, total: none })
    }
}

/// What the API gave.
#[derive(Default)]
struct Content {
    headers: Map<String, Value>,
    body: Value,
}

fn answered(response: &Response) -> (Reply, Content) {
    let status = response.status;
    let mut reply = match status.is_success() {
        true => told(status),
        false => {
            let message = format!("HTTP {}: {}", status.as_u16(), reason(status));
            failed(status, ErrorType::Http, message.trim_end_matches([':', ' ']))
        }
    };
    reply.status = carrier(status);
    reply.retry_after = response.headers.get(RETRY_AFTER).filter(|_| !status.is_success()).cloned();
    let headers = header_fields(&response.headers);
    (reply, Content { headers, body: content(response) })
}

/// The API's status, so that callers who look no further see how it went. Where a reply with that
/// status could have no body (204, 205, 304) it is 200, and where it would be no final HTTP status
/// (1xx, 600 and above) 502; `status` in the body always tells the API's own.
fn carrier(status: StatusCode) -> StatusCode {
    match status.as_u16() {
        204 | 205 | 304 => StatusCode::OK,
        200..=599 => status,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// What decides comes first, so that the beginning of a reply says enough where it is quoted.
fn told(status: StatusCode) -> Reply {
    let body = json!({
        "success": status.is_success(),
        "status": status.as_u16(),
        "statusText": reason(status),
    });
    Reply { status, retry_after: None, body }
}

fn failed(status: StatusCode, error_type: ErrorType, message: &str) -> Reply {
    let mut reply = told(status);
    reply.body["error"] = message.into();
    reply.body["errorType"] = error_type.as_str().into();
    reply
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or_default()
}

fn milliseconds(duration: Duration) -> Value {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).into()
}
