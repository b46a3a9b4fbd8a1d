//! APIs over HTTP.

use super::*;
use crate::egress::testing::{Server, reply};

async fn answering(status: u16, body: &'static str) -> Server {
    Server::start(move |_| reply(status, "content-type: application/json\r\n", body)).await
}

fn config(server: &Server) -> Value {
    json!({ "source_type": "api", "endpoint": server.url("/data") })
}

#[tokio::test]
async fn the_items_of_an_array_are_rows() {
    let server = answering(200, r#"[{"id": 1}, 2, null, {"id": 4}]"#).await;
    let output = attempt(&source(), with(&config(&server), json!({ "limit": 3 }))).await;
    let output = output.expect("rows").output;
    assert_eq!(output["rows"], json!([{ "id": 1 }, { "value": 2 }, { "value": null }]));
    assert_eq!((&output["count"], &output["truncated"]), (&json!(3), &json!(true)));
    assert_eq!(output["status_code"], json!(200));
    let one = answering(200, r#"{"id": 1}"#).await;
    assert_eq!(rows(&source(), config(&one)).await, json!([{ "id": 1 }]));
    let none = answering(200, "null").await;
    assert_eq!(rows(&source(), config(&none)).await, json!([]));
}

#[tokio::test]
async fn the_request_says_who_asks_and_for_what() {
    let server = answering(200, "[]").await;
    for (auth, header) in [
        (json!({ "type": "basic", "username": "u", "password": "p" }), "authorization: Basic dTpw"),
        (json!({ "type": "bearer", "token": "t" }), "authorization: Bearer t"),
        (json!({ "type": "api_key", "key": "k" }), "x-api-key: k"),
        (json!({ "type": "api_key", "key": "k", "header": "Key" }), "key: k"),
    ] {
        let more = json!({ "auth": auth, "params": { "q": "a b" }, "headers": { "X-One": 1 } });
        rows(&source(), with(&config(&server), more)).await;
        let request = server.requests().pop().expect("a request");
        assert!(request.starts_with("GET /data?q=a+b "), "{request}");
        assert!(request.contains(header) && request.contains("x-one: 1"), "{request}");
    }
}

#[tokio::test]
async fn any_method_that_may_change_something_needs_leave() {
    let server = answering(200, "[]").await;
    let post = with(&config(&server), json!({ "method": "post", "body": { "a": 1 } }));
    let failure = failure(&source(), post.clone()).await;
    assert!(failure.message.contains("write: true"), "{}", failure.message);
    assert_eq!(server.requests().len(), 0);
    rows(&source(), with(&post, json!({ "write": true }))).await;
    assert!(server.requests()[0].contains("idempotency-key: run:rows"));
}

#[tokio::test]
async fn what_is_no_success_or_no_json_fails() {
    let down = answering(503, "{}").await;
    assert!(matches!(failure(&source(), config(&down)).await.class, Class::Retryable { .. }));
    let text = answering(200, "hello").await;
    let failure = failure(&source(), config(&text)).await;
    assert_eq!((failure.code, failure.class), (Code::QueryFailed, Class::Fatal));
}
