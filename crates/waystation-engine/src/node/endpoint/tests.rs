//! Calls through a server that plays the worker, and what its answers mean.

use serde_json::json;
use waystation_core::error::Class;

use super::*;
use crate::egress::testing::{Server, open_client, reply};

async fn attempt(config: Value) -> Outcome {
    let node = Endpoint { client: Arc::new(open_client()) };
    let idempotency_key = "run:0".to_owned();
    let (outputs, context) = (Vec::new(), AttemptContext::alone());
    node.attempt(Call { idempotency_key, config, outputs, is_repeated: false, context }).await
}

fn config(worker: &str) -> Value {
    json!({ "endpoint_url": worker, "api_url": "https://api.example/x" })
}

/// What a call through a worker gives that answers so.
async fn through(status: u16, headers: &'static str, body: &str) -> Outcome {
    let body = body.to_owned();
    let server = Server::start(move |_| reply(status, headers, &body)).await;
    attempt(config(&server.url("/"))).await
}

fn sent(request: &str) -> Value {
    let (_, body) = request.split_once("\r\n\r\n").expect("a body");
    serde_json::from_str(body).expect("JSON")
}

#[tokio::test]
async fn the_worker_is_told_the_call() {
    let server = Server::start(|_| reply(200, "", r#"{"success": true, "body": ""}"#)).await;
    attempt(config(&server.url("/worker"))).await.expect("an answer");
    let full = json!({
        "endpoint_url": server.url("/worker"), "api_url": " https://api.example/x ",
        "method": "POST", "headers": { "x-a": "1" }, "body": { "b": [2] },
        "retries": 0, "retry_delay": 5, "timeout": 7,
    });
    attempt(full).await.expect("an answer");
    let requests = server.requests();
    assert!(requests[0].starts_with("POST /worker HTTP/1.1\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("idempotency-key: run:0\r\n"), "{}", requests[0]);
    assert!(requests[0].contains("content-type: application/json\r\n"), "{}", requests[0]);
    let expected = json!({ "url": "https://api.example/x", "method": "GET", "headers": {},
                           "retries": 3, "retryDelay": 1000, "timeout": 30000 });
    assert_eq!(sent(&requests[0]), expected);
    let expected = json!({ "url": "https://api.example/x", "method": "POST",
                           "headers": { "x-a": "1" }, "retries": 0, "retryDelay": 5, "timeout": 7,
                           "body": { "b": [2] } });
    assert_eq!(sent(&requests[1]), expected);
}

#[tokio::test]
async fn of_this_server_only_workers_are_called() {
    let server = Server::start(|_| reply(200, "", r#"{"success": true, "body": ""}"#)).await;
    let client = open_client();
    client.set_own_address(server.address);
    let client = Arc::new(client);
    for (endpoint_url, api_url, is_called) in [
        ("/endpoint-1", "https://api.example/x", true),
        (" /endpoints/demo ", "https://api.example/x", true),
        ("", "/endpoints/demo/mock/news?q=/../x", true),
        ("/runs/1/cancel", "https://api.example/x", false),
        ("/endpoint-1/../secrets", "https://api.example/x", false),
        ("/endpoint-1/%2e%2E/execute", "https://api.example/x", false),
        ("/endpoints/..\\..\\batch", "https://api.example/x", false),
        ("/", "https://api.example/x", false),
        ("", "/runs?a=/mock/", false),
        ("", "/mock/../metrics", false),
    ] {
        let before = server.requests().len();
        let config = json!({ "endpoint_url": endpoint_url, "api_url": api_url });
        let (outputs, context) = (Vec::new(), AttemptContext::alone());
        let call =
            Call { idempotency_key: "run:0".into(), config, outputs, is_repeated: false, context };
        let outcome = Endpoint { client: Arc::clone(&client) }.attempt(call).await;
        assert_eq!(server.requests().len() > before, is_called, "{endpoint_url} {api_url}");
        if !is_called {
            let failure = outcome.expect_err("no worker");
            assert_eq!(failure.message, "This path of this server is no endpoint worker");
        }
    }
}

#[tokio::test]
async fn a_worker_that_redirects_does_not_hand_keys_on() {
    let other = Server::start(|_| reply(200, "", r#"{"success": true, "body": ""}"#)).await;
    let location = format!("location: {}\r\n", other.url("/"));
    let server = Server::start(move |_| reply(307, &location, "")).await;
    let failure = attempt(config(&server.url("/"))).await.expect_err("a redirect");
    assert!(failure.message.contains("redirects to another host"), "{}", failure.message);
    assert_eq!(other.requests(), [""; 0]);
}

#[tokio::test]
async fn the_body_is_the_result() {
    for (body, text, is_json) in [
        (json!("plain \"words\""), "plain \"words\"", false),
        (json!(""), "", false),
        (json!({ "a": [1, "é"] }), r#"{"a":[1,"é"]}"#, true),
        (json!(7), "7", true),
        (json!(null), "null", true),
    ] {
        let reply = json!({ "success": true, "status": 201, "attempts": 2, "body": body,
                            "headers": { "x": "y" } });
        let output = through(200, "", &reply.to_string()).await.expect("an answer").output;
        let mut expected =
            json!({ "text": text, "status": 201, "attempts": 2, "headers": { "x": "y" } });
        if is_json {
            expected["json"] = body;
        }
        assert_eq!(output, expected);
    }
}

const PASSING: Class = Class::Retryable { after_ms: None };

#[tokio::test]
async fn a_workers_error_is_quoted_and_has_its_class() {
    let later = "retry-after: 2\r\n";
    let asked = Class::Retryable { after_ms: Some(2_000) };
    for (status, headers, body, class) in [
        (400, "", "bad", Class::Fatal),
        (403, "", "no", Class::Fatal),
        (404, later, "gone", Class::Fatal),
        (408, "", "late", PASSING),
        (425, "", "early", PASSING),
        (429, later, "slow down", asked),
        (500, "", "", PASSING),
        (502, "", "x", PASSING),
        (504, later, "x", asked),
    ] {
        let failure = through(status, headers, body).await.expect_err("no success");
        assert_eq!(failure.message, format!("Endpoint worker error: {status} - {body}"));
        assert_eq!((failure.code, failure.class), (Code::HttpStatus, class), "{status}");
    }
    let failure = through(403, "", r#"{"errorType": "blocked"}"#).await.expect_err("blocked");
    assert_eq!(failure.hint.as_deref(), Some(BLOCKED));
}

#[tokio::test]
async fn what_is_no_worker_is_an_error() {
    for body in ["", "<html>", "{}", "[1]", r#"{"success": true}"#] {
        let failure = through(200, "", body).await.expect_err(body);
        assert_eq!(failure.message, format!("Endpoint worker error: 200 - {body}"));
        assert_eq!((failure.class, failure.hint.as_deref()), (Class::Fatal, Some(NO_WORKER)));
    }
}

#[tokio::test]
async fn a_failed_call_says_how_often_and_why() {
    for (reply, expected, class) in [
        (
            json!({ "attempts": 4, "error": "HTTP 503: x", "statusText": "y", "status": 503 }),
            "4 attempts: HTTP 503: x",
            PASSING,
        ),
        (
            json!({ "attempts": 2, "statusText": "Not Found", "status": 404 }),
            "2 attempts: Not Found",
            Class::Fatal,
        ),
        (
            json!({ "attempts": 1, "error": "", "statusText": "Too Many", "status": 429 }),
            "1 attempts: Too Many",
            PASSING,
        ),
        (json!({ "error": "t", "errorType": "timeout", "status": 504 }), "1 attempts: t", PASSING),
        (
            json!({ "attempts": 0, "error": "v", "errorType": "validation" }),
            "0 attempts: v",
            Class::Fatal,
        ),
        (json!({ "error": "b", "errorType": "blocked" }), "1 attempts: b", Class::Fatal),
        (json!({ "status": 99999 }), "1 attempts: no reason given", PASSING),
    ] {
        let mut reply = reply;
        reply["success"] = false.into();
        let failure = through(200, "", &reply.to_string()).await.expect_err(expected);
        assert_eq!(failure.message, format!("API call failed after {expected}"));
        assert_eq!(failure.class, class, "{reply}");
    }
}

#[tokio::test]
async fn a_mock_is_called_directly() {
    let server = Server::start(|request| match request.starts_with("GET /mock/weather ") {
        true => reply(200, "", r#"{"t": 21}"#),
        false => reply(404, "", "none"),
    });
    let server = server.await;
    let to = |path: &str| {
        json!({ "endpoint_url": "http://127.0.0.1:1/", "api_url": server.url(path),
                "method": "POST", "headers": { "x-a": "1" } })
    };
    let output = attempt(to("/mock/weather")).await.expect("a sample").output;
    assert_eq!((&output["text"], &output["json"]), (&json!(r#"{"t":21}"#), &json!({ "t": 21 })));
    assert!(server.requests()[0].contains("x-a: 1\r\n"));
    let failure = attempt(to("/mock/other")).await.expect_err("none");
    assert_eq!(failure.message, "API call failed after 1 attempts: HTTP 404: Not Found");
    assert_eq!(failure.class, Class::Fatal);
}

#[tokio::test]
async fn wrong_settings_and_unreachable_workers_are_named() {
    let failure = attempt(json!({ "endpoint_url": "x" })).await.expect_err("no api_url");
    assert_eq!(failure.message, "endpoint settings: missing field `api_url`");
    assert_eq!(failure.class, Class::Fatal);
    let failure = attempt(config("http://127.0.0.1:1/")).await.expect_err("nobody there");
    assert_eq!((failure.code, failure.class), (Code::Transport, PASSING));
    let failure = attempt(config("http://169.254.169.254/")).await.expect_err("refused");
    assert_eq!((failure.code, failure.class), (Code::EgressRefused, Class::Fatal));
}
