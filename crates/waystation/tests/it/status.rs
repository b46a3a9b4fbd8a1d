//! How the server says it is, `/echo`, and who may talk to it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::command::run_with;
use crate::support::server::{Server, answer};
use crate::support::{pipeline, step};

#[tokio::test]
async fn the_status_routes_tell_how_the_server_is() {
    let server = Server::start().await;
    assert_eq!(server.get("/ping").await, (200, json!("pong")));
    let health = json!({ "status": "healthy", "service": "objspace-workflow-engine",
                         "version": env!("CARGO_PKG_VERSION") });
    assert_eq!(server.get("/health").await, (200, health));
    let ready = json!({ "status": "ready", "store": "ok", "shutting_down": false,
                        "runs_running": 0, "webhooks": { "active": 0, "dead": 0 }, "redis": null });
    assert_eq!(server.get("/ready").await, (200, ready));
    server.execute(&pipeline(&[step("one", "/echo", &[])])).await;
    let (status, metrics) = server.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.as_str().unwrap().contains("waystation_runs_running 0"), "{metrics}");
}

#[tokio::test]
async fn echo_answers_with_what_it_was_sent() {
    let server = Server::start().await;
    for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        let request = server.request(method.clone(), "/echo?a=1&b=two%20words");
        let (status, echo) = answer(request.header("x-mark", "m").json(&json!({ "k": [1] }))).await;
        assert_eq!(status, 200);
        assert_eq!(echo["method"], method.as_str());
        assert_eq!(echo["args"], json!({ "a": "1", "b": "two words" }));
        assert_eq!(echo["headers"]["x-mark"], "m");
        assert_eq!(echo["json"], json!({ "k": [1] }));
        assert_eq!(echo["data"], r#"{"k":[1]}"#);
        assert_eq!(echo["url"], "/echo?a=1&b=two%20words");
    }
    let text = answer(server.request(Method::POST, "/echo?status=418").body("no json")).await;
    assert_eq!((text.0, &text.1["json"], &text.1["data"]), (418, &Value::Null, &json!("no json")));
    let only = server.post("/echo?only=json", &json!([1, 2])).await;
    assert_eq!(only, (200, json!([1, 2])));
}

#[tokio::test]
async fn web_pages_elsewhere_cannot_use_a_local_server() {
    let server = Server::start().await;
    let port = server.address.split(':').next_back().unwrap().to_owned();
    let own = format!("http://127.0.0.1:{port}");
    for (name, value, status) in [
        ("host", "evil.example", 403),
        ("host", "127.0.0.1.evil.example", 403),
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", &own, 200),
        ("host", "LocalHost", 200),
    ] {
        for path in ["/execute", "/ping", "/runs", "/echo"] {
            let method = if path == "/execute" { Method::POST } else { Method::GET };
            let request = server.request(method, path).header(name, value);
            let (got, reply) = answer(request.body(r#"{"STEPS_CONFIG":[]}"#)).await;
            assert_eq!(got, status, "{name}: {value} {path} {reply}");
            if status == 403 {
                assert_eq!(reply["code"], "forbidden");
                assert!(reply["hint"].is_string());
            }
        }
    }
}

#[tokio::test]
async fn a_server_for_other_machines_has_to_be_asked_for() {
    let directory = tempfile::TempDir::new().unwrap();
    let arguments = ["serve", "--host", "0.0.0.0", "--port", "0"];
    let ended = run_with(directory.path(), &arguments, &[], "").await;
    assert_eq!(ended.code, Some(4));
    insta::assert_snapshot!(ended.stderr, @r#"
    error: 0.0.0.0 can be reached by other machines, and callers are not asked who they are
     hint: listen on 127.0.0.1, make a key with `waystation key create` or set JWT_SECRET, or add --open where the network keeps others out
    "#);
    let server = Server::with(&[("HOST", "0.0.0.0"), ("WAYSTATION_OPEN", "true")]).await;
    let (_, port) = server.address.split_once(':').unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let ping = client.get(url("/ping")).header("host", "flows.example").send().await.unwrap();
    assert_eq!(ping.status(), 200);
    // Secrets are not for others, and targets of this machine neither.
    for token in ["", "guess"] {
        let request = client.get(url("/secrets")).header("waystation-token", token);
        assert_eq!(request.send().await.unwrap().status(), 403);
    }
    let body = pipeline(&[step("one", &url("/ping"), &[])]);
    let reply = client.post(url("/execute")).json(&body).send().await.unwrap();
    let reply: Value = reply.json().await.unwrap();
    assert!(reply["error"].as_str().unwrap().contains("WAYSTATION_EGRESS"), "{reply}");
    // Who can read the data directory may set them.
    let set = run_with(server.data(), &["secret", "set", "KEY"], &[], "v").await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let note = std::fs::metadata(server.data().join("server.json")).unwrap();
    assert_eq!(note.permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_at_the_start() {
    let directory = tempfile::TempDir::new().unwrap();
    for (name, value, says) in [
        ("WAYSTATION_MAX_BODY_BYTES", "lots", "WAYSTATION_MAX_BODY_BYTES must be a whole number"),
        ("WAYSTATION_EGRES", "public-only", "did you mean WAYSTATION_EGRESS?"),
        ("WAYSTATION_SECRET_KEY", "short", "WAYSTATION_SECRET_KEY"),
        ("WORKFLOW_ENGINE_URL", "engine:80", "WORKFLOW_ENGINE_URL must be an http or https URL"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT must be json or pretty"),
        ("REDIS_URL", "http://x", "REDIS_URL"),
    ] {
        let ended =
            run_with(directory.path(), &["serve", "--port", "0"], &[(name, value)], "").await;
        assert_eq!(ended.code, Some(4), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{name}: {}", ended.stderr);
    }
}

/// The rules of `promtool check metrics`: help and type before the samples, names as they should be, and
/// histograms that add up.
#[tokio::test]
async fn metrics_follow_the_rules_of_prometheus() {
    let server = Server::start().await;
    server.execute(&pipeline(&[step("one", "/echo", &[])])).await;
    let chain = json!({ "context": "hi", "provider": "echo", "instructions": ["Say it"] });
    let (_, begun) = server.post("/", &chain).await;
    server.until(begun["instanceId"].as_str().unwrap(), "completed").await;
    let text = server.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let (mut helped, mut typed) = (BTreeSet::new(), BTreeMap::new());
    let mut last_bucket: BTreeMap<String, f64> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            helped.insert(rest.split_once(' ').unwrap().0);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(helped.contains(name), "{name} has no help");
            assert!(typed.insert(name, kind).is_none(), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        } else {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let value: f64 = value.parse().unwrap();
            let name = series.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| {
                name.strip_suffix(suffix).filter(|family| typed.contains_key(family))
            });
            assert!(typed.contains_key(family.unwrap_or(name)), "{name} has no type");
            let Some(family) = family else { continue };
            let labels = series.split("le=\"").next().unwrap().trim_end_matches([',', '{', '}']);
            let key = labels.replace("_bucket", "").replace("_count", "");
            if name.ends_with("_bucket") {
                let before = last_bucket.insert(key, value).unwrap_or(0.0);
                assert!(before <= value, "{line} after {before}");
            } else if name.ends_with("_count") {
                assert_eq!(last_bucket.get(&key), Some(&value), "{family} {key}");
            }
        }
    }
    for name in
        ["waystation_llm_calls_total", "waystation_run_seconds", "waystation_store_queue_length"]
    {
        assert!(typed.contains_key(name), "{name}");
    }
}

#[tokio::test]
async fn an_echo_of_no_final_status_is_an_answer_all_the_same() {
    let server = Server::start().await;
    for status in [100, 101, 199] {
        assert_eq!(server.get(&format!("/echo?status={status}")).await.0, 200, "{status}");
    }
    assert_eq!(server.get("/echo?status=503").await.0, 503);
}
