//! Values in a real Redis that stops and comes back, and in a stand-in for Upstash; models that use them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use waystation_core::error::Failure;

use super::super::values::RedisValues;
use super::*;
use crate::node::AttemptContext;
use crate::provider::models::{Ask, Entry, ModelParts, Models};
use crate::provider::{Finish, Manner, Provider, Question, Reply};

fn config(settings: &[(&str, String)]) -> RedisConfig {
    let find = |name: &str| settings.iter().find(|(known, _)| *known == name);
    RedisConfig::from_lookup(|name| find(name).map(|(_, value)| value.clone())).unwrap().unwrap()
}

fn at_port(port: u16) -> RedisConfig {
    config(&[
        ("REDIS_HOST", "127.0.0.1".into()),
        ("REDIS_PORT", port.to_string()),
        ("REDIS_PASSWORD", PASSWORD.into()),
    ])
}

/// Asks until there is an answer.
async fn answered<T, E, F: Future<Output = Result<T, E>>>(mut ask: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Ok(answer) = ask().await {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "Redis gives nothing");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn values_are_kept_and_expire() {
    let server = Server::start().await;
    let values = RedisValues::new(at_port(server.port));
    answered(|| values.put("k", "é\n\"", 100)).await;
    assert_eq!(values.get("k").await.unwrap().as_deref(), Some("é\n\""));
    assert_eq!(values.get("other").await.unwrap(), None);
    assert!((90..=100).contains(&server.seconds_left("k").await));
}

#[tokio::test]
async fn a_redis_that_is_away_or_hangs_is_left_alone_and_found_again() {
    let server = Server::start().await;
    let values = RedisValues::new(at_port(server.port));
    answered(|| values.put("k", "v", 100)).await;
    server.signal("STOP");
    assert_eq!(values.get("k").await, Err("no answer in time".into()));
    let start = Instant::now();
    let mut left_alone = 0;
    while start.elapsed() < Duration::from_millis(500) {
        left_alone += u32::from(values.get("k").await.is_err());
        tokio::task::yield_now().await;
    }
    assert!(left_alone > 10, "who asks meanwhile does not wait: {left_alone}");
    server.signal("CONT");
    assert_eq!(answered(|| values.get("k")).await.as_deref(), Some("v"));

    let port = server.port;
    drop(server);
    assert!(values.get("k").await.is_err());
    let _server = Server::start_at(port).await;
    assert_eq!(answered(|| values.get("k")).await, None);
}

#[tokio::test]
async fn upstash_gives_values_too() {
    let upstash = Upstash::start().await;
    let values = RedisValues::new(config(&upstash.settings("token")));
    answered(|| values.put("k", "v", 60)).await;
    assert_eq!(upstash.last("k"), json!(["SET", "k", "v", "EX", "60"]));
    let long = "v".repeat(1 << 20);
    for value in [json!("v"), json!(null), json!(long)] {
        upstash.answer_all(200, &json!({ "result": value }).to_string());
        assert_eq!(answered(|| values.get("k")).await.as_deref(), value.as_str());
    }
    upstash.answer_all(503, "");
    assert_eq!(values.get("k").await, Err("HTTP 503 Service Unavailable".into()));
}

struct Parrot;

#[async_trait]
impl Provider for Parrot {
    async fn ask(&self, _: &Question, _: Manner<'_>) -> Result<Reply, Failure> {
        let (text, model, finish) = ("an answer".into(), "m".into(), Finish::Stop);
        Ok(Reply { text, model, finish, prompt_tokens: 1, completion_tokens: 2, nano_usd: None })
    }
}

fn models(redis: RedisConfig) -> Models {
    let parrot = Entry { provider: Arc::new(Parrot), default_model: None };
    let providers = BTreeMap::from([("openai".to_owned(), parrot)]);
    Models::new(ModelParts { redis: Some(redis), ..providers.into() })
}

async fn is_cached(models: &Models) -> bool {
    let ask = Ask { cache: true, ..Ask::default() };
    models.ask(ask, &AttemptContext::alone()).await.unwrap().cached
}

#[tokio::test]
async fn models_share_answers_through_redis_and_do_without_it() {
    let server = Server::start().await;
    let (one, two) = (models(at_port(server.port)), models(at_port(server.port)));
    for models in [&one, &two] {
        let start = Instant::now();
        while !is_cached(models).await {
            assert!(start.elapsed() < DEADLINE);
        }
    }
    drop(server);
    assert!(!is_cached(&one).await);
    assert!(!is_cached(&one).await);
}
