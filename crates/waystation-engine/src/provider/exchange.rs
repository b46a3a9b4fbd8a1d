//! One request to a provider over HTTP: what its failures mean, and its answer, whole or in pieces.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream::{StreamExt, TryStreamExt, try_unfold};
use futures_util::{Stream, pin_mut};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sse_stream::SseByteStream;
use url::Url;
use waystation_core::error::{Class, Code, Failure};

use super::draft::Draft;
use super::keeper::{Keeper, Teller};
use super::{Manner, SILENCE};
use crate::egress::{HttpClient, Incoming, Request, SendError};
use crate::limits::{ERROR_BYTES, MODEL_ANSWER_BYTES, MODEL_STREAM_BYTES};
use crate::node::http::{retry_after_ms, send_failure, text};
use crate::secret::Secret;

/// A provider's address.
#[derive(Clone)]
pub(super) struct Service {
    client: Arc<HttpClient>,
    /// The provider's name in messages.
    label: String,
    url: String,
}

/// How a wire format reads an answer. A whole answer is one event that is also the last.
pub(super) trait Wire: Send {
    /// An event of a stream, or a whole answer.
    type Event: DeserializeOwned + Send;

    /// The error that an event reports instead of an answer.
    fn error(event: &mut Self::Event) -> Option<Value>;

    /// Takes an event in; a piece of the text appears at the draft's end.
    fn take(&mut self, event: Self::Event, draft: &mut Draft) -> Result<(), Unusable>;

    /// What is missing that every answer has.
    fn lacks(&self) -> Option<&'static str>;

    /// Whether a stream has come to its proper end, after which nothing is read.
    fn is_over(&self) -> bool {
        false
    }

    /// Whether a stream may end here without a word.
    fn is_complete(&self, draft: &Draft) -> bool;
}

/// Why an answer that is of the right form cannot be used.
#[derive(Debug)]
pub(super) struct Unusable(pub(super) &'static str);

/// What some services send when a stream is over.
const DONE: &str = "[DONE]";

impl Service {
    /// A provider whose address is made of a base and the path of its format. A base that already
    /// ends so is the whole address.
    pub(super) fn new(client: Arc<HttpClient>, label: &str, base: &str, path: &str) -> Service {
        Service { client, label: label.to_owned(), url: join(base, path) }
    }

    /// Asks and reads the answer: whole, or in pieces where somebody listens.
    pub(super) async fn ask<W: Wire>(
        &self,
        (headers, body): (HeaderMap, Value),
        wire: W,
        manner: Manner<'_>,
    ) -> Result<Draft, Failure> {
        let keeper = Keeper::new(manner.key);
        let outcome = match self.post(headers, &body, manner.tell.is_some()).await {
            Ok(incoming) => {
                let teller = Teller::new(manner.tell, &keeper);
                let draft = Draft::default();
                Reading { service: self, wire, draft, teller }.read(incoming).await
            }
            Err(failure) => Err(failure),
        };
        let mut draft = outcome.map_err(|failure| keeper.clean_failure(failure))?;
        draft.text = keeper.clean(&draft.text);
        draft.model = draft.model.map(|model| keeper.clean(&model));
        Ok(draft)
    }

    async fn post(
        &self,
        headers: HeaderMap,
        body: &Value,
        streams: bool,
    ) -> Result<Incoming, Failure> {
        let mut request = Request::new(Method::POST, &self.url);
        request.headers = headers;
        request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.body = Some(body.to_string().into());
        let bytes_max = if streams { MODEL_STREAM_BYTES } else { MODEL_ANSWER_BYTES };
        let sent = self.client.open(request, bytes_max).await;
        let incoming = sent.map_err(|error| send_failure(&error))?;
        match incoming.status.is_success() {
            true => Ok(incoming),
            false => Err(self.refused(incoming).await),
        }
    }

    /// The provider's own words about its refusal.
    async fn refused(&self, incoming: Incoming) -> Failure {
        let response = match incoming.whole().await {
            Ok(response) => response,
            Err(error) => return send_failure(&error),
        };
        let status = response.status;
        let after_ms = retry_after_ms(&response.headers, SystemTime::now());
        self.api_error(status.as_u16(), &status.as_u16().to_string(), &text(&response), after_ms)
    }

    /// The key's value is taken out by the caller; the quotation is cut where all secrets are known.
    fn api_error(&self, status: u16, code: &str, body: &str, after_ms: Option<u64>) -> Failure {
        let message = format!("{} API error: {code} - {}", self.label, begin(body.trim()));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let class = match is_final(status) {
            true => Class::Fatal,
            false => Class::Retryable { after_ms },
        };
        let hint = match status.as_u16() {
            401 | 403 => Some("check the provider's key, and what it may do"),
            404 => Some("check the model's name, and the provider's address"),
            _ => None,
        };
        Failure { code: Code::HttpStatus, message, hint: hint.map(str::to_owned), class }
    }

    /// An error inside of an answer whose status promised success: with a status as its code, or
    /// with one of the names that providers give to kinds of errors.
    fn reported(&self, error: &Value) -> Failure {
        let field = |name: &str| error.get(name).filter(|value| !value.is_null());
        let code = field("code").or(field("type")).unwrap_or(&Value::Null);
        let (status, code) = match code {
            Value::Number(number) => {
                let status = number.as_u64().and_then(|status| u16::try_from(status).ok());
                (status.unwrap_or(500), number.to_string())
            }
            Value::String(name) => (status_of(name), name.clone()),
            _ => (500, "error".to_owned()),
        };
        self.api_error(status, &code, &error.to_string(), None)
    }

    fn unreadable(&self, error: &serde_json::Error, data: &str) -> Failure {
        let what = match error.classify() {
            serde_json::error::Category::Eof => "gave JSON that breaks off",
            serde_json::error::Category::Data => "gave JSON of an unknown form",
            _ => "gave no JSON",
        };
        self.unusable(what, data)
    }

    fn unusable(&self, what: &str, data: &str) -> Failure {
        let message = format!("{} {what}: {}", self.label, begin(data.trim()));
        let hint =
            "check that the provider's address is that of an API; it may also be a passing fault";
        let failure = Failure::retryable(Code::ModelAnswer, message, None);
        Failure { hint: Some(hint.to_owned()), ..failure }
    }

    fn too_long(&self) -> Failure {
        let message = format!("the answer of {} exceeds {MODEL_ANSWER_BYTES} bytes", self.label);
        Failure::fatal(Code::LimitExceeded, message)
    }
}

/// An answer while it is read.
struct Reading<'a, W> {
    service: &'a Service,
    wire: W,
    draft: Draft,
    teller: Teller<'a>,
}

impl<W: Wire> Reading<'_, W> {
    async fn read(mut self, incoming: Incoming) -> Result<Draft, Failure> {
        match is_event_stream(&incoming.headers) {
            true => self.read_stream(incoming).await?,
            false => self.read_whole(incoming).await?,
        }
        self.teller.finish();
        Ok(self.draft)
    }

    async fn read_whole(&mut self, incoming: Incoming) -> Result<(), Failure> {
        let response = incoming.whole().await.map_err(|error| send_failure(&error))?;
        if response.body.len() > MODEL_ANSWER_BYTES {
            return Err(self.service.too_long());
        }
        let text = text(&response);
        self.take(&text)?;
        self.wire.lacks().map_or(Ok(()), |what| Err(self.service.unusable(what, &text)))
    }

    async fn read_stream(&mut self, incoming: Incoming) -> Result<(), Failure> {
        let host = incoming.url.authority().to_owned();
        let events = SseByteStream::new(lively(incoming.pieces(), SILENCE, host.clone()));
        pin_mut!(events);
        while let Some(event) = events.next().await {
            let data = event.map_err(|error| stream_failure(error, &self.service.label))?.data;
            match data.as_deref().map(str::trim) {
                None | Some("") => continue,
                Some(DONE) if self.wire.lacks().is_none() => return Ok(()),
                Some(DONE) => break,
                Some(data) => self.take(data)?,
            }
            if self.wire.is_over() {
                return Ok(());
            }
        }
        if self.wire.is_complete(&self.draft) {
            return Ok(());
        }
        let message = format!("the response of {host} broke off before the answer was complete");
        Err(Failure::retryable(Code::Transport, message, None))
    }

    /// Takes in an event, or the whole answer, and tells what it added.
    fn take(&mut self, data: &str) -> Result<(), Failure> {
        let service = self.service;
        let event = serde_json::from_str(data);
        let mut event: W::Event = event.map_err(|error| service.unreadable(&error, data))?;
        if let Some(error) = W::error(&mut event) {
            return Err(service.reported(&error));
        }
        let told = self.draft.text.len();
        let taken = self.wire.take(event, &mut self.draft);
        taken.map_err(|Unusable(what)| service.unusable(what, data))?;
        if self.draft.text.len() > MODEL_ANSWER_BYTES {
            return Err(service.too_long());
        }
        self.teller.tell(self.draft.text.get(told..).unwrap_or_default());
        Ok(())
    }
}

/// A header that carries a key. The key itself stays unsaid.
pub(super) fn key_header(prefix: &str, key: &Secret) -> Result<HeaderValue, Failure> {
    let value = HeaderValue::try_from(format!("{prefix}{}", key.expose().trim()));
    let mut value = value.map_err(|_| {
        let text = "the provider's key has a line break or control character";
        Failure::fatal(Code::SettingInvalid, text)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// One key header, or none.
pub(super) fn key_headers(
    name: HeaderName,
    prefix: &str,
    key: Option<&Secret>,
) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        headers.insert(name, key_header(prefix, key)?);
    }
    Ok(headers)
}

/// Appends a path to a base address, before its query. What is no URL is left to the client to refuse.
fn join(base: &str, path: &str) -> String {
    let Ok(mut url) = Url::parse(base) else { return base.to_owned() };
    let given = url.path().trim_end_matches('/').to_owned();
    // `/v1` may be the base's end and the path's beginning.
    let overlap = path.match_indices('/').map(|(at, _)| at).chain([path.len()]).rev();
    let kept = overlap.into_iter().find(|at| given.ends_with(&path[..*at])).unwrap_or(0);
    url.set_path(&format!("{given}{}", &path[kept..]));
    url.into()
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|text| text.trim_start().starts_with("text/event-stream"))
}

/// The beginning of a text, as much as an error may have.
fn begin(text: &str) -> &str {
    &text[..text.floor_char_boundary(ERROR_BYTES)]
}

/// The status that providers give to a kind of error when they can still choose one.
fn status_of(kind: &str) -> u16 {
    match kind {
        "invalid_request_error" | "context_length_exceeded" | "content_policy_violation" => 400,
        "authentication_error" | "invalid_api_key" => 401,
        "billing_error" | "insufficient_quota" => 402,
        "permission_error" => 403,
        "not_found_error" | "model_not_found" => 404,
        "request_too_large" => 413,
        "rate_limit_error" | "rate_limit_exceeded" => 429,
        _ => 500,
    }
}

/// Pieces that end with an error when none comes for too long. Any byte is a sign of life.
fn lively<S>(
    pieces: S,
    silence: Duration,
    host: String,
) -> impl Stream<Item = Result<Bytes, SendError>> + Send
where
    S: Stream<Item = Result<Bytes, SendError>> + Send,
{
    try_unfold(Box::pin(pieces), move |mut pieces| {
        let host = host.clone();
        async move {
            match tokio::time::timeout(silence, pieces.try_next()).await {
                Ok(piece) => Ok(piece?.map(|piece| (piece, pieces))),
                Err(_) => {
                    let seconds = silence.as_secs();
                    Err(SendError::Timeout(format!("{host} fell silent for {seconds} s")))
                }
            }
        }
    })
}

fn stream_failure(error: sse_stream::Error, label: &str) -> Failure {
    let error = match error {
        sse_stream::Error::Body(error) => match error.downcast::<SendError>() {
            Ok(error) => return send_failure(&error),
            Err(error) => error.to_string(),
        },
        other => other.to_string(),
    };
    let message = format!("{label} gave a stream that cannot be read: {error}");
    Failure::retryable(Code::ModelAnswer, message, None)
}

/// Whether another attempt would be refused like this one.
fn is_final(status: StatusCode) -> bool {
    let may_pass = matches!(status.as_u16(), 408 | 429);
    status.is_redirection() || (status.is_client_error() && !may_pass)
}

#[cfg(test)]
mod tests;
