//! From a node's settings to the request that goes out.

use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::form_urlencoded;
use waystation_core::error::{Code, Failure};

use super::auth::Auth;
use super::expected::{ExpectedStatus, Statuses};
use crate::egress::Request;
use crate::limits;
use crate::node::AttemptContext;
use crate::node::rendered::from_rendered;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
/// Makes repeated requests recognisable.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// By which a trace is passed on.
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The settings, with all templates rendered.
#[derive(Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub(super) struct Settings {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH`, `DELETE` or `OPTIONS`.
    #[serde(default = "get")]
    method: String,
    /// An http or https address. One that begins with `/` is a path on this server.
    #[schemars(length(min = 1))]
    url: String,
    /// Headers: text, numbers or booleans by name.
    headers: Option<Map<String, Value>>,
    /// What is added to the address's query. A list repeats its name.
    params: Option<Map<String, Value>>,
    /// The body, of any method but `GET` and `HEAD`: sent as JSON, or as the header `Content-Type` says
    /// (`application/x-www-form-urlencoded` takes an object; with a type of text a string goes as it is).
    #[serde(default)]
    body: Value,
    /// The most bytes that the answer may have; more fail the node. By default 10 MiB.
    #[schemars(range(min = 1, max = 268_435_456))]
    response_limit: Option<usize>,
    /// Who calls. It takes the place of a header of the same name.
    #[schemars(with = "Option<Auth>")]
    auth: Option<Value>,
    /// Which statuses are a success: `201`, `"2xx"`, `"200-299"`, `"200, 404"`, or a list of such. Any
    /// other status fails the node. By default 200 to 299.
    expected_status: Option<ExpectedStatus>,
    /// Whether redirects are followed, up to 10. If not, a redirect is an answer like any other.
    #[serde(default = "yes")]
    follow_redirects: bool,
    /// Whether the fields of an answer that is a JSON object are given directly, too.
    #[serde(default)]
    #[schemars(skip)]
    pub(super) spread: bool,
}

fn get() -> String {
    Method::GET.to_string()
}

fn yes() -> bool {
    true
}

impl Settings {
    pub(super) fn read(config: Value) -> Result<Settings, Failure> {
        from_rendered(config).map_err(|error| invalid(format!("HTTP settings: {error}")))
    }

    /// Who calls, if that is said.
    pub(super) fn auth(&mut self) -> Result<Option<Auth>, Failure> {
        self.auth.take().map(Auth::read).transpose()
    }

    /// Which statuses are a success, if that is said.
    pub(super) fn expected(&self) -> Result<Option<Statuses>, Failure> {
        let read = |expected: &ExpectedStatus| {
            let problem = |problem| invalid(format!("HTTP settings: expected_status: {problem}"));
            Statuses::read(expected).map_err(problem)
        };
        self.expected_status.as_ref().map(read).transpose()
    }

    /// How many bytes the response may have.
    pub(super) fn bytes_max(&self) -> Result<usize, Failure> {
        match self.response_limit.unwrap_or(limits::RESPONSE_BYTES) {
            bytes @ 1..=limits::RESPONSE_BYTES_MAX => Ok(bytes),
            _ => {
                let most = limits::RESPONSE_BYTES_MAX;
                Err(invalid(format!("response_limit is a number of bytes from 1 to {most}")))
            }
        }
    }

    /// The request. The key makes repeated attempts recognisable wherever one may change something.
    pub(super) fn request(&self, idempotency_key: &str) -> Result<Request, Failure> {
        let method = method(&self.method)?;
        let mut request = Request::new(method, self.url.trim());
        request.follows_redirects = self.follow_redirects;
        request.headers = headers(self.headers.iter().flatten())?;
        request.params = self.params.iter().flat_map(pairs).collect();
        if request.method == Method::GET || request.method == Method::HEAD {
            return Ok(request);
        }
        request.body = encode(&self.body, &mut request.headers);
        if !request.headers.contains_key(IDEMPOTENCY_KEY) {
            request
                .headers
                .insert(IDEMPOTENCY_KEY, header_value("Idempotency-Key", idempotency_key)?);
        }
        Ok(request)
    }
}

/// Tells whom an attempt calls which trace it belongs to, unless the definition says it otherwise.
pub(crate) fn pass_on(context: &AttemptContext, request: &mut Request) {
    let told = context.trace().and_then(|trace| HeaderValue::from_str(&trace.to_string()).ok());
    if let Some(trace) = told {
        request.headers.entry(TRACE_PARENT).or_insert(trace);
    }
}

pub(super) fn invalid(message: String) -> Failure {
    Failure::fatal(Code::DefinitionInvalid, message)
}

/// A method by its name.
pub(crate) fn method(name: &str) -> Result<Method, Failure> {
    const METHODS: [Method; 7] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let known =
        METHODS.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(name.trim()));
    known.ok_or_else(|| invalid(format!("Invalid HTTP method: {name}")))
}

fn headers<'a>(given: impl Iterator<Item = (&'a String, &'a Value)>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let (name, value) = header(name, value)?;
        headers.insert(name, value);
    }
    Ok(headers)
}

/// A header as settings give it.
pub(crate) fn header(name: &str, value: &Value) -> Result<(HeaderName, HeaderValue), Failure> {
    let parsed = HeaderName::from_bytes(name.trim().as_bytes());
    let parsed = parsed.map_err(|_| invalid(format!("Invalid header name: {name:?}")))?;
    Ok((parsed, header_value(name, &header_text(name, value)?)?))
}

fn header_text(name: &str, value: &Value) -> Result<String, Failure> {
    match value {
        Value::String(text) => Ok(text.trim().to_owned()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            Err(invalid(format!("Header {name}: the value is text, a number or a boolean")))
        }
    }
}

/// The value stays unsaid: it may be a key.
pub(crate) fn header_value(name: &str, text: &str) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::from_bytes(text.as_bytes());
    value.map_err(|_| {
        invalid(format!("Header {name}: the value has a line break or control character"))
    })
}

/// An object as query or form pairs; an array repeats its key.
fn pairs(fields: &Map<String, Value>) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Array(items) => {
                pairs.extend(items.iter().map(|item| (name.clone(), pair_text(item))));
            }
            other => pairs.push((name.clone(), pair_text(other))),
        }
    }
    pairs
}

fn pair_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The body in the format that the headers name: JSON where they name none.
pub(crate) fn encode(body: &Value, headers: &mut HeaderMap) -> Option<Bytes> {
    if body.is_null() {
        return None;
    }
    let declared = headers.get(CONTENT_TYPE).map(|value| essence(value.as_bytes()));
    if declared.is_none() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    Some(match (declared.as_deref(), body) {
        (Some(FORM), Value::Object(fields)) => {
            let form = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(pairs(fields))
                .finish();
            form.into()
        }
        (Some(other), Value::String(text)) if !is_json(other) => text.clone().into(),
        _ => body.to_string().into(),
    })
}

fn is_json(essence: &str) -> bool {
    essence == JSON || essence.ends_with("+json")
}

/// A content type without its parameters.
fn essence(content_type: &[u8]) -> String {
    let text = String::from_utf8_lossy(content_type);
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
