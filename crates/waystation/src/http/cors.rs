//! Routes that web pages of other origins may use: what browsers are told, and who is let in.
//!
//! The headers let a page *read* a reply. Whether it may *write* to a server that answers only its own
//! machine is for the guard to say, which lets in the origins that the operator has named and no
//! others: any page that the user visits could otherwise start chains here and spend on models.
//! A refused page can read why, since the refusal carries the headers too.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::guard::{self, Gate};
use super::reply;
use crate::origins::Origins;

/// What pages may send.
#[derive(Clone, Copy)]
pub(super) struct Sendable {
    /// Methods, by comma.
    pub(super) methods: &'static str,
    /// Names of headers, by comma.
    pub(super) names: &'static str,
}

/// Opens routes to pages. Every reply carries the headers, also those of the guard and of faults.
pub(super) fn open<S>(routes: Router<S>, gate: &Gate, sendable: Sendable) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let desk = (Arc::clone(&gate.origins), sendable);
    routes
        .method_not_allowed_fallback(reply::no_such_method)
        .layer(from_fn_with_state(gate.clone(), guard::check_open))
        .layer(CatchPanicLayer::custom(reply::panicked))
        .layer(from_fn_with_state(desk, answer))
}

/// A browser's question before the request is answered without asking who it is for: it tells nothing
/// and does nothing, and only so does the page see the reply to the request itself.
async fn answer(
    State((origins, sendable)): State<(Arc<Origins>, Sendable)>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if origins.varies() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    if let Some(allowed) = origins.allowed(origin.as_ref()) {
        tell(headers, allowed, sendable);
    }
    response
}

fn tell(headers: &mut HeaderMap, origin: HeaderValue, Sendable { methods, names }: Sendable) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
}
