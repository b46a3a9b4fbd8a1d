//! Thousands of clients that watch one job: what each costs, and whether other runs are slowed down.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::api::{POLL, Place, begin, on_core, post_json, save, until_ended};
use crate::process::{Server, free_address};
use crate::report::yes;
use crate::round::median;

/// The core of the server, which has it for itself, and that of all clients.
const SERVER_CORE: usize = 0;
const CLIENT_CORE: usize = 1;
/// Seconds that each node of the watched job waits. It starts, waits and completes: three events.
const NODE_TAKES: f64 = 0.5;
/// Nodes of the watched job: more than are needed until it is cancelled.
const NODES: usize = 1_000;
/// How long the watched job runs alone.
const QUIET: Duration = Duration::from_secs(10);
/// Items of one job of the load, and how many of them are under way at once.
const ITEMS: usize = 10_000;
const LIMIT: usize = 50;

/// How much there is to do.
#[derive(clap::Args)]
pub(crate) struct Crowd {
    /// Clients that watch.
    #[arg(long, default_value_t = 5_000)]
    watchers: usize,
    /// Jobs of the load in each round.
    #[arg(long, default_value_t = 3)]
    loads: usize,
    /// Rounds with and without clients, in alternation.
    #[arg(long, default_value_t = 5)]
    watched_rounds: usize,
}

/// What one round gave.
struct Round {
    items_per_second: f64,
    bytes_per_client: f64,
    /// The share of a core that the server takes while nothing but the watched job runs.
    share: f64,
    /// Events that every client has heard.
    events: u64,
}

/// Measures with and without clients; a section of the report.
pub(crate) async fn measure(place: &Place<'_>, amounts: &Crowd) -> Result<String> {
    ensure!(amounts.watched_rounds > 0, "at least one round");
    let mut pairs = Vec::new();
    for _ in 0..amounts.watched_rounds {
        let alone = round(place, 0, amounts.loads).await?;
        let watched = round(place, amounts.watchers, amounts.loads).await?;
        eprintln!("{:.0} runs/s, watched {:.0}", alone.items_per_second, watched.items_per_second);
        pairs.push([alone, watched]);
    }
    let before = median(&pairs, |[alone, _]| alone.items_per_second);
    let after = median(&pairs, |[_, watched]| watched.items_per_second);
    // Of neighbours in time: machines are not always as fast.
    let slower =
        |[alone, watched]: &[Round; 2]| 1.0 - watched.items_per_second / alone.items_per_second;
    let slowed = median(&pairs, slower) * 100.0;
    let share = |of: fn(&[Round; 2]) -> &Round| median(&pairs, |pair| of(pair).share * 100.0);
    let mut out = String::from("## Watchers\n\n");
    writeln!(
        out,
        "One job with {:.0} events a second, watched by {} clients, half of them by WebSocket, half by \
         server-sent events. Beside it, jobs of {ITEMS} items, each a run of one pure node with a journal of \
         its own. The server has one core for itself, the clients have another.\n",
        3.0 / NODE_TAKES,
        amounts.watchers,
    )?;
    writeln!(out, "| asked | measured | holds |\n| --- | --- | --- |")?;
    let events: Vec<u64> = pairs.iter().map(|[_, watched]| watched.events).collect();
    writeln!(
        out,
        "| all clients get every event, in order | {events:?} events in the rounds, all of them by everyone | yes |"
    )?;
    writeln!(
        out,
        "| other runs are slowed by 10% at most | {before:.0} runs/s alone, {after:.0} watched; median of the {} pairs {slowed:.1}% | {} |",
        pairs.len(),
        yes(slowed <= 10.0),
    )?;
    writeln!(
        out,
        "| what the server takes of its core for the watched job, without other runs | {:.1}%; {:.1}% with its \
         clients | |",
        share(|[alone, _]| alone),
        share(|[_, watched]| watched),
    )?;
    let bytes = median(&pairs, |[_, watched]| watched.bytes_per_client);
    writeln!(out, "| memory of a client in the server | {:.1} KiB | |", bytes / 1024.0)?;
    Ok(out)
}

/// One round on a fresh server.
async fn round(place: &Place<'_>, clients: usize, loads: usize) -> Result<Round> {
    let scratch = tempfile::tempdir_in(place.data)?;
    let address = free_address()?;
    let server = place.start_on(SERVER_CORE, scratch.path(), address)?;
    let job = begin(address, &save(address, &watched()).await?, &json!({})).await?;
    let load = save(address, &load()).await?;
    // Before anything is measured, so that memory for runs is there already.
    work(address, &load).await?;
    let before = server.usage()?.resident_bytes;
    let onlookers = Onlookers::start(address, &job, clients)?;
    let bytes = resident(&server)?.saturating_sub(before);
    let share = share(&server).await?;
    let began = Instant::now();
    for _ in 0..loads {
        work(address, &load).await?;
    }
    let took = began.elapsed().as_secs_f64();
    post_json(address, &format!("/api/v1/jobs/{job}/cancel"), &json!({})).await?;
    Ok(Round {
        items_per_second: (loads * ITEMS) as f64 / took,
        bytes_per_client: bytes as f64 / clients.max(1) as f64,
        share,
        events: onlookers.end()?,
    })
}

/// The share of a core that a server takes.
async fn share(server: &Server) -> Result<f64> {
    let (before, began) = (server.usage()?.cpu, Instant::now());
    tokio::time::sleep(QUIET).await;
    let took = server.usage()?.cpu.saturating_sub(before);
    Ok(took.as_secs_f64() / began.elapsed().as_secs_f64())
}

fn resident(server: &Server) -> Result<u64> {
    std::thread::sleep(POLL);
    Ok(server.usage()?.resident_bytes)
}

/// A job that has something to tell for as long as it is let.
fn watched() -> serde_json::Value {
    let node = |place: usize| json!({ "id": format!("n{place}"), "type": "delay", "config": { "delay_seconds": NODE_TAKES } });
    let edge =
        |place: usize| json!({ "from": format!("n{}", place - 1), "to": format!("n{place}") });
    let nodes: Vec<_> = (0..NODES).map(node).collect();
    let edges: Vec<_> = (1..NODES).map(edge).collect();
    json!({ "name": "Watched", "nodes": nodes, "edges": edges })
}

fn load() -> serde_json::Value {
    let item = json!({ "id": "double", "type": "transformer", "config": {
        "transform_type": "template", "template": "{{item * 2}}" } });
    let each = json!({ "id": "each", "type": "foreach", "config": {
        "items": "{{input.items}}", "concurrency": LIMIT, "body": { "nodes": [item] } } });
    json!({ "name": "Load", "nodes": [each] })
}

async fn work(address: SocketAddr, workflow: &str) -> Result<()> {
    let job = begin(address, workflow, &json!({ "items": vec![21; ITEMS] })).await?;
    until_ended(address, &job).await
}

/// The process of the clients.
struct Onlookers {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Onlookers {
    /// Starts them and waits until all have heard something.
    fn start(address: SocketAddr, job: &str, clients: usize) -> Result<Onlookers> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["onlookers", "--address", &address.to_string(), "--job", job]);
        command.args(["--clients", &clients.to_string()]);
        let mut child = on_core(CLIENT_CORE, &command).stdout(Stdio::piped()).spawn()?;
        let output = BufReader::new(child.stdout.take().context("an output")?);
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let onlookers = Onlookers { child, lines };
        ensure!(onlookers.line()? == "ready", "the clients are not ready");
        Ok(onlookers)
    }

    fn line(&self) -> Result<String> {
        self.lines.recv().context("the clients have ended; see their error above")
    }

    /// The events that each has heard to the end.
    fn end(mut self) -> Result<u64> {
        let events = self.line()?.parse().context("a number of events")?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the clients ended with {status}");
        Ok(events)
    }
}
