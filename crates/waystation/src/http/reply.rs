//! Replies: errors as JSON with a status, and nothing internal in them.

use std::any::Any;

use axum::Json;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use waystation_core::error::{Code, Error, Kind};

use super::detail::{Detail, is_spoken_at};

/// An error on its way to the caller.
#[derive(Debug)]
pub(super) struct Failed(pub(super) Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let body = error_body(&self.0);
        let status = status_of(&self.0);
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                (status, [(header::RETRY_AFTER, "1")], Json(body)).into_response()
            }
            // Some of the body may be unread, so that the connection cannot be used again.
            StatusCode::PAYLOAD_TOO_LARGE => {
                (status, [(header::CONNECTION, "close")], Json(body)).into_response()
            }
            StatusCode::UNAUTHORIZED => (status, [CHALLENGE], Json(body)).into_response(),
            _ => (status, Json(body)).into_response(),
        }
    }
}

/// How a caller is told to say who it is.
pub(super) const CHALLENGE: (header::HeaderName, &str) =
    (header::WWW_AUTHENTICATE, "Bearer realm=\"waystation\"");

/// What is said of a panic.
pub(super) const FAULT: &str = "the request hit a fault of this program";

/// The body of an error: `success: false`, what is wrong, and how to mend it.
pub(super) fn error_body(error: &Error) -> Value {
    let mut body = json!({ "success": false, "error": error.message, "code": error.code.as_str() });
    if let Some(hint) = error.hint() {
        body["hint"] = hint.into();
    }
    body
}

/// The status for an error.
pub(super) fn status_of(error: &Error) -> StatusCode {
    match (error.code, error.code.kind()) {
        (Code::BodyTooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
        (Code::Busy | Code::RateLimited, _) => StatusCode::TOO_MANY_REQUESTS,
        (_, Kind::Invalid) => StatusCode::BAD_REQUEST,
        (_, Kind::NotFound) => StatusCode::NOT_FOUND,
        (_, Kind::Conflict) => StatusCode::CONFLICT,
        (_, Kind::Unauthorized) => StatusCode::UNAUTHORIZED,
        (_, Kind::Refused) => StatusCode::FORBIDDEN,
        (_, Kind::Unavailable) => StatusCode::SERVICE_UNAVAILABLE,
        (_, Kind::Internal) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

pub(super) async fn no_such_route(uri: Uri) -> Response {
    let error = Error::new(Code::NotFound, format!("There is nothing at {}", uri.path()));
    let error = error.with_hint("see docs/api.md for the routes");
    match is_spoken_at(uri.path()) {
        true => Detail::from(error).into_response(),
        false => Failed(error).into_response(),
    }
}

pub(super) async fn no_such_method(uri: Uri) -> Response {
    let text = format!("{} does not take this method", uri.path());
    if is_spoken_at(uri.path()) {
        return Detail::Plain(StatusCode::METHOD_NOT_ALLOWED, text, None).into_response();
    }
    let body = error_body(&Error::new(Code::RequestInvalid, text));
    (StatusCode::METHOD_NOT_ALLOWED, Json(body)).into_response()
}

/// A handler panicked: the connection and the server go on.
pub(super) fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Failed(Error::new(Code::Internal, FAULT)).into_response()
}
