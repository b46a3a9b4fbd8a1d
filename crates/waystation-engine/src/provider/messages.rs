//! Anthropic's messages.
//!
//! `POST {base}/v1/messages`, version 2023-06-01, with the key as `x-api-key`. System messages go to
//! `system`, joined by blank lines; the answer may have 4096 tokens unless the question says
//! otherwise. A schema that the API can guarantee is sent as `output_config.format`; any other
//! becomes the input of a tool that the model has to use, and that input is the answer's text.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::error::Failure;

use super::draft::{Draft, Spent, finish_of};
use super::exchange::{Service, Unusable, Wire, key_headers};
use super::{Finish, Manner, Provider, Question, Reply, Role, chat, schema};
use crate::egress::HttpClient;

const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const MAX_TOKENS: u32 = 4096;
/// The tool that stands for the schema's form.
const TOOL: &str = "answer";

/// Speaks messages at one address.
pub struct Messages {
    service: Service,
}

impl Messages {
    /// A provider under this label at this address.
    pub fn new(client: Arc<HttpClient>, label: &str, base_url: &str) -> Messages {
        Messages { service: Service::new(client, label, base_url, "/v1/messages") }
    }
}

#[async_trait]
impl Provider for Messages {
    async fn ask(&self, question: &Question, manner: Manner<'_>) -> Result<Reply, Failure> {
        let mut headers = key_headers(HeaderName::from_static("x-api-key"), "", manner.key)?;
        headers.insert(HeaderName::from_static("anthropic-version"), VERSION);
        let tool = question.schema.as_ref().filter(|given| !schema::is_guaranteed(given));
        let body = body(question, tool, manner.tell.is_some());
        let wire = Events { wants_tool: tool.is_some(), ..Events::default() };
        let draft = self.service.ask((headers, body), wire, manner).await?;
        Ok(draft.finish(question))
    }
}

fn body(question: &Question, tool: Option<&Value>, streams: bool) -> Value {
    let (system, said): (Vec<_>, Vec<_>) =
        question.messages.iter().partition(|message| message.role == Role::System);
    let mut body = Map::new();
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    put("model", question.model.as_str().into());
    put("max_tokens", question.max_tokens.unwrap_or(MAX_TOKENS).into());
    if !system.is_empty() {
        let texts: Vec<&str> = system.iter().map(|message| message.text.as_str()).collect();
        put("system", texts.join("\n\n").into());
    }
    put("messages", said.into_iter().map(chat::message).collect());
    if let Some(temperature) = question.temperature {
        put("temperature", temperature.into());
    }
    if let Some(schema) = tool {
        let description = "Gives the answer in the form that is asked for.";
        put("tools", json!([{"name": TOOL, "description": description, "input_schema": schema}]));
        put("tool_choice", json!({"type": "tool", "name": TOOL}));
    } else if let Some(schema) = &question.schema {
        put("output_config", json!({"format": {"type": "json_schema", "schema": schema}}));
    }
    if streams {
        put("stream", true.into());
    }
    body.into()
}

/// Reads a message, whole or event by event.
#[derive(Default)]
struct Events {
    /// Whether the answer is the input of a tool, and not the text beside it.
    wants_tool: bool,
    has_message: bool,
    is_over: bool,
}

/// A whole message, or an event of one that is streamed. Events of other types say nothing about
/// the answer.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event {
    Message(Message),
    MessageStart {
        message: Message,
    },
    ContentBlockDelta {
        delta: Delta,
    },
    MessageDelta {
        delta: Ending,
        usage: Option<Spent>,
    },
    MessageStop,
    Error {
        error: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Message {
    model: Option<String>,
    content: Option<Vec<Block>>,
    stop_reason: Option<String>,
    usage: Option<Spent>,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text {
        text: String,
    },
    ToolUse {
        input: Value,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "input_json_delta")]
    Input { partial_json: String },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Ending {
    stop_reason: Option<String>,
}

impl Events {
    fn take_message(&mut self, message: Message, draft: &mut Draft) {
        self.has_message = message.content.is_some();
        draft.model = message.model;
        self.take_ending(message.stop_reason, message.usage.as_ref(), draft);
        for block in message.content.into_iter().flatten() {
            match block {
                Block::Text { text } if !self.wants_tool => draft.text.push_str(&text),
                Block::ToolUse { input } if self.wants_tool => {
                    draft.text.push_str(&input.to_string());
                }
                _ => {}
            }
        }
    }

    fn take_ending(&self, reason: Option<String>, spent: Option<&Spent>, draft: &mut Draft) {
        spent.into_iter().for_each(|spent| draft.spent.update(spent));
        if let Some(reason) = reason {
            let is_answered = self.wants_tool && reason == "tool_use";
            draft.finish = Some(if is_answered { Finish::Stop } else { finish_of(&reason) });
        }
    }
}

impl Wire for Events {
    type Event = Event;

    fn error(event: &mut Event) -> Option<Value> {
        match event {
            Event::Error { error } => Some(error.take()),
            _ => None,
        }
    }

    fn take(&mut self, event: Event, draft: &mut Draft) -> Result<(), Unusable> {
        match event {
            Event::Message(message) | Event::MessageStart { message } => {
                self.take_message(message, draft);
            }
            Event::ContentBlockDelta { delta } => match delta {
                Delta::Text { text } if !self.wants_tool => draft.text.push_str(&text),
                Delta::Input { partial_json } if self.wants_tool => {
                    draft.text.push_str(&partial_json);
                }
                _ => {}
            },
            Event::MessageDelta { delta, usage } => {
                self.take_ending(delta.stop_reason, usage.as_ref(), draft);
            }
            Event::MessageStop => self.is_over = true,
            Event::Error { .. } | Event::Other => {}
        }
        Ok(())
    }

    fn lacks(&self) -> Option<&'static str> {
        (!self.has_message).then_some("gave no message")
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn is_complete(&self, _draft: &Draft) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests;
