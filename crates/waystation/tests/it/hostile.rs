//! Requests that are wrong or meant ill: a clear error in bounded time, and a server that goes on.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::server::{Server, answer};
use crate::support::target::{Target, reply};
use crate::support::{command, eventually, pipeline, step};

/// What nobody should have to wait longer for.
const BOUND: Duration = Duration::from_secs(10);

/// Sends a body and gives status, JSON, and proof that the server goes on.
async fn send(server: &Server, path: &str, body: impl Into<reqwest::Body>) -> (u16, Value) {
    let start = Instant::now();
    let result = answer(server.request(Method::POST, path).body(body)).await;
    assert!(start.elapsed() < BOUND);
    assert_eq!(server.get("/ping").await, (200, json!("pong")));
    result
}

#[tokio::test]
async fn a_body_that_is_no_json_object_is_refused_with_the_reason() {
    let server = Server::start().await;
    let mut deep = String::from(r#"{"original_input":"#);
    deep += &"[".repeat(200);
    deep += &"]".repeat(200);
    deep.push('}');
    for (body, reason) in [
        (&b""[..], "The body is empty; a JSON object is expected"),
        (b"[]", "The body must be a JSON object, but it is an array"),
        (b"\"text\"", "The body must be a JSON object, but it is a string"),
        (b"7", "The body must be a JSON object, but it is no object"),
        (b"{\"STEPS_CONFIG\":", "The body is not valid JSON: EOF"),
        (b"{\"a\":1} {}", "The body is not valid JSON: trailing characters"),
        (b"{\"a\":\"\xff\"}", "The body is not UTF-8"),
        (b"{\"input_data\":[]}", "Field input_data must be an object"),
        (b"{\"workflow_id\":{}}", "Field workflow_id must be a string"),
        (deep.as_bytes(), "Field original_input: recursion limit exceeded"),
    ] {
        for path in ["/execute", "/api/execute"] {
            let (status, reply) = send(&server, path, body.to_vec()).await;
            assert_eq!(status, 400, "{reply}");
            assert_eq!(reply["success"], false);
            assert_eq!(reply["code"], "body_invalid");
            assert!(reply["hint"].is_string());
            let error = reply["error"].as_str().unwrap();
            assert!(error.starts_with(reason), "{error}");
        }
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_however_it_is_sent() {
    let server = Server::start().await;
    let large = format!(r#"{{"original_input":"{}"}}"#, "x".repeat(10 << 20));
    for path in ["/execute", "/echo", "/namespaces/n/blocks", "/api/workflows/webhook"] {
        let (status, reply) = send(&server, path, large.clone()).await;
        assert_eq!(status, 413, "{path}");
        assert_eq!(reply["code"], "body_too_large", "{path}");
        assert!(reply["hint"].as_str().unwrap().contains("WAYSTATION_MAX_BODY_BYTES"));
    }
    let pieces = (0..40).map(|_| Ok::<_, std::io::Error>(vec![b'x'; 256 << 10]));
    let body = reqwest::Body::wrap_stream(futures_util::stream::iter(pieces));
    assert_eq!(send(&server, "/execute", body).await.0, 413);
}

#[tokio::test]
async fn the_limit_is_a_setting() {
    let server = Server::with(&[("WAYSTATION_MAX_BODY_BYTES", "2048")]).await;
    let body = |bytes: usize| format!(r#"{{"x":"{}"}}"#, "y".repeat(bytes));
    assert_eq!(send(&server, "/echo", body(1_900)).await.0, 200);
    assert_eq!(send(&server, "/echo", body(2_100)).await.0, 413);
}

#[tokio::test]
async fn definitions_that_cannot_work_are_explained() {
    let server = Server::start().await;
    let echo = |name: &str, needs: &[&str]| step(name, "/echo", needs);
    let with_url = |url: &str| step("a", url, &[]);
    let with_mapping = |text: &str| {
        let mut step = step("a", "/echo", &[]);
        step["body_template"] = json!({ "x": text });
        step
    };
    let mut nested = json!(1);
    for _ in 0..200 {
        nested = json!([nested]);
    }
    let mut deep = echo("a", &[]);
    deep["body_template"] = nested;
    let many: Vec<Value> = (0..5_000).map(|number| echo(&format!("s{number}"), &[])).collect();
    for (steps, reason) in [
        (vec![echo("a", &["a"])], "Cycle detected in workflow dependencies: a -> a"),
        (
            vec![echo("a", &["c"]), echo("b", &["a"]), echo("c", &["b"])],
            "Cycle detected in workflow dependencies: ",
        ),
        (vec![echo("a", &[]), echo("a", &[])], "Duplicate USID: usid-a"),
        (vec![echo("fetch", &[]), echo("b", &["fetsh"])], "fetch"),
        (vec![with_mapping("{{ 1 + }}")], "Step 1 (a): "),
        (vec![with_mapping("{{ unclosed")], "Step 1 (a): "),
        (
            vec![with_url("file:///etc/passwd")],
            "Step 1 (a): Invalid service_url: file:///etc/passwd",
        ),
        (vec![with_url("gopher://x/")], "Step 1 (a): Invalid service_url: gopher://x/"),
        (vec![with_url("//evil.example/")], "Step 1 (a): Invalid service_url"),
        (vec![with_url("javascript:alert(1)")], "Step 1 (a): Invalid service_url"),
        (vec![deep], "STEPS_CONFIG: recursion limit exceeded"),
        (many, "STEPS_CONFIG has 5000 steps; at most 4096 are allowed (WAYSTATION_MAX_STEPS)"),
    ] {
        let (status, reply) = send(&server, "/execute", pipeline(&steps).to_string()).await;
        assert_eq!(status, 200, "{reason}");
        assert_eq!(reply["success"], false, "{reason}");
        let errors = reply["validation_errors"].as_array().unwrap();
        let says = |error: &Value| error.as_str().unwrap().contains(reason);
        assert!(errors.iter().any(says), "{reason}: {errors:?}");
        let text = reply["error"].as_str().unwrap();
        assert!(text.starts_with("Payload validation failed:\n"), "{text}");
    }
}

#[tokio::test]
async fn five_thousand_steps_run_where_the_setting_allows_them() {
    let server = Server::with(&[("WAYSTATION_MAX_STEPS", "5000")]).await;
    let set = |number: usize| {
        json!({ "step_name": format!("s{number}"), "usid": format!("u{number:05}"), "type": "set",
                "value": number, "outputs": [format!("o{number}")],
                "dependencies": if number > 0 { vec![format!("o{}", number - 1)] } else { vec![] } })
    };
    let steps: Vec<Value> = (0..5_000).map(set).collect();
    let reply = server.execute(&pipeline(&steps)).await;
    assert_eq!(reply["steps_completed"], 5_000);
    assert_eq!(reply["all_outputs"]["o4999"], 4_999);
}

#[tokio::test]
async fn metadata_addresses_are_never_called_whatever_they_are_written_as() {
    let server = Server::start().await;
    for url in [
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:169.254.169.254]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://[fe80::1]/",
        "http://100.100.100.200/",
        "http://[fd00:ec2::254]/",
        "{{ \"http://169.254\" }}.169.254/",
    ] {
        let reply = server.execute(&pipeline(&[step("a", url, &[])])).await;
        assert_eq!(reply["success"], false, "{url}");
        let error = reply["error"].as_str().unwrap();
        assert!(error.contains("never called"), "{url}: {error}");
    }
}

#[tokio::test]
async fn schemes_that_templates_make_are_refused_too() {
    let server = Server::start().await;
    for url in ["file:///etc/passwd", "ftp://127.0.0.1/", "//127.0.0.1/x", "nonsense"] {
        let mut body = pipeline(&[step("a", "{{original_input}}", &[])]);
        body["original_input"] = url.into();
        let reply = server.execute(&body).await;
        assert_eq!(reply["success"], false, "{url}");
        let error = reply["error"].as_str().unwrap();
        assert!(error.starts_with("the URL "), "{url}: {error}");
    }
}

/// The deepest value that a body takes is kept, shown and read again.
#[tokio::test]
async fn values_as_deep_as_can_be_survive_the_journal() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let target = Target::start(move |request, _| async move {
        reply(200, nested(request.path[1..].parse().unwrap()))
    });
    let target = target.await;
    let mut server = Server::start().await;
    let steps = [step("a", &target.url("/120"), &[]), step("b", &target.url("/127"), &["a_out"])];
    let body = pipeline(&steps).to_string();
    let body = body.replacen('{', &format!(r#"{{"original_input":{},"#, nested(120)), 1);
    let request = server.request(Method::POST, "/execute").body(body.clone());
    let text = request.send().await.unwrap().text().await.unwrap();
    assert!(text.starts_with(r#"{"success":true"#), "{text}");
    let (_, list) = server.get("/runs").await;
    let run = list["runs"][0]["execution_id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let shown = server.request(Method::GET, &format!("/runs/{run}")).send().await.unwrap();
        assert_eq!(shown.status(), 200);
        assert!(shown.text().await.unwrap().contains(&nested(127)));
        let shown = command::run(server.data(), &["runs", "show", &run, "--json"]).await;
        assert_eq!(shown.code, Some(0), "{}", shown.stderr);
        let ended = command::run_with(server.data(), &["run", "-", "--json"], &[], &body).await;
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        assert!(ended.stdout.contains("\"success\": true"), "{}", ended.stdout);
        server.stop().await;
        server = server.again().await;
    }
}

#[tokio::test]
async fn broken_http_leaves_the_server_alive() {
    let server = Server::start().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"GARBAGE\r\n\r\n",
        b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{",
        b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: x\r\n\r\n{}",
        b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(BOUND, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the connection stays open after {bytes:?}");
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    assert_eq!(server.get("/ping").await, (200, json!("pong")));
}

#[tokio::test]
async fn every_error_of_the_api_is_json() {
    let server = Server::start().await;
    for (method, path, status, code) in [
        (Method::GET, "/nowhere", 404, "not_found"),
        (Method::GET, "/execute", 405, "request_invalid"),
        (Method::DELETE, "/runs", 405, "request_invalid"),
        (Method::GET, "/runs?limit=many", 400, "request_invalid"),
        (Method::GET, "/runs?limit=-1", 400, "request_invalid"),
        (Method::GET, "/runs?status=odd", 400, "request_invalid"),
        (Method::GET, "/runs/%ff", 400, "request_invalid"),
        (Method::GET, "/namespaces/n/blocks?limit=x", 400, "request_invalid"),
        (Method::GET, "/namespaces/n/workflows/w/runs?limit=x", 400, "request_invalid"),
        (Method::GET, "/runs?before=nonsense", 400, "request_invalid"),
    ] {
        let (got, reply) = server.call(method.clone(), path, None).await;
        assert_eq!(got, status, "{method} {path}: {reply}");
        assert_eq!(reply["code"], code, "{method} {path}: {reply}");
        assert_eq!(reply["success"], false);
        assert!(reply["error"].is_string());
    }
}

#[tokio::test]
async fn a_chain_that_multiplies_its_results_ends_with_the_reason() {
    let server = Server::with(&[("WAYSTATION_MAX_RESULT_BYTES", "1000000")]).await;
    let repeat =
        || json!({ "type": "thread", "collectFromSteps": [1], "outputFormat": "numbered" });
    let instructions: Vec<Value> =
        std::iter::once(json!("Go.")).chain((0..500).map(|_| repeat())).collect();
    let chain = json!({
        "context": "x".repeat(10_000), "provider": "echo", "instructions": instructions,
    });
    let (status, reply) = send(&server, "/", chain.to_string()).await;
    assert_eq!(status, 200, "{reply}");
    let path = format!("/?instanceId={}", reply["instanceId"].as_str().unwrap());
    let ended = eventually("the chain has ended", async || {
        let (_, reply) = server.get(&path).await;
        (reply["status"]["status"] == "errored").then_some(reply)
    });
    let status = ended.await["status"].take();
    assert_eq!(status["error"], "the results of this run take more than 1000000 bytes together");
    let steps = status["output"]["steps"].as_array().unwrap().len();
    assert!((90..=100).contains(&steps), "{steps}");
    assert_eq!(status["output"]["errors"][0]["context"]["code"], "limit_exceeded");
}
