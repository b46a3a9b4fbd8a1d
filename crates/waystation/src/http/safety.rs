//! What every reply tells browsers, lest one takes it for something else. Pages have a policy of their own.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

const TOLD: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
];

pub(super) async fn tell(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in TOLD {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
