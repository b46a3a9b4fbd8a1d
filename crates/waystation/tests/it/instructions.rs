//! Instruction chains over HTTP: what is begun and refused, who may ask, what is told.

use insta::assert_json_snapshot;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::support::server::{Server, answer};
use crate::support::{pipeline, step};

/// Status, headers and JSON of an answer.
async fn whole(request: RequestBuilder) -> (u16, HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn what_cannot_be_begun_is_refused_with_every_reason() {
    let server = Server::start().await;
    let refused = async |path: &str, body: &str| {
        let request = server.request(Method::POST, path).body(body.to_owned());
        let (status, reply) = answer(request).await;
        assert_eq!(status, 400, "{body}: {reply}");
        reply
    };
    let condition = json!({ "context": "x", "instructions": [
        { "instruction": "a", "condition": { "expression": "e", "ifTrue": [7] } },
    ] });
    let unknown = json!({ "context": "x", "instructions": ["a"], "provider": "echoo" });
    let several = json!({ "instructions": [{ "type": "dance" }, { "type": "endpoint" }] });
    let mut replies = Vec::new();
    for body in [
        "not JSON",
        "[]",
        r#"{"instructions":["a"]}"#,
        r#"{"context":"x"}"#,
        r#"{"context":"x","firstInstruction":"a"}"#,
        &condition.to_string(),
        &unknown.to_string(),
        &several.to_string(),
    ] {
        let reply = refused("/", body).await;
        assert_eq!(refused("/batch", body).await["error"], reply["error"]);
        replies.push(reply);
    }
    for count in ["0", "21", "1.5", "\"many\"", "null"] {
        let body = format!(r#"{{"context":"x","instructions":["a"],"count":{count}}}"#);
        let expected = json!({ "error": "Count must be between 1 and 20" });
        assert_eq!(refused("/batch", &body).await, expected, "{count}");
    }
    assert_json_snapshot!(replies);
    assert_eq!(server.get("/runs").await.1["runs"], json!([]));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_in_words() {
    let server = Server::with(&[("WAYSTATION_MAX_BODY_BYTES", "2048")]).await;
    let body = json!({ "context": "x".repeat(4_000), "instructions": ["a"] });
    let request = server.request(Method::POST, "/").json(&body);
    let (status, headers, reply) = whole(request).await;
    assert_eq!((status, &reply["code"]), (413, &json!("body_too_large")));
    assert_eq!(header(&headers, "access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn what_is_no_instance_is_not_found() {
    let server = Server::start().await;
    let reply = server.execute(&pipeline(&[step("one", "/echo", &[])])).await;
    let other = reply["execution_id"].as_str().unwrap();
    for id in [other, "0000000000000", "none", "a-b"] {
        let request = server.request(Method::GET, &format!("/?instanceId={id}"));
        let expected = json!({ "error": format!("Instance not found: {id}") });
        assert_eq!(answer(request).await, (404, expected), "{id}");
    }
}

#[tokio::test]
async fn a_browser_gets_the_page_and_a_program_the_usage() {
    let server = Server::start().await;
    let (status, headers, usage) = whole(server.request(Method::GET, "/")).await;
    assert_eq!((status, header(&headers, "vary")), (200, Some("accept")));
    assert!(usage["endpoints"]["POST /"].is_string(), "{usage}");
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    let request = server.request(Method::GET, "/?instanceId=").header("accept", accept);
    let (status, headers, page) = whole(request).await;
    assert_eq!((status, header(&headers, "vary")), (200, Some("accept")));
    assert_eq!(header(&headers, "content-type"), Some("text/html; charset=utf-8"));
    let policy = header(&headers, "content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    // All that the page is made of is there, and nothing in it lies elsewhere or inline.
    let page = page.as_str().unwrap();
    let mut texts = vec![page.to_owned()];
    for (path, media) in [
        ("/ui/page.css", "text/css"),
        ("/ui/page.js", "text/javascript"),
        ("/ui/watch.js", "text/javascript"),
        ("/ui/examples.js", "text/javascript"),
    ] {
        let (status, headers, text) = whole(server.request(Method::GET, path)).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(header(&headers, "content-type"), Some(&*format!("{media}; charset=utf-8")));
        assert_eq!(header(&headers, "x-content-type-options"), Some("nosniff"));
        texts.push(text.as_str().unwrap().to_owned());
    }
    for text in texts {
        for forbidden in
            ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick"]
        {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
    }
    assert_eq!(server.get("/ui/none.js").await.0, 404);
}

/// What a page at an origin gets: the status of a POST, and what it is told of the origins.
async fn asked_from(server: &Server, origin: &str) -> (u16, Option<String>) {
    let request = server.request(Method::POST, "/").header("origin", origin).body("{}");
    let (status, headers, reply) = whole(request).await;
    assert!(reply["error"].is_string());
    (status, header(&headers, "access-control-allow-origin").map(str::to_owned))
}

#[tokio::test]
async fn pages_of_other_origins_may_read_everything_and_start_what_the_operator_allows() {
    let page = "https://flows.example";
    let told = |origin: &str| Some(origin.to_owned());
    for (setting, origin, expected) in [
        ("", page, (403, told("*"))),
        ("", "http://localhost:5173", (400, told("*"))),
        ("*", page, (400, told("*"))),
        ("*", "null", (400, told("*"))),
        (page, page, (400, told(page))),
        (page, "https://evil.example", (403, None)),
        ("http://a.example, https://flows.example/", page, (400, told(page))),
    ] {
        let server = Server::with(&[("WAYSTATION_CORS_ORIGINS", setting)]).await;
        assert_eq!(asked_from(&server, origin).await, expected, "{setting} {origin}");
        // Other routes are as closed as ever, and a page cannot get around the host.
        let runs = server.request(Method::GET, "/runs").header("origin", page);
        assert_eq!(answer(runs).await.0, 403);
        let host = server.request(Method::GET, "/").header("host", "flows.example");
        assert_eq!(answer(host.header("origin", page)).await.0, 403);
    }
}

#[tokio::test]
async fn every_reply_of_these_routes_says_what_pages_may_do() {
    let server = Server::start().await;
    for (method, path, body, expected) in [
        (Method::OPTIONS, "/", "", 204),
        (Method::OPTIONS, "/batch", "", 204),
        (Method::GET, "/", "", 200),
        (Method::GET, "/?instanceId=x", "", 404),
        (Method::GET, "/?instanceId=x&instanceId=y", "", 400),
        (Method::POST, "/", "{}", 400),
        (Method::POST, "/batch", "{", 400),
        (Method::DELETE, "/", "", 405),
        (Method::GET, "/batch", "", 405),
    ] {
        let request = server.request(method.clone(), path).header("origin", "http://127.0.0.1:9");
        let (status, headers, reply) = whole(request.body(body)).await;
        assert_eq!(status, expected, "{method} {path} {reply}");
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, POST, OPTIONS"),
            ("access-control-allow-headers", "Content-Type"),
        ] {
            assert_eq!(header(&headers, name), Some(value), "{method} {path}");
        }
        assert_eq!(headers.get("access-control-allow-credentials"), None);
    }
    // A browser asks before it sends, also from elsewhere, or it would not see the refusal itself.
    let request = server.request(Method::OPTIONS, "/").header("origin", "https://evil.example");
    assert_eq!(whole(request).await.0, 204);
}
