//! Redirects as services send them, also to where nobody should go.

use reqwest::header::HeaderValue;

use super::super::testing::{MIB, Server, client, get, named_client, open_client, reply};
use super::super::{Reach, Request};
use super::*;
use crate::limits;

#[tokio::test]
async fn redirects_change_method_and_body_as_browsers_do() {
    let kept = ("PUT", "{\"a\":1}");
    let cases = [
        (301, Method::POST, ("GET", "")),
        (302, Method::POST, ("GET", "")),
        (303, Method::POST, ("GET", "")),
        (303, Method::PUT, ("GET", "")),
        (301, Method::PUT, kept),
        (302, Method::PUT, kept),
        (307, Method::PUT, kept),
        (308, Method::PUT, kept),
        (303, Method::HEAD, ("HEAD", "")),
    ];
    for (status, method, (expected_method, expected_body)) in cases {
        let server = Server::start(move |request| match request.contains(" /end?x=1 ") {
            true => reply(200, "", ""),
            false => reply(status, "location: ../end?x=1#part\r\n", "moved"),
        });
        let server = server.await;
        let mut request = Request::new(method.clone(), server.url("/a/b"));
        request.body = (method != Method::HEAD).then(|| Bytes::from_static(b"{\"a\":1}"));
        let response = open_client().send(request, MIB).await.expect("an answer");
        assert_eq!(response.url.path(), "/end");
        let last = server.requests().pop().expect("a request");
        let (head, body) = last.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(expected_method), "{status} {method}: {head}");
        assert_eq!(body, expected_body, "{status} {method}");
        assert_eq!(head.contains("content-length"), !body.is_empty(), "{head}");
    }
}

#[tokio::test]
async fn a_body_that_holds_keys_goes_to_no_other_origin() {
    let other = Server::start(|_| reply(200, "", "")).await;
    let elsewhere = other.url("/end");
    for (status, is_followed) in [(307, false), (308, false), (302, true)] {
        let location = format!("location: {elsewhere}\r\n");
        let server = Server::start(move |_| reply(status, &location, "")).await;
        let mut request = Request::new(Method::POST, server.url("/"));
        request.body = Some(Bytes::from_static(b"{\"headers\":{\"x-api-key\":\"k\"}}"));
        request.is_body_private = true;
        let sent = open_client().send(request, MIB).await;
        assert_eq!(sent.is_ok(), is_followed, "{status}");
        let problem = sent.err().map(|error| error.to_string()).unwrap_or_default();
        assert_eq!(problem.contains("redirects to another host"), !is_followed, "{problem}");
    }
    assert!(other.requests().iter().all(|request| !request.contains("x-api-key")));
    let server = Server::start(|request| match request.contains(" /end ") {
        true => reply(200, "", ""),
        false => reply(308, "location: /end\r\n", ""),
    });
    let mut request = Request::new(Method::POST, server.await.url("/"));
    (request.body, request.is_body_private) = (Some(Bytes::from_static(b"{}")), true);
    assert!(open_client().send(request, MIB).await.is_ok(), "the same origin");
}

#[tokio::test]
async fn what_is_no_redirect_is_an_answer() {
    for (status, headers) in [(300, "location: /x\r\n"), (302, ""), (304, "location: /x\r\n")] {
        let server = Server::start(move |_| reply(status, headers, "")).await;
        let response = get(&open_client(), server.url("/")).await.expect("an answer");
        assert_eq!(response.status, status);
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn every_redirect_is_checked() {
    let client = named_client(|_| &["169.254.169.254"]);
    for target in [
        "http://169.254.169.254/latest/meta-data",
        "//169.254.169.254/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://2852039166/",
        "http://metadata.google.internal/",
        "https://named.example/",
    ] {
        let server =
            Server::start(move |_| reply(307, &format!("location: {target}\r\n"), "")).await;
        let error = get(&client, server.url("/")).await.expect_err(target);
        assert!(matches!(error, SendError::Refused(_)), "{target}: {error}");
    }
    for target in ["file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http://[::1"] {
        let server =
            Server::start(move |_| reply(302, &format!("location: {target}\r\n"), "")).await;
        let error = get(&client, server.url("/")).await.expect_err(target);
        assert!(matches!(error, SendError::Invalid(_)), "{target}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_from_an_allowed_to_a_private_address_is_refused() {
    let server = Server::start(|_| reply(302, "location: http://10.0.0.1/\r\n", "")).await;
    let client = client(Reach::PublicOnly, "127.0.0.1");
    let error = get(&client, server.url("/")).await.expect_err("a private target");
    assert!(matches!(error, SendError::Refused(_)), "{error}");
}

#[tokio::test]
async fn redirects_end() {
    let server = Server::start(|_| reply(302, "location: /again\r\n", "")).await;
    let error = get(&open_client(), server.url("/")).await.expect_err("a loop");
    assert!(matches!(error, SendError::Redirects { .. }), "{error}");
    assert_eq!(server.requests().len(), limits::REDIRECTS + 1);
}

#[tokio::test]
async fn another_origin_gets_no_keys() {
    let other = Server::start(|_| reply(200, "", "ok")).await;
    let target = other.url("/");
    let first = Server::start(move |request| match request.contains(" /same ") {
        true => reply(307, &format!("location: {target}\r\n"), ""),
        false => reply(307, "location: /same\r\n", ""),
    });
    let first = first.await;
    let url = format!("http://user:pass@{}/", first.address);
    let mut request = Request::new(Method::POST, url);
    let names = ["x-api-key", "cookie", "private-token", "accept", "idempotency-key"];
    for name in names {
        request.headers.insert(name, HeaderValue::from_static("given"));
    }
    let response = open_client().send(request, MIB).await.expect("an answer");
    assert_eq!(response.url.as_str(), other.url("/"));

    let requests = first.requests();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(request.contains("authorization: Basic dXNlcjpwYXNz"), "{request}");
        assert!(names.iter().all(|name| request.contains(&format!("{name}: given"))), "{request}");
    }
    let leaked = other.requests().pop().expect("a request");
    for name in ["x-api-key", "cookie", "private-token", "authorization"] {
        assert!(!leaked.contains(name), "{leaked}");
    }
    for name in ["accept: given", "idempotency-key: given", "user-agent: waystation/"] {
        assert!(leaked.contains(name), "{leaked}");
    }
}

#[test]
fn only_a_change_to_tls_on_standard_ports_is_an_upgrade() {
    for (from, to, expected) in [
        ("http://a.example/x", "https://a.example/y", true),
        ("https://a.example/", "http://a.example/", false),
        ("http://a.example:8080/", "https://a.example/", false),
        ("http://a.example/", "https://a.example:8443/", false),
        ("http://a.example/", "https://b.example/", false),
    ] {
        let url = |text| Url::parse(text).expect("a URL");
        assert_eq!(is_upgrade(&url(from), &url(to)), expected, "{from} {to}");
    }
}

#[tokio::test]
async fn this_server_may_not_redirect_to_its_neighbours() {
    let neighbour = Server::start(|_| reply(200, "", "")).await;
    let target = neighbour.url("/");
    let server = Server::start(move |_| reply(302, &format!("location: {target}\r\n"), "")).await;
    let client = client(Reach::PublicOnly, "");
    client.set_own_address(server.address);
    let error = get(&client, "/").await.expect_err("another port");
    assert!(matches!(error, SendError::Refused(_)), "{error}");
    assert!(neighbour.requests().is_empty());
}
