//! Answers kept for equal questions: in Redis where it is configured, else in the store.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Finish, Message, Question, Reply, Role};
use crate::event::redis::values::RedisValues;
use crate::id::now_ms;
use crate::limits::ANSWER_BYTES_CACHED;
use crate::store::Store;
use crate::store::codec::content_hash;

/// Where answers are kept.
pub(super) enum Shelf {
    /// Shared by all who use this Redis.
    Redis(RedisValues),
    /// Beside the journal.
    Store(Arc<dyn Store>),
}

/// Keeps answers for a while.
pub(super) struct Cache {
    shelf: Shelf,
    keep: Duration,
}

/// What is kept of an answer. Only complete ones are.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    text: String,
    model: String,
    prompt_tokens: u64,
    completion_tokens: u64,
}

impl Cache {
    /// Keeps answers this long.
    pub(super) fn new(shelf: Shelf, keep: Duration) -> Cache {
        Cache { shelf, keep }
    }

    /// The answer under a key. What fails is a miss.
    pub(super) async fn get(&self, key: &str) -> Option<Reply> {
        let found = match &self.shelf {
            Shelf::Redis(values) => {
                values.get(key).await.map(|value| value.map(String::into_bytes))
            }
            Shelf::Store(store) => {
                store.cached_answer(key, now_ms()).await.map_err(|failed| failed.detail)
            }
        };
        let value = found.unwrap_or_else(|error| missed("get", &error));
        let Kept { text, model, prompt_tokens, completion_tokens } =
            serde_json::from_slice(&value?).ok()?;
        let finish = Finish::Stop;
        Some(Reply { text, model, finish, prompt_tokens, completion_tokens, nano_usd: None })
    }

    /// Keeps a complete answer, if it is one. What fails is not kept.
    pub(super) async fn put(&self, key: &str, reply: &Reply) {
        let Some(value) = kept(reply) else { return };
        let stored = match &self.shelf {
            Shelf::Redis(values) => values.put(key, &value, self.keep.as_secs().max(1)).await,
            Shelf::Store(store) => {
                let expires = now_ms().saturating_add(self.keep.as_millis() as u64);
                let stored = store.put_cached_answer(key, value.into_bytes(), expires).await;
                stored.map_err(|failed| failed.detail)
            }
        };
        if let Err(error) = stored {
            missed::<()>("put", &error);
        }
    }
}

fn missed<T>(operation: &'static str, error: &str) -> Option<T> {
    metrics::counter!("waystation_llm_cache_errors_total", "operation" => operation).increment(1);
    tracing::debug!(operation, error, "the cache of answers");
    None
}

/// What is kept of a reply: nothing of one that is incomplete, empty or far too long.
fn kept(reply: &Reply) -> Option<String> {
    if reply.finish != Finish::Stop || reply.text.is_empty() {
        return None;
    }
    let Reply { text, model, prompt_tokens, completion_tokens, .. } = reply.clone();
    let kept = Kept { text, model, prompt_tokens, completion_tokens };
    serde_json::to_string(&kept).ok().filter(|json| json.len() <= ANSWER_BYTES_CACHED)
}

/// The key of a question: the digest of all that decides its answer.
pub(super) fn key(provider: &str, question: &Question) -> String {
    let Question { model, messages, temperature, max_tokens, schema } = question;
    let mut parameters = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            parameters.insert(name.to_owned(), value);
        }
    };
    set("temperature", temperature.map(Value::from));
    set("max_tokens", max_tokens.map(Value::from));
    set("schema", schema.clone());
    let messages: Vec<Value> = messages.iter().map(message).collect();
    let mut whole = json!({
        "provider": provider, "model": model, "messages": messages, "parameters": parameters,
    });
    whole.sort_all_objects();
    format!("llm:cache:{}", content_hash(whole.to_string().as_bytes()))
}

fn message(message: &Message) -> Value {
    let role = match message.role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    };
    json!({ "role": role, "content": message.text })
}
