//! `llm`: one question to a model, in words or as a conversation.
//!
//! With a `schema` the answer is JSON that follows it: known as `json`, and field by field.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::error::Failure;

use super::model::settings::{Model, invalid, read_with_model};
use super::model::{answer, text_of};
use super::{Call, Effect, Outcome};
use crate::provider::models::{Ask, Models};
use crate::provider::structured::{self, Structured};
use crate::provider::{Message, Role};

/// The node type.
pub(super) struct Llm {
    pub(super) models: Arc<Models>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    prompt: Option<Value>,
    messages: Option<Vec<Said>>,
    system_prompt: Option<String>,
    schema: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    role: Speaker,
    content: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    System,
    User,
    Assistant,
}

#[async_trait]
impl Effect for Llm {
    async fn attempt(&self, call: Call) -> Outcome {
        let (model, settings) = read_with_model::<Settings>("llm", call.config)?;
        let (ask, schema) = settings.ask(model)?;
        let output = match schema {
            None => {
                let answer = self.models.ask(ask, &call.context).await?;
                answer::require_text(&answer)?;
                answer::fields(&answer)
            }
            Some(schema) => {
                let asked = structured::ask(&self.models, ask, &schema, &call.context);
                structured_fields(asked.await?)
            }
        };
        Ok(Value::Object(output).into())
    }
}

impl Settings {
    /// What to ask, and the schema that the answer has to follow.
    fn ask(self, model: Model) -> Result<(Ask, Option<Value>), Failure> {
        let mut messages: Vec<Message> = Vec::new();
        let mut say = |role, text| messages.push(Message { role, text });
        if let Some(text) = self.system_prompt.filter(|text| !text.is_empty()) {
            say(Role::System, text);
        }
        match (self.prompt, self.messages) {
            (Some(prompt), None) => say(Role::User, text_of(prompt)),
            (None, Some(said)) if !said.is_empty() => {
                said.into_iter().for_each(|said| say(said.role.into(), text_of(said.content)));
            }
            _ => return Err(invalid("llm", "either `prompt` or `messages` is needed")),
        }
        Ok((model.ask(messages), self.schema))
    }
}

impl From<Speaker> for Role {
    fn from(speaker: Speaker) -> Role {
        match speaker {
            Speaker::System => Role::System,
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
        }
    }
}

/// The answer's fields, the value whole, and the value's fields where their names are free.
fn structured_fields(structured: Structured) -> Map<String, Value> {
    let Structured { value, mut answer, rounds, repaired } = structured;
    if repaired {
        answer.text = value.to_string();
    }
    let mut output = answer::fields(&answer);
    output.insert("rounds".into(), json!(rounds));
    output.insert("json".into(), value.clone());
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            output.entry(name).or_insert(field);
        }
    }
    output
}

#[cfg(test)]
mod tests;
