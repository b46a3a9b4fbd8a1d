//! The web page: files of this program, sent with a policy that lets nothing else into them.

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::extract::Path;
use super::route::{Access, Routes};
use crate::auth::Api;

/// Where a file is called by its name below `/ui/`, its type and its content.
const FILES: [(&str, &str, &str); 4] = [
    ("page.css", "text/css", include_str!("../../../../web/page.css")),
    ("page.js", "text/javascript", include_str!("../../../../web/page.js")),
    ("watch.js", "text/javascript", include_str!("../../../../web/watch.js")),
    ("examples.js", "text/javascript", include_str!("../../../../web/examples.js")),
];
const INDEX: &str = include_str!("../../../../web/index.html");

/// Nothing but the files above runs or is loaded, and no other page may frame this one.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Routes {
    Routes::of(Api::Own).get("/ui/{file}", Access::OPEN, file)
}

async fn file(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(known, ..)| *known == name) {
        Some((_, media, text)) => send(media, text),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The page itself.
pub(super) fn index() -> Response {
    send("text/html", INDEX)
}

fn send(media: &str, text: &'static str) -> Response {
    let headers: [(HeaderName, String); 5] = [
        (header::CONTENT_TYPE, format!("{media}; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY.into()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (header::REFERRER_POLICY, "no-referrer".into()),
        // Another version of the program has another page.
        (header::CACHE_CONTROL, "no-cache".into()),
    ];
    (headers, text).into_response()
}
