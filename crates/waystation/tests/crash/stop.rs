//! A stop that was asked for: what is under way may end, and the rest goes on at the next start.

use crate::definition::{call, request};
use crate::ledger::{Ledger, Manner};
use crate::process::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_run_goes_on_at_the_next_start() {
    let ledger = Ledger::start(Manner::prompt()).await;
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    ledger.hold("first");
    let steps = [call(&ledger.url, "first", &[]), call(&ledger.url, "second", &["first"])];
    let run = server.submit(&request(&steps, None)).await;
    ledger.until(|book| book.has_called("first", 1)).await;
    server.ask_to_stop().await;
    ledger.release("first");
    server.wait_until_gone();
    assert!(!ledger.book().has_called("second", 1), "nothing new begins during a stop");

    let server = Server::start(data.path());
    let view = server.ended(&run).await;
    assert_eq!(view["status"], "completed", "{view:#}");
    for step in ["first", "second"] {
        assert_eq!(ledger.book().calls_of(&run, step).len(), 1, "{step}");
    }
}
