//! Requests to replies, with a server that plays the API.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::egress::testing::{Server, client, open_client, reply};
use crate::egress::{Policy, Reach};

fn fields(request: &Value) -> Map<String, Value> {
    request.as_object().expect("an object").clone()
}

async fn ask(request: Value) -> Reply {
    Worker::new(Arc::new(open_client())).answer(&fields(&request), None).await
}

/// A request that does not wait between its attempts.
fn to(url: &str, retries: u64) -> Value {
    json!({ "url": url, "retries": retries, "retryDelay": 0 })
}

/// What the API saw, and the reply.
async fn seen(request: Value, key: Option<&'static str>) -> String {
    let server = Server::start(|_| reply(200, "", "{}")).await;
    let mut request = request;
    request["url"] = server.url("/path?q=1").into();
    let key = key.map(HeaderValue::from_static);
    let worker = Worker::new(Arc::new(open_client()));
    let answer = worker.answer(&fields(&request), key.as_ref()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    server.requests().pop().expect("a request")
}

#[tokio::test]
async fn a_reply_has_every_field() {
    let headers = "content-type: application/json\r\nx-a: 1\r\nx-a: 2\r\n";
    let server = Server::start(move |_| reply(201, headers, "{\"a\": [1]}")).await;
    let mut answer = ask(to(&server.url("/"), 3)).await;
    assert_eq!((answer.status.as_u16(), answer.retry_after), (201, None));
    for name in ["duration", "totalDuration"] {
        assert!(answer.body[name].take().as_u64().expect(name) < 10_000);
    }
    assert_eq!(answer.body["requestId"].take().as_str().expect("an id").len(), 13);
    let expected = json!({
        "success": true, "status": 201, "statusText": "Created", "attempts": 1,
        "duration": null, "totalDuration": null, "requestId": null,
        "retryInfo": { "retriesAttempted": 0, "retriesRemaining": 3 },
        "headers": { "connection": "close", "content-length": "10",
                     "content-type": "application/json", "x-a": "1, 2" },
        "body": { "a": [1] },
    });
    assert_eq!(answer.body, expected);
}

#[tokio::test]
async fn each_status_has_its_reply_and_its_number_of_attempts() {
    // The API's status, the reply's, and the attempts where one more is allowed.
    for (status, replied, attempts) in [
        (200, 200, 1),
        (202, 202, 1),
        (204, 200, 1),
        (205, 200, 1),
        (299, 299, 1),
        (300, 300, 1),
        (302, 302, 1),
        (304, 200, 1),
        (400, 400, 1),
        (404, 404, 1),
        (408, 408, 2),
        (425, 425, 2),
        (429, 429, 2),
        (451, 451, 1),
        (500, 500, 2),
        (503, 503, 2),
        (599, 599, 2),
        (600, 502, 1),
        (999, 502, 1),
    ] {
        let server = Server::start(move |_| reply(status, "", "")).await;
        let answer = ask(to(&server.url("/"), 1)).await;
        assert_eq!(answer.status.as_u16(), replied, "{status}");
        assert_eq!(server.requests().len(), attempts, "{status}");
        let is_success = (200..300).contains(&status);
        assert_eq!(answer.body["success"], is_success, "{status}");
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.body["attempts"], attempts);
        let info = json!({ "retriesAttempted": attempts - 1, "retriesRemaining": 2 - attempts });
        assert_eq!(answer.body["retryInfo"], info, "{status}");
        let error_type = if is_success { Value::Null } else { "http".into() };
        assert_eq!(answer.body["errorType"], error_type, "{status}");
    }
}

#[tokio::test]
async fn retries_end_with_the_first_success() {
    for (retries, fails, status, attempts) in
        [(0, 1, 503, 1), (2, 2, 200, 3), (3, 2, 200, 3), (2, 9, 503, 3)]
    {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |_| {
            let before = count.fetch_add(1, Ordering::SeqCst);
            reply(if before < fails { 503 } else { 200 }, "", "x")
        });
        let server = server.await;
        let answer = ask(to(&server.url("/"), retries)).await;
        assert_eq!((answer.status.as_u16(), server.requests().len()), (status, attempts));
    }
}

#[tokio::test]
async fn what_gets_no_answer_says_why() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let silent = format!("http://{}/", silent.local_addr().expect("an address"));
    let rude = Server::start(|_| Vec::new()).await;
    let huge = Server::start(|_| b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec());
    let huge = huge.await;
    let round = Server::start(|_| reply(302, "location: /\r\n", "")).await;
    let astray = Server::start(|_| reply(302, "location: file:///etc\r\n", "")).await;
    for (url, status, error_type, attempts) in [
        (silent, 504, "timeout", 2),
        (rude.url("/"), 502, "network", 2),
        ("http://127.0.0.1:1/".into(), 502, "network", 2),
        (huge.url("/"), 502, "network", 1),
        (round.url("/"), 502, "network", 1),
        (astray.url("/"), 502, "network", 1),
        ("http://169.254.169.254/".into(), 403, "blocked", 1),
    ] {
        let mut request = to(&url, 1);
        request["timeout"] = 500.into();
        let answer = ask(request).await;
        assert_eq!(answer.status.as_u16(), status, "{url}: {}", answer.body);
        assert_eq!(answer.body["status"], status);
        assert_eq!(answer.body["success"], false);
        assert_eq!(answer.body["errorType"], error_type, "{url}");
        assert_eq!(answer.body["attempts"], attempts, "{url}");
        assert_eq!((&answer.body["headers"], &answer.body["body"]), (&json!({}), &Value::Null));
    }
}

#[tokio::test]
async fn a_refusal_names_the_setting() {
    let worker = Worker::new(Arc::new(client(Reach::PublicOnly, "")));
    let answer = worker.answer(&fields(&to("http://127.0.0.1/", 3)), None).await;
    let error = answer.body["error"].as_str().expect("words");
    assert_eq!(answer.status, 403);
    assert!(error.contains("WAYSTATION_EGRESS_ALLOW=127.0.0.1"), "{error}");
}

#[tokio::test]
async fn everything_that_is_wrong_is_named() {
    let address = "url must be a whole http or https address";
    for (request, expected) in [
        (json!({}), "Missing required field: url".to_owned()),
        (json!({ "url": null }), "Missing required field: url".into()),
        (json!({ "url": 1 }), "url must be a string".into()),
        (json!({ "url": "" }), format!("{address}: relative URL without a base")),
        (json!({ "url": "/echo" }), format!("{address}: relative URL without a base")),
        (json!({ "url": "http://" }), format!("{address}: empty host")),
        (
            json!({ "url": "file:///etc/passwd" }),
            "url must be an http or https address, and not begin with file:".into(),
        ),
        (
            json!({ "method": 1, "headers": [], "retries": -1, "retryDelay": 0.5, "timeout": 0 }),
            "Missing required field: url; method must be a string; headers must be an object; \
             retries must be a whole number from 0 to 100; \
             retryDelay must be a whole number from 0 to 600000; \
             timeout must be a whole number from 1 to 600000"
                .into(),
        ),
        (
            json!({ "url": "http://a/", "method": "TRACE", "headers": { "a b": 1, "c": [] },
                    "retries": 101, "retryDelay": 600_001, "timeout": "1" }),
            "Invalid HTTP method: TRACE; Invalid header name: \"a b\"; \
             Header c: the value is text, a number or a boolean; \
             retries must be a whole number from 0 to 100; \
             retryDelay must be a whole number from 0 to 600000; \
             timeout must be a whole number from 1 to 600000"
                .into(),
        ),
    ] {
        let answer = ask(request).await;
        assert_eq!((answer.status.as_u16(), &answer.body["status"]), (400, &json!(400)));
        assert_eq!(answer.body["error"], expected);
        assert_eq!(answer.body["errorType"], "validation");
        assert_eq!(answer.body["attempts"], 0);
    }
}

#[tokio::test]
async fn bodies_go_out_as_they_are_meant() {
    let text = "text/plain; charset=utf-8";
    for (method, body, content_type, sent) in [
        ("POST", json!({ "a": 1 }), "application/json", "{\"a\":1}"),
        ("put", json!([1]), "application/json", "[1]"),
        ("PATCH", json!("{\"a\": 1}"), "application/json", "{\"a\": 1}"),
        ("DELETE", json!("plain words"), text, "plain words"),
        ("POST", json!(""), text, ""),
    ] {
        let seen = seen(json!({ "method": method, "body": body }), None).await;
        let method = method.to_uppercase();
        assert!(seen.starts_with(&format!("{method} /path?q=1 HTTP/1.1\r\n")), "{seen}");
        assert!(seen.contains(&format!("content-type: {content_type}\r\n")), "{seen}");
        assert!(seen.ends_with(&format!("\r\n\r\n{sent}")), "{seen}");
    }
    for method in ["GET", "HEAD", "OPTIONS"] {
        let seen = seen(json!({ "method": method, "body": { "a": 1 } }), None).await;
        assert!(!seen.contains("content-type") && seen.ends_with("\r\n\r\n"), "{seen}");
    }
    let form = json!({ "Content-Type": "application/x-www-form-urlencoded" });
    let form = json!({ "method": "POST", "headers": form, "body": { "a": "b c" } });
    assert!(seen(form, None).await.ends_with("\r\n\r\na=b+c"));
}

#[tokio::test]
async fn the_idempotency_key_goes_along_where_something_may_change() {
    for (method, headers, expected) in [
        ("POST", json!({}), Some("given")),
        ("DELETE", json!({}), Some("given")),
        ("POST", json!({ "Idempotency-Key": "own" }), Some("own")),
        ("GET", json!({}), None),
        ("HEAD", json!({}), None),
        ("GET", json!({ "Idempotency-Key": "own" }), Some("own")),
    ] {
        let seen = seen(json!({ "method": method, "headers": headers }), Some("given")).await;
        let key = seen.lines().find_map(|line| line.strip_prefix("idempotency-key: "));
        assert_eq!(key, expected, "{method} {headers}");
    }
    assert!(!seen(json!({ "method": "POST" }), None).await.contains("idempotency-key"));
}

#[tokio::test]
async fn bodies_are_read_as_json_or_in_their_charset() {
    let cases: [(&str, &[u8], Value); 5] = [
        ("text/plain", b"{\"a\": 1}", json!({ "a": 1 })),
        ("text/plain; charset=ISO-8859-1", b"\xe9", json!("é")),
        ("application/json", b"{broken", json!("{broken")),
        ("text/html", b"<p>", json!("<p>")),
        ("application/json", b"", json!("")),
    ];
    for (content_type, body, expected) in cases {
        let headers = format!("content-type: {content_type}\r\n");
        let server = Server::start(move |_| reply(200, &headers, body)).await;
        assert_eq!(ask(to(&server.url("/"), 0)).await.body["body"], expected);
    }
}

/// A task, and an end of its attempts with this status and `Retry-After`.
fn wait_after(retry_delay: u64, attempts: u64, retry_after: &str) -> Option<Duration> {
    let request = json!({ "url": "http://a/", "retries": 80, "retryDelay": retry_delay });
    let task = Task::read(&fields(&request), None).ok()?;
    let response = crate::egress::Response {
        status: reqwest::StatusCode::SERVICE_UNAVAILABLE,
        headers: [(reqwest::header::RETRY_AFTER, HeaderValue::from_str(retry_after).ok()?)]
            .into_iter()
            .collect(),
        body: bytes::Bytes::new(),
        url: url::Url::parse("http://a/").ok()?,
    };
    wait(&task, attempts, &End::Answer(response))
}

#[test]
fn waits_double_and_are_never_shorter_than_asked_for() {
    for (retry_delay, attempts, retry_after, expected) in [
        (1_000, 1, "", Some(1_000)),
        (1_000, 2, "", Some(2_000)),
        (1_000, 4, "", Some(8_000)),
        (1_000, 1, "7", Some(7_000)),
        (1_000, 5, "7", Some(16_000)),
        (0, 3, "", Some(0)),
        (0, 80, "", Some(0)),
        (1_000, 81, "", None),
    ] {
        let wait = wait_after(retry_delay, attempts, retry_after);
        assert_eq!(wait, expected.map(Duration::from_millis), "{retry_delay} {attempts}");
    }
    assert!(wait_after(600_000, 80, "").expect("a wait") > limits::WORKER_DURATION_MAX);
}

#[tokio::test]
async fn a_wait_beyond_the_bound_is_not_begun_and_the_caller_hears_of_it() {
    let server = Server::start(|_| reply(503, "retry-after: 86400\r\n", "")).await;
    let answer = ask(to(&server.url("/"), 3)).await;
    assert_eq!((answer.status.as_u16(), server.requests().len()), (503, 1));
    assert_eq!(answer.retry_after.expect("the API's wish"), "86400");
}

#[tokio::test]
async fn a_worker_without_places_says_so() {
    let worker =
        Worker::new(Arc::new(HttpClient::new(Policy::new(Reach::PublicOnly)).expect("one")));
    worker.places.forget_permits(limits::WORKER_CALLS);
    let answer = worker.answer(&fields(&to("http://a/", 3)), None).await;
    assert_eq!((answer.status.as_u16(), &answer.body["status"]), (503, &json!(503)));
    assert_eq!(answer.retry_after.expect("soon"), "1");
}
