//! What nodes ask: a model by its provider's name, with everything that stands around a call.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use waystation_core::error::{Code, Failure, nearest};
use waystation_core::usage::Usage;

use super::{Finish, Manner, Message, Provider, Question, Reply};
use crate::node::Ambience;
use crate::secret::Secret;

/// What a node wants to know.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    /// The provider's name; `openai` where it is not said.
    pub provider: Option<String>,
    /// The model; the provider's default where it is not said.
    pub model: Option<String>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// How adventurous the answer may be.
    pub temperature: Option<f64>,
    /// Tokens that the answer may have.
    pub max_tokens: Option<u32>,
    /// The JSON Schema that the provider is told, where it can be.
    pub schema: Option<serde_json::Value>,
    /// Whether an equal question may be answered from the cache.
    pub cache: bool,
    /// Whether pieces of the answer are told as they come; only to whoever watches where it is not said.
    pub stream: Option<bool>,
    /// The key to use instead of the configured one.
    pub key: Option<Secret>,
}

/// An answer and what it took.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The text, which may be empty.
    pub text: String,
    /// The provider's name.
    pub provider: String,
    /// The model that gave it.
    pub model: String,
    /// Why it ended.
    pub finish: Finish,
    /// What it used. A cached answer keeps its tokens and costs nothing.
    pub usage: Usage,
    /// Whether it came from the cache, or from an equal question under way.
    pub cached: bool,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
}

/// The models of an installation.
#[derive(Default)]
pub struct Models {
    providers: BTreeMap<String, Entry>,
}

/// A provider under its name.
pub struct Entry {
    /// Speaks to it.
    pub provider: Arc<dyn Provider>,
    /// The model where none is said.
    pub default_model: Option<String>,
}

impl Models {
    /// Models of these providers.
    pub fn new(providers: BTreeMap<String, Entry>) -> Models {
        Models { providers }
    }

    /// Asks a model. What it used is counted in the attempt's ties, also where the answer is of no use.
    pub async fn ask(&self, ask: Ask, ambience: &Ambience) -> Result<Answer, Failure> {
        let name = ask.provider.unwrap_or_else(|| "openai".into());
        let entry = self.providers.get(&name).ok_or_else(|| self.unknown(&name))?;
        let model = ask.model.or_else(|| entry.default_model.clone()).unwrap_or_default();
        let question = Question {
            model,
            messages: ask.messages,
            temperature: ask.temperature,
            max_tokens: ask.max_tokens,
            schema: ask.schema,
        };
        ambience.check_budget()?;
        let began = Instant::now();
        let manner = Manner { key: ask.key.as_ref(), tell: None };
        let reply = entry.provider.ask(&question, manner).await?;
        let Reply { text, model, finish, prompt_tokens, completion_tokens, nano_usd } = reply;
        let usage = Usage {
            calls: 1,
            prompt_tokens,
            completion_tokens,
            paid_tokens: prompt_tokens + completion_tokens,
            nano_usd: nano_usd.unwrap_or_default(),
            cached: 0,
        };
        ambience.spend(&usage);
        let latency_ms = began.elapsed().as_millis() as u64;
        Ok(Answer { text, provider: name, model, finish, usage, cached: false, latency_ms })
    }

    fn unknown(&self, name: &str) -> Failure {
        let near = nearest(name, self.providers.keys().map(String::as_str)).join(" or ");
        let text = format!("Unknown provider: {name}");
        let mut failure = Failure::fatal(Code::ProviderUnknown, text);
        failure.hint = (!near.is_empty()).then(|| format!("did you mean {near}?"));
        failure
    }
}
