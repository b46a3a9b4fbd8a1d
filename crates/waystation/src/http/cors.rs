//! Routes that web pages of other origins may use: what browsers are told, and who is let in.
//!
//! The headers let a page *read* a reply. Whether it may *write* to a server that answers only its own
//! machine is for the guard to say, which lets in the origins that the operator has named and no
//! others: any page that the user visits could otherwise start chains here and spend on models.
//! A refused page can read why, since the refusal carries the headers too.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;

use super::{Context, guard, reply};

/// What pages may send.
#[derive(Clone, Copy)]
pub(super) struct Sendable {
    /// Methods, by comma.
    pub(super) methods: &'static str,
    /// Headers, by comma.
    pub(super) headers: &'static str,
}

/// Opens routes to pages. Every reply carries the headers, also those of the guard and of faults.
pub(super) fn open(
    routes: Router<Context>,
    context: &Context,
    sendable: Sendable,
) -> Router<Context> {
    routes
        .method_not_allowed_fallback(reply::no_such_method)
        .layer(from_fn_with_state(context.clone(), guard::check_open))
        .layer(CatchPanicLayer::custom(reply::panicked))
        .layer(from_fn_with_state((context.clone(), sendable), answer))
}

/// A browser's question before the request is answered without asking who it is for: it tells nothing
/// and does nothing, and only so does the page see the reply to the request itself.
async fn answer(
    State((context, sendable)): State<(Context, Sendable)>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    tell(response.headers_mut(), &context, sendable, origin.as_ref());
    response
}

fn tell(
    headers: &mut HeaderMap,
    context: &Context,
    sendable: Sendable,
    origin: Option<&HeaderValue>,
) {
    let origins = &context.app.cors_origins;
    if origins.varies() {
        headers.append(header::VARY, HeaderValue::from_static("origin"));
    }
    let Some(allowed) = origins.allowed(origin) else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
    let Sendable { methods, headers: names } = sendable;
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(names));
}
