//! Instruction chains that wait for a slow worker, left alone and polled: whether polls slow them down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use crate::chains::{STEPS, begin};
use crate::client::{Connection, RUN_NUMBER, Request};
use crate::histogram::Histogram;
use crate::scenario::Bench;

/// Chains under way at once.
pub(crate) const CHAINS: usize = 1_000;
/// Connections that poll, and how often each does.
const POLLERS: usize = 16;
const POLL_EVERY: Duration = Duration::from_millis(8);
/// The pause between two looks at whether all have ended.
const LOOK: Duration = Duration::from_millis(100);
/// Rows of one page of runs.
const PAGE: usize = 200;

/// What was measured.
pub(crate) struct Watched {
    /// Seconds that each chain took, in ascending order.
    pub(crate) seconds: Vec<f64>,
    /// How long polls took.
    pub(crate) polls: Histogram,
    /// Polls answered a second.
    pub(crate) polls_per_second: f64,
}

impl Watched {
    /// The seconds that a share of the chains did not exceed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let last = self.seconds.len().saturating_sub(1);
        self.seconds[(last as f64 * share).round() as usize]
    }
}

/// Runs all chains at once, polled or not.
pub(crate) async fn measure(bench: &Bench, polled: bool) -> Result<Watched> {
    let launched = bench.launch_engine()?;
    let address = launched.address();
    let mut connection = Connection::open(address).await?;
    let mut request = Request::post("/", &chain(bench.service));
    let mut instances = Vec::with_capacity(CHAINS);
    for number in 0..CHAINS as u64 {
        request.set_number(number);
        instances.push(begin(&mut connection, &request).await?);
    }
    let (instances, over) = (Arc::new(instances), Arc::new(AtomicBool::new(false)));
    let (mut pollers, began) = (JoinSet::new(), Instant::now());
    for place in 0..if polled { POLLERS } else { 0 } {
        pollers.spawn(poll(address, place, Arc::clone(&instances), Arc::clone(&over)));
    }
    while !all_ended(&mut connection).await? {
        sleep(LOOK).await;
    }
    let polled_for = began.elapsed().as_secs_f64();
    over.store(true, Ordering::Relaxed);
    let mut polls = Histogram::new();
    while let Some(tally) = pollers.join_next().await {
        polls.merge(&tally??);
    }
    let seconds = durations(&mut connection).await?;
    Ok(Watched { seconds, polls_per_second: polls.count() as f64 / polled_for, polls })
}

fn chain(service: SocketAddr) -> String {
    let step = json!({
        "type": "endpoint",
        "endpointUrl": format!("http://{service}/worker"),
        "apiUrl": "http://service.example/",
    });
    let context = format!("The short context of run {RUN_NUMBER}");
    json!({ "context": context, "instructions": vec![step; STEPS] }).to_string()
}

/// Asks for one instance after another until it is over.
async fn poll(
    address: SocketAddr,
    place: usize,
    instances: Arc<Vec<String>>,
    over: Arc<AtomicBool>,
) -> Result<Histogram> {
    let mut connection = Connection::open(address).await?;
    let mut clock = interval(POLL_EVERY);
    let mut latencies = Histogram::new();
    for instance in instances.iter().cycle().skip(place * CHAINS / POLLERS) {
        clock.tick().await;
        if over.load(Ordering::Relaxed) {
            break;
        }
        let began = Instant::now();
        let answer = connection.exchange(&Request::get(&format!("/?instanceId={instance}"))).await?;
        ensure!(answer.status == 200, "a poll was answered with {}", answer.status);
        latencies.record(began.elapsed());
    }
    Ok(latencies)
}

async fn all_ended(connection: &mut Connection) -> Result<bool> {
    let answer = connection.exchange(&Request::get("/runs?status=running&limit=1")).await?;
    let body: Value = serde_json::from_slice(answer.body)?;
    Ok(body["runs"].as_array().context("a list of runs")?.is_empty())
}

/// The seconds that each run took, in ascending order; all of them have to have completed.
async fn durations(connection: &mut Connection) -> Result<Vec<f64>> {
    let mut seconds = Vec::with_capacity(CHAINS);
    let mut path = format!("/runs?limit={PAGE}");
    loop {
        let answer = connection.exchange(&Request::get(&path)).await?;
        let body: Value = serde_json::from_slice(answer.body)?;
        for run in body["runs"].as_array().context("a list of runs")? {
            ensure!(run["status"] == "completed", "a chain did not complete: {run}");
            seconds.push(run["execution_time"].as_f64().context("a run's seconds")?);
        }
        match body["next_before"].as_str() {
            Some(next) => path = format!("/runs?limit={PAGE}&before={next}"),
            None => break,
        }
    }
    ensure!(seconds.len() == CHAINS, "{} runs", seconds.len());
    seconds.sort_by(f64::total_cmp);
    Ok(seconds)
}
