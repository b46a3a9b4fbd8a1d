//! Redirects: which request follows from an answer, and what must not go along with it.

use bytes::Bytes;
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Method, StatusCode};
use url::Url;

use super::error::SendError;

/// These describe a body and go when it does.
const BODY_HEADERS: [HeaderName; 3] =
    [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE];

/// One request on the way through redirects.
pub(super) struct Hop {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    /// The body goes to no other origin.
    pub(super) is_body_private: bool,
    /// It goes to this very server, where no policy is asked.
    pub(super) is_own: bool,
}

impl Hop {
    /// Turns into the request that the redirect asks for.
    pub(super) fn follow(&mut self, status: StatusCode, location: &str) -> Result<(), SendError> {
        let from = self.url.authority().to_owned();
        let next = self.url.join(location).map_err(|_| redirect_error(&from, "nowhere"))?;
        if !matches!(next.scheme(), "http" | "https") {
            return Err(redirect_error(&from, &format!("a {}: address", next.scheme())));
        }
        let previous = std::mem::replace(&mut self.url, next);
        forget_credentials(&mut self.url);
        let is_other = self.url.origin() != previous.origin();
        let is_stranger = is_other && !is_upgrade(&previous, &self.url);
        self.is_own &= !is_other;
        if is_stranger {
            self.keep_harmless_headers();
        }
        if becomes_get(status, &self.method) {
            self.method = Method::GET;
            self.body = None;
            for name in BODY_HEADERS {
                self.headers.remove(name);
            }
        }
        if is_stranger && self.is_body_private && self.body.is_some() {
            return Err(redirect_error(&from, "another host, and what it was sent may hold keys"));
        }
        Ok(())
    }

    /// Any header may be a key (`x-api-key`, `authorization`, …), and the new origin was chosen by
    /// the other side: only those pass that cannot be one.
    fn keep_harmless_headers(&mut self) {
        let harmless = [
            header::ACCEPT,
            header::ACCEPT_LANGUAGE,
            header::CONTENT_TYPE,
            header::CONTENT_LANGUAGE,
            header::CONTENT_ENCODING,
            header::USER_AGENT,
            HeaderName::from_static("idempotency-key"),
        ];
        let kept = harmless.into_iter().filter_map(|name| {
            let value = self.headers.remove(&name)?;
            Some((name, value))
        });
        self.headers = kept.collect();
    }
}

/// Browsers agree on this, and services rely on it.
fn becomes_get(status: StatusCode, method: &Method) -> bool {
    match status {
        StatusCode::SEE_OTHER => *method != Method::HEAD && *method != Method::GET,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *method == Method::POST,
        _ => false,
    }
}

/// The same host, from plain HTTP to TLS on the standard ports.
fn is_upgrade(from: &Url, to: &Url) -> bool {
    let ports = (from.port_or_known_default(), to.port_or_known_default());
    (from.scheme(), to.scheme()) == ("http", "https")
        && ports == (Some(80), Some(443))
        && from.host() == to.host()
}

/// Where a redirect leads. A 300, or one without a location, is an answer like any other.
pub(super) fn location(response: &reqwest::Response) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION).filter(|_| redirects)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// Credentials travel in a header, so that no URL in a message holds any.
pub(super) fn forget_credentials(url: &mut Url) {
    // Both fail only for URLs without a host, which have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

fn redirect_error(from: &str, target: &str) -> SendError {
    SendError::Invalid(format!("{from} redirects to {target}"))
}

#[cfg(test)]
mod tests;
