//! `response_format`: JSON asked for in OpenAI's words.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use waystation_core::error::Failure;

use crate::node::model::settings::invalid;

/// The setting.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ResponseFormat {
    /// A format by its name alone.
    Word(Word),
    /// A format with what belongs to it.
    Described(Described),
}

/// The formats that a word says.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// Whatever the model says.
    Text,
    /// A JSON object.
    Json,
    /// The same.
    JsonObject,
}

/// A format as providers take it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Described {
    /// The format.
    #[serde(rename = "type")]
    kind: Kind,
    /// For `json_schema`: `{"schema": …}`, with or without a `name`.
    json_schema: Option<Map<String, Value>>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// Whatever the model says.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that follows a schema.
    JsonSchema,
}

/// What is asked for.
pub(super) enum Wanted {
    Text,
    Object,
    Schema(Value),
}

impl ResponseFormat {
    pub(super) fn schema(self) -> Result<Wanted, Failure> {
        let Described { kind, json_schema } = match self {
            ResponseFormat::Word(Word::Text) => return Ok(Wanted::Text),
            ResponseFormat::Word(Word::Json | Word::JsonObject) => return Ok(Wanted::Object),
            ResponseFormat::Described(described) => described,
        };
        match (kind, json_schema.and_then(|mut given| given.shift_remove("schema"))) {
            (Kind::Text, None) => Ok(Wanted::Text),
            (Kind::JsonObject, None) => Ok(Wanted::Object),
            (Kind::JsonSchema, Some(schema)) => Ok(Wanted::Schema(schema)),
            _ => {
                let problem = "`response_format` has a `json_schema` with a `schema` for type \
                    json_schema, and for no other";
                Err(invalid("llm", problem))
            }
        }
    }
}
