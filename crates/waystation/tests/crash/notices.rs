//! Notifications across restarts: all that are owed arrive, and no restart makes a receiver dead.

use std::time::Duration;

use waystation_engine::id::RunId;
use waystation_engine::store::sqlite::{Options, SqliteStore};
use waystation_engine::store::{Cursor, CursorState, Store};

use crate::definition::{call, request};
use crate::fill::{Filling, fill};
use crate::ledger::{Ledger, Manner};
use crate::process::Server;

/// Runs whose courier had left them when their last entries came and the process died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_delivers_all_that_is_owed_however_much_it_is() {
    const OWED: usize = 1_200;
    let ledger = Ledger::start(Manner::prompt()).await;
    let data = tempfile::tempdir().expect("a directory");
    let store = SqliteStore::open(data.path(), &Options::default()).expect("a store");
    let filling = Filling::new(&ledger.url, Some(&format!("{}/hook", ledger.url)));
    let appends: Vec<_> = (0..OWED).map(|_| filling.finished()).collect();
    let runs: Vec<RunId> = appends.iter().map(|append| append.run).collect();
    fill(&store, appends.into_iter()).await;
    for put in runs.iter().map(|run| store.put_cursor(left(*run))) {
        put.await.expect("a cursor");
    }
    drop(store);

    let server = Server::start(data.path());
    server.until("/ready", |ready| ready["webhooks"]["active"] == 0).await;
    let ends = |event: &str| {
        let book = ledger.book();
        book.notices.iter().filter(|notice| notice.body["event"] == event).count()
    };
    assert_eq!([ends("workflow_started"), ends("workflow_completed")], [0, OWED]);
}

/// A cursor after the run's first entry, out of the sweep.
fn left(run: RunId) -> Cursor {
    let never = i64::MAX as u64;
    let state = CursorState::Active;
    Cursor { run, next_seq: 1, attempts: 0, next_at: never, state, error: None }
}

/// The waits between two attempts are kept, whatever happens in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_does_not_hurry_a_receiver_that_refuses() {
    let manner = Manner { notice_refusals: 100, ..Manner::prompt() };
    let ledger = Ledger::start(manner).await;
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    let hook = format!("{}/hook", ledger.url);
    let run = server.submit(&request(&[call(&ledger.url, "only", &[])], Some(&hook))).await;
    let path = format!("/runs/{run}");
    server.until(&path, |view| view["webhook"]["failed_attempts"] == 1).await;
    server.kill();
    let server = Server::start(data.path());
    server.until(&path, |view| view["webhook"]["failed_attempts"] == 2).await;
    server.kill();
    let _server = Server::start(data.path());
    ledger.until(|book| book.notices.len() == 3).await;
    let book = ledger.book();
    let waits: Vec<Duration> =
        book.notices.windows(2).map(|pair| pair[1].arrived - pair[0].arrived).collect();
    let kept = waits[0] >= Duration::from_secs(1) && waits[1] >= Duration::from_secs(2);
    assert!(kept, "waited for {waits:?}");
}
