//! Instruction chains of the built-in model, many at once, each until a poll has seen its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Connection, RUN_NUMBER, Request};
use crate::histogram::Histogram;
use crate::scenario::Bench;

/// Chains in all.
pub(crate) const CHAINS: usize = 2_000;
/// Instructions of each.
pub(crate) const STEPS: usize = 5;
/// The pause before an instance is asked for again.
const POLL_PAUSE: Duration = Duration::from_millis(2);

/// What was measured.
pub(crate) struct Chains {
    /// Chains a second.
    pub(crate) rate: f64,
    /// Those that did not complete.
    pub(crate) errors: usize,
    /// From the request until a poll has seen the end.
    pub(crate) latencies: Histogram,
}

/// Runs all chains on so many connections.
pub(crate) async fn measure(bench: &Bench, connections: usize) -> Result<Chains> {
    let launched = bench.launch_engine()?;
    let (next, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        clients.spawn(run_chains(launched.address(), Arc::clone(&next)));
    }
    let (mut latencies, mut errors) = (Histogram::new(), 0);
    while let Some(done) = clients.join_next().await {
        let (own, failed) = done??;
        latencies.merge(&own);
        errors += failed;
    }
    Ok(Chains { rate: CHAINS as f64 / began.elapsed().as_secs_f64(), errors, latencies })
}

/// Runs chains one after another until all have begun.
async fn run_chains(address: SocketAddr, next: Arc<AtomicUsize>) -> Result<(Histogram, usize)> {
    let mut connection = Connection::open(address).await?;
    let mut request = Request::post("/", &chain());
    let (mut latencies, mut errors) = (Histogram::new(), 0);
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= CHAINS {
            return Ok((latencies, errors));
        }
        request.set_number(number as u64);
        let began = Instant::now();
        match run_to_end(&mut connection, &request).await {
            Ok(()) => latencies.record(began.elapsed()),
            Err(error) => {
                eprintln!("a chain failed: {error:#}");
                errors += 1;
            }
        }
    }
}

/// Every chain has a context of its own.
fn chain() -> String {
    let steps: Vec<String> = (1..=STEPS).map(|step| format!("This is step {step}")).collect();
    let context = format!("The short context of run {RUN_NUMBER}");
    json!({ "context": context, "provider": "echo", "instructions": steps }).to_string()
}

async fn run_to_end(connection: &mut Connection, request: &Request) -> Result<()> {
    let poll = Request::get(&format!("/?instanceId={}", begin(connection, request).await?));
    loop {
        let answer = connection.exchange(&poll).await?;
        ensure!(answer.status == 200, "a poll was answered with {}", answer.status);
        if answer.contains(br#""status":"complete""#) {
            return Ok(());
        }
        ensure!(!answer.contains(br#""status":"errored""#), "{}", beginning(answer.body));
        sleep(POLL_PAUSE).await;
    }
}

/// Begins a chain and gives the id of its instance.
pub(crate) async fn begin(connection: &mut Connection, request: &Request) -> Result<String> {
    let answer = connection.exchange(request).await?;
    ensure!(answer.status == 200, "{}", beginning(answer.body));
    let body: Value = serde_json::from_slice(answer.body)?;
    Ok(body["instanceId"].as_str().context("no instanceId")?.to_owned())
}

fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}
