//! A stop that was asked for: what is under way may end, and the rest goes on at the next start.

use waystation_engine::limits::SLEEP_IN_MEMORY;

use crate::definition::{call, request};
use crate::ledger::{Ledger, Manner};
use crate::process::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_run_goes_on_at_the_next_start() {
    assert_eq!(stop_during_first_step(Manner::prompt(), true).await, [1, 1]);
}

/// The step fails while the server stops, and the wait for its next attempt is a long one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_began_to_wait_during_a_stop_is_woken_at_its_time() {
    let wait = SLEEP_IN_MEMORY.as_secs() + 2;
    let manner = Manner { retry_after: Some(wait), ..Manner::prompt() };
    assert_eq!(stop_during_first_step(manner, false).await, [2, 0]);
}

/// Stops the server while the first of one or two steps is called, starts it again, and tells how
/// often each step was called in all.
async fn stop_during_first_step(manner: Manner, has_second: bool) -> [usize; 2] {
    let ledger = Ledger::start(manner).await;
    let data = tempfile::tempdir().expect("a directory");
    let server = Server::start(data.path());
    ledger.hold("first");
    let mut steps = vec![call(&ledger.url, "first", &[])];
    steps.extend(has_second.then(|| call(&ledger.url, "second", &["first"])));
    let run = server.submit(&request(&steps, None)).await;
    ledger.until(|book| book.has_called("first", 1)).await;
    server.ask_to_stop().await;
    ledger.release("first");
    server.wait_until_gone();
    assert!(!ledger.book().has_called("second", 1), "nothing new begins during a stop");

    let server = Server::start(data.path());
    let view = server.ended(&run).await;
    assert_eq!(view["status"], "completed", "{view:#}");
    ["first", "second"].map(|step| ledger.book().calls_of(&run, step).len())
}
