//! Secrets: they go out where a step needs them, and nowhere else.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::command::{key, run, run_with};
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

/// The operator's secrets, each in its setting.
fn operators(closed: u16, collector: u16) -> Vec<(&'static str, String)> {
    vec![
        ("LOG_LEVEL", "trace".into()),
        ("JWT_SECRET", canary("jwt")),
        ("OPENAI_API_KEY", canary("openai")),
        ("OPENAI_BASE_URL", format!("http://127.0.0.1:{closed}/v1")),
        ("REDIS_URL", format!("redis://:{}@127.0.0.1:{closed}", canary("redis"))),
        ("SMTP_HOST", "127.0.0.1".into()),
        ("SMTP_PORT", closed.to_string()),
        ("SMTP_USERNAME", "me@example.org".into()),
        ("SMTP_PASSWORD", canary("smtp")),
        ("WAYSTATION_WEBHOOK_SECRET", canary("webhooks")),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://127.0.0.1:{collector}")),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("api-key={}", canary("otlp"))),
    ]
}

/// Workflows of one node each, with a secret in every place that it may have, and in some that it may not.
fn uses_of_secrets(good: &str, bad: &str, closed: u16) -> Vec<Value> {
    let secret = "{{secrets.S}}";
    let mail = |more: Value| {
        let mut config =
            json!({ "to": "a@example.org", "from": "b@example.org", "subject": "s", "body": "b" });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let own = json!({ "host": "127.0.0.1", "port": closed, "username": "u", "password": secret,
        "security": "none" });
    let bearer = json!({ "type": "bearer", "token": secret });
    let basic = json!({ "type": "basic", "username": "u", "password": secret });
    let key = json!({ "type": "api_key", "name": "x-key", "value": secret });
    let throws = "function process(x) { throw new Error(x.k) }";
    let uses = [
        ("http", json!({ "method": "GET", "url": format!("{good}?k={secret}") })),
        (
            "http",
            json!({ "method": "POST", "url": bad, "headers": { "x": secret }, "body": { "k": secret } }),
        ),
        (
            "http",
            json!({ "method": "GET", "url": good, "params": { "k": secret }, "auth": bearer }),
        ),
        ("webhook", json!({ "url": bad, "body": { "k": secret }, "auth": basic })),
        ("webhook", json!({ "url": good, "headers": { "x-k": secret }, "auth": key })),
        (
            "data-source",
            json!({ "source_type": "postgres", "connection": "{{secrets.DB}}", "query": "select 1" }),
        ),
        (
            "data-source",
            json!({ "source_type": "api", "endpoint": bad, "headers": { "x": secret } }),
        ),
        ("email", mail(json!({ "subject": secret, "body": secret }))),
        ("email", mail(json!({ "smtp": own }))),
        ("llm", json!({ "provider": "openai", "prompt": "x" })),
        ("llm", json!({ "provider": bad, "model": "m", "prompt": "x", "api_key": secret })),
        (
            "code",
            json!({ "language": "javascript", "code": throws, "input_mapping": { "k": secret } }),
        ),
    ];
    let lone = |(kind, mut config): (&str, Value)| {
        config["retries"] = 0.into();
        flow(&[node("n", kind, config)], &[])
    };
    uses.into_iter().map(lone).collect()
}

/// Runs a workflow to its end, and gives all that is told of it. Where a secret may not go, nothing runs.
async fn told_of(server: &Server, definition: &Value) -> (bool, String) {
    let (status, saved) = server.post("/api/v1/workflows", definition).await;
    let mut all = saved.to_string();
    let Some(id) = saved["id"].as_str().filter(|_| status == 201) else { return (false, all) };
    let path = format!("/api/v1/workflows/{id}/execute?wait=true");
    let (_, job) = server.post(&path, &json!({})).await;
    all += &job.to_string();
    let job = job["id"].as_str().unwrap();
    for path in [
        format!("/api/v1/jobs/{job}"),
        format!("/api/v1/jobs/{job}/logs"),
        format!("/api/v1/jobs/{job}/events?after=0"),
        format!("/workflows/executions/{job}"),
        format!("/runs/{job}"),
    ] {
        all += &server.get(&path).await.1.to_string();
    }
    (true, all)
}

/// Calls an API through a worker with a secret, and gives all that is told of it.
async fn told_of_chain(server: &Server, url: &str) -> String {
    let headers = json!({ "x": "{{secrets.S}}" });
    let call = json!({ "type": "endpoint", "endpointUrl": "/endpoint-1", "apiUrl": url, "headers": headers });
    let chain = json!({ "context": "x", "provider": "echo", "instructions": [call] });
    let (_, begun) = server.post("/", &chain).await;
    let path = format!("/?instanceId={}", begun["instanceId"].as_str().unwrap());
    eventually("the chain ends", async || {
        let (_, seen) = server.get(&path).await;
        let is_under_way =
            ["queued", "running"].iter().any(|word| seen["status"]["status"] == *word);
        (!is_under_way).then(|| seen.to_string())
    })
    .await
}

fn assert_unseen(hidden: &str, all: &str, data: &std::path::Path) {
    if let Some(at) = all.find(hidden) {
        let from = all[..at].char_indices().rev().nth(300).map_or(0, |(at, _)| at);
        panic!("{hidden} in …{}…", &all[from..all.len().min(at + 80)]);
    }
    for (file, bytes) in bytes_under(data) {
        let found = bytes.windows(hidden.len()).any(|part| part == hidden.as_bytes());
        assert!(!found, "{hidden} in {}", file.display());
    }
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
    let settings = operators(closed, collector.port);
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut server = Server::with(&settings).await;
    let database = format!("postgres://me:{}@127.0.0.1:{closed}/d", canary("connection"));
    for (name, value) in [("S", canary("secret")), ("DB", database)] {
        let set = run_with(server.data(), &["secret", "set", name], &[], &value).await;
        assert_eq!(set.code, Some(0), "{}", set.stderr);
    }
    let key = key(server.data(), &["--role", "editor"]).await;
    server.calls_with(&key);

    let (mut all, mut ran) = (String::new(), 0);
    for definition in uses_of_secrets(&target.url("/ok"), &target.url("/fail"), closed) {
        let (has_run, told) = told_of(&server, &definition).await;
        ran += u32::from(has_run);
        all += &told;
    }
    all += &told_of_chain(&server, &target.url("/fail")).await;
    for path in [
        "/runs?limit=200",
        "/metrics",
        "/ready",
        "/health",
        "/openapi.json",
        "/api/v1/analytics/jobs",
    ] {
        all += &server.get(path).await.1.to_string();
    }
    eventually("spans come", async || (collector.count("/v1/traces") > 0).then_some(())).await;
    assert!(collector.received().iter().all(|one| one.header("api-key") == canary("otlp")));
    all.extend(collector.received().into_iter().map(|one| one.body));
    for arguments in
        [&["config", "show"][..], &["config", "show", "--json"], &["doctor"], &["key", "list"]]
    {
        let shown = run_with(server.data(), arguments, &settings, "").await;
        all += &format!("{}{}", shown.stdout, shown.stderr);
    }
    server.signal("ABRT");
    server.ended().await;
    all += &server.log();

    let received = target.received();
    let is_used = |one: &_| format!("{one:?}").contains("c4n4ry-secret");
    assert!(ran >= 10 && received.iter().filter(|one| is_used(one)).count() >= 5, "{ran} ran");
    for hidden in ["c4n4ry", &STANDARD.encode("c4n4ry")[..7], key.rsplit_once('_').unwrap().1] {
        assert_unseen(hidden, &all, server.data());
    }
}
