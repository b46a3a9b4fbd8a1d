//! What the fake is for beyond good answers: counting, holding back, and failing on demand.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use waystation_fake_models::FakeModels;

async fn start() -> FakeModels {
    // Another test may have set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    FakeModels::start().await.unwrap()
}

fn chat(fake: &FakeModels, model: &str, prompt: &str, stream: bool) -> RequestBuilder {
    let messages = json!([{"role": "user", "content": prompt}]);
    let body = json!({"model": model, "stream": stream, "messages": messages});
    let client = Client::builder().no_proxy().build().unwrap();
    client.post(fake.url() + "/v1/chat/completions").bearer_auth("secret-key").json(&body)
}

async fn text(response: Response) -> String {
    let body: Value = response.json().await.unwrap();
    body["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
}

async fn answer(fake: &FakeModels, model: &str, prompt: &str) -> String {
    text(chat(fake, model, prompt, false).send().await.unwrap()).await
}

#[tokio::test]
async fn the_prompt_decides_the_answer() {
    let fake = start().await;
    for (prompt, expected) in [
        ("[[answer: one]] and [[answer: two]]", "two"),
        ("Is it warm? Answer only true or false.", "true"),
        ("Is it warm? Answer only true or false. [[answer: false]]", "false"),
        ("Hello", "You sent 5 characters that begin with: Hello"),
    ] {
        assert_eq!(answer(&fake, "gpt-5-nano", prompt).await, expected);
    }
    assert_eq!(answer(&fake, "fake-json", r#"[[answer: {"a": [[1]]}]]"#).await, r#"{"a": [[1]]}"#);
    assert_eq!(answer(&fake, "fake-huge", "").await.len() / 1024 / 1024, 5);
}

#[tokio::test]
async fn calls_are_counted_and_keys_are_not_kept() {
    let fake = start().await;
    for prompt in ["a", "a", "b"] {
        answer(&fake, "fake", prompt).await;
    }
    answer(&fake, "other", "a").await;
    let calls = fake.calls();
    assert_eq!((calls.total, calls.of("fake"), calls.of("other"), calls.of("none")), (4, 3, 1, 0));
    assert_eq!(calls.by_body.values().max(), Some(&2));
    assert!(calls.last[0].has_key && !calls.last[0].is_streamed());
    let told = reqwest::get(fake.url() + "/calls").await.unwrap().text().await.unwrap();
    assert!(told.contains(r#""total":4"#) && !told.contains("secret-key"), "{told}");
}

#[tokio::test]
async fn answers_of_a_model_are_held_back_until_they_are_let_go() {
    let fake = start().await;
    let (first, second) = (fake.hold("held"), fake.hold("held"));
    let call = tokio::spawn(chat(&fake, "held", "[[answer: late]]", false).send());
    fake.reached(1).await;
    drop(first);
    assert_eq!(answer(&fake, "free", "[[answer: now]]").await, "now");
    assert!(!call.is_finished());
    drop(second);
    assert_eq!(text(call.await.unwrap().unwrap()).await, "late");
}

#[tokio::test]
async fn the_first_call_with_a_body_fails_and_the_next_does_not() {
    let fake = start().await;
    for (prompt, status) in [("a", 500), ("a", 200), ("b", 500), ("a", 200), ("b", 200)] {
        let response = chat(&fake, "fake-500-once", prompt, false).send().await.unwrap();
        assert_eq!(response.status(), status, "{prompt}");
    }
}

#[tokio::test]
async fn connections_break_where_they_should() {
    let fake = start().await;
    for stream in [false, true] {
        let mut response = chat(&fake, "fake-cut", "Tell me more", stream).send().await.unwrap();
        assert!(response.chunk().await.unwrap().is_some_and(|first| !first.is_empty()));
        let end = loop {
            match response.chunk().await {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert!(end.is_err(), "streamed: {stream}");
        let whole = chat(&fake, "fake-truncated", "Tell me more", stream).send().await.unwrap();
        let text = whole.text().await.unwrap();
        let last = text.lines().last().unwrap_or_default().trim_start_matches("data: ");
        assert!(serde_json::from_str::<Value>(last).is_err(), "{text}");
    }
}

#[tokio::test]
async fn what_is_endless_goes_on() {
    let fake = start().await;
    for (stream, enough) in [(true, 100_000), (false, 400)] {
        let request = chat(&fake, "fake-endless", "[[delay: 0]]", stream);
        let mut response = request.timeout(Duration::from_secs(30)).send().await.unwrap();
        let mut received = 0;
        while received < enough {
            received += response.chunk().await.unwrap().unwrap_or_default().len();
        }
    }
}

#[tokio::test]
async fn a_choppy_stream_holds_the_same_bytes() {
    let fake = start().await;
    let prompt = "[[answer: Grüße aus Köln und Zürich]]";
    let [whole, choppy] = ["fake", "fake-choppy"].map(|model| chat(&fake, model, prompt, true));
    let mut texts = Vec::new();
    for request in [whole, choppy] {
        let text = request.send().await.unwrap().text().await.unwrap();
        texts.push(pieces(&text));
    }
    assert_eq!(texts[0], "Grüße aus Köln und Zürich");
    assert_eq!(texts[0], texts[1]);
}

/// The text that the events of a stream carry.
fn pieces(events: &str) -> String {
    let events = events.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    let text = |event: Value| Some(event["choices"][0]["delta"]["content"].as_str()?.to_owned());
    events.filter_map(text).collect()
}
