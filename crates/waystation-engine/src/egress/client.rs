//! The one outgoing HTTP client: every hop is checked, every answer is bounded.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use reqwest::header::{self, HeaderMap, HeaderName};
use reqwest::{Method, StatusCode};
use rustls::crypto::ring;
use url::{Host, Url};

use super::error::SendError;
use super::policy::Policy;
use super::resolver::{CheckedResolver, Lookup, system_lookup};
use crate::limits;

/// Sends requests within a policy. One of it serves the whole process.
pub struct HttpClient {
    client: reqwest::Client,
    policy: Arc<Policy>,
    own_base: OnceLock<Url>,
}

/// What to send.
#[derive(Clone, Debug)]
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
}

impl Request {
    /// A request with neither headers nor a body.
    pub fn new(method: Method, url: impl Into<String>) -> Request {
        let (headers, params) = (HeaderMap::new(), Vec::new());
        Request { method, url: url.into(), headers, params, body: None }
    }
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status after all redirects.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, decompressed; of an answer that is no success, its beginning.
    pub body: Bytes,
    /// The URL that answered in the end, without credentials.
    pub url: Url,
}

impl HttpClient {
    /// A client that resolves names as the operating system does.
    pub fn new(policy: Policy) -> Result<HttpClient, reqwest::Error> {
        HttpClient::with_lookup(policy, system_lookup())
    }

    /// A client with its own way of resolving names.
    pub fn with_lookup(policy: Policy, lookup: Lookup) -> Result<HttpClient, reqwest::Error> {
        // A provider that the program has installed before is as good.
        let _ = ring::default_provider().install_default();
        let policy = Arc::new(policy);
        let resolver = Arc::new(CheckedResolver { policy: Arc::clone(&policy), lookup });
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
        Ok(HttpClient { client, policy, own_base: OnceLock::new() })
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

    /// Sends a request, follows its redirects and reads the answer up to a bound. How long that may
    /// take is the caller's to say; only connecting has a time of its own.
    pub async fn send(&self, request: Request, bytes_max: usize) -> Result<Response, SendError> {
        let mut hop = self.first_hop(request)?;
        for _ in 0..=limits::REDIRECTS {
            let response = self.perform(&hop).await?;
            match location(&response) {
                Some(location) => hop.follow(response.status(), &location)?,
                None => return read(response, hop.url, bytes_max).await,
            }
        }
        Err(SendError::Redirects { host: hop.url.authority().to_owned() })
    }

    fn first_hop(&self, request: Request) -> Result<Hop, SendError> {
        let Request { method, url, mut headers, params, body } = request;
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
        Ok(Hop { method, url, headers, body, is_own })
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
        *request.body_mut() = hop.body.clone().map(Into::into);
        let sent = self.client.execute(request).await;
        sent.map_err(|error| SendError::from_client(&error, hop.url.authority()))
    }

    /// Literal addresses never meet the resolver, which checks all others.
    fn check(&self, url: &Url) -> Result<(), SendError> {
        let verdict = match url.host() {
            Some(Host::Ipv4(address)) => self.policy.check(address.into()),
            Some(Host::Ipv6(address)) => self.policy.check(address.into()),
            Some(Host::Domain(_)) => Ok(()),
            None => return Err(invalid_url("names no host")),
        };
        verdict.map_err(SendError::Refused)
    }
}

/// Mozilla's certificates, as compiled in.
fn built_in_tls() -> rustls::ClientConfig {
    let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect::<rustls::RootCertStore>();
    let mut tls =
        rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
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

/// These describe a body and go when it does.
const BODY_HEADERS: [HeaderName; 3] =
    [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_LANGUAGE];

/// One request on the way through redirects.
struct Hop {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
    is_own: bool,
}

impl Hop {
    fn follow(&mut self, status: StatusCode, location: &str) -> Result<(), SendError> {
        let from = self.url.authority().to_owned();
        let next = self.url.join(location).map_err(|_| redirect_error(&from, "nowhere"))?;
        if !matches!(next.scheme(), "http" | "https") {
            return Err(redirect_error(&from, &format!("a {}: address", next.scheme())));
        }
        let previous = std::mem::replace(&mut self.url, next);
        forget_credentials(&mut self.url);
        if self.url.origin() != previous.origin() {
            self.is_own = false;
            if !is_upgrade(&previous, &self.url) {
                self.keep_harmless_headers();
            }
        }
        if becomes_get(status, &self.method) {
            self.method = Method::GET;
            self.body = None;
            for name in BODY_HEADERS {
                self.headers.remove(name);
            }
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
fn location(response: &reqwest::Response) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(header::LOCATION).filter(|_| redirects)?;
    Some(String::from_utf8_lossy(location.as_bytes()).into_owned())
}

/// Reads the body up to the bound. An answer that is no success says enough with its beginning, and
/// its status counts more than how the body ends.
async fn read(
    mut response: reqwest::Response,
    url: Url,
    bytes_max: usize,
) -> Result<Response, SendError> {
    let host = url.authority().to_owned();
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    let is_success = status.is_success();
    let bytes_max = if is_success { bytes_max } else { bytes_max.min(limits::ERROR_BYTES) };
    let announced = response.content_length().unwrap_or(0);
    if is_success && announced > bytes_max as u64 {
        return Err(SendError::TooLarge { host, bytes_max });
    }
    let mut body = BytesMut::new();
    loop {
        let room = bytes_max - body.len();
        match response.chunk().await {
            Ok(Some(chunk)) if chunk.len() <= room => body.extend_from_slice(&chunk),
            Ok(Some(_)) if is_success => return Err(SendError::TooLarge { host, bytes_max }),
            Ok(Some(chunk)) => {
                body.extend_from_slice(&chunk[..room]);
                break;
            }
            Err(error) if is_success => return Err(SendError::from_client(&error, &host)),
            Ok(None) | Err(_) => break,
        }
    }
    Ok(Response { status, headers, body: body.freeze(), url })
}

fn absolute_url(text: &str) -> Result<Url, SendError> {
    let url = Url::parse(text).map_err(|error| invalid_url(&format!("is invalid: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(invalid_url(&format!("starts with {other}: and not with http: or https:"))),
    }
}

fn forget_credentials(url: &mut Url) {
    // Both fail only for URLs without a host, which have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
}

/// The URL itself stays unsaid: it may hold a key.
fn invalid_url(problem: &str) -> SendError {
    SendError::Invalid(format!("the URL {problem}"))
}

fn redirect_error(from: &str, target: &str) -> SendError {
    SendError::Invalid(format!("{from} redirects to {target}"))
}

#[cfg(test)]
mod tests;
