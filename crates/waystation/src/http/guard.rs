//! Keeps web pages from using a server that trusts its own machine.
//!
//! A page that the user visits can make the browser send requests to 127.0.0.1, by another name if need
//! be. Such a request names a host or an origin that is not this machine, and is refused.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use waystation_core::error::{Code, Error};

use super::reply::Failed;
use crate::config::is_local;
use crate::origins::Origins;

/// Who is let in.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The server answers only its own machine.
    pub(super) is_local: bool,
    /// Pages of other origins that may use the open routes.
    pub(super) origins: Arc<Origins>,
}

impl Gate {
    /// The gate of a server that is for its own machine, or for others too.
    pub fn new(is_local: bool, origins: Origins) -> Gate {
        Gate { is_local, origins: Arc::new(origins) }
    }
}

pub(super) async fn check(State(is_local): State<bool>, request: Request, next: Next) -> Response {
    let is_welcome = origin_is_here(request.headers());
    pass(is_local, is_welcome, request, next).await
}

/// The same for routes that are open to web pages: origins that the operator has named are let in too.
/// The host has to be this machine all the same, for a page can give it any name.
pub(super) async fn check_open(
    State(Gate { is_local, origins }): State<Gate>,
    request: Request,
    next: Next,
) -> Response {
    let origin = request.headers().get(header::ORIGIN);
    let is_named = origin.is_some_and(|origin| origins.is_named(origin));
    let is_welcome = is_named || origin_is_here(request.headers());
    pass(is_local, is_welcome, request, next).await
}

async fn pass(is_local_server: bool, is_welcome: bool, request: Request, next: Next) -> Response {
    // HTTP/2 names the host in the request's address.
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let named_here = authority.is_none_or(|authority| is_local(name_of(&authority)));
    if is_local_server && !(named_here && host_is_here(request.headers()) && is_welcome) {
        let error = Error::new(Code::Forbidden, "This server answers only its own machine")
            .with_hint("call it as http://127.0.0.1, or start it with --host and --open");
        return Failed(error).into_response();
    }
    next.run(request).await
}

fn host_is_here(headers: &HeaderMap) -> bool {
    text(headers, header::HOST).is_none_or(|host| is_local(name_of(host)))
}

fn origin_is_here(headers: &HeaderMap) -> bool {
    text(headers, header::ORIGIN).is_none_or(|origin| {
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        is_local(name_of(authority))
    })
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).map(|value| value.to_str().unwrap_or("?"))
}

/// A host without its port and without the brackets of IPv6.
fn name_of(authority: &str) -> &str {
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_here() {
        let verdict = |host: &str, origin: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            host_is_here(&headers) && origin_is_here(&headers)
        };
        for (host, origin, here) in [
            ("127.0.0.1:8080", "", true),
            ("localhost", "http://localhost:5173", true),
            ("[::1]:8080", "http://[::1]:3000", true),
            ("", "", true),
            ("evil.example:8080", "", false),
            ("127.0.0.1.evil.example", "", false),
            ("127.0.0.1:8080", "https://evil.example", false),
            ("127.0.0.1:8080", "null", false),
        ] {
            assert_eq!(verdict(host, origin), here, "{host} {origin}");
        }
    }
}
