//! The services: where each listens, what it asks for, and how it says things.
//!
//! - `request`: what is asked, and what a service refuses to be asked
//! - `refusal`: errors
//! - `openai`, `anthropic`, `gateway`: one wire format each

mod anthropic;
mod gateway;
mod openai;
pub(crate) mod refusal;
pub(crate) mod request;
mod strict;

use axum::http::HeaderMap;
use serde_json::Value;

use crate::answer::Answer;
use refusal::Refusal;
use request::Request;

/// A service, by its wire format and its customs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Service {
    OpenAi,
    /// OpenAI's format, with the cost told and comments in the stream.
    OpenRouter,
    /// OpenAI's format, without a key.
    Ollama,
    Anthropic,
    /// One call, one text, no stream, no key.
    Gateway,
}

/// Where each listens: base URLs with and without a version all lead somewhere.
pub(crate) const ROUTES: [(&str, Service); 9] = [
    ("/chat/completions", Service::OpenAi),
    ("/v1/chat/completions", Service::OpenAi),
    ("/openai/v1/chat/completions", Service::OpenAi),
    ("/v1beta/openai/chat/completions", Service::OpenAi),
    ("/api/v1/chat/completions", Service::OpenRouter),
    ("/ollama/v1/chat/completions", Service::Ollama),
    ("/messages", Service::Anthropic),
    ("/v1/messages", Service::Anthropic),
    ("/v1/llm/generate", Service::Gateway),
];

impl Service {
    /// The key in the request. Anthropic takes it in a header of its own, and as its newer clients
    /// send it, as everybody else does.
    pub(crate) fn key(self, headers: &HeaderMap) -> Option<&str> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let own = if self == Service::Anthropic { text("x-api-key") } else { None };
        own.or_else(|| text("authorization")?.strip_prefix("Bearer "))
    }

    /// Lets those in who have a key, where one is needed.
    pub(crate) fn admit(self, headers: &HeaderMap) -> Result<(), Refusal> {
        match (self, self.key(headers)) {
            (_, Some(key)) if key.starts_with("bad") => Err(Refusal::wrong_key(self, key)),
            (Service::Ollama | Service::Gateway, _) => Ok(()),
            (_, None | Some("")) => Err(Refusal::no_key(self)),
            (Service::Anthropic, _) if !headers.contains_key("anthropic-version") => {
                Err(Refusal::invalid("anthropic-version: header is required"))
            }
            _ => Ok(()),
        }
    }

    /// Whether answers can be streamed.
    pub(crate) fn streams(self) -> bool {
        self != Service::Gateway
    }

    /// The header that names a request.
    pub(crate) fn id_header(self) -> &'static str {
        match self {
            Service::Anthropic => "request-id",
            _ => "x-request-id",
        }
    }

    /// A whole answer.
    pub(crate) fn body(self, request: &Request, answer: &Answer) -> Value {
        match self {
            Service::Anthropic => anthropic::body(request, answer),
            Service::Gateway => gateway::body(request, answer),
            _ => openai::body(self, request, answer),
        }
    }

    /// The events of a streamed answer, as they are written.
    pub(crate) fn events(self, request: &Request, answer: &Answer) -> Vec<String> {
        match self {
            Service::Anthropic => anthropic::events(request, answer),
            _ => openai::events(self, request, answer),
        }
    }

    /// The event that carries a piece of text.
    pub(crate) fn piece(self, request: &Request, text: &str) -> String {
        match self {
            Service::Anthropic => anthropic::piece(request, text),
            _ => openai::piece(request, text),
        }
    }

    /// An error that comes after the stream has begun.
    pub(crate) fn error_event(self, refusal: &Refusal, digest: &str) -> String {
        let body = self.error(refusal, digest);
        match self {
            Service::Anthropic => format!("event: error\ndata: {body}\n\n"),
            _ => format!("data: {body}\n\n"),
        }
    }

    /// The body of an error.
    pub(crate) fn error(self, refusal: &Refusal, digest: &str) -> Value {
        match self {
            Service::Anthropic => anthropic::error(refusal, digest),
            Service::Gateway => gateway::error(refusal),
            _ => openai::error(refusal),
        }
    }
}
