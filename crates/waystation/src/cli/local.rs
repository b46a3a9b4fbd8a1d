//! The server that runs on a data directory, for commands that must not open it a second time.

use std::path::Path;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;
use sse_stream::SseByteStream;
use waystation_core::error::{Code, Error};
use waystation_engine::egress::{HttpClient, Policy, Reach, Request};
use waystation_engine::store::sqlite::is_owned;

use super::serve::ADDRESS_FILE;
use crate::http::{INSTANCE_HEADER, TOKEN_HEADER};

/// How long the server may take for what commands ask of it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of its answer.
const ANSWER_BYTES: usize = 256 << 20;

/// A piece of an answer that a step's model is giving.
pub(super) struct Piece {
    pub(super) usid: String,
    pub(super) attempt: u32,
    pub(super) text: String,
}

/// A server that answers.
pub(super) struct Server {
    client: HttpClient,
    base: String,
    token: HeaderValue,
}

impl Server {
    /// The server of a data directory, if one runs.
    pub(super) async fn of(data: &Path) -> Option<Server> {
        // What a killed server left must not lead to whoever has got its address since.
        if !is_owned(data) {
            return None;
        }
        let text = std::fs::read_to_string(data.join(ADDRESS_FILE)).ok()?;
        let told: Value = serde_json::from_str(&text).ok()?;
        // A server on all addresses is reached on this machine's own.
        let address =
            told["address"].as_str()?.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
        let client = HttpClient::new(Policy::new(Reach::AnyButMetadata)).ok()?;
        let token = HeaderValue::from_str(told["token"].as_str()?).ok()?;
        let server = Server { client, base: format!("http://{address}"), token };
        let request = Request::new(Method::GET, format!("{}/ping", server.base));
        let answer = tokio::time::timeout(Duration::from_secs(2), server.client.send(request, 64));
        let answer = answer.await.ok()?.ok()?;
        // Another server may have got the address of one that was killed.
        let instance = answer.headers.get(INSTANCE_HEADER)?.to_str().ok()?;
        (told["instance"] == instance).then_some(server)
    }

    /// The pieces of answers that a chain's models give from now on. A stream that cannot be had or
    /// breaks off only ends: the answers come whole by other ways.
    pub(super) fn pieces(&self, id: &str) -> impl Stream<Item = Piece> {
        let mut request = Request::new(Method::GET, format!("{}/?instanceId={id}", self.base));
        request.headers.insert("accept", HeaderValue::from_static("text/event-stream"));
        request.headers.insert(TOKEN_HEADER, self.token.clone());
        let opened = self.client.open(request, ANSWER_BYTES);
        let events = stream::once(opened).filter_map(async |incoming| {
            let incoming = incoming.ok().filter(|incoming| incoming.status.is_success())?;
            Some(SseByteStream::new(Box::pin(incoming.pieces())))
        });
        events.flatten().filter_map(async |event| {
            let event = event.ok().filter(|event| event.event.as_deref() == Some("token"))?;
            let told: Value = serde_json::from_str(&event.data?).ok()?;
            Some(Piece {
                usid: told["stepIndex"].as_u64()?.to_string(),
                attempt: told["attempt"].as_u64()?.try_into().ok()?,
                text: told["text"].as_str()?.to_owned(),
            })
        })
    }

    /// Asks the server; its errors are passed on in its own words.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Value, Error> {
        self.call_within(TIMEOUT, method, path, body).await
    }

    /// Likewise, of what may take this long.
    pub(super) async fn call_within(
        &self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Value, Error> {
        let mut request = Request::new(method, format!("{}{path}", self.base));
        request.headers.insert("prefer", HeaderValue::from_static("respond-async"));
        request.headers.insert(TOKEN_HEADER, self.token.clone());
        request.body = body.map(Into::into);
        let silent = || Error::new(Code::Timeout, format!("the server at {} is silent", self.base));
        let sent = tokio::time::timeout(limit, self.client.send(request, ANSWER_BYTES)).await;
        let answer = sent.map_err(|_| silent())?;
        let answer = answer.map_err(|error| Error::new(Code::Transport, error.to_string()))?;
        let body = parse(&answer.body);
        if answer.status.is_success() {
            return Ok(body);
        }
        if let Some(error) = detailed(answer.status, &body) {
            return Err(error);
        }
        let text = body["error"].as_str().unwrap_or("the server refused");
        let known = Code::ALL.iter().find(|code| body["code"] == code.as_str());
        // Instruction chains name no codes where the caller's data is wrong.
        let is_bad = answer.status == StatusCode::BAD_REQUEST;
        let unknown = if is_bad { Code::BodyInvalid } else { Code::Internal };
        let error = Error::new(known.copied().unwrap_or(unknown), text);
        Err(match body["hint"].as_str() {
            Some(hint) => error.with_hint(hint),
            None => error,
        })
    }
}

/// An error in the shape of the workflow APIs: `{detail}`, in words or as a list of what is wrong where.
fn detailed(status: StatusCode, body: &Value) -> Option<Error> {
    let is_bad = status == StatusCode::UNPROCESSABLE_ENTITY;
    let (code, text) = match body.get("detail")? {
        Value::Array(issues) => {
            let texts: Vec<String> = issues.iter().map(issue_text).collect();
            (Code::BodyInvalid, texts.join("\n"))
        }
        detail if is_bad => (Code::BodyInvalid, detail.as_str()?.to_owned()),
        detail if status == StatusCode::NOT_FOUND => (Code::NotFound, detail.as_str()?.to_owned()),
        detail if status == StatusCode::CONFLICT => (Code::Conflict, detail.as_str()?.to_owned()),
        detail => (Code::Internal, detail.as_str()?.to_owned()),
    };
    let error = Error::new(code, text);
    Some(match body["hint"].as_str() {
        Some(hint) => error.with_hint(hint),
        None => error,
    })
}

/// `nodes.0.config: what is wrong`
fn issue_text(issue: &Value) -> String {
    let steps = issue["loc"].as_array().map(Vec::as_slice).unwrap_or_default();
    let steps = steps.iter().skip(1).map(|step| match step {
        Value::String(name) => name.clone(),
        other => other.to_string(),
    });
    let place = steps.collect::<Vec<_>>().join(".");
    let text = issue["msg"].as_str().unwrap_or_default();
    if place.is_empty() { text.to_owned() } else { format!("{place}: {text}") }
}

/// Values from outside, whose depth the server has bounded, come back inside of others.
fn parse(body: &[u8]) -> Value {
    let mut body = serde_json::Deserializer::from_slice(body);
    body.disable_recursion_limit();
    Value::deserialize(&mut body).unwrap_or_default()
}
