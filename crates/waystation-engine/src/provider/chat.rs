//! OpenAI's chat completions, as spoken by OpenAI, OpenRouter, Gemini, Ollama and many others.
//!
//! `POST {base}/chat/completions` with the key as a bearer token. The temperature is 0.7 unless the
//! question says otherwise; models that take none (`gpt-5*`, `o1*`, `o3*`, `o4*`, whoever offers
//! them) are sent none, also when the question names one, for they refuse the request instead of
//! ignoring it. A schema is sent as `response_format`, strictly where OpenAI can follow it strictly.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::error::Failure;

use super::draft::{Draft, Spent, finish_of, text_of};
use super::exchange::{Service, Unusable, Wire, key_headers};
use super::{Finish, Manner, Message, Provider, Question, Reply, Role, schema};
use crate::egress::HttpClient;

const TEMPERATURE: f64 = 0.7;
/// What a schema is called; the format wants a name, and nobody reads it.
const SCHEMA_NAME: &str = "answer";

/// Speaks chat completions at one address.
pub struct Chat {
    service: Service,
    /// What the greatest length is called: OpenAI's own models refuse the name that others know.
    length_name: &'static str,
}

impl Chat {
    /// A provider under this label at this address.
    pub fn new(client: Arc<HttpClient>, label: &str, base_url: &str, is_openai: bool) -> Chat {
        let length_name = if is_openai { "max_completion_tokens" } else { "max_tokens" };
        let service = Service::new(client, label, base_url, "/chat/completions");
        Chat { service, length_name }
    }

    fn body(&self, question: &Question, streams: bool) -> Value {
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        put("model", question.model.as_str().into());
        put("messages", question.messages.iter().map(message).collect());
        if takes_temperature(&question.model) {
            put("temperature", question.temperature.unwrap_or(TEMPERATURE).into());
        }
        if let Some(tokens) = question.max_tokens {
            put(self.length_name, tokens.into());
        }
        if let Some(given) = &question.schema {
            let strict = schema::is_strict(given);
            let named = json!({"name": SCHEMA_NAME, "strict": strict, "schema": given});
            put("response_format", json!({"type": "json_schema", "json_schema": named}));
        }
        if streams {
            put("stream", true.into());
            put("stream_options", json!({"include_usage": true}));
        }
        body.into()
    }
}

#[async_trait]
impl Provider for Chat {
    async fn ask(&self, question: &Question, manner: Manner<'_>) -> Result<Reply, Failure> {
        let headers = key_headers(AUTHORIZATION, "Bearer ", manner.key)?;
        let body = self.body(question, manner.tell.is_some());
        let draft = self.service.ask((headers, body), Completions::default(), manner).await?;
        Ok(draft.finish(question))
    }
}

pub(super) fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    json!({"role": role, "content": message.text})
}

/// Whether a model takes a temperature. A name may carry its vendor's: `openai/gpt-5-nano`.
fn takes_temperature(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    !["gpt-5", "o1", "o3", "o4"].iter().any(|family| name.starts_with(family))
}

/// Reads completions, whole or in chunks.
#[derive(Default)]
struct Completions {
    has_choice: bool,
}

/// A completion, or a chunk of one.
#[derive(Deserialize)]
struct Completion {
    model: Option<String>,
    choices: Option<Vec<Choice>>,
    usage: Option<Spent>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Option<Said>,
    delta: Option<Said>,
    finish_reason: Option<String>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    content: Value,
    refusal: Option<String>,
}

impl Wire for Completions {
    type Event = Completion;

    fn error(event: &mut Completion) -> Option<Value> {
        let choices = event.choices.iter_mut().flatten();
        event.error.take().or_else(|| choices.filter_map(|choice| choice.error.take()).next())
    }

    /// The last chunk of a stream has the usage instead of choices, and other chunks may have none.
    fn take(&mut self, event: Completion, draft: &mut Draft) -> Result<(), Unusable> {
        event.usage.iter().for_each(|usage| draft.spent.update(usage));
        draft.model = draft.model.take().or(event.model.filter(|model| !model.is_empty()));
        let Some(choice) = event.choices.into_iter().flatten().next() else { return Ok(()) };
        self.has_choice = true;
        if let Some(said) = choice.message.or(choice.delta) {
            let text = text_of(&said.content).ok_or(Unusable("gave content that is no text"))?;
            draft.text.push_str(&text);
            if let Some(refusal) = said.refusal {
                draft.text.push_str(&refusal);
                draft.finish = Some(Finish::Filtered);
            }
        }
        if let Some(reason) = choice.finish_reason
            && draft.finish != Some(Finish::Filtered)
        {
            draft.finish = Some(finish_of(&reason));
        }
        Ok(())
    }

    fn lacks(&self) -> Option<&'static str> {
        (!self.has_choice).then_some("gave no choices")
    }

    /// Some services forget the closing `[DONE]`.
    fn is_complete(&self, draft: &Draft) -> bool {
        draft.finish.is_some()
    }
}

#[cfg(test)]
mod tests;
