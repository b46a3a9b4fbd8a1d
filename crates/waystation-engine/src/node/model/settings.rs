//! Typed settings out of a rendered configuration; an unknown name is refused.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use waystation_core::dialect::graph::types::Problems;
use waystation_core::dialect::secret_name;
use waystation_core::error::{Code, Failure};

use crate::node::rendered::from_rendered;
use crate::node::spec::schema_of;
use crate::provider::Message;
use crate::provider::models::Ask;
use crate::secret::Secret;

/// Letters of a problem's text: it may quote a setting, which may be long.
const PROBLEM_LETTERS: usize = 300;

/// The settings of every node type that asks a model.
#[derive(Deserialize, JsonSchema)]
pub(in crate::node) struct Model {
    /// Who is asked: a provider's name (`waystation models` lists them), or the address of an
    /// OpenAI-compatible service. By default `openai`.
    provider: Option<String>,
    /// The model, by the provider's name for it. By default the provider's own default.
    model: Option<String>,
    /// How adventurous the answer may be.
    #[schemars(range(min = 0, max = 2))]
    temperature: Option<f64>,
    /// Tokens that the answer may have.
    #[schemars(range(min = 1, max = 10_000_000))]
    max_tokens: Option<u32>,
    /// Whether an equal question may be answered from the cache, which costs nothing.
    cache: Option<bool>,
    /// Whether the answer is told piece by piece as it comes. By default if somebody watches the run.
    stream: Option<bool>,
    /// A key to use instead of the server's own: `{{secrets.NAME}}` and nothing else.
    api_key: Option<String>,
}

/// The schema of a type's own settings and of the model's.
pub(in crate::node) fn schema_with_model<T: JsonSchema>() -> Value {
    let mut schema = schema_of::<T>();
    let mut model = schema_of::<Model>();
    if let (Some(own), Value::Object(model)) =
        (schema["properties"].as_object_mut(), model["properties"].take())
    {
        own.extend(model);
    }
    schema
}

/// What is wrong with a model's settings before the node runs. Definitions are kept and shown, so a key
/// must not stand in one.
pub(in crate::node) fn model_problems(config: &Map<String, Value>) -> Problems {
    let key = config.get("api_key").filter(|key| !key.is_null());
    let is_secret = |key: &Value| key.as_str().is_some_and(|key| secret_name(key).is_some());
    if key.is_none_or(is_secret) {
        return Problems::new();
    }
    vec!["api_key: must be a secret's name in braces, as in {{secrets.MY_KEY}}".to_owned()]
}

impl Model {
    /// The settings' names.
    const NAMES: [&str; 7] =
        ["provider", "model", "temperature", "max_tokens", "cache", "stream", "api_key"];

    /// What to ask the model.
    pub(in crate::node) fn ask(self, messages: Vec<Message>) -> Ask {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        Ask {
            provider: said(self.provider),
            model: said(self.model),
            messages,
            temperature: self.temperature,
            max_tokens: self.max_tokens,
            schema: None,
            cache: self.cache.unwrap_or_default(),
            stream: self.stream,
            key: said(self.api_key).map(Secret::new),
        }
    }
}

/// The settings of a node of some kind.
pub(in crate::node) fn read<T: DeserializeOwned>(kind: &str, config: Value) -> Result<T, Failure> {
    from_rendered(config).map_err(|error| {
        let problem: String = error.to_string().chars().take(PROBLEM_LETTERS).collect();
        invalid(kind, &problem)
    })
}

/// One setting that may hold a password or key: what is wrong with it is not quoted.
pub(in crate::node) fn read_private<T: DeserializeOwned>(
    kind: &str,
    setting: &str,
    value: Value,
    expected: &str,
) -> Result<T, Failure> {
    from_rendered(value).map_err(|_| invalid(kind, &format!("`{setting}` must be {expected}")))
}

/// The settings of a node of a kind that asks a model, those of the model apart.
pub(in crate::node) fn read_with_model<T: DeserializeOwned>(
    kind: &str,
    mut config: Value,
) -> Result<(Model, T), Failure> {
    let mut model = Map::new();
    if let Value::Object(fields) = &mut config {
        let taken = Model::NAMES.iter().filter_map(|name| fields.shift_remove_entry(*name));
        model.extend(taken);
    }
    Ok((read(kind, Value::Object(model))?, read(kind, config)?))
}

/// What is wrong with a node's settings.
pub(in crate::node) fn invalid(kind: &str, problem: &str) -> Failure {
    Failure::fatal(Code::DefinitionInvalid, format!("{kind} settings: {problem}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        question: String,
    }

    fn read_own(config: Value) -> Result<(Ask, Own), String> {
        let (model, own) = read_with_model::<Own>("sample", config).map_err(|f| f.message)?;
        Ok((model.ask(Vec::new()), own))
    }

    #[test]
    fn what_all_share_is_told_apart_from_what_is_a_types_own() {
        let config = json!({
            "question": "q", "provider": "ollama", "model": "m", "temperature": 0, "max_tokens": 5,
            "cache": true, "stream": false, "api_key": "sk-1",
        });
        let (ask, own) = read_own(config).expect("good settings");
        assert_eq!(own.question, "q");
        assert_eq!((ask.provider.as_deref(), ask.model.as_deref()), (Some("ollama"), Some("m")));
        assert_eq!((ask.temperature, ask.max_tokens), (Some(0.0), Some(5)));
        assert_eq!((ask.cache, ask.stream), (true, Some(false)));
        assert_eq!(ask.key.as_ref().map(Secret::expose), Some("sk-1"));
    }

    #[test]
    fn what_is_empty_is_not_said() {
        let config = json!({ "question": "q", "provider": "", "model": null, "api_key": "" });
        let (ask, _) = read_own(config).expect("good settings");
        assert_eq!((ask.provider, ask.model, ask.key.is_none()), (None, None, true));
        assert!(!ask.cache && ask.stream.is_none());
    }

    #[test]
    fn what_is_wrong_is_named_and_long_values_are_cut() {
        let long = json!({ "question": ["q".repeat(10_000)] });
        for (config, expected) in [
            (
                json!({ "question": "q", "modle": "m" }),
                "sample settings: unknown field `modle`, expected `question`",
            ),
            (json!({}), "sample settings: missing field `question`"),
            (
                json!({ "question": "q", "cache": "yes" }),
                "sample settings: invalid type: string \"yes\", expected a boolean",
            ),
            (long, "sample settings: invalid type: sequence, expected a string"),
            (json!(1), "sample settings: invalid type: integer `1`, expected struct Own"),
        ] {
            assert_eq!(read_own(config).expect_err(expected), expected);
        }
        let long = json!({ "question": "q", "cache": "y".repeat(10_000) });
        assert!(read_own(long).expect_err("no boolean").len() < 400);
    }
}
