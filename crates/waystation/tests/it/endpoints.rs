//! Endpoint workers: their routes, and the command that is nothing else.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::run_with;
use crate::support::server::{Server, answer};
use crate::support::target::{Target, reply, reply_with};
use crate::support::{PATIENCE, eventually, free_port, pipeline, step};

/// Where a server has workers.
const PLACES: [&str; 4] = ["/endpoint-1", "/endpoint-2", "/endpoint-3", "/endpoints/any-name"];

/// An API that answers with the status that its path names.
async fn api() -> Target {
    Target::start(async |request, _| {
        let status = request.path.trim_start_matches('/').parse().unwrap();
        reply_with(status, ("content-type", "application/json"), r#"{"data":[1]}"#)
    })
    .await
}

fn to(url: &str, retries: u64) -> Value {
    json!({ "url": url, "retries": retries, "retryDelay": 1 })
}

#[tokio::test]
async fn every_place_has_a_worker_that_mirrors_the_status() {
    let (server, api) = (Server::start().await, api().await);
    for place in PLACES {
        let (status, reply) = server.post(place, &to(&api.url("/201"), 3)).await;
        assert_eq!(
            (status, &reply["success"], &reply["body"]),
            (201, &json!(true), &json!({"data": [1]}))
        );
    }
    for (upstream, mirrored, attempts) in
        [(204, 200, 1), (304, 200, 1), (404, 404, 1), (429, 429, 3), (500, 500, 3), (999, 502, 1)]
    {
        let path = format!("/{upstream}");
        let (status, reply) = server.post("/endpoint-1", &to(&api.url(&path), 2)).await;
        assert_eq!((status, &reply["status"]), (mirrored, &json!(upstream)), "{reply}");
        assert_eq!(reply["attempts"], attempts, "{reply}");
        assert_eq!(api.count(&path), attempts, "{upstream}");
        let info = json!({ "retriesAttempted": attempts - 1, "retriesRemaining": 3 - attempts });
        assert_eq!(reply["retryInfo"], info);
    }
}

#[tokio::test]
async fn a_wrong_request_and_a_silent_api_have_their_status() {
    let server = Server::start().await;
    let silent = Target::start(async |_, _| {
        tokio::time::sleep(PATIENCE).await;
        reply(200, "")
    })
    .await;
    let nobody = format!("http://127.0.0.1:{}/", free_port());
    let late = json!({ "url": silent.url("/"), "timeout": 50, "retries": 1, "retryDelay": 1 });
    for (request, status, error_type) in [
        (json!({}), 400, "validation"),
        (json!({ "url": "/echo" }), 400, "validation"),
        (json!([]), 400, "validation"),
        (json!({ "url": "http://a/", "pad": "x".repeat(9 << 20) }), 413, "validation"),
        (late, 504, "timeout"),
        (to(&nobody, 0), 502, "network"),
        (to("http://169.254.169.254/", 3), 403, "blocked"),
    ] {
        let (got, reply) = server.post("/endpoint-2", &request).await;
        assert_eq!((got, &reply["status"]), (status, &json!(status)), "{reply}");
        assert_eq!((&reply["success"], &reply["errorType"]), (&json!(false), &json!(error_type)));
        assert!(reply["error"].as_str().is_some_and(|text| !text.is_empty()), "{reply}");
    }
    assert_eq!(silent.count("/"), 2);
    let request = server.request(Method::POST, "/endpoint-3").body("{no json");
    assert_eq!(answer(request).await.0, 400);
}

/// A step that calls a worker of its own server holds the only place meanwhile.
#[tokio::test]
async fn a_worker_needs_no_place_of_the_engine() {
    let server = Server::with(&[("WAYSTATION_MAX_NODES", "1")]).await;
    let mut one = step("one", "/endpoint-1", &[]);
    one["body_template"] = to(&server.url("/endpoint-2"), 0);
    one["body_template"]["method"] = "POST".into();
    one["body_template"]["body"] = to(&server.url("/echo"), 0);
    let reply = server.execute(&pipeline(&[one])).await;
    assert_eq!(reply["success"], true, "{reply}");
}

#[tokio::test]
async fn a_caller_who_goes_away_ends_the_call() {
    let server = Server::start().await;
    let silent = Target::start(async |_, _| {
        tokio::time::sleep(PATIENCE).await;
        reply(200, "")
    })
    .await;
    let request = server.request(Method::POST, "/endpoint-1").json(&to(&silent.url("/"), 3));
    let call = tokio::spawn(request.send());
    eventually("the call is under way", async || (silent.count("/") == 1).then_some(())).await;
    call.abort();
    eventually("the call has ended", async || (silent.dropped() == 1).then_some(())).await;
    assert_eq!(silent.count("/"), 1);
}

#[tokio::test]
async fn browsers_are_allowed_in_every_reply() {
    let (server, api) = (Server::start().await, api().await);
    for place in PLACES {
        let good = to(&api.url("/200"), 0);
        let bad = to(&api.url("/503"), 0);
        let mock = format!("{place}/mock");
        for (method, path, body, status) in [
            (Method::OPTIONS, place.to_owned(), None, 204),
            (Method::OPTIONS, format!("{mock}/news"), None, 204),
            (Method::POST, place.to_owned(), Some(&good), 200),
            (Method::POST, place.to_owned(), Some(&bad), 503),
            (Method::POST, place.to_owned(), None, 400),
            (Method::GET, place.to_owned(), None, 200),
            (Method::PUT, place.to_owned(), None, 405),
            (Method::GET, format!("{mock}/news"), None, 200),
            (Method::GET, format!("{mock}/nothing"), None, 404),
        ] {
            let request = server.request(method.clone(), &path).json(&body);
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
            assert_allows_browsers(&response);
        }
    }
}

fn assert_allows_browsers(response: &reqwest::Response) {
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-methods", "GET, POST, PUT, PATCH, DELETE, OPTIONS"),
        ("access-control-allow-headers", "Content-Type, Authorization"),
    ] {
        assert_eq!(response.headers()[name], value);
    }
}

#[tokio::test]
async fn samples_are_always_the_same_and_say_that_they_are_samples() {
    let server = Server::start().await;
    for name in ["weather", "news", "finance"] {
        let (_, first) = server.get(&format!("/endpoint-1/mock/{name}")).await;
        assert_eq!((&first["sample"], &first["kind"]), (&json!(true), &json!(name)));
        for place in PLACES {
            assert_eq!(server.get(&format!("{place}/mock/{name}")).await, (200, first.clone()));
        }
    }
    assert_eq!(server.get("/endpoints/a").await.1["service"], "endpoint worker");
}

#[tokio::test]
async fn the_key_of_the_caller_and_the_wish_of_the_api_go_along() {
    let server = Server::start().await;
    let api = Target::start(async |_, _| reply_with(503, ("retry-after", "0"), "busy")).await;
    let mut body = to(&api.url("/"), 1);
    body["method"] = "POST".into();
    let request = server.request(Method::POST, "/endpoint-1").header("idempotency-key", "key-1");
    let response = request.json(&body).send().await.unwrap();
    assert_eq!(response.headers()["retry-after"], "0");
    let keys: Vec<String> =
        api.received().iter().map(|one| one.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys, ["key-1", "key-1"]);
}

#[tokio::test]
async fn a_worker_can_be_a_server_of_its_own() {
    let directory = Arc::new(TempDir::new().unwrap());
    let mut worker = Server::command("endpoint", Arc::clone(&directory), &[]).await;
    let api = api().await;
    let (status, reply) = worker.post("/", &to(&api.url("/404"), 1)).await;
    assert_eq!((status, &reply["attempts"], &reply["errorType"]), (404, &json!(1), &json!("http")));
    assert_eq!(worker.get("/mock/finance").await.1["sample"], true);
    assert_eq!(worker.get("/").await.1["service"], "endpoint worker");
    for path in ["/runs", "/execute", "/endpoint-1", "/ping", "/mock/x"] {
        let response = worker.request(Method::GET, path).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert_allows_browsers(&response);
    }
    let elsewhere = worker.request(Method::POST, "/").header("origin", "https://evil.example");
    let response = elsewhere.json(&to(&api.url("/200"), 0)).send().await.unwrap();
    assert_eq!(response.status(), 403);
    assert_allows_browsers(&response);
    worker.stop().await;
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_worker_that_stops_lets_calls_finish() {
    let worker = Server::command("endpoint", Arc::new(TempDir::new().unwrap()), &[]);
    let mut worker = worker.await;
    let api = Target::start(async |_, _| {
        tokio::time::sleep(Duration::from_millis(500)).await;
        reply(200, "done")
    })
    .await;
    let call = tokio::spawn(worker.request(Method::POST, "/").json(&to(&api.url("/"), 0)).send());
    eventually("the call is under way", async || (api.count("/") == 1).then_some(())).await;
    worker.stop().await;
    let reply: Value = call.await.unwrap().unwrap().json().await.unwrap();
    assert_eq!(reply["body"], "done");
}

#[tokio::test]
async fn a_worker_for_other_machines_has_to_be_asked_for_and_keeps_to_public_addresses() {
    let directory = TempDir::new().unwrap();
    let arguments = ["endpoint", "--host", "0.0.0.0", "--port", "0"];
    let ended = run_with(directory.path(), &arguments, &[], "").await;
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("add --open"), "{}", ended.stderr);
    let settings = [("HOST", "0.0.0.0"), ("WAYSTATION_OPEN", "true")];
    let worker = Server::command("endpoint", Arc::new(directory), &settings).await;
    let (_, port) = worker.address.split_once(':').unwrap();
    let own = format!("http://127.0.0.1:{port}");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.post(&own).json(&to(&own, 3)).send().await.unwrap();
    assert_eq!(response.status(), 403);
    let reply: Value = response.json().await.unwrap();
    assert_eq!(reply["errorType"], "blocked");
    assert!(reply["error"].as_str().unwrap().contains("WAYSTATION_EGRESS_ALLOW"), "{reply}");
}
