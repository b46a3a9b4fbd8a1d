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
    Redis(Box<RedisValues>),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    fn question() -> Question {
        let message = |role, text: &str| Message { role, text: text.into() };
        Question {
            model: "m".into(),
            messages: vec![message(Role::System, "s"), message(Role::User, "u")],
            temperature: Some(0.7),
            max_tokens: Some(5),
            schema: Some(json!({"b": {"d": 1, "c": [{"f": 1, "e": 2}]}, "a": 1})),
        }
    }

    fn reply() -> Reply {
        Reply {
            text: "an answer".into(),
            model: "m-1".into(),
            finish: Finish::Stop,
            prompt_tokens: 3,
            completion_tokens: 4,
            nano_usd: Some(5),
        }
    }

    #[test]
    fn the_key_is_the_digest_of_canonical_json() {
        let canonical = concat!(
            r#"{"messages":[{"content":"s","role":"system"},{"content":"u","role":"user"}],"#,
            r#""model":"m","parameters":{"max_tokens":5,"schema":{"a":1,"b":{"c":[{"e":2,"f":1}],"#,
            r#""d":1}},"temperature":0.7},"provider":"p"}"#
        );
        let expected = format!("llm:cache:{}", content_hash(canonical.as_bytes()));
        assert_eq!(key("p", &question()), expected);
        let schema = Some(json!({"a": 1, "b": {"c": [{"e": 2, "f": 1}], "d": 1}}));
        assert_eq!(key("p", &Question { schema, ..question() }), expected, "whatever the order");
    }

    #[test]
    fn all_that_decides_an_answer_is_in_the_key() {
        let swapped = || question().messages.into_iter().rev().collect();
        let keys = [
            key("p", &question()),
            key("q", &question()),
            key("p", &Question { model: "n".into(), ..question() }),
            key("p", &Question { messages: swapped(), ..question() }),
            key("p", &Question { temperature: None, ..question() }),
            key("p", &Question { max_tokens: Some(6), ..question() }),
            key("p", &Question { schema: None, ..question() }),
        ];
        let different: std::collections::HashSet<&String> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }

    #[tokio::test]
    async fn complete_answers_are_kept_for_their_time() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
        let cache = |keep| Cache::new(Shelf::Store(store.clone()), keep);
        let hour = cache(Duration::from_secs(3_600));
        for incomplete in [
            Reply { finish: Finish::Length, ..reply() },
            Reply { finish: Finish::Filtered, ..reply() },
            Reply { finish: Finish::Other, ..reply() },
            Reply { text: String::new(), ..reply() },
            Reply { text: "x".repeat(ANSWER_BYTES_CACHED), ..reply() },
        ] {
            hour.put("k", &incomplete).await;
            assert_eq!(hour.get("k").await, None);
        }
        hour.put("k", &reply()).await;
        let kept = Reply { nano_usd: None, ..reply() };
        assert_eq!(hour.get("k").await, Some(kept));
        cache(Duration::ZERO).put("k", &reply()).await;
        assert_eq!(hour.get("k").await, None, "its time is over");
        store.put_cached_answer("k", b"other".to_vec(), u64::MAX).await.unwrap();
        assert_eq!(hour.get("k").await, None, "what cannot be read is a miss");
    }
}
