//! Servers that start, stop, and meet one another.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::command::{run, run_with};
use crate::support::graph::{begin, calls, ended, flow, save, until};
use crate::support::server::Server;
use crate::support::target::{Target, reply};
use crate::support::{eventually, pipeline, step};

#[tokio::test]
async fn one_data_directory_has_one_server() {
    let server = Server::start().await;
    let ended = run(server.data(), &["serve", "--port", "0"]).await;
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains("is in use by process"), "{}", ended.stderr);
    assert!(ended.stderr.contains("hint:") && ended.stderr.contains("--data"), "{}", ended.stderr);
    assert_eq!(server.get("/ping").await.0, 200);
    // The first one is found still.
    let set = run_with(server.data(), &["secret", "set", "K"], &[], "v").await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let server = Server::start().await;
    let (_, port) = server.address.split_once(':').unwrap();
    let other = tempfile::TempDir::new().unwrap();
    let ended = run(other.path(), &["serve", "--port", port]).await;
    assert_eq!(ended.code, Some(4));
    assert!(ended.stderr.contains(&format!("127.0.0.1:{port}")), "{}", ended.stderr);
    assert!(ended.stderr.contains("--port"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_stale_note_of_a_server_leads_nobody_to_another_one() {
    let other = Server::start().await;
    let directory = tempfile::TempDir::new().unwrap();
    // What a killed server left, whose port another one has got since.
    let mut killed = Server::start().await;
    killed.signal("KILL");
    killed.ended().await;
    let note = std::fs::read_to_string(killed.data().join("server.json")).unwrap();
    let note = note.replace(&killed.address, &other.address);
    std::fs::write(directory.path().join("server.json"), note).unwrap();
    let set = run_with(directory.path(), &["secret", "set", "MINE"], &[], "v").await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    assert_eq!(run(other.data(), &["secret", "list"]).await.stdout, "");
    assert_eq!(run(directory.path(), &["secret", "list"]).await.stdout, "MINE\n");
}

/// A service that answers when told to.
async fn patient() -> (Target, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let target = Target::start(move |_, _| {
        let told = Arc::clone(&told);
        async move {
            told.notified().await;
            reply(200, "done")
        }
    });
    (target.await, go)
}

fn two_steps(target: &Target) -> Value {
    pipeline(&[
        step("one", &target.url("/one"), &[]),
        step("two", &target.url("/two"), &["one_out"]),
    ])
}

#[tokio::test]
async fn a_step_under_way_may_finish_and_the_rest_follows_at_the_next_start() {
    let (target, go) = patient().await;
    let mut server = Server::start().await;
    let run = server.begin(&two_steps(&target)).await;
    let waiting = server.request(Method::POST, "/execute").json(&two_steps(&target)).send();
    let waiting = tokio::spawn(waiting);
    eventually("both runs are under way", async || (target.count("/one") == 2).then_some(())).await;
    server.signal("TERM");
    // Before the server has heard of it, a new run would still begin.
    eventually("the server is going down", async || {
        let answer = server.request(Method::GET, "/ready").send().await;
        (!answer.is_ok_and(|answer| answer.status() == 200)).then_some(())
    })
    .await;
    let body = two_steps(&target).to_string();
    let refused = server.request(Method::POST, "/execute").body(body).send().await;
    assert!(refused.map_or(true, |answer| answer.status() == 503), "new runs are refused");
    go.notify_waiters();
    // Who waits is told that the run goes on, and where to ask for it.
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["code"], "shutting_down");
    assert!(answer["hint"].as_str().unwrap().starts_with("GET /runs/"), "{answer}");
    assert_eq!(server.ended().await, Some(0));
    assert_eq!((target.count("/one"), target.count("/two")), (2, 0));
    assert_eq!(target.dropped(), 0);

    let server = server.again().await;
    eventually("both go on", async || (target.count("/two") == 2).then_some(())).await;
    go.notify_waiters();
    server.until(&run, "completed").await;
    assert_eq!(target.count("/one"), 2);
}

#[tokio::test]
async fn a_step_that_takes_too_long_is_cut_short_and_tried_again() {
    let (target, go) = patient().await;
    let settings = [("WAYSTATION_SHUTDOWN_SECONDS", "1")];
    let mut server = Server::with(&settings).await;
    let waiting = server.request(Method::POST, "/execute").json(&two_steps(&target)).send();
    let waiting = tokio::spawn(waiting);
    eventually("the run is under way", async || (target.count("/one") == 1).then_some(())).await;
    let time = server.stop().await;
    assert!(time >= Duration::from_secs(1) && time < Duration::from_secs(10), "{time:?}");
    let answer = waiting.await.unwrap().unwrap();
    assert_eq!(answer.status(), 503);
    let answer: Value = answer.json().await.unwrap();
    let run = answer["hint"].as_str().unwrap().split(['/', ' ']).nth(3).unwrap().to_owned();
    let server = server.again().await;
    eventually("it goes on", async || (target.count("/one") == 2).then_some(())).await;
    let keys: Vec<String> =
        target.received().iter().map(|one| one.header("idempotency-key").to_owned()).collect();
    assert_eq!(keys[0], keys[1]);
    go.notify_waiters();
    eventually("the next step", async || (target.count("/two") == 1).then_some(())).await;
    go.notify_waiters();
    server.until(&run, "completed").await;
}

#[tokio::test]
async fn asking_twice_stops_at_once() {
    let (target, _go) = patient().await;
    let mut server = Server::with(&[("WAYSTATION_SHUTDOWN_SECONDS", "600")]).await;
    let run = server.begin(&two_steps(&target)).await;
    eventually("the run is under way", async || (target.count("/one") == 1).then_some(())).await;
    server.signal("INT");
    eventually("it says so", async || server.log().contains("Stopping").then_some(())).await;
    server.signal("INT");
    assert_eq!(server.ended().await, Some(0));
    let server = server.again().await;
    server.until(&run, "running").await;
}

#[tokio::test]
async fn an_idle_server_stops_at_once_and_leaves_no_note() {
    let mut server = Server::start().await;
    assert!(server.data().join("server.json").exists());
    // Somebody's open connection is no reason to wait for long.
    let _idle = tokio::net::TcpStream::connect(&server.address).await.unwrap();
    assert!(server.stop().await < Duration::from_secs(8));
    assert!(!server.data().join("server.json").exists());
}

/// What lets a test set the clock of a program, wherever Debian has put it.
fn clock_library() -> PathBuf {
    let folders =
        std::fs::read_dir("/usr/lib").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    let mut files = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists()).expect("this test needs libfaketime: run .ci/tools")
}

#[tokio::test]
async fn a_clock_that_is_set_neither_holds_a_run_up_nor_cuts_it_short() {
    let clock = tempfile::NamedTempFile::new().unwrap();
    let set = |seconds: i64| std::fs::write(clock.path(), format!("{seconds:+}\n")).unwrap();
    set(0);
    let server = Server::with(&[
        ("LD_PRELOAD", clock_library().to_str().unwrap()),
        ("FAKETIME_TIMESTAMP_FILE", clock.path().to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ])
    .await;
    for set_to in [3_600, -3_600] {
        let target = Target::start(|_, earlier| async move {
            if earlier == 0 { reply(503, "busy") } else { reply(200, "{}") }
        })
        .await;
        let mut call = calls("call", &target.url("/"));
        call["config"]["retries"] = 1.into();
        call["config"]["retry_delay"] = 2.into();
        let mut definition = flow(&[call], &[]);
        definition["settings"] = json!({ "timeout": 600 });
        let job = begin(&server, &save(&server, &definition).await, &json!({})).await;
        until(&server, &job, "call", "retrying").await;
        set(set_to);
        let job = ended(&server, &job).await;
        assert_eq!(job["status"], "completed", "set to {set_to}: {job:#}");
    }
}

#[tokio::test]
async fn a_waiting_run_sleeps_through_a_restart() {
    let mut server = Server::start().await;
    let target = Target::start(async |_, before| match before {
        0 => reply(500, "not yet"),
        _ => reply(200, "done"),
    });
    let target = target.await;
    let mut body = pipeline(&[step("one", &target.url("/"), &[])]);
    body["PIPELINE_SETTINGS"] = json!({ "error_handling": { "max_retries": 1, "retry_delay": 2 } });
    let run = server.begin(&body).await;
    eventually("the step failed once", async || (target.received().len() == 1).then_some(())).await;
    eventually("it waits", async || {
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        (detail["steps"][0]["status"] == "retrying").then_some(())
    })
    .await;
    assert!(server.stop().await < Duration::from_secs(8));
    let server = server.again().await;
    let detail = server.until(&run, "completed").await;
    assert_eq!(detail["steps"][0]["attempts"], 2);
}
