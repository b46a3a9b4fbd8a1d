//! `http` and `webhook` as definitions use them.

use std::sync::Arc;

use serde_json::{Value, json};
use waystation_core::error::{Class, Code};

use crate::egress::testing::{Server, reply};
use crate::node::Outcome;
use crate::node::model::testing::{lower, run};

async fn call(kind: &str, url: &str, mut config: Value) -> Outcome {
    config["url"] = url.into();
    run(kind, config, Arc::default()).await
}

/// The request that settings make, as it goes over the wire.
async fn request(kind: &str, config: Value) -> String {
    let server = Server::start(|_| reply(200, "", "{}")).await;
    call(kind, &server.url("/x?a=1"), config).await.expect("an answer");
    server.requests().remove(0)
}

#[tokio::test]
async fn one_usually_asks_and_the_other_tells() {
    assert!(request("http", json!({})).await.starts_with("GET /x?a=1 "));
    assert!(request("http", json!({ "method": "put" })).await.starts_with("PUT "));
    assert!(request("webhook", json!({ "method": "GET" })).await.starts_with("GET "));
    let told = request("webhook", json!({ "body": { "a": 1 }, "headers": { "x-b": 2 } })).await;
    assert!(told.starts_with("POST /x?a=1 ") && told.ends_with("\r\n\r\n{\"a\":1}"), "{told}");
    assert!(told.contains("\r\nidempotency-key: key\r\n") && told.contains("\r\nx-b: 2\r\n"));
    assert!(request("http", json!({ "params": { "b": [2, 3] } })).await.contains("?a=1&b=2&b=3 "));
}

#[tokio::test]
async fn fields_are_given_directly_where_their_names_are_free() {
    let server =
        Server::start(|_| reply(200, "", r#"{"name": "Ada", "url": "u", "text": 1}"#)).await;
    let output = call("http", &server.url("/"), json!({})).await.expect("an answer").output;
    assert_eq!((&output["name"], &output["url"]), (&json!("Ada"), &json!(server.url("/"))));
    assert_eq!(output["json"], json!({ "name": "Ada", "url": "u", "text": 1 }));
    assert_eq!((&output["status_code"], &output["size"]), (&json!(200), &json!(38)));
    let server = Server::start(|_| reply(200, "", "[1]")).await;
    let output = call("webhook", &server.url("/"), json!({})).await.expect("an answer").output;
    assert_eq!((&output["json"], &output["text"]), (&json!([1]), &json!("[1]")));
}

#[tokio::test]
async fn whoever_calls_is_told_and_not_shown() {
    for (auth, header) in [
        (
            json!({ "type": "basic", "username": "ada", "password": "s:1" }),
            "authorization: Basic YWRhOnM6MQ==",
        ),
        (json!({ "type": "bearer", "token": "tok" }), "authorization: Bearer tok"),
        (json!({ "type": "api_key", "key": "k1" }), "x-api-key: k1"),
        (json!({ "type": "api_key", "header": "X-Mine", "value": "k1" }), "x-mine: k1"),
    ] {
        let headers = json!({ "Authorization": "other", "X-API-Key": "other" });
        let sent = request("http", json!({ "auth": auth, "headers": headers })).await;
        assert!(sent.contains(&format!("\r\n{header}\r\n")), "{sent}");
    }
    let server = Server::start(|_| reply(200, "", "{}")).await;
    let auth = json!({ "type": "api_key", "query": "key", "key": "a b&c" });
    let config = json!({ "auth": auth, "params": { "q": "x y" } });
    let output = call("http", &server.url("/"), config).await.expect("an answer").output;
    assert!(server.requests()[0].starts_with("GET /?q=x+y&key=a+b%26c HTTP/1.1"));
    assert_eq!(output["url"], server.url("/?q=x+y"));
}

#[tokio::test]
async fn what_is_wrong_with_whoever_calls_is_told_without_keys() {
    for auth in [
        json!({ "type": "bearer", "token": 12345 }),
        json!({ "type": "bearer", "tokn": "12345" }),
        json!({ "type": "12345" }),
        json!({ "type": "basic", "username": "a:b", "password": "12345" }),
        json!({ "type": "api_key" }),
        json!({ "type": "api_key", "key": "12345", "value": "12345" }),
        json!({ "type": "api_key", "key": "12345", "header": "a", "query": "b" }),
        json!("12345 {{input.auth}}"),
    ] {
        // What is a template is found when the node runs.
        let problems = lower("http", &json!({ "url": "/", "auth": auth.clone() }));
        if let Err(problems) = &problems {
            assert!(problems.iter().all(|problem| problem.starts_with("auth")), "{problems:?}");
        }
        let failure = super::Settings::read(json!({ "url": "/", "auth": auth.clone() }));
        let failure =
            failure.and_then(|mut settings| settings.auth().map(drop)).expect_err("wrong");
        assert!(failure.message.starts_with("HTTP settings: auth"), "{}", failure.message);
        assert!(!failure.message.contains("12345"), "{}", failure.message);
        assert!(problems.is_err() || auth.is_string());
    }
}

#[tokio::test]
async fn the_expected_statuses_are_the_successes() {
    let class = |status: u16, expected: Value| async move {
        let server = Server::start(move |_| reply(status, "", r#"{"a": 1}"#)).await;
        match call("http", &server.url("/"), json!({ "expected_status": expected })).await {
            Ok(completion) => {
                assert_eq!(
                    (&completion.output["status_code"], &completion.output["a"]),
                    (&json!(status), &json!(1))
                );
                "success".to_owned()
            }
            Err(failure) => {
                assert_eq!(failure.code, Code::HttpStatus);
                let class = if failure.class == Class::Fatal { "fatal" } else { "retryable" };
                format!("{class}: {}", failure.message)
            }
        }
    };
    assert_eq!(class(404, json!(404)).await, "success");
    assert_eq!(class(404, json!([200, "4xx"])).await, "success");
    assert_eq!(class(503, json!("500-599")).await, "success");
    assert_eq!(class(200, json!(201)).await, "fatal: HTTP 200 (expected: 201): {\"a\": 1}");
    let text = "retryable: HTTP 503 (expected: 200-299, 404): {\"a\": 1}";
    assert_eq!(class(503, json!("2xx, 404")).await, text);
    assert_eq!(class(404, Value::Null).await, "fatal: HTTP 404: {\"a\": 1}");
}

#[tokio::test]
async fn an_expected_answer_is_read_whole() {
    let body = "x".repeat(100 << 10);
    let server = Server::start(move |_| reply(404, "", &body)).await;
    let config = json!({ "expected_status": 404 });
    let output = call("http", &server.url("/"), config).await.expect("an answer").output;
    assert_eq!(output["size"], 100 << 10);
    let config = json!({ "expected_status": 404, "response_limit": 1_000 });
    let failure = call("http", &server.url("/"), config).await.expect_err("too large");
    assert_eq!(failure.code, Code::LimitExceeded);
}

#[tokio::test]
async fn redirects_are_followed_unless_told_otherwise() {
    let server = Server::start(|request| match request.starts_with("GET /old") {
        true => reply(302, "location: /new\r\n", ""),
        false => reply(200, "", "new"),
    });
    let server = server.await;
    let output = call("http", &server.url("/old"), json!({})).await.expect("an answer").output;
    assert_eq!((&output["text"], &output["url"]), (&json!("new"), &json!(server.url("/new"))));
    let config = json!({ "follow_redirects": false, "expected_status": "3xx" });
    let output = call("http", &server.url("/old"), config).await.expect("an answer").output;
    assert_eq!(
        (&output["status_code"], &output["headers"]["location"]),
        (&json!(302), &json!("/new"))
    );
    let config = json!({ "follow_redirects": false });
    let failure = call("http", &server.url("/old"), config).await.expect_err("no success");
    assert_eq!(failure.message, "HTTP 302: ");
}

#[test]
fn effort_and_problems_are_known_when_it_is_saved() {
    let lowered = lower("webhook", &json!({ "url": "/", "timeout": 5, "retries": 1 })).unwrap();
    assert_eq!((lowered.timeout_ms, lowered.retry.attempts), (5_000, 2));
    let lowered = lower("http", &json!({ "url": "{{input.url}}" })).unwrap();
    assert_eq!(
        (lowered.kind.as_str(), lowered.timeout_ms, lowered.retry.attempts),
        ("http", 30_000, 4)
    );
    for (config, expected) in [
        (json!({}), "url: it is required"),
        (json!({ "url": "/", "method": "FETCH" }), "method: Invalid HTTP method: FETCH"),
        (json!({ "url": "/", "expected_status": "ok" }), "expected_status: \"ok\" is no status"),
        (json!({ "url": "/", "spread": true }), "spread: there is no such setting"),
        (json!({ "url": "/", "response_limit": 0 }), "response_limit: 0 is less than the minimum"),
    ] {
        let problems = lower("http", &config).unwrap_err().join("\n");
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn the_schemas_tell_the_usual_methods() {
    let schema = |kind: &str| {
        let registry = crate::node::Registry::standard(
            &Arc::new(crate::egress::testing::open_client()),
            &Arc::default(),
        );
        registry.catalog().get(kind).expect("a type").schema.clone()
    };
    assert_eq!(schema("http")["properties"]["method"]["default"], "GET");
    assert_eq!(schema("webhook")["properties"]["method"]["default"], "POST");
    assert_eq!(schema("http")["properties"]["retries"]["default"], 3);
}
