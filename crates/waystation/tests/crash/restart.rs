//! Restarts: runs that sleep, runs whose time was up meanwhile, and a directory with many runs.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use waystation_engine::limits::SLEEP_IN_MEMORY;
use waystation_engine::store::sqlite::{Options, SqliteStore};

use crate::definition::{call, request};
use crate::fill::{Filling, fill};
use crate::ledger::{Ledger, Manner};
use crate::process::Server;

/// How late a sleeping run may be woken.
const LATE: Duration = Duration::from_secs(5);

/// A run that waits for long leaves memory, and comes back at its time in another process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleeping_run_is_woken_at_its_time_by_another_process() {
    let wait = SLEEP_IN_MEMORY + Duration::from_secs(1);
    let manner = Manner { retry_after: Some(wait.as_secs()), ..Manner::prompt() };
    let ledger = Ledger::start(manner).await;
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let run = server.submit(&request(&[call(&ledger.url, "only", &[])], None)).await;
    let in_memory = |count: usize| move |ready: &Value| ready["runs_running"] == count;
    let is_waiting = |view: &Value| view["steps"][0]["status"] == "retrying";
    server.until(&format!("/runs/{run}"), is_waiting).await;
    server.until("/ready", in_memory(0)).await;
    server.kill();

    let server = Server::start(data.path());
    server.until("/ready", in_memory(0)).await;
    let view = server.get(&format!("/runs/{run}")).await;
    assert_eq!(view["status"], "running", "it sleeps on");
    let view = server.ended(&run).await;
    assert_eq!(view["status"], "completed", "{view:#}");
    let book = ledger.book();
    let calls = book.calls_of(&run, "only");
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].key, calls[1].key);
    let waited = calls[1].arrived - calls[0].arrived;
    assert!(waited >= wait && waited < wait + LATE, "waited for {waited:?}");
}

/// A run whose time was up while no server ran ends, and calls nothing first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_deadline_has_passed_calls_nothing_more() {
    let limit = Duration::from_secs(1);
    let ledger = Ledger::start(Manner::prompt()).await;
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    ledger.hold("only");
    let mut body = request(&[call(&ledger.url, "only", &[])], None);
    let settings = &mut body["PIPELINE_SETTINGS"];
    settings["timeouts"] = json!({ "total_pipeline_timeout": limit.as_secs() });
    let run = server.submit(&body).await;
    ledger.until(|book| book.has_called("only", 1)).await;
    server.kill();
    let calls = ledger.settled().await;
    let called = ledger.book().calls[0].arrived;
    tokio::time::sleep_until((called + limit).into()).await;

    let server = Server::start(data.path());
    let view = server.ended(&run).await;
    assert_eq!(view["error_code"], "deadline_exceeded", "{view:#}");
    server.kill();
    assert_eq!(ledger.settled().await, calls, "the step was called after the run's time was up");
}

/// Prints how long a server takes to listen on a directory with many runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it with --ignored --nocapture"]
async fn a_server_with_many_runs_listens_at_once() {
    const FINISHED: usize = 20_000;
    const UNFINISHED: usize = 500;
    let ledger = Ledger::start(Manner::prompt()).await;
    let data = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(data.path(), &Options::default()).expect("a store");
    let filling = Filling::new(&ledger.url, None);
    fill(&store, (0..FINISHED).map(|_| filling.finished())).await;
    fill(&store, (0..UNFINISHED).map(|_| filling.begun())).await;
    drop(store);
    let begun = Instant::now();
    let server = Server::start(data.path());
    let listens = begun.elapsed();
    server.until("/runs?status=running&limit=1", |page| page["runs"] == json!([])).await;
    let ended = begun.elapsed();
    eprintln!(
        "{FINISHED} finished and {UNFINISHED} unfinished runs: listens after {listens:.0?}, \
         the unfinished ones have ended after {ended:.0?}"
    );
    assert_eq!(ledger.book().calls.len(), UNFINISHED);
    assert!(listens < Duration::from_secs(5), "listens after {listens:?}");
}
