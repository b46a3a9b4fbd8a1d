//! A service of the operator's own that stands before models.
//!
//! Sent: `POST {base}/v1/llm/generate` with `model` (where one is named), `messages` (role and
//! content), `prompt` (the texts of all messages, joined by blank lines, for services that know no
//! conversations), and `temperature`, `max_tokens` and `schema` where the question says them. A key
//! that the request brings along travels as a bearer token.
//!
//! Read: the text from the first that is there of `text`, `content`, `response`, `output`,
//! `choices[0].message.content`, `choices[0].text`, as text or as a list of parts with a `text`; the
//! end from `finish_reason` or `stop_reason`, in the answer or in its first choice; the tokens from
//! `usage` (`prompt_tokens` or `input_tokens`, `completion_tokens` or `output_tokens`, and `cost` in
//! US dollars); `model`; `error` where there is one. An answer without a word about its end is taken
//! as complete. Nothing is streamed: a listener hears the answer as one piece.

use std::sync::Arc;

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value};
use waystation_core::error::Failure;

use super::draft::{Draft, finish_of, text_of};
use super::exchange::{Service, Unusable, Wire, key_headers};
use super::{Finish, Manner, Provider, Question, Reply, chat};
use crate::egress::HttpClient;

/// Speaks to one such service.
pub struct Gateway {
    service: Service,
}

impl Gateway {
    /// The service under this label at this address.
    pub fn new(client: Arc<HttpClient>, label: &str, base_url: &str) -> Gateway {
        Gateway { service: Service::new(client, label, base_url, "/v1/llm/generate") }
    }
}

#[async_trait]
impl Provider for Gateway {
    async fn ask(&self, question: &Question, manner: Manner<'_>) -> Result<Reply, Failure> {
        let headers = key_headers(AUTHORIZATION, "Bearer ", manner.key)?;
        let draft = self.service.ask((headers, body(question)), Whole, manner).await?;
        Ok(draft.finish(question))
    }
}

fn body(question: &Question) -> Value {
    let texts: Vec<&str> = question.messages.iter().map(|message| message.text.as_str()).collect();
    let mut body = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        value.into_iter().for_each(|value| drop(body.insert(name.to_owned(), value)));
    };
    put("model", Some(question.model.as_str()).filter(|model| !model.is_empty()).map(Value::from));
    put("messages", Some(question.messages.iter().map(chat::message).collect()));
    put("prompt", Some(texts.join("\n\n").into()));
    put("temperature", question.temperature.map(Value::from));
    put("max_tokens", question.max_tokens.map(Value::from));
    put("schema", question.schema.clone());
    body.into()
}

/// Reads whatever form the answer has.
struct Whole;

impl Wire for Whole {
    type Event = Value;

    fn error(event: &mut Value) -> Option<Value> {
        event.get_mut("error").map(Value::take).filter(|error| !error.is_null())
    }

    fn take(&mut self, answer: Value, draft: &mut Draft) -> Result<(), Unusable> {
        let choice = &answer["choices"][0];
        let named = ["text", "content", "response", "output"].map(|name| answer.get(name));
        let chosen = [choice["message"].get("content"), choice.get("text")];
        let text = named.into_iter().chain(chosen).flatten().find_map(text_of);
        draft.text = text.ok_or(Unusable("gave no text"))?;
        draft.model = answer["model"].as_str().map(str::to_owned);
        let reasons = [&answer, choice].into_iter().flat_map(|part| {
            ["finish_reason", "stop_reason"].into_iter().filter_map(|name| part[name].as_str())
        });
        draft.finish = Some(reasons.map(finish_of).next().unwrap_or(Finish::Stop));
        // A count of another form is as good as none.
        draft.spent = serde_json::from_value(answer["usage"].clone()).unwrap_or_default();
        Ok(())
    }

    fn lacks(&self) -> Option<&'static str> {
        None
    }

    fn is_complete(&self, draft: &Draft) -> bool {
        draft.finish.is_some()
    }
}

#[cfg(test)]
mod tests;
