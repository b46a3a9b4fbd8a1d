//! Graphs: a list of many items whose server is killed halfway, many runs asleep, and many programs.

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::api::{POLL, Place, begin, get_json, mebibytes, save, until_ended};
use crate::client::{Connection, Request};
use crate::process::free_address;

/// Items under way at once.
const LIMIT: usize = 50;
/// How long the service of an item takes.
const CALL_TAKES: Duration = Duration::from_millis(20);
/// Connections that begin runs.
const CONNECTIONS: usize = 64;
/// Calls of a program.
const PROGRAMS: usize = 10_000;

/// How much there is to do.
#[derive(clap::Args)]
pub(crate) struct Amounts {
    /// Items of the list.
    #[arg(long, default_value_t = 10_000)]
    items: usize,
    /// Runs asleep.
    #[arg(long, default_value_t = 1_000_000)]
    sleepers: usize,
}

/// Measures all three; a section of the report.
pub(crate) async fn measure(place: &Place<'_>, amounts: &Amounts) -> Result<String> {
    let mut out = String::from("## Graphs\n\n| what | measured |\n| --- | --- |\n");
    items(place, amounts.items, &mut out).await?;
    programs(place, &mut out).await?;
    sleepers(place, amounts.sleepers, &mut out).await?;
    Ok(out)
}

/// What the service of the items has seen.
#[derive(Default)]
struct Calls {
    under_way: AtomicUsize,
    most: AtomicUsize,
    by_item: Mutex<Vec<u32>>,
}

impl Calls {
    fn by_item(&self) -> std::sync::MutexGuard<'_, Vec<u32>> {
        self.by_item.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self) -> usize {
        self.by_item().iter().filter(|calls| **calls > 0).count()
    }
}

async fn serve_items(calls: Arc<Calls>) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let routes = Router::new().route("/{item}", post(answer)).with_state(calls);
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

async fn answer(State(calls): State<Arc<Calls>>, UrlPath(item): UrlPath<usize>) -> &'static str {
    let now = calls.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    calls.most.fetch_max(now, Ordering::SeqCst);
    let _under_way = UnderWay(&calls);
    tokio::time::sleep(CALL_TAKES).await;
    if let Some(count) = calls.by_item().get_mut(item) {
        *count += 1;
    }
    "{}"
}

/// A call, which ends here or when its caller is gone.
struct UnderWay<'a>(&'a Calls);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A list of many items, each of which calls a service; the server is killed halfway.
async fn items(place: &Place<'_>, count: usize, out: &mut String) -> Result<()> {
    let calls = Arc::new(Calls::default());
    calls.by_item().resize(count, 0);
    let service = serve_items(Arc::clone(&calls)).await?;
    let scratch = tempfile::tempdir_in(place.data)?;
    let address = free_address()?;
    let server = place.start(scratch.path(), address)?;
    let call = json!({ "id": "call", "type": "http", "config": {
        "method": "POST", "url": format!("http://{service}/{{{{index}}}}") } });
    let each = json!({ "id": "each", "type": "foreach", "config": {
        "items": "{{input.items}}", "concurrency": LIMIT, "body": { "nodes": [call] } } });
    let workflow = save(address, &json!({ "name": "Items", "nodes": [each] })).await?;
    let began = Instant::now();
    let input = json!({ "items": (0..count).collect::<Vec<_>>() });
    let job = begin(address, &workflow, &input).await?;
    let mut halves = Vec::new();
    while calls.count() < count / 2 {
        halves.push(server.usage()?.resident_bytes);
        tokio::time::sleep(POLL).await;
    }
    let first = server.usage()?.resident_bytes_max;
    drop(server);
    // Calls of the killed server are not those of the next one.
    while calls.under_way.load(Ordering::SeqCst) > 0 {
        tokio::time::sleep(CALL_TAKES).await;
    }
    let killed_at = calls.count();
    let server = place.start(scratch.path(), address)?;
    until_ended(address, &job).await?;
    let took = began.elapsed().as_secs_f64();
    let again = calls.by_item().iter().filter(|calls| **calls > 1).count();
    ensure!(calls.count() == count, "every item is done");
    let second = server.usage()?.resident_bytes_max;
    writeln!(
        out,
        "| {count} items of a `foreach`, {LIMIT} at once, each an HTTP call of {} ms; killed with SIGKILL at \
         {killed_at} | {took:.1} s in all; most calls at once {}; items called again after the kill {again}; \
         peak memory {:.0} MiB before, {:.0} MiB after |",
        CALL_TAKES.as_millis(),
        calls.most.load(Ordering::SeqCst),
        mebibytes(first),
        mebibytes(second),
    )?;
    Ok(())
}

/// Many calls of a small program, in each language.
async fn programs(place: &Place<'_>, out: &mut String) -> Result<()> {
    let scratch = tempfile::tempdir_in(place.data)?;
    let address = free_address()?;
    let server = place.start(scratch.path(), address)?;
    let python = "def fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)\n\ndef process(n):\n    return fib(n)\n";
    let javascript = "const fib = n => n < 2 ? n : fib(n - 1) + fib(n - 2);\nfunction process({ n }) { return fib(n); }";
    for (language, code) in [("python", python), ("javascript", javascript)] {
        let call = json!({ "id": "call", "type": "code", "config": {
            "language": language, "code": code, "input_mapping": { "n": 15 } } });
        let each = json!({ "id": "each", "type": "foreach", "config": {
            "items": "{{input.items}}", "concurrency": LIMIT, "body": { "nodes": [call] } } });
        let workflow = save(address, &json!({ "name": language, "nodes": [each] })).await?;
        let began = Instant::now();
        let job = begin(address, &workflow, &json!({ "items": vec![0; PROGRAMS] })).await?;
        until_ended(address, &job).await?;
        let took = began.elapsed().as_secs_f64();
        writeln!(
            out,
            "| {PROGRAMS} calls of `fib(15)` in {language}, one run, {LIMIT} at once | {took:.1} s: \
             {:.0} calls/s, each an item with a journal of its own; peak memory {:.0} MiB |",
            PROGRAMS as f64 / took,
            mebibytes(server.usage()?.resident_bytes_max),
        )?;
    }
    Ok(())
}

/// Many runs that sleep for a day.
async fn sleepers(place: &Place<'_>, count: usize, out: &mut String) -> Result<()> {
    let scratch = tempfile::tempdir_in(place.data)?;
    let address = free_address()?;
    let server = place.start(scratch.path(), address)?;
    let delay = json!({ "id": "wait", "type": "delay", "config": { "delay_seconds": 86_400 } });
    let workflow = save(address, &json!({ "name": "Sleep", "nodes": [delay] })).await?;
    let path = format!("/api/v1/workflows/{workflow}/execute");
    let (next, began) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(begin_runs(address, path.clone(), (Arc::clone(&next), count)));
    }
    while let Some(done) = clients.join_next().await {
        done??;
    }
    let took = began.elapsed().as_secs_f64();
    // The last ones have left memory when nothing runs any more.
    loop {
        let ready: Value = get_json(address, "/ready").await?;
        if ready["runs_running"] == 0 {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    let awake = server.usage()?;
    drop(server);
    let server = place.start(scratch.path(), address)?;
    let list = get_json(address, "/api/v1/jobs?status=running&limit=1").await?;
    ensure!(list["total"] == count, "all runs are there: {}", list["total"]);
    let on_disk =
        std::fs::read_dir(scratch.path())?.filter_map(|entry| entry.ok()?.metadata().ok());
    let on_disk: u64 = on_disk.map(|file| file.len()).sum();
    writeln!(
        out,
        "| {count} runs asleep for a day | begun at {:.0} runs/s; resident {:.0} MiB (peak {:.0}); {:.2} KiB on \
         disk each; a restart listens after {} ms with {:.0} MiB |",
        count as f64 / took,
        mebibytes(awake.resident_bytes),
        mebibytes(awake.resident_bytes_max),
        on_disk as f64 / 1024.0 / count as f64,
        server.started_in.as_millis(),
        mebibytes(server.usage()?.resident_bytes),
    )?;
    Ok(())
}

async fn begin_runs(
    address: SocketAddr,
    path: String,
    (next, count): (Arc<AtomicUsize>, usize),
) -> Result<()> {
    let mut connection = Connection::open(address).await?;
    let request = Request::post(&path, "{}");
    while next.fetch_add(1, Ordering::Relaxed) < count {
        let answer = connection.exchange(&request).await?;
        ensure!(answer.status == 202, "a run was answered with {}", answer.status);
    }
    Ok(())
}
