//! Each wire format against the fake model services, whose words the services' own clients accept.

use std::sync::{Arc, Mutex};

use serde_json::json;
use waystation_core::error::{Class, Failure};
use waystation_engine::egress::{HttpClient, Policy, Reach};
use waystation_engine::provider::chat::Chat;
use waystation_engine::provider::gateway::Gateway;
use waystation_engine::provider::messages::Messages;
use waystation_engine::provider::{Finish, Manner, Message, Provider, Question, Reply, Role};
use waystation_engine::secret::Secret;
use waystation_fake_models::FakeModels;

const PROMPT: &str = "Tell me [[answer: Grüße aus Köln und Zürich]] [[usage: 100 20]]";
const ANSWER: &str = "Grüße aus Köln und Zürich";

struct Asked {
    reply: Result<Reply, Failure>,
    told: String,
}

fn question(model: &str) -> Question {
    Question {
        model: model.into(),
        messages: vec![
            Message { role: Role::System, text: "Be brief.".into() },
            Message { role: Role::User, text: PROMPT.into() },
        ],
        temperature: Some(0.7),
        max_tokens: Some(1_000),
        schema: None,
    }
}

async fn ask(provider: &dyn Provider, question: &Question, key: &str, streamed: bool) -> Asked {
    let key = Secret::new(key.into());
    let told = Mutex::new(String::new());
    let listen = |piece: &str| told.lock().unwrap().push_str(piece);
    let tell: Option<&(dyn Fn(&str) + Send + Sync)> = if streamed { Some(&listen) } else { None };
    let reply = provider.ask(question, Manner { key: Some(&key), tell }).await;
    Asked { reply, told: told.into_inner().unwrap() }
}

/// The fake, and each format spoken to it.
async fn all() -> (FakeModels, Vec<(&'static str, Box<dyn Provider>)>) {
    let fake = FakeModels::start().await.unwrap();
    let policy = Policy::new(Reach::AnyButMetadata);
    let client = Arc::new(HttpClient::new(policy).unwrap());
    let url = |path: &str| fake.url() + path;
    let chat =
        |label, path, is_openai| Chat::new(Arc::clone(&client), label, &url(path), is_openai);
    let providers: Vec<(_, Box<dyn Provider>)> = vec![
        ("OpenAI", Box::new(chat("OpenAI", "/v1", true))),
        ("OpenRouter", Box::new(chat("OpenRouter", "/api/v1", false))),
        ("Ollama", Box::new(chat("Ollama", "/ollama/v1", false))),
        ("Anthropic", Box::new(Messages::new(Arc::clone(&client), "Anthropic", &url("")))),
        ("Gateway", Box::new(Gateway::new(Arc::clone(&client), "Gateway", &url("")))),
    ];
    (fake, providers)
}

#[tokio::test]
async fn answers_arrive_whole_with_their_end_and_what_they_took() {
    let (_fake, providers) = all().await;
    for (label, provider) in &providers {
        for (model, streamed) in
            [("fake", false), ("fake", true), ("fake-choppy", true), ("gpt-5-nano", true)]
        {
            let asked = ask(provider.as_ref(), &question(model), "key", streamed).await;
            let reply =
                asked.reply.unwrap_or_else(|failure| panic!("{label} {model}: {failure:?}"));
            assert_eq!(reply.text, ANSWER, "{label} {model}");
            assert_eq!(reply.finish, Finish::Stop, "{label} {model}");
            assert_eq!((reply.prompt_tokens, reply.completion_tokens), (100, 20), "{label}");
            assert_eq!(asked.told, if streamed { ANSWER } else { "" }, "{label} {model}");
            let cost = (*label == "OpenRouter").then_some(120_000);
            assert_eq!(reply.nano_usd, cost, "{label}");
        }
    }
}

#[tokio::test]
async fn answers_that_end_early_say_why() {
    let (_fake, providers) = all().await;
    for (label, provider) in &providers {
        for streamed in [false, true] {
            for (model, finish) in [
                ("fake-empty", Finish::Stop),
                ("fake-length", Finish::Length),
                ("fake-filtered", Finish::Filtered),
            ] {
                let asked = ask(provider.as_ref(), &question(model), "key", streamed).await;
                let reply =
                    asked.reply.unwrap_or_else(|failure| panic!("{label} {model}: {failure:?}"));
                assert_eq!(reply.finish, finish, "{label} {model} streamed: {streamed}");
            }
        }
    }
}

const AGAIN: Class = Class::Retryable { after_ms: None };
const IN_A_SECOND: Class = Class::Retryable { after_ms: Some(1_000) };

/// What each model's failure is, and words of its message.
const FAILURES: [(&str, Class, &str); 11] = [
    ("fake-truncated", AGAIN, "off"),
    ("fake-not-json", AGAIN, "gave no JSON: That is not JSON."),
    ("fake-html", AGAIN, "gave no JSON: <!doctype html>"),
    ("fake-huge", Class::Fatal, "4194304 bytes"),
    ("fake-cut", AGAIN, "broke off"),
    ("fake-midway", AGAIN, "API error"),
    ("fake-429", AGAIN, "API error: 429"),
    ("fake-429-after", IN_A_SECOND, "API error: 429"),
    ("fake-529", AGAIN, "API error: 529"),
    ("fake-500-once", AGAIN, "API error: 500"),
    ("fake-refused", Class::Fatal, "API error: 404"),
];

#[tokio::test]
async fn failures_say_whether_asking_again_makes_sense() {
    for streamed in [false, true] {
        let (_fake, providers) = all().await;
        for (label, provider) in &providers {
            for (model, class, words) in FAILURES {
                let asked = ask(provider.as_ref(), &question(model), "key", streamed).await;
                let text = format!("{label} {model} streamed: {streamed}: {:?}", asked.reply);
                let failure = asked.reply.expect_err(&text);
                assert_eq!(failure.class, class, "{text}");
                assert!(failure.message.contains(words), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_without_an_end_is_broken_off() {
    let (_fake, providers) = all().await;
    for (label, provider) in providers.iter().filter(|(label, _)| *label != "Gateway") {
        let asked = ask(provider.as_ref(), &question("fake-endless"), "key", true).await;
        assert!(asked.reply.is_err(), "{label}");
        assert!(asked.told.contains("on and on"), "{label}");
    }
}

#[tokio::test]
async fn a_wrong_key_is_refused_for_good_and_its_echo_is_not_repeated() {
    let (_fake, providers) = all().await;
    for (label, provider) in &providers {
        let asked = ask(provider.as_ref(), &question("fake"), "bad-key-4242", false).await;
        let failure = asked.reply.expect_err(label);
        assert!(matches!(failure.class, Class::Fatal), "{label} {failure:?}");
        assert!(failure.message.contains("401"), "{label} {failure:?}");
        assert!(!failure.message.contains("bad-key-4242"), "{label} {failure:?}");
    }
}

#[tokio::test]
async fn schemas_are_taken_and_followed_closed_or_open() {
    let (_fake, providers) = all().await;
    let open = json!({"type": "object", "properties": {"dish": {"type": "string"}}});
    let mut closed = open.clone();
    closed["required"] = json!(["dish"]);
    closed["additionalProperties"] = json!(false);
    for (label, provider) in &providers {
        for schema in [&open, &closed] {
            for streamed in [false, true] {
                let question = Question { schema: Some(schema.clone()), ..question("fake") };
                let asked = ask(provider.as_ref(), &question, "key", streamed).await;
                let reply = asked.reply.unwrap_or_else(|failure| panic!("{label}: {failure:?}"));
                assert_eq!(reply.text, r#"{"dish":"text"}"#, "{label} {schema}");
            }
        }
    }
}
