//! The one outgoing HTTP client: every hop is checked, every answer is bounded.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use rustls::crypto::ring;
use url::{Host, Url};

use super::error::SendError;
use super::incoming::{Incoming, Response};
use super::policy::Policy;
use super::redirect::{Hop, forget_credentials, location};
use super::resolver::{CheckedResolver, Lookup, system_lookup};
use super::tls;
use crate::limits;

/// Sends requests within a policy. One of it serves the whole process.
pub struct HttpClient {
    client: reqwest::Client,
    pub(super) resolver: Arc<CheckedResolver>,
    own_base: OnceLock<Url>,
    own_pass: OnceLock<HeaderValue>,
}

/// The header by which requests to paths on this server show that they come from it.
pub const PASS_HEADER: HeaderName = HeaderName::from_static("waystation-pass");

/// What to send.
#[derive(Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// An absolute URL, or a path on this very server.
    pub url: String,
    /// The headers. Those that frame the message are the client's own and are left out.
    pub headers: HeaderMap,
    /// Pairs to add to the URL's query.
    pub params: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<Bytes>,
    /// Whether the body holds keys, which headers that hold any share: it goes to no other origin.
    pub is_body_private: bool,
    /// Whether redirects are followed; else they are answers like any other.
    pub follows_redirects: bool,
}

impl Request {
    /// A request with neither headers nor a body.
    pub fn new(method: Method, url: impl Into<String>) -> Request {
        let (headers, params) = (HeaderMap::new(), Vec::new());
        let (is_body_private, follows_redirects) = (false, true);
        let (url, body) = (url.into(), None);
        Request { method, url, headers, params, body, is_body_private, follows_redirects }
    }
}

/// The rest may hold keys.
impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("method", &self.method).finish_non_exhaustive()
    }
}

/// Chooses the TLS provider of the process. One that the program has installed before is as good.
pub(crate) fn install_tls() {
    let _ = ring::default_provider().install_default();
}

impl HttpClient {
    /// A client that resolves names as the operating system does.
    pub fn new(policy: Policy) -> Result<HttpClient, reqwest::Error> {
        HttpClient::with_lookup(policy, system_lookup())
    }

    /// A client with its own way of resolving names.
    pub fn with_lookup(policy: Policy, lookup: Lookup) -> Result<HttpClient, reqwest::Error> {
        install_tls();
        let resolver = Arc::new(CheckedResolver { policy: Arc::new(policy), lookup });
        let builder = || {
            reqwest::Client::builder()
                .no_proxy()
                .dns_resolver(Arc::clone(&resolver))
                .redirect(reqwest::redirect::Policy::none())
                .connect_timeout(limits::CONNECT_TIMEOUT)
                .pool_max_idle_per_host(limits::IDLE_CONNECTIONS_PER_HOST)
                .tcp_nodelay(true)
                .user_agent(concat!("waystation/", env!("CARGO_PKG_VERSION")))
        };
        // Without certificates on the machine the platform's verifier cannot be built.
        let client = builder().build().or_else(|error| {
            tracing::warn!(%error, "no system certificates for TLS; using the built-in ones");
            builder().tls_backend_preconfigured(built_in_tls()).build()
        })?;
        Ok(HttpClient { client, resolver, own_base: OnceLock::new(), own_pass: OnceLock::new() })
    }

    /// Tells where this server listens, so that a URL of a path alone means it. The first call counts.
    pub fn set_own_address(&self, address: SocketAddr) {
        let ip = match address.ip() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        if let Ok(base) = Url::parse(&format!("http://{}/", SocketAddr::new(ip, address.port()))) {
            self.own_base.get_or_init(|| base);
        }
    }

    /// Tells by what this server knows requests to its own paths. The first call counts.
    pub fn set_own_pass(&self, pass: &str) {
        if let Ok(mut pass) = HeaderValue::from_str(pass) {
            pass.set_sensitive(true);
            self.own_pass.get_or_init(|| pass);
        }
    }

    /// Sends a request, follows its redirects and reads the answer up to a bound. How long that may
    /// take is the caller's to say; only connecting has a time of its own.
    pub async fn send(&self, request: Request, bytes_max: usize) -> Result<Response, SendError> {
        self.open(request, bytes_max).await?.whole().await
    }

    /// Sends a request and follows its redirects; the answer's body is the caller's to receive.
    pub async fn open(&self, request: Request, bytes_max: usize) -> Result<Incoming, SendError> {
        let follows = request.follows_redirects;
        let mut hop = self.first_hop(request)?;
        for _ in 0..=limits::REDIRECTS {
            let response = self.perform(&hop).await?;
            match location(&response).filter(|_| follows) {
                Some(location) => hop.follow(response.status(), &location)?,
                None => return Incoming::new(response, hop.url, bytes_max),
            }
        }
        Err(SendError::Redirects { host: hop.url.authority().to_owned() })
    }

    fn first_hop(&self, request: Request) -> Result<Hop, SendError> {
        let Request { method, url, mut headers, params, body, is_body_private, .. } = request;
        let is_own = url.starts_with('/') && !url.starts_with("//");
        let mut url = if is_own { self.own_url(&url)? } else { absolute_url(&url)? };
        if !params.is_empty() {
            url.query_pairs_mut().extend_pairs(params);
        }
        for name in MANAGED {
            headers.remove(name);
        }
        // The client's builder moves credentials from the URL into a header; a given header wins.
        let built = self.client.request(method.clone(), url.clone()).headers(headers).build();
        let mut built = built.map_err(|_| invalid_url("cannot be requested"))?;
        let headers = std::mem::take(built.headers_mut());
        forget_credentials(&mut url);
        Ok(Hop { method, url, headers, body, is_body_private, is_own })
    }

    /// A path on this server. It must not lead elsewhere, whatever slashes it hides.
    fn own_url(&self, path: &str) -> Result<Url, SendError> {
        let Some(base) = self.own_base.get() else {
            return Err(invalid_url(
                "is a path, and this program is not listening: give a whole URL",
            ));
        };
        let url = base.join(path).map_err(|error| invalid_url(&format!("is invalid: {error}")))?;
        if url.origin() == base.origin() { Ok(url) } else { Err(invalid_url("is no plain path")) }
    }

    async fn perform(&self, hop: &Hop) -> Result<reqwest::Response, SendError> {
        if !hop.is_own {
            self.check(&hop.url)?;
        }
        let mut request = reqwest::Request::new(hop.method.clone(), hop.url.clone());
        *request.headers_mut() = hop.headers.clone();
        if let Some(pass) = self.own_pass.get().filter(|_| hop.is_own) {
            request.headers_mut().insert(PASS_HEADER, pass.clone());
        }
        *request.body_mut() = hop.body.clone().map(Into::into);
        // Some services wait for a body or refuse the request unless told that there is none.
        if hop.body.is_none() && matches!(hop.method, Method::POST | Method::PUT | Method::PATCH) {
            request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let sent = self.client.execute(request).await;
        sent.map_err(|error| SendError::from_client(&error, hop.url.authority()))
    }

    /// Literal addresses never meet the resolver, which checks all others.
    fn check(&self, url: &Url) -> Result<(), SendError> {
        let verdict = match url.host() {
            Some(Host::Ipv4(address)) => self.resolver.policy.check(address.into()),
            Some(Host::Ipv6(address)) => self.resolver.policy.check(address.into()),
            Some(Host::Domain(_)) => Ok(()),
            None => return Err(invalid_url("names no host")),
        };
        verdict.map_err(SendError::Refused)
    }
}

/// Mozilla's certificates, as compiled in, for the two versions of HTTP.
fn built_in_tls() -> rustls::ClientConfig {
    let mut tls = tls::built_in();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    tls
}

/// These frame the message or the connection. Wrong values would let a caller smuggle requests into
/// a shared connection, so the client sets them alone.
const MANAGED: [HeaderName; 9] = [
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::CONNECTION,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    HeaderName::from_static("keep-alive"),
];

fn absolute_url(text: &str) -> Result<Url, SendError> {
    let url = Url::parse(text).map_err(|error| invalid_url(&format!("is invalid: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(invalid_url(&format!("starts with {other}: and not with http: or https:"))),
    }
}

/// The URL itself stays unsaid: it may hold a key.
fn invalid_url(problem: &str) -> SendError {
    SendError::Invalid(format!("the URL {problem}"))
}

#[cfg(test)]
mod spellings;
#[cfg(test)]
mod tests;
