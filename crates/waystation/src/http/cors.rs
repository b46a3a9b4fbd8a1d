//! What browsers are told about pages of other origins.
//!
//! The headers let a page *read* a reply. Whether it may *write* to a server that answers only its own
//! machine is for the door to say, which lets in the origins that the operator has named and no
//! others: any page that the user visits could otherwise start chains here and spend on models.
//! A refused page can read why, since the refusal carries the headers too. Credentials that browsers send
//! by themselves are never allowed: this server has none.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::access::Door;

/// What pages may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sendable {
    /// Methods, by comma.
    pub(super) methods: &'static str,
    /// Names of headers, by comma.
    pub(super) names: &'static str,
    /// The same, where callers have to say who they are.
    pub(super) names_with_credentials: &'static str,
}

/// What pages may send to all other routes of a server that asks callers who they are.
const OTHERS: Sendable = Sendable {
    methods: "GET, POST, PUT, PATCH, DELETE, OPTIONS",
    names: OTHER_NAMES,
    names_with_credentials: OTHER_NAMES,
};
const OTHER_NAMES: &str =
    "Content-Type, Authorization, X-API-Key, Idempotency-Key, If-Match, Last-Event-ID, Prefer";

/// A browser's question before the request is answered without asking who it is for: it tells nothing
/// and does nothing, and only so does the page see the reply to the request itself.
pub(super) async fn answer(
    State(door): State<Arc<Door>>,
    request: Request,
    next: Next,
) -> Response {
    let asks_callers = door.auth.is_on();
    let path = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let told = door.table.sendable(path);
    let others = (asks_callers && door.origins.is_said()).then_some(OTHERS);
    let Some(sendable) = told.or(others) else {
        return next.run(request).await;
    };
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if door.origins.varies() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(allowed) = door.origins.allowed(origin.as_ref()) {
        tell(headers, allowed, sendable, asks_callers);
    }
    response
}

fn tell(headers: &mut HeaderMap, origin: HeaderValue, sendable: Sendable, asks_callers: bool) {
    let Sendable { methods, names, names_with_credentials } = sendable;
    let names = if asks_callers { names_with_credentials } else { names };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
}
