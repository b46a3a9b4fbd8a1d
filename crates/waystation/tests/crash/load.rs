//! Many kills at random moments under load, on one data directory.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use waystation_engine::store::Status;

use crate::audit::{Closed, Promises, after_kill, at_rest};
use crate::definition;
use crate::durable::Durable;
use crate::ledger::{Ledger, Manner};
use crate::process::{Server, client, post, text};
use crate::random::{Random, fresh_seed};

/// Kills, unless `WAYSTATION_KILLS` says otherwise.
const KILLS: u64 = 200;
/// Clients that send pipelines at the same time.
const CLIENTS: u64 = 8;
/// Pipelines that one client sends between two kills, at the most.
const PIPELINES: u64 = 12;
/// The moments of a kill, in milliseconds after the load began.
const MOMENTS: std::ops::Range<u64> = 10..300;
/// What a failed test shows of what it found.
const SHOWN: usize = 20;

/// Nothing that was acknowledged is lost, and nothing that was recorded is done again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_lose_nothing_and_repeat_nothing() {
    let kills = number("WAYSTATION_KILLS").unwrap_or(KILLS);
    let seed = number("WAYSTATION_KILL_SEED").unwrap_or_else(fresh_seed);
    eprintln!("{kills} kills; WAYSTATION_KILL_SEED={seed} replays their moments");
    let random = Random::new(seed);
    let manner = Manner {
        random: random.of("ledger"),
        delay_ms: 30,
        refusals: 8,
        notice_refusals: 2,
        retry_after: None,
    };
    let ledger = Arc::new(Ledger::start(manner).await);
    let data = tempfile::tempdir().expect("a directory");
    let mut siege = Siege::new(data.path(), ledger, random, seed);
    for kill in 1..=kills {
        siege.kill(kill).await;
        if kill % 20 == 0 || kill == kills {
            siege.report(kill);
        }
    }
    siege.settle().await;
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

/// A data directory and all that is known about it.
struct Siege<'a> {
    data: &'a Path,
    ledger: Arc<Ledger>,
    random: Random,
    seed: u64,
    client: reqwest::Client,
    promises: Arc<Mutex<Promises>>,
    durable: Durable,
    closed: Closed,
    begun: Instant,
}

impl<'a> Siege<'a> {
    fn new(data: &'a Path, ledger: Arc<Ledger>, random: Random, seed: u64) -> Siege<'a> {
        Siege {
            data,
            ledger,
            random,
            seed,
            client: client(),
            promises: Arc::default(),
            durable: Durable::default(),
            closed: Closed::new(),
            begun: Instant::now(),
        }
    }

    /// Starts the server, lets clients at it, kills it, and looks at what it leaves.
    async fn kill(&mut self, number: u64) {
        let mut random = self.random.of(("kill", number));
        let server = Server::start(self.data);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| tokio::spawn(self.load(server.url.clone(), random.of(client))))
            .collect();
        let moment = MOMENTS.start + random.below(MOMENTS.end - MOMENTS.start);
        tokio::time::sleep(Duration::from_millis(moment)).await;
        server.kill();
        for client in clients {
            client.await.expect("a client");
        }
        let place = self.ledger.settled().await;
        let changed = self.durable.read(self.data).await;
        for run in changed {
            for step in self.durable.runs[&run].recorded() {
                self.closed.entry((run.to_string(), step.to_owned())).or_insert(place);
            }
        }
        let mut found = std::mem::take(&mut self.durable.violations);
        {
            let promises = self.promises.lock().expect("the promises");
            found.extend(after_kill(&self.durable, &promises));
        }
        self.judge(&format!("after kill {number}"), &found);
    }

    /// One client: sends pipelines until the server is gone.
    fn load(&self, url: String, mut random: Random) -> impl Future<Output = ()> + use<> {
        let (client, ledger) = (self.client.clone(), self.ledger.url.clone());
        let promises = Arc::clone(&self.promises);
        async move {
            for _ in 0..PIPELINES {
                let body = definition::any(&ledger, &mut random);
                let respond_async = random.percent(70);
                let Some(reply) = post(&client, &url, &body, respond_async).await else { return };
                let run = text(&reply["execution_id"]);
                let reply: Option<Value> = (!respond_async).then_some(reply);
                promises.lock().expect("the promises").acknowledged.insert(run, reply);
            }
        }
    }

    /// Lets everything come to its end, and compares all that is known.
    async fn settle(mut self) {
        let server = Server::start(self.data);
        server
            .until("/runs?status=running&limit=1", |page| page["runs"] == Value::Array(vec![]))
            .await;
        server.until("/ready", |ready| ready["webhooks"]["active"] == 0).await;
        server.kill();
        self.ledger.settled().await;
        self.durable.read(self.data).await;
        let mut found = std::mem::take(&mut self.durable.violations);
        {
            let promises = self.promises.lock().expect("the promises");
            let book = self.ledger.book();
            found.extend(at_rest(&self.durable, &book, &promises, &self.closed));
        }
        self.judge("at rest", &found);
        self.report_endings();
    }

    fn judge(&self, when: &str, found: &[String]) {
        let shown: Vec<&str> = found.iter().take(SHOWN).map(String::as_str).collect();
        let (count, seed) = (found.len(), self.seed);
        let text = shown.join("\n");
        assert!(found.is_empty(), "{when}: {count} faults, WAYSTATION_KILL_SEED={seed}\n{text}");
    }

    fn report(&self, kill: u64) {
        let book = self.ledger.book();
        let acknowledged = self.promises.lock().expect("the promises").acknowledged.len();
        eprintln!(
            "{kill} kills in {:.0?}: {} runs, {acknowledged} acknowledged, {} calls, {} notifications",
            self.begun.elapsed(),
            self.durable.runs.len(),
            book.calls.len(),
            book.notices.len(),
        );
    }

    fn report_endings(&self) {
        let runs = self.durable.runs.values();
        let well = runs.filter(|journal| journal.status == Status::Completed).count();
        let book = self.ledger.book();
        let (again, again_told) = book.repeated();
        eprintln!(
            "{well} of {} runs completed; {again} calls and {again_told} notifications came again",
            self.durable.runs.len()
        );
    }
}
