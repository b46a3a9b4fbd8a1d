//! Restarts: runs that sleep for long, and a data directory with many runs.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::{Value, json};
use waystation_core::dialect::pipeline::compile;
use waystation_core::entry::{Data, Entry, Fact, Outcome, Start};
use waystation_engine::id::{RunId, now_ms};
use waystation_engine::limits::SLEEP_IN_MEMORY;
use waystation_engine::store::sqlite::{Options, SqliteStore};
use waystation_engine::store::{Append, Finished, NewRun, Status, Store};

use crate::definition::{call, request};
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

/// Prints how long a server takes to listen on a directory with many runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it with --ignored --nocapture"]
async fn a_server_with_many_runs_listens_at_once() {
    const FINISHED: usize = 20_000;
    const UNFINISHED: usize = 500;
    let ledger = Ledger::start(Manner::prompt()).await;
    let data = tempfile::tempdir().expect("a directory");
    fill(data.path(), &ledger.url, FINISHED, UNFINISHED).await;
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

/// Writes runs of one step, as a server that was killed would have left them.
async fn fill(data: &Path, url: &str, finished: usize, unfinished: usize) {
    let store = SqliteStore::open(data, &Options::default()).expect("a store");
    let steps = json!([call(url, "only", &[])]).to_string();
    let plan = compile(Some(&steps), None, 10).expect("a definition").plan;
    let plan: Arc<[u8]> = serde_json::to_vec(&plan).expect("JSON").into();
    let runs = (0..finished + unfinished).map(|index| {
        let store = &store;
        let append = append(&plan, index < finished);
        async move { store.append(append).await.expect("an append") }
    });
    futures_util::stream::iter(runs).buffer_unordered(1_000).collect::<Vec<()>>().await;
}

fn append(plan: &Arc<[u8]>, is_finished: bool) -> Append {
    let now = now_ms();
    let start = Start {
        plan: "plan".into(),
        workflow: "many".into(),
        namespace: "crash".into(),
        name: None,
        input: Data::from(json!({})),
        retry_of: None,
    };
    let output = Data::from(json!({ "only_out": "done" }));
    let mut facts = vec![Fact::RunStarted(Box::new(start))];
    if is_finished {
        facts.push(Fact::NodeStarted { node: 0, attempt: 1 });
        facts.push(Fact::NodeCompleted { node: 0, attempt: 1, output, port: None });
        facts.push(Fact::RunFinished { outcome: Outcome::Completed });
    }
    let new_run = NewRun {
        workflow: "many".into(),
        namespace: "crash".into(),
        name: None,
        plan: "plan".into(),
        plan_json: Arc::clone(plan),
        created: now,
        webhook: false,
    };
    let end = Finished { status: Status::Completed, at: now, error: None };
    Append {
        run: RunId::new(),
        batch: 0,
        first_seq: 0,
        entries: facts.into_iter().map(|fact| Entry { at: now, fact }).collect(),
        new_run: Some(new_run),
        wake_at: None,
        finished: is_finished.then_some(end),
    }
}
