//! Replies that are streams of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderName;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};

/// How often a silent connection shows that it is there, to whatever stands between.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// What shows it.
pub(super) const ALIVE: &str = ":\n\n";
/// A proxy that gathers a reply before it passes it on would defeat the purpose.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// A reply of pieces that are written as events already.
pub(super) fn reply_of(pieces: impl Stream<Item = String> + Send + 'static) -> Response {
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-cache"), UNBUFFERED];
    (headers, Body::from_stream(pieces.map(Ok::<_, Infallible>))).into_response()
}

/// A reply that goes on as long as the events do.
pub(super) fn reply(
    events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    ([UNBUFFERED], Sse::new(events).keep_alive(keep_alive)).into_response()
}
