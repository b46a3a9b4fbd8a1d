//! Keeps web pages from using a server that trusts its own machine.
//!
//! A page that the user visits can make the browser send requests to 127.0.0.1, by another name if need
//! be. Such a request names a host or an origin that is not this machine, and is refused.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use waystation_core::error::{Code, Error};

use super::reply::Failed;
use crate::config::is_local;

pub(super) async fn check(
    State(server_is_local): State<bool>,
    request: Request,
    next: Next,
) -> Response {
    // HTTP/2 names the host in the request's address.
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let named_here = authority.is_none_or(|authority| is_local(name_of(&authority)));
    if server_is_local && !(named_here && comes_from_here(request.headers())) {
        let error = Error::new(Code::Forbidden, "This server answers only its own machine")
            .with_hint("call it as http://127.0.0.1, or start it with --host and --open");
        return Failed(error).into_response();
    }
    next.run(request).await
}

fn comes_from_here(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let host_is_here = text(header::HOST).is_none_or(|host| is_local(name_of(host)));
    let origin_is_here = text(header::ORIGIN).is_none_or(|origin| {
        let authority = origin.split_once("://").map_or("", |(_, authority)| authority);
        is_local(name_of(authority))
    });
    host_is_here && origin_is_here
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
            comes_from_here(&headers)
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
