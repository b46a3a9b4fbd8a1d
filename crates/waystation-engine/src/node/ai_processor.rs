//! `ai-processor`: one question to a model, whose result is the answer's text.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};

use super::model::settings::{model_problems, read_with_model, schema_with_model};
use super::model::{answer, text_of};
use super::spec::{Category, Effort, Spec, add_defaults, with_defaults};
use super::{Call, Completion, Effect, Outcome};
use crate::provider::models::Models;
use crate::provider::{Message, Role};

/// The engine's name of the type.
const KIND: &str = "ai-processor";
/// Who is asked where nobody is named.
const PROVIDER: &str = "openrouter";
/// The model where none is named, by that provider's name for it.
const MODEL: &str = "google/gemini-2.0-flash-exp:free";

/// The node type.
pub(super) struct AiProcessor {
    pub(super) models: Arc<Models>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The question. A value that is no text is asked as JSON.
    prompt: Value,
    /// What the model is told to be.
    system_prompt: Option<String>,
}

/// What definitions know about it.
pub(super) fn spec() -> Spec {
    Spec {
        name: KIND,
        title: "AI processor",
        description: "Asks a language model, and gives the answer's text.\n\nBeside the result, the \
            node's state tells `cached`, `provider`, `model`, `latency_ms`, `finish_reason` and `usage` \
            (`{prompt_tokens, completion_tokens, total_tokens, cost_usd}`). Equal questions are answered \
            from the cache unless `cache` is false. The default model is OpenRouter's, which needs \
            `OPENROUTER_API_KEY`; with another `provider` the default is that provider's own. No other \
            provider steps in for one that has no key.\n\nUse `llm` for conversations, and for answers \
            that are JSON.",
        category: Category::Ai,
        schema: || with_defaults(schema_with_model::<Settings>(), &defaults(true)),
        example: || json!({ "provider": "echo", "prompt": "Say hello to Ada." }),
        effort: Some(Effort { timeout_ms: 120_000, retries: 2 }),
        lower,
    }
}

/// What holds where nothing is said; the model only for the provider that has it.
fn defaults(with_model: bool) -> Map<String, Value> {
    let mut defaults = Map::new();
    let mut put = |name: &str, value: Value| drop(defaults.insert(name.to_owned(), value));
    put("provider", PROVIDER.into());
    if with_model {
        put("model", MODEL.into());
    }
    put("temperature", 0.7.into());
    put("max_tokens", 2_048.into());
    put("cache", true.into());
    defaults
}

fn lower(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    let problems = model_problems(&config);
    if !problems.is_empty() {
        return Err(problems);
    }
    let provider = config.get("provider").and_then(Value::as_str).filter(|name| !name.is_empty());
    let with_model = provider.is_none_or(|provider| provider == PROVIDER);
    add_defaults(&mut config, defaults(with_model));
    Ok(Lowered::new(KIND, config.into()))
}

#[async_trait]
impl Effect for AiProcessor {
    async fn attempt(&self, call: Call) -> Outcome {
        let (model, settings) = read_with_model::<Settings>(KIND, call.config)?;
        let Settings { prompt, system_prompt } = settings;
        let system = system_prompt.filter(|text| !text.is_empty());
        let system = system.map(|text| Message { role: Role::System, text });
        let question = Message { role: Role::User, text: text_of(prompt) };
        let ask = model.ask(system.into_iter().chain([question]).collect());
        let answer = self.models.ask(ask, &call.context).await?;
        answer::require_text(&answer)?;
        let details = answer::details(&answer);
        Ok(Completion { output: answer.text.into(), port: None, details })
    }
}
