//! What tests of wire formats share: questions, answers, and what was sent and told.

use std::sync::{Arc, Mutex};

use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value, json};
use waystation_core::error::{Class, Failure};

use super::{Manner, Message, Provider, Question, Reply, Role};
use crate::egress::HttpClient;
use crate::egress::testing::{Server, open_client, reply};
use crate::secret::Secret;

pub(super) const KEY: &str = "sk-test-0123456789";

pub(super) fn question() -> Question {
    Question {
        model: "model-1".to_owned(),
        messages: vec![Message { role: Role::User, text: "What is it?".to_owned() }],
        temperature: None,
        max_tokens: None,
        schema: None,
    }
}

pub(super) fn closed_schema() -> Value {
    json!({"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
           "additionalProperties": false})
}

/// A provider asked once: its answer, the request's lines, and what was told.
pub(super) struct Asked {
    pub(super) reply: Result<Reply, Failure>,
    pub(super) request: String,
    pub(super) told: Vec<String>,
}

impl Asked {
    pub(super) fn text(&self) -> &str {
        &self.reply.as_ref().expect("an answer").text
    }

    pub(super) fn failure(&self) -> &Failure {
        self.reply.as_ref().expect_err("a failure")
    }

    /// The code, whether another attempt makes sense, and the message.
    pub(super) fn verdict(&self) -> (&'static str, bool, &str) {
        let failure = self.failure();
        let may_pass = matches!(failure.class, Class::Retryable { .. });
        (failure.code.as_str(), may_pass, &failure.message)
    }

    /// What was sent: the first line, the headers that matter in order, and the body.
    pub(super) fn sent(&self) -> String {
        let (head, body) = self.request.split_once("\r\n\r\n").expect("a request");
        let mut lines = head.lines();
        let first = lines.next().expect("a first line");
        let named = ["authorization", "x-api-key", "anthropic-version", CONTENT_TYPE.as_str()];
        let is_named = |line: &&str| named.iter().any(|name| line.starts_with(name));
        let mut headers: Vec<&str> = lines.filter(is_named).collect();
        headers.sort_unstable();
        let body: Map<String, Value> = serde_json::from_str(body).expect("an object");
        let fields: Vec<String> =
            body.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        format!("{first}\n{}\n\n{}", headers.join("\n"), fields.join("\n"))
    }
}

/// Asks the provider that is made for the address, and listens if wanted.
pub(super) async fn ask_with<P: Provider>(
    make: impl Fn(Arc<HttpClient>, &str) -> P,
    server: &Server,
    question: &Question,
    listens: bool,
) -> Asked {
    let provider = make(Arc::new(open_client()), &server.url(""));
    let (key, told) = (Secret::new(KEY.to_owned()), Mutex::new(Vec::new()));
    let tell = |piece: &str| told.lock().expect("no panic").push(piece.to_owned());
    let tell: &(dyn Fn(&str) + Send + Sync) = &tell;
    let manner = Manner { key: Some(&key), tell: listens.then_some(tell) };
    let reply = provider.ask(question, manner).await;
    let request = server.requests().pop().unwrap_or_default();
    let told = told.lock().expect("no panic").clone();
    let asked = Asked { reply, request, told };
    let shown = format!("{:?} {:?}", asked.reply, asked.told);
    assert!(!shown.contains(KEY), "the key is out: {shown}");
    asked
}

/// A whole answer.
pub(super) fn answer(status: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    reply(status, "content-type: application/json\r\n", body)
}

/// The head of a stream that ends with the connection.
pub(super) const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

/// A stream of these events.
pub(super) fn stream(events: &[Value]) -> Vec<u8> {
    let line = |event: &Value| match event {
        Value::String(text) => format!("{text}\n\n"),
        event => match event["type"].as_str() {
            Some(name) => format!("event: {name}\ndata: {event}\n\n"),
            None => format!("data: {event}\n\n"),
        },
    };
    let events: String = events.iter().map(line).collect();
    format!("{STREAM}{events}").into_bytes()
}
