//! Secrets: they go out where a step needs them, and nowhere else.

use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::command::{run, run_with};
use crate::support::server::{Server, bytes_under};
use crate::support::target::{Target, reply};
use crate::support::{eventually, pipeline, step};

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
