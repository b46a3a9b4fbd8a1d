//! Keeps web pages from using a server that trusts its own machine.
//!
//! A page that the user visits can make the browser send requests to 127.0.0.1, by another name if need
//! be. Such a request names a host or an origin that is not this machine, and is refused.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use waystation_core::error::{Code, Error};

use crate::config::is_local;
use crate::origins::Origins;

/// Refuses what a page elsewhere may have sent. Pages of named origins may, where some are named; the host
/// has to be this machine all the same, for a page can give it any name.
/// A page that a link leads to does nothing by being opened.
pub(super) fn check(parts: &Parts, named: Option<&Origins>, is_page: bool) -> Result<(), Error> {
    // HTTP/2 names the host in the request's address.
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    let named_here = authority.is_none_or(|authority| is_local(name_of(authority)));
    let origin = parts.headers.get(header::ORIGIN);
    let is_named = named.zip(origin).is_some_and(|(origins, origin)| origins.is_named(origin));
    // Pictures, links and simple requests of a page come without an origin, and say this instead.
    let site = text(&parts.headers, HeaderName::from_static("sec-fetch-site"));
    let is_of_elsewhere = site.is_some_and(|site| site.ends_with("-site")) && !is_page;
    let is_welcome = is_named || (origin_is_here(&parts.headers) && !is_of_elsewhere);
    if named_here && host_is_here(&parts.headers) && is_welcome {
        return Ok(());
    }
    let error = Error::new(Code::Forbidden, "This server answers only its own machine");
    Err(error.with_hint("call it as http://127.0.0.1, or start it with --host and --open"))
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
