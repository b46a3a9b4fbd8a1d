//! `llm`: one question to a model, in words or as a conversation.
//!
//! With a `schema` the answer is JSON that follows it: known as `json`, and field by field.
//!
//! - `format`: the other way to ask for JSON
//! - `spec`: how definitions know it

mod format;
pub(super) mod spec;

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::error::Failure;

use self::format::ResponseFormat;
use super::model::settings::{Model, invalid, read_with_model};
use super::model::{answer, text_of};
use super::{Call, Completion, Effect, Outcome};
use crate::provider::models::{Ask, Models};
use crate::provider::structured::{self, Structured};
use crate::provider::{Message, Role};

/// The node type.
pub(super) struct Llm {
    pub(super) models: Arc<Models>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The question. A value that is no text is asked as JSON.
    prompt: Option<Value>,
    /// A conversation, instead of `prompt`.
    messages: Option<Vec<Said>>,
    /// What the model is told to be.
    system_prompt: Option<String>,
    /// A JSON Schema that the answer has to follow. An answer that does not is sent back once, and then
    /// fails the node.
    #[schemars(with = "Option<Map<String, Value>>")]
    schema: Option<Value>,
    /// The same in OpenAI's words: `{"type": "json_schema", "json_schema": {"schema": …}}`, or
    /// `{"type": "json_object"}` for any JSON object, for which `"json"` will do.
    response_format: Option<ResponseFormat>,
    /// Whether the fields of an answer that is a JSON object are given directly, and what is worth knowing
    /// about the answer as details.
    #[serde(default)]
    #[schemars(skip)]
    spread: bool,
}

/// One message of a conversation.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Said {
    /// Who says it.
    role: Speaker,
    /// What. A value that is no text is said as JSON.
    content: Value,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Speaker {
    /// What the model is told to be.
    System,
    /// Who asks.
    User,
    /// The model, earlier.
    Assistant,
}

#[async_trait]
impl Effect for Llm {
    async fn attempt(&self, call: Call) -> Outcome {
        let (model, settings) = read_with_model::<Settings>("llm", call.config)?;
        let spread = settings.spread;
        let (ask, schema) = settings.ask(model)?;
        let (mut output, details) = match schema {
            None => {
                let answer = self.models.ask(ask, &call.context).await?;
                answer::require_text(&answer)?;
                (answer::fields(&answer), answer::details(&answer))
            }
            Some(schema) => {
                let asked = structured::ask(&self.models, ask, &schema, &call.context).await?;
                let details = answer::details(&asked.answer);
                (structured_fields(asked), details)
            }
        };
        if !spread {
            return Ok(Value::Object(output).into());
        }
        spread_text(&mut output);
        Ok(Completion { output: Value::Object(output), port: None, details })
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
        let schema = match (self.schema, self.response_format) {
            (schema, None) => schema,
            (schema, Some(format)) => match (schema, format.schema()?) {
                (Some(_), format::Wanted::Schema(_)) => {
                    let problem = "either `schema` or `response_format` has the schema";
                    return Err(invalid("llm", problem));
                }
                (Some(schema), _) | (None, format::Wanted::Schema(schema)) => Some(schema),
                (None, format::Wanted::Object) => Some(json!({ "type": "object" })),
                (None, format::Wanted::Text) => None,
            },
        };
        Ok((model.ask(messages), schema))
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
    add_json(&mut output, value);
    output
}

/// What the text says, if it is a JSON object.
fn spread_text(output: &mut Map<String, Value>) {
    let said = output.get("text").and_then(Value::as_str).filter(|_| !output.contains_key("json"));
    if let Some(value @ Value::Object(_)) = said.and_then(structured::json_in) {
        add_json(output, value);
    }
}

/// A value whole, and its fields where their names are free.
fn add_json(output: &mut Map<String, Value>, value: Value) {
    output.insert("json".into(), value.clone());
    if let Value::Object(fields) = value {
        for (name, field) in fields {
            output.entry(name).or_insert(field);
        }
    }
}

#[cfg(test)]
mod definitions;
#[cfg(test)]
mod tests;
