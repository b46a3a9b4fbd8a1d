//! Secrets: they go out where a step needs them, and nowhere else.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::command::{run, run_with};
use crate::support::graph::{flow, node};
use crate::support::server::{Server, bytes_under};
use crate::support::target::{Target, reply};
use crate::support::{eventually, free_port, pipeline, step};

const VALUE: &str = "hunter2/correct+horse=battery";

#[tokio::test]
async fn a_secret_is_used_and_never_seen() {
    let everything = Arc::new(Mutex::new(String::new()));
    // It gives back all that it was sent, as it came and in base64, and fails at will.
    let target = Target::start(async |request, _| {
        let seen = format!("{} {} {}", request.header("x-key"), request.query, request.body);
        let coded = STANDARD.encode(request.header("x-key"));
        match request.path.as_str() {
            "/fail" => reply(400, format!("bad key {}", request.header("x-key"))),
            _ => reply(200, json!({ "echo": seen, "coded": coded, (seen): 1 }).to_string()),
        }
    });
    let target = target.await;
    let receiver = Target::start(async |_, _| reply(200, "")).await;
    let server = Server::with(&[("LOG_LEVEL", "trace")]).await;
    let input = format!("{VALUE}\n");
    let set = run_with(server.data(), &["secret", "set", "API.KEY"], &[], &input).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    for path in ["/ok", "/fail"] {
        let mut one = step("one", &format!("{}?k={{{{secrets.API.KEY}}}}", target.url(path)), &[]);
        one["headers"] = json!({ "x-key": "{{secrets.API.KEY}}" });
        one["body_template"] = json!({ "k": "{{secrets.API.KEY}}" });
        one["outputs"] = json!(["echo", "coded", "whole"]);
        let mut body = pipeline(&[one]);
        body["PIPELINE_SETTINGS"]["notifications"] = json!({ "webhook_url": receiver.url("/") });
        let reply = server.execute(&body).await;
        let run = reply["execution_id"].as_str().unwrap();
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        *everything.lock().unwrap() += &format!("{reply}{detail}");
    }
    let received = target.received();
    assert!(received.iter().all(|one| one.header("x-key") == VALUE));
    assert_eq!(received[0].json(), json!({ "k": VALUE }));
    eventually("all is told", async || {
        let ended =
            |event: &str| receiver.received().iter().any(|one| one.json()["event"] == event);
        (ended("workflow_completed") && ended("workflow_failed")).then_some(())
    })
    .await;
    let mut all = everything.lock().unwrap().clone();
    all.extend(receiver.received().into_iter().map(|one| one.body));
    all += &server.log();
    for path in [
        "/runs",
        "/secrets",
        "/health",
        "/ready",
        "/metrics",
        "/namespaces/default/workflows/flow/runs",
    ] {
        all += &server.get(path).await.1.to_string();
    }
    all += &run(server.data(), &["secret", "list"]).await.stdout;
    assert!(all.contains("API.KEY"), "the list of names is there");
    for hidden in [VALUE.to_owned(), STANDARD.encode(VALUE)] {
        assert!(!all.contains(&hidden), "{hidden} in {all}");
        for (file, bytes) in bytes_under(server.data()) {
            let found = bytes.windows(hidden.len()).any(|part| part == hidden.as_bytes());
            assert!(!found, "{hidden} in {}", file.display());
        }
    }
}

#[tokio::test]
async fn a_step_that_needs_an_unknown_secret_says_how_to_set_it() {
    let server = Server::start().await;
    let mut one = step("one", "/echo", &[]);
    one["headers"] = json!({ "authorization": "Bearer {{secrets.MISSING}}" });
    let reply = server.execute(&pipeline(&[one])).await;
    assert_eq!(reply["success"], false, "{reply}");
    let text = format!("{} {}", reply["error"], reply["hint"]);
    assert!(text.contains("MISSING") && text.contains("secret set"), "{text}");
}

#[tokio::test]
async fn the_command_line_sets_lists_and_removes_with_and_without_a_server() {
    let server = Server::start().await;
    let beside = |server: Option<&Server>| server.is_some();
    let directory = server.directory();
    let mut server = Some(server);
    for _ in 0..2 {
        let name = if beside(server.as_ref()) { "BESIDE" } else { "ALONE" };
        let set = run_with(directory.path(), &["secret", "set", name], &[], "v").await;
        assert_eq!((set.code, set.stdout.as_str()), (Some(0), ""), "{}", set.stderr);
        assert_eq!(set.stderr, format!("Steps can use it as {{{{secrets.{name}}}}}\n"));
        let list = run(directory.path(), &["secret", "list"]).await;
        assert_eq!((list.code, list.stdout.as_str()), (Some(0), &*format!("{name}\n")));
        let gone = run(directory.path(), &["secret", "rm", name]).await;
        assert_eq!(gone.code, Some(0), "{}", gone.stderr);
        let again = run(directory.path(), &["secret", "rm", name]).await;
        assert_eq!(again.code, Some(4));
        assert!(again.stderr.contains(&format!("There is no secret {name}")), "{}", again.stderr);
        for (bad, value) in [("with space", "v"), ("", "v"), ("a/b", "v"), ("EMPTY", "")] {
            let refused = run_with(directory.path(), &["secret", "set", bad], &[], value).await;
            assert_eq!(refused.code, Some(4), "{bad:?} {}", refused.stderr);
            assert!(refused.stderr.starts_with("error: "), "{}", refused.stderr);
            assert!(!refused.stderr.contains('!'), "{}", refused.stderr);
        }
        server = None;
    }
}

#[tokio::test]
async fn secrets_outlast_the_server_and_a_wrong_key_says_so() {
    let key = |byte: u8| STANDARD.encode([byte; 32]);
    let directory = tempfile::TempDir::new().unwrap();
    let (first, second) = (key(1), key(2));
    let with = |key: &str| [("WAYSTATION_SECRET_KEY".to_owned(), key.to_owned())];
    let mine = with(&first);
    let settings: Vec<(&str, &str)> = mine.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    let set = run_with(directory.path(), &["secret", "set", "K"], &settings, VALUE).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let mut one = step("one", "/echo?only=json", &[]);
    one["body_template"] = json!({ "one_out": "{{secrets.K}}" });
    let file = directory.path().join("flow.json");
    std::fs::write(&file, pipeline(&[one]).to_string()).unwrap();
    let arguments = ["run", "--json", file.to_str().unwrap()];
    let good = run_with(directory.path(), &arguments, &settings, "").await;
    assert_eq!(good.code, Some(0), "{} {}", good.stdout, good.stderr);
    let settings = [("WAYSTATION_SECRET_KEY", second.as_str())];
    let wrong = run_with(directory.path(), &arguments, &settings, "").await;
    assert_eq!(wrong.code, Some(1), "{}", wrong.stderr);
    let reply: Value = serde_json::from_str(&wrong.stdout).unwrap();
    let text = format!("{} {}", reply["error"], reply["hint"]);
    assert!(text.contains("WAYSTATION_SECRET_KEY"), "{text}");
}

/// A value for each place that a secret may have, all of which begin alike.
fn canary(place: &str) -> String {
    format!("c4n4ry-{place}-of-more-than-thirty-two-bytes")
}

/// A workflow of one node.
fn lone(kind: &str, config: Value) -> Value {
    flow(&[node("n", kind, config)], &[])
}

#[tokio::test]
async fn canaries_in_every_place_show_up_nowhere() {
    let target = Target::start(async |request, _| {
        let seen = format!("{:?} {} {}", request.headers, request.query, request.body);
        reply(if request.path == "/fail" { 400 } else { 200 }, seen)
    })
    .await;
    let collector = Target::start(async |_, _| reply(200, "")).await;
    let closed = free_port();
    let names = ["jwt", "openai", "redis", "smtp", "webhooks"];
    let [jwt, openai, redis, smtp, webhooks] = names.map(canary);
    let otlp = format!("api-key={}", canary("otlp"));
    let redis = format!("redis://:{redis}@127.0.0.1:{closed}");
    let (port, models) = (closed.to_string(), format!("http://127.0.0.1:{closed}/v1"));
    let traces = format!("http://127.0.0.1:{}", collector.port);
    let settings = [
        ("LOG_LEVEL", "trace"),
        ("JWT_SECRET", jwt.as_str()),
        ("OPENAI_API_KEY", &openai),
        ("OPENAI_BASE_URL", &models),
        ("REDIS_URL", &redis),
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", &port),
        ("SMTP_USERNAME", "me@example.org"),
        ("SMTP_PASSWORD", &smtp),
        ("WAYSTATION_WEBHOOK_SECRET", &webhooks),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &traces),
        ("OTEL_EXPORTER_OTLP_HEADERS", &otlp),
    ];
    let mut server = Server::with(&settings).await;
    let set = run_with(server.data(), &["secret", "set", "S"], &[], &canary("secret")).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let url = format!("postgres://me:{}@127.0.0.1:{closed}/d", canary("connection"));
    let set = run_with(server.data(), &["secret", "set", "DB"], &[], &url).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let made = run(server.data(), &["key", "create", "k", "--role", "editor"]).await;
    let key = made.stdout.trim().to_owned();
    server.calls_with(&key);

    let secret = "{{secrets.S}}";
    let (good, bad) = (target.url("/ok"), target.url("/fail"));
    let places = [
        lone("http", json!({ "method": "GET", "url": format!("{good}?k={secret}"), "retries": 0 })),
        lone(
            "http",
            json!({ "method": "POST", "url": bad, "headers": { "x": secret }, "body": { "k": secret }, "retries": 0 }),
        ),
        lone(
            "http",
            json!({ "method": "GET", "url": good, "params": { "k": secret }, "retries": 0,
            "auth": { "type": "bearer", "token": secret } }),
        ),
        lone(
            "webhook",
            json!({ "url": bad, "body": { "k": secret }, "retries": 0,
            "auth": { "type": "basic", "username": "u", "password": secret } }),
        ),
        lone(
            "webhook",
            json!({ "url": good, "headers": { "x-k": secret }, "retries": 0,
            "auth": { "type": "api_key", "name": "x-key", "value": secret } }),
        ),
        lone(
            "data-source",
            json!({ "source_type": "postgres", "connection": "{{secrets.DB}}", "query": "select 1", "retries": 0 }),
        ),
        lone(
            "data-source",
            json!({ "source_type": "api", "endpoint": bad, "headers": { "x": secret }, "retries": 0 }),
        ),
        lone(
            "email",
            json!({ "to": "a@example.org", "from": "b@example.org", "subject": secret, "body": secret, "retries": 0 }),
        ),
        lone(
            "email",
            json!({ "to": "a@example.org", "from": "b@example.org", "subject": "s", "body": "b", "retries": 0,
            "smtp": { "host": "127.0.0.1", "port": closed, "username": "u", "password": secret, "security": "none" } }),
        ),
        lone("llm", json!({ "provider": "openai", "prompt": "x", "retries": 0 })),
        lone(
            "llm",
            json!({ "provider": bad, "model": "m", "prompt": "x", "api_key": secret, "retries": 0 }),
        ),
        lone(
            "code",
            json!({ "language": "javascript", "code": "function process(x) { throw new Error(x.k) }",
            "input_mapping": { "k": secret }, "retries": 0 }),
        ),
    ];
    let (mut all, mut ran) = (String::new(), 0);
    for definition in &places {
        let (status, saved) = server.post("/api/v1/workflows", definition).await;
        all += &saved.to_string();
        // Where a secret may not go, it is refused before anything runs.
        let Some(id) = saved["id"].as_str().filter(|_| status == 201) else { continue };
        ran += 1;
        let (_, job) =
            server.post(&format!("/api/v1/workflows/{id}/execute?wait=true"), &json!({})).await;
        let job_id = job["id"].as_str().unwrap();
        all += &job.to_string();
        for path in ["", "/logs", "/events?after=0"] {
            all += &server.get(&format!("/api/v1/jobs/{job_id}{path}")).await.1.to_string();
        }
        all += &server.get(&format!("/workflows/executions/{job_id}")).await.1.to_string();
    }
    let mut chain = json!({ "context": "x", "provider": "echo", "instructions": [
        { "type": "endpoint", "endpointUrl": "/endpoint-1", "apiUrl": bad, "headers": { "x": secret } },
    ]});
    chain["workflow_id"] = "chain".into();
    let (_, begun) = server.post("/", &chain).await;
    let instance = begun["instanceId"].as_str().unwrap_or_default().to_owned();
    eventually("the chain ends", async || {
        let (_, seen) = server.get(&format!("/?instanceId={instance}")).await;
        (seen["status"]["status"] != "running" && seen["status"]["status"] != "queued")
            .then_some(())
    })
    .await;
    for path in [
        format!("/?instanceId={instance}"),
        "/runs?limit=200".into(),
        "/metrics".into(),
        "/ready".into(),
        "/health".into(),
        "/openapi.json".into(),
        "/api/v1/analytics/jobs".into(),
    ] {
        all += &server.get(&path).await.1.to_string();
    }
    eventually("spans come", async || (collector.count("/v1/traces") > 0).then_some(())).await;
    let spans = collector.received();
    assert!(spans.iter().all(|one| one.header("api-key") == canary("otlp")));
    all.extend(spans.into_iter().map(|one| one.body));
    for arguments in
        [&["config", "show"][..], &["config", "show", "--json"], &["doctor"], &["key", "list"]]
    {
        let shown = run_with(server.data(), arguments, &settings, "").await;
        all += &format!("{}{}", shown.stdout, shown.stderr);
    }
    server.signal("ABRT");
    server.ended().await;
    all += &server.log();
    assert!(ran >= 10 && all.contains("failed"), "{ran} were tried");
    for hidden in ["c4n4ry", &STANDARD.encode("c4n4ry")[..7], key.rsplit_once('_').unwrap().1] {
        if let Some(at) = all.find(hidden) {
            let from = all[..at].char_indices().rev().nth(300).map_or(0, |(at, _)| at);
            panic!("{hidden} in …{}…", &all[from..(at + 80).min(all.len())]);
        }
        for (file, bytes) in bytes_under(server.data()) {
            let found = bytes.windows(hidden.len()).any(|part| part == hidden.as_bytes());
            assert!(!found, "{hidden} in {}", file.display());
        }
    }
    assert!(
        target
            .received()
            .iter()
            .any(|one| format!("{:?}{}", one.headers, one.body).contains("c4n4ry-secret"))
    );
}
