//! What an operator does: look whether all is well, back up, put back.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{run, run_with};
use crate::support::server::Server;
use crate::support::target::{Target, reply};
use crate::support::{eventually, free_port, pipeline, step};

/// What the doctor found, by what it looked at.
async fn examined(data: &Path, settings: &[(&str, &str)]) -> (Option<i32>, Value) {
    let ended = run_with(data, &["doctor", "--json"], settings, "").await;
    let found: Vec<Value> =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{}", ended.stderr));
    let by_name = found.into_iter().map(|one| (one["what"].as_str().unwrap().to_owned(), one));
    (ended.code, Value::Object(by_name.collect()))
}

#[tokio::test]
async fn the_doctor_finds_what_does_not_work() {
    let data = TempDir::new().unwrap();
    std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .unwrap();
    let (code, found) = examined(data.path(), &[]).await;
    assert_eq!(code, Some(0), "{found:#}");
    for (what, state) in [
        ("settings", "good"),
        ("callers", "good"),
        ("redis", "unused"),
        ("mail", "unused"),
        ("javascript, jq", "good"),
        ("server", "unused"),
        ("data directory", "good"),
    ] {
        assert_eq!(found[what]["state"], state, "{what}: {found:#}");
    }

    let port = free_port().to_string();
    let (code, found) = examined(
        data.path(),
        &[
            ("HOST", "0.0.0.0"),
            ("REDIS_URL", &format!("redis://:canary-redis@127.0.0.1:{port}")),
            ("SMTP_HOST", "127.0.0.1"),
            ("SMTP_PORT", &port),
            ("SMTP_USERNAME", "me"),
            ("SMTP_PASSWORD", "canary-mail"),
            ("OPENAI_API_KEY", "canary-key"),
            ("OPENAI_BASE_URL", &format!("http://127.0.0.1:{port}/v1")),
            ("WAYSTATION_PYTHON_COMPONENT", "/no/such"),
        ],
    )
    .await;
    assert_eq!(code, Some(1), "{found:#}");
    for (what, state) in [
        ("redis", "bad"),
        ("mail", "bad"),
        ("models: openai", "bad"),
        ("callers", "doubtful"),
        ("python", "unused"),
    ] {
        assert_eq!(found[what]["state"], state, "{what}: {found:#}");
        assert!(found[what]["hint"].is_string(), "{what}: {found:#}");
    }
    assert!(!found.to_string().contains("canary"), "{found:#}");

    let (code, found) = examined(data.path(), &[("WAYSTATION_EGRESS", "all")]).await;
    assert_eq!((code, &found["settings"]["state"]), (Some(1), &json!("bad")), "{found:#}");
    std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let (_, found) = examined(data.path(), &[]).await;
    assert_eq!(found["data directory"]["state"], "doubtful", "{found:#}");
}

#[tokio::test]
async fn the_doctor_asks_the_server_that_has_the_data() {
    let server = Server::with(&[("JWT_SECRET", "a secret of more than thirty-two bytes")]).await;
    let (code, found) = examined(server.data(), &[]).await;
    assert_eq!(code, Some(0), "{found:#}");
    assert_eq!(found["server"]["text"], "runs, and is ready");
    assert_eq!(found["store"]["state"], "good");
}

/// A backup is taken while runs begin and end, some of which it has unfinished; the data put back goes on
/// from there.
#[tokio::test]
async fn a_backup_beside_a_busy_server_can_be_put_back_and_goes_on() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&gate);
    let target = Target::start(move |_, _| {
        let held = Arc::clone(&held);
        async move {
            // Until the test lets them through.
            let _ = held.acquire().await;
            reply(200, "through")
        }
    })
    .await;
    let server = Server::start().await;
    let waiting = server.begin(&pipeline(&[step("wait", &target.url("/hold"), &[])])).await;
    eventually("it waits", async || (target.count("/hold") == 1).then_some(())).await;
    let done: Vec<String> = futures_util::future::join_all((0..20).map(async |_| {
        let reply = server.execute(&pipeline(&[step("one", "/echo", &[])])).await;
        reply["execution_id"].as_str().unwrap().to_owned()
    }))
    .await;

    let other = TempDir::new().unwrap();
    let file = other.path().join("backup.db");
    let load = async {
        for _ in 0..50 {
            server.execute(&pipeline(&[step("one", "/echo", &[])])).await;
        }
    };
    let arguments = ["backup", file.to_str().unwrap()];
    let (taken, ()) = tokio::join!(run(server.data(), &arguments), load);
    assert_eq!(taken.code, Some(0), "{}", taken.stderr);
    assert!(taken.stdout.starts_with("Backed up "), "{}", taken.stdout);
    let again = run(server.data(), &arguments).await;
    assert_eq!(again.code, Some(4), "nothing is written over");
    drop(server);

    let data = Arc::new(TempDir::new().unwrap());
    let restored = run(data.path(), &["restore", file.to_str().unwrap()]).await;
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    assert!(restored.stderr.contains(" unfinished runs. "), "{}", restored.stderr);
    let server = Server::command("serve", data, &[]).await;
    for id in &done {
        assert_eq!(server.get(&format!("/runs/{id}")).await.1["status"], "completed", "{id}");
    }
    gate.add_permits(10);
    server.until(&waiting, "completed").await;
    let refused = run(server.data(), &["restore", file.to_str().unwrap()]).await;
    assert_eq!(refused.code, Some(4));
    assert!(refused.stderr.contains("has data already"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_server_takes_as_many_open_files_as_it_may() {
    let server = Server::start().await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.process())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().skip(3).collect();
    assert_eq!(numbers[0], numbers[1], "{line}");
}
