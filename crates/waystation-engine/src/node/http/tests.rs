//! Settings to the wire, and answers to outcomes.

use std::net::SocketAddr;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use waystation_core::error::{Class, Code, Failure};

use super::*;
use crate::egress::testing::{Server, reply};
use crate::egress::{Policy, Reach, Request};
use crate::node::AttemptContext;

fn request(settings: Value) -> Result<Request, Failure> {
    Settings::read(settings)?.request("run:step")
}

/// The content type and body that a request has on the wire.
fn encoded(settings: Value) -> (Option<String>, Option<String>) {
    let request = request(settings).expect("a request");
    let header = request.headers.get("content-type");
    let content_type = header.map(|value| value.to_str().expect("ASCII").to_owned());
    let body = request.body.map(|body| String::from_utf8(body.to_vec()).expect("UTF-8"));
    (content_type, body)
}

async fn attempt(config: Value) -> Outcome {
    attempt_within(Policy::new(Reach::AnyButMetadata), None, config).await
}

async fn attempt_within(policy: Policy, own: Option<SocketAddr>, mut config: Value) -> Outcome {
    let client = HttpClient::new(policy).expect("a client");
    own.into_iter().for_each(|address| client.set_own_address(address));
    let node = Http { client: Arc::new(client) };
    let idempotency_key = "run:step".to_owned();
    // The test's configuration carries the names along.
    let outputs = serde_json::from_value(config["outputs"].take()).unwrap_or_default();
    node.attempt(Call {
        idempotency_key,
        config,
        outputs,
        is_repeated: false,
        context: AttemptContext::alone(),
    })
    .await
    .map_err(cut_quotation)
}

async fn get(server: &Server, outputs: Value) -> Outcome {
    attempt(json!({"method": "GET", "url": server.url("/"), "outputs": outputs})).await
}

#[tokio::test]
async fn parameters_join_the_query() {
    let server = Server::start(|_| reply(200, "", "{}")).await;
    let params = json!({
        "text": "a b&c", "number": 1.5, "boolean": true, "null": null,
        "list": [1, "two", null], "object": {"k": [1]}, "empty": [],
    });
    let url = server.url("/path?first=1");
    attempt(json!({"method": "get", "url": url, "params": params, "body": {"ignored": true}}))
        .await
        .expect("an answer");
    let seen = server.requests().pop().expect("a request");
    let query = "first=1&text=a+b%26c&number=1.5&boolean=true&null=&list=1&list=two&list=\
                 &object=%7B%22k%22%3A%5B1%5D%7D";
    assert!(seen.starts_with(&format!("GET /path?{query} HTTP/1.1\r\n")), "{seen}");
    assert!(!seen.contains("ignored") && !seen.contains("idempotency-key"), "{seen}");
}

#[test]
fn bodies_are_encoded_as_declared() {
    let json_type = "application/json";
    let form = "application/x-www-form-urlencoded; charset=utf-8";
    let cases = [
        (None, json!({"a": 1}), json_type, "{\"a\":1}"),
        (None, json!("text"), json_type, "\"text\""),
        (None, json!([1]), json_type, "[1]"),
        (None, json!(false), json_type, "false"),
        (Some("application/vnd.api+json"), json!({}), "application/vnd.api+json", "{}"),
        (Some("Application/JSON"), json!("x"), "Application/JSON", "\"x\""),
        (Some("text/plain"), json!("text"), "text/plain", "text"),
        (Some("application/xml"), json!("<a/>"), "application/xml", "<a/>"),
        (Some(form), json!({"a": "x y", "b": [1, 2], "c": null}), form, "a=x+y&b=1&b=2&c="),
        (Some(form), json!("a=1"), form, "a=1"),
    ];
    for (declared, body, content_type, text) in cases {
        let headers = declared.map_or(json!({}), |declared| json!({"Content-Type": declared}));
        let settings = json!({"method": "POST", "url": "/", "headers": headers, "body": body});
        let expected = (Some(content_type.to_owned()), Some(text.to_owned()));
        assert_eq!(encoded(settings), expected, "{declared:?} {body}");
    }
    assert_eq!(encoded(json!({"method": "POST", "url": "/", "body": null})), (None, None));
}

#[test]
fn the_idempotency_key_goes_with_all_that_may_change_something() {
    for (method, expected) in [
        ("GET", None),
        ("HEAD", None),
        ("POST", Some("run:step")),
        ("put", Some("run:step")),
        ("PATCH", Some("run:step")),
        ("DELETE", Some("run:step")),
        ("OPTIONS", Some("run:step")),
    ] {
        let request = request(json!({"method": method, "url": "/"})).expect("a request");
        let key = request.headers.get("idempotency-key").map(|key| key.to_str().expect("ASCII"));
        assert_eq!(key, expected, "{method}");
    }
    let headers = json!({"IDEMPOTENCY-KEY": "mine"});
    let request = request(json!({"method": "POST", "url": "/", "headers": headers}));
    assert_eq!(request.expect("a request").headers["idempotency-key"], "mine");
}

#[test]
fn header_values_are_plain() {
    let headers = json!({"X-Text": " a ", "x-number": 2, "x-boolean": true, "x-words": "é"});
    let request = request(json!({"method": "GET", "url": "/", "headers": headers}));
    let headers = request.expect("a request").headers;
    assert_eq!(headers["x-text"], "a");
    assert_eq!(headers["x-number"], "2");
    assert_eq!(headers["x-boolean"], "true");
    assert_eq!(headers["x-words"].as_bytes(), "é".as_bytes());
}

#[test]
fn wrong_settings_are_named() {
    let cases = [
        (json!({"headers": {"bad name": "x"}}), "Invalid header name: \"bad name\""),
        (json!({"headers": {"": "x"}}), "Invalid header name: \"\""),
        (
            json!({"headers": {"x-key": "secret\r\nx-other: 1"}}),
            "Header x-key: the value has a line break or control character",
        ),
        (json!({"headers": {"x": null}}), "Header x: the value is text, a number or a boolean"),
        (json!({"headers": {"x": ["a"]}}), "Header x: the value is text, a number or a boolean"),
        (json!({"method": "TRACE"}), "Invalid HTTP method: TRACE"),
        (json!({"method": ""}), "Invalid HTTP method: "),
        (json!({"method": 1}), "HTTP settings: invalid type: integer `1`, expected a string"),
    ];
    for (part, expected) in cases {
        let mut settings = json!({"method": "POST", "url": "/"});
        for (name, value) in part.as_object().expect("an object") {
            settings[name] = value.clone();
        }
        let failure = request(settings).expect_err(expected);
        assert_eq!(failure.message, expected);
        assert_eq!((failure.code, failure.class), (Code::DefinitionInvalid, Class::Fatal));
    }
    for limit in [json!(0), json!(1u64 << 40)] {
        let settings = json!({"method": "GET", "url": "/", "response_limit": limit});
        let failure = Settings::read(settings).and_then(|settings| settings.bytes_max());
        assert!(failure.is_err(), "{limit}");
    }
}

#[tokio::test]
async fn a_response_is_given_whole_without_outputs() {
    let headers = "content-type: application/json\r\nset-cookie: a=1\r\nset-cookie: b=2\r\n";
    let server = Server::start(move |_| reply(201, headers, "{\"a\": 1}")).await;
    let url = format!("http://user:pass@{}/x?q=1", server.address);
    let output = attempt(json!({"method": "GET", "url": url})).await.expect("an answer").output;
    let expected = json!({
        "status_code": 201,
        "headers": {
            "connection": "close",
            "content-length": "8",
            "content-type": "application/json",
            "set-cookie": "a=1, b=2",
        },
        "json": {"a": 1},
        "text": "{\"a\": 1}",
        "url": server.url("/x?q=1"),
        "content_type": "application/json",
        "size": 8,
    });
    assert_eq!(output, expected);

    let server = Server::start(|_| reply(204, "", "")).await;
    let output = get(&server, Value::Null).await.expect("an answer").output;
    assert_eq!(output["text"], "");
    assert_eq!((&output["content_type"], output.get("json")), (&Value::Null, None));
}

#[tokio::test]
async fn outputs_are_named() {
    for (body, expected) in [
        (r#"{"a": 1, "c": 2}"#, json!({"a": 1, "b": {"a": 1, "c": 2}})),
        (r#"{"content": [{"text": "t"}]}"#, json!({"a": "t", "b": "t"})),
        ("plain", json!({"a": "plain", "b": "plain"})),
        ("", json!({"a": "", "b": ""})),
    ] {
        let server = Server::start(move |_| reply(200, "", body)).await;
        let completion = get(&server, json!(["a", "b"])).await.expect("an answer");
        assert_eq!((completion.output, completion.port), (expected, None), "{body}");
    }
}

#[tokio::test]
async fn text_is_decoded_as_declared() {
    let cases: [(&str, &[u8], Value); 7] = [
        ("text/plain", "é".as_bytes(), json!("é")),
        ("text/plain; charset=ISO-8859-1", b"\xe9", json!("é")),
        ("text/plain; x=1; Charset=\"windows-1252\"", b"\x80", json!("€")),
        ("text/plain; charset=utf-16le", b"h\0i\0", json!("hi")),
        ("text/plain; charset=nonsense", "é".as_bytes(), json!("é")),
        ("application/octet-stream", b"a\xff\xfeb", json!("a\u{fffd}\u{fffd}b")),
        // A byte order mark does not keep JSON from being read.
        ("application/json", b"\xef\xbb\xbf[1]", json!([1])),
    ];
    for (content_type, body, expected) in cases {
        let headers = format!("content-type: {content_type}\r\n");
        let server = Server::start(move |_| reply(200, &headers, body)).await;
        let output = get(&server, json!(["a"])).await.expect("an answer").output;
        assert_eq!(output["a"], expected, "{content_type}");
    }
}

#[tokio::test]
async fn each_status_has_its_class() {
    let long = "é".repeat(300);
    let retryable = [408, 425, 429, 500, 501, 502, 503, 504, 599];
    let fatal = [300, 302, 304, 400, 401, 403, 404, 409, 410, 422, 451, 499];
    for status in retryable.into_iter().chain(fatal) {
        let body = if status == 304 { String::new() } else { long.clone() };
        let quoted = body.chars().take(200).collect::<String>();
        let server = Server::start(move |_| reply(status, "retry-after: 7\r\n", &body)).await;
        let failure = get(&server, json!(["a"])).await.expect_err("no success");
        let class = match retryable.contains(&status) {
            true => Class::Retryable { after_ms: Some(7_000) },
            false => Class::Fatal,
        };
        assert_eq!((failure.code, failure.class), (Code::HttpStatus, class), "{status}");
        assert_eq!(failure.message, format!("HTTP {status}: {quoted}"));
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(784_111_777);
    let day = 24 * 3_600_000;
    for (text, expected) in [
        ("0", Some(0)),
        (" 120 ", Some(120_000)),
        ("86401", Some(day)),
        ("18446744073709551615", Some(day)),
        ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30_000)),
        ("Sunday, 06-Nov-94 08:50:07 GMT", Some(30_000)),
        ("Sun Nov  6 08:50:07 1994", Some(30_000)),
        ("Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
        ("Fri, 31 Dec 2100 23:59:59 GMT", Some(day)),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
    ] {
        let name = HeaderName::from_static("retry-after");
        let headers: HeaderMap = [(name, HeaderValue::from_static(text))].into_iter().collect();
        assert_eq!(outcome::retry_after_ms(&headers, now), expected, "{text:?}");
    }
}

#[tokio::test]
async fn what_never_arrives_has_its_class() {
    let public = || Policy::new(Reach::PublicOnly);
    let get = |url: &str| json!({"method": "GET", "url": url});
    for (url, code) in [
        ("http://127.0.0.1:1/", Code::EgressRefused),
        ("http://169.254.169.254/", Code::EgressRefused),
        ("file:///etc/passwd", Code::DefinitionInvalid),
        ("{{missing}}", Code::DefinitionInvalid),
        ("/echo", Code::DefinitionInvalid),
    ] {
        let failure = attempt_within(public(), None, get(url)).await.expect_err(url);
        assert_eq!((failure.code, failure.class), (code, Class::Fatal), "{url}");
    }

    let server = Server::start(|_| Vec::new()).await;
    let failure = attempt(get(&server.url("/"))).await.expect_err("closed early");
    let class = Class::Retryable { after_ms: None };
    assert_eq!((failure.code, failure.class), (Code::Transport, class));

    let server = Server::start(|_| reply(200, "", "12345")).await;
    let small = json!({"method": "GET", "url": server.url("/"), "response_limit": 4});
    let failure = attempt(small).await.expect_err("too large");
    assert_eq!((failure.code, failure.class), (Code::LimitExceeded, Class::Fatal));

    let completion = attempt_within(public(), Some(server.address), get("/")).await;
    assert_eq!(completion.expect("this server").output["json"], 12345);
}
