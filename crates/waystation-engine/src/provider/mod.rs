//! Models: one question, one answer, whoever gives it.
//!
//! - [`models`]: what nodes ask; everything that stands around a call
//! - [`directory`]: who gives access to models, by name
//! - [`installed`]: the same, connected, with their keys as they are at each call
//! - [`config`]: the providers that an operator has set up, and their keys
//! - [`settings`]: limits, the cache, budgets, as an operator sets them
//! - [`prices`]: what tokens cost
//! - `cache`: answers kept for equal questions
//! - `flight`: equal questions under way at once
//! - [`limiter`]: whose turn it is
//! - `meters`: what calls count
//! - [`chat`]: OpenAI's chat completions, which many others speak too
//! - [`messages`]: Anthropic's messages
//! - [`gateway`]: a service of the operator's own that stands before models
//! - [`echo`]: a model for trying things out: it says what it was told
//! - `exchange`: one request to a provider: its failures, and its answer whole or in pieces
//! - `keeper`: keeps the key out of what comes back
//! - `draft`: an answer while it is put together
//! - `schema`: which JSON Schemas providers guarantee to follow
//! - [`structured`]: answers that are JSON and follow a schema

mod cache;
pub mod chat;
pub mod config;
pub mod directory;
mod draft;
pub mod echo;
mod exchange;
mod flight;
pub mod gateway;
pub mod installed;
mod keeper;
pub mod limiter;
pub mod messages;
mod meters;
pub mod models;
pub mod prices;
mod schema;
#[cfg(test)]
pub(crate) mod scripted;
pub mod settings;
pub mod structured;
#[cfg(test)]
mod testing;

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use waystation_core::error::Failure;

/// Who says a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What the model is told to be.
    System,
    /// Who asks.
    User,
    /// The model, earlier.
    Assistant,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What.
    pub text: String,
}

/// What a provider is asked, in nobody's wire format. All parameters that decide the answer are here,
/// so that equal questions may share one.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The model, by the provider's name for it.
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// How adventurous the answer may be; the provider's default where it is not said.
    pub temperature: Option<f64>,
    /// Tokens that the answer may have; the provider's default where it is not said.
    pub max_tokens: Option<u32>,
    /// The JSON Schema that the answer has to follow, for providers that can be told.
    pub schema: Option<Value>,
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It is complete.
    Stop,
    /// It reached its greatest length.
    Length,
    /// The provider withheld or cut it.
    Filtered,
    /// Anything else.
    Other,
}

/// An answer as the provider gave it. An empty text is an answer too.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// The model that gave it, by the provider's word.
    pub model: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens sent, as counted by the provider, or estimated where it does not say.
    pub prompt_tokens: u64,
    /// Tokens received, likewise.
    pub completion_tokens: u64,
    /// What the provider says that it cost, in billionths of a US dollar, where it does.
    pub nano_usd: Option<u64>,
}

/// How one call is made; it does not change the answer.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// The key, where the provider needs one.
    pub key: Option<&'a crate::secret::Secret>,
    /// Hears the pieces of the answer as they come; a provider that cannot stream tells none.
    pub tell: Option<&'a (dyn Fn(&str) + Send + Sync)>,
}

/// A wire format spoken at one address.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Asks once. The failure says whether asking again makes sense, carries what the provider said
    /// of when, and quotes its words. How long it may take is the caller's to say.
    async fn ask(&self, question: &Question, manner: Manner<'_>) -> Result<Reply, Failure>;
}

/// A streamed answer that has begun and falls silent for so long is broken off.
pub const SILENCE: Duration = Duration::from_secs(60);
