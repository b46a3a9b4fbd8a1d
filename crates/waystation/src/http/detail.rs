//! Errors in the shape of the workflow APIs: `{detail}`, and a list of places where a value is wrong.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use waystation_core::dialect::graph::issue::Issue;
use waystation_core::error::{Code, Error, Kind};

use super::reply::{CHALLENGE, Failed, status_of};
use crate::workflows::Refusal;

/// An error on its way to the caller.
#[derive(Debug)]
pub(super) enum Detail {
    /// Values of the request are wrong: `{loc, msg, type}` of each.
    Invalid(Vec<Value>),
    /// Anything else.
    Plain(StatusCode, String, Option<String>),
}

impl Detail {
    /// A parameter of the query is wrong.
    pub(super) fn parameter(name: &str, message: &str) -> Detail {
        Detail::at(&["query", name], message)
    }

    /// What lies at a place of the request is wrong.
    pub(super) fn at(place: &[&str], message: &str) -> Detail {
        Detail::Invalid(vec![json!({ "loc": place, "msg": message, "type": "value_error" })])
    }
}

/// Whether the errors of the route at a path have this shape.
pub(super) fn is_spoken_at(path: &str) -> bool {
    ["/api/v1", "/workflows", "/ai"].into_iter().any(|root| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

impl From<Error> for Detail {
    fn from(error: Error) -> Detail {
        let status = match (error.code, error.code.kind()) {
            (Code::BodyInvalid | Code::RequestInvalid, _) => {
                return Detail::at(&["body"], &error.message);
            }
            (_, Kind::Conflict) => StatusCode::CONFLICT,
            _ => status_of(&error),
        };
        let hint = error.hint().map(str::to_owned);
        Detail::Plain(status, error.message, hint)
    }
}

impl From<Failed> for Detail {
    fn from(failed: Failed) -> Detail {
        failed.0.into()
    }
}

impl From<Refusal> for Detail {
    fn from(refusal: Refusal) -> Detail {
        match refusal {
            Refusal::Invalid(issues) => {
                Detail::Invalid(issues.iter().map(Issue::to_json).collect())
            }
            Refusal::Error(error) => error.into(),
            Refusal::Stale { present } => {
                let text = format!(
                    "The workflow has changed: its present version is {present}. Get it again, and \
                     repeat your change on that"
                );
                Detail::Plain(StatusCode::PRECONDITION_FAILED, text, None)
            }
        }
    }
}

impl IntoResponse for Detail {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Detail::Invalid(places) => {
                (StatusCode::UNPROCESSABLE_ENTITY, json!({ "detail": places }))
            }
            Detail::Plain(status, text, hint) => {
                let mut body = json!({ "detail": text });
                if let Some(hint) = hint {
                    body["hint"] = hint.into();
                }
                (status, body)
            }
        };
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                (status, [(header::RETRY_AFTER, "1")], Json(body)).into_response()
            }
            StatusCode::PAYLOAD_TOO_LARGE => {
                (status, [(header::CONNECTION, "close")], Json(body)).into_response()
            }
            StatusCode::UNAUTHORIZED => (status, [CHALLENGE], Json(body)).into_response(),
            _ => (status, Json(body)).into_response(),
        }
    }
}
