//! Ten minutes of load at 80% of the peak while things go wrong: no run may be lost, memory may not grow, and
//! afterwards all has to be as fast as before.

mod ledger;
mod load;
mod look;
mod trouble;

use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, sleep_until};

use self::ledger::{Latencies, Ledger, Window};
use self::load::{Refused, Target};
use self::look::{Look, slope, spare};
use self::trouble::{Launch, Redis, Supervised};
use crate::api::{POLL, Place, get_json, save};
use crate::process::free_address;
use crate::report::yes;
use crate::scenario::counter;

/// The share of the peak that is asked for.
const SHARE: f64 = 0.8;
/// Runs before the peak is measured, so that it is not measured cold.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long the peak is measured.
const PEAK: Duration = Duration::from_secs(15);
/// How long Redis and the disk's room are gone.
const REDIS_AWAY: Duration = Duration::from_secs(3);
const DISK_FULL: Duration = Duration::from_secs(5);
/// Seconds that the clock jumps ahead, and later back.
const CLOCK_JUMP: i64 = 3_600;
/// Events that are not sent for so long are all sent.
const CALM: Duration = Duration::from_secs(1);
/// How long the last runs may take to end.
const SETTLE: Duration = Duration::from_secs(120);
/// Memory that the server may gain in a minute.
const GROWTH_MIB: f64 = 1.0;

/// How much there is to do, and with what.
#[derive(clap::Args)]
pub(crate) struct Amounts {
    /// Minutes of load: one calm minute, the faults, one calm minute.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(4..))]
    minutes: u32,
    /// libfaketimeMT.so.1; without it the clock does not jump.
    #[arg(long)]
    faketime: Option<PathBuf>,
    /// Fill the file system of the data for five seconds. Give it one of its own, of some 20 GB.
    #[arg(long)]
    fill_disk: bool,
}

/// Loads, breaks, and looks what has become of it; a section of the report.
pub(crate) async fn measure(place: &Place<'_>, amounts: &Amounts) -> Result<String> {
    let (logs, scratch) = (tempfile::tempdir()?, tempfile::tempdir_in(place.data)?);
    let minutes = Duration::from_secs(60) * amounts.minutes;
    let redis = Redis::start(logs.path())?;
    let address = free_address()?;
    let clock = logs.path().join("clock");
    trouble::set_clock(&clock, 0)?;
    let launch = Launch {
        engine: place.engine.clone(),
        data: scratch.path().to_owned(),
        log: logs.path().join("server.log"),
        address,
        redis: redis.url(),
        clock: amounts.faketime.clone().map(|library| (library, clock.clone())),
    };
    let server = Supervised::start(launch)?;
    let service = serve().await?;
    let workflow = save(address, &workflow(service.address)).await?;
    let target = Target { address, workflow };
    let peak = peak(&target, &service).await?;
    let rate = peak * SHARE;
    eprintln!("peak {peak:.0} runs/s, load {rate:.0} runs/s for {} minutes", amounts.minutes);
    let runs = (rate * minutes.as_secs_f64()) as usize;
    let ledger = Arc::new(Ledger::new(runs));
    service.count_in(&ledger);
    let began = Instant::now();
    let mut faults = Faults {
        redis,
        disk: Some(scratch.path()).filter(|_| amounts.fill_disk),
        clock: amounts.faketime.as_ref().map(|_| &*clock),
    };
    let before = completed(address).await?;
    let (refused, happened, looks) = tokio::join!(
        load::steady(&target, &ledger, began, (runs, rate)),
        faults.happen(began, minutes),
        look::watch(&server, began, minutes),
    );
    let seen = Seen {
        peak,
        rate,
        refused: refused?,
        faults: happened?,
        looks: looks?,
        starts: server.starts(),
    };
    let mut ended = settle(address).await?;
    ended.completed -= before;
    report(&ledger, &seen, &ended, minutes)
}

/// Runs are calls of a service that fails now and then.
fn workflow(service: SocketAddr) -> Value {
    let call = json!({ "id": "call", "type": "http", "config": {
        "method": "POST", "url": format!("http://{service}/{{{{input.number}}}}"),
        "retries": 10, "retry_delay": 0.02 } });
    json!({ "name": "Load", "nodes": [call] })
}

/// The called service.
struct Service {
    address: SocketAddr,
    ledger: Arc<std::sync::RwLock<Arc<Ledger>>>,
}

impl Service {
    fn count_in(&self, ledger: &Arc<Ledger>) {
        // Nobody panics while holding it.
        if let Ok(mut counted) = self.ledger.write() {
            *counted = Arc::clone(ledger);
        }
    }
}

type Counted = Arc<std::sync::RwLock<Arc<Ledger>>>;

async fn serve() -> Result<Service> {
    let ledger: Counted = Arc::new(std::sync::RwLock::new(Arc::new(Ledger::new(0))));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let routes = Router::new().route("/{run}", post(answer)).with_state(Arc::clone(&ledger));
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(Service { address, ledger })
}

async fn answer(State(ledger): State<Counted>, UrlPath(run): UrlPath<usize>) -> StatusCode {
    let succeeds = ledger.read().is_ok_and(|ledger| ledger.call(run));
    if succeeds { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Runs a second, begun as the load begins them, until all have ended and all their events are with Redis: what is
/// only put off does not count.
async fn peak(target: &Target, service: &Service) -> Result<f64> {
    let nobody = Arc::new(Ledger::new(0));
    service.count_in(&nobody);
    load::begin(target, WARM_UP).await?;
    until_done(target.address).await?;
    let began = Instant::now();
    let runs = load::begin(target, PEAK).await?;
    let ended = until_done(target.address).await?;
    Ok(runs as f64 / (ended - began).as_secs_f64())
}

/// Waits until no run is under way and no event is sent any more; answers since when that is so.
async fn until_done(address: SocketAddr) -> Result<Instant> {
    let (mut sent, mut since) = (None, Instant::now());
    let until = since + SETTLE;
    while since.elapsed() < CALM {
        ensure!(Instant::now() < until, "runs that were begun do not end");
        let now = counter(address, "waystation_redis_events_total").await?;
        if count(address, "running").await? > 0 || now > sent {
            (sent, since) = (now, Instant::now());
        }
        sleep(POLL).await;
    }
    Ok(since)
}

/// What goes wrong.
struct Faults<'a> {
    redis: Redis,
    disk: Option<&'a Path>,
    clock: Option<&'a Path>,
}

impl Faults<'_> {
    /// Between the first and the last minute; answers what happened.
    async fn happen(&mut self, began: Instant, minutes: Duration) -> Result<Vec<String>> {
        let (mut told, mut restarts) = (Vec::new(), 0);
        let minute = |minute: u32| Duration::from_secs(60) * minute;
        let last = minutes - minute(1);
        let (full_at, ahead_at, back_at) = (minutes * 3 / 10, minutes * 5 / 10, minutes * 7 / 10);
        let mut at = minute(1);
        while at < last {
            sleep_until(began + at).await;
            self.redis.kill();
            sleep(REDIS_AWAY).await;
            self.redis.start_again()?;
            restarts += 1;
            let next = at + Duration::from_secs(30);
            let is_now = |moment: Duration| (at..next).contains(&moment);
            if let Some(disk) = self.disk.filter(|_| is_now(full_at)) {
                let ballast = tokio::task::block_in_place(|| trouble::fill(disk))?;
                sleep(DISK_FULL).await;
                std::fs::remove_file(ballast).context("make room again")?;
                told.push(format!("the disk full for {} s", DISK_FULL.as_secs()));
            }
            if let Some(clock) = self.clock.filter(|_| is_now(ahead_at) || is_now(back_at)) {
                let ahead = if is_now(ahead_at) { CLOCK_JUMP } else { 0 };
                trouble::set_clock(clock, ahead)?;
                let way = if ahead > 0 { "ahead" } else { "back" };
                told.push(format!("the clock {CLOCK_JUMP} s {way}"));
            }
            at = next;
        }
        told.insert(
            0,
            format!("Redis killed {restarts} times, {} s away each", REDIS_AWAY.as_secs()),
        );
        if self.disk.is_none() {
            told.push("**no full disk** (no --fill-disk)".to_owned());
        }
        if self.clock.is_none() {
            told.push("**no jump of the clock** (no --faketime)".to_owned());
        }
        Ok(told)
    }
}

/// What was seen of the load.
struct Seen {
    peak: f64,
    rate: f64,
    refused: Refused,
    faults: Vec<String>,
    looks: Vec<Look>,
    starts: usize,
}

/// How the jobs have ended.
struct Ended {
    completed: u64,
    failed: u64,
    running: u64,
}

async fn count(address: SocketAddr, status: &str) -> Result<u64> {
    let path = format!("/api/v1/jobs?status={status}&limit=1");
    get_json(address, &path).await?["total"].as_u64().context("a number of jobs")
}

async fn completed(address: SocketAddr) -> Result<u64> {
    count(address, "completed").await
}

async fn settle(address: SocketAddr) -> Result<Ended> {
    let until = Instant::now() + SETTLE;
    loop {
        // It may be about to start again.
        let running = count(address, "running").await;
        if running.as_ref().is_ok_and(|running| *running == 0) || Instant::now() > until {
            let (running, failed) = (running?, count(address, "failed").await?);
            return Ok(Ended { completed: completed(address).await?, failed, running });
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn report(ledger: &Ledger, seen: &Seen, ended: &Ended, minutes: Duration) -> Result<String> {
    let minute = Duration::from_secs(60);
    let (due, acknowledged) = ledger.counts();
    ensure!(due > 0, "no run was begun");
    let lost = ledger.lost();
    let memory: Vec<_> =
        seen.looks.iter().filter_map(|look| Some((look.at, look.memory?))).collect();
    let growth = slope(&memory, minutes / 2);
    let mut out = String::from("## Faults\n\n");
    writeln!(
        out,
        "{} minutes at {:.0} runs/s, 80% of the peak of {:.0}: each run a job with one HTTP call, of which the \
         service refuses every tenth. Between the first minute and the last: {}.\n",
        minutes.as_secs() / 60,
        seen.rate,
        seen.peak,
        seen.faults.join("; "),
    )?;
    writeln!(out, "| asked | measured | holds |\n| --- | --- | --- |")?;
    let Ended { completed, failed, running } = ended;
    writeln!(
        out,
        "| no acknowledged run is lost | {due} asked for, {acknowledged} acknowledged, {lost} of these without their \
         call; {completed} jobs completed in all, {failed} failed, {running} unfinished; refused {}, cut off {} | {} |",
        seen.refused.answers,
        seen.refused.broken,
        yes(lost == 0 && *failed == 0 && *running == 0 && *completed >= acknowledged as u64),
    )?;
    let (first, last) = (memory.first(), memory.last());
    writeln!(
        out,
        "| memory does not grow | {:.0} MiB at first, {:.0} MiB at last; {growth:+.2} MiB a minute over the second \
         half; started {} times | {} |",
        first.map_or(f64::NAN, |one| one.1),
        last.map_or(f64::NAN, |one| one.1),
        seen.starts,
        yes(growth < GROWTH_MIB),
    )?;
    compare_latencies(&mut out, ledger, minutes)?;
    writeln!(
        out,
        "| what the load left of the processors | first minute {}; last minute {} | |",
        spare(&seen.looks, Duration::ZERO),
        spare(&seen.looks, minutes - minute),
    )?;
    Ok(out)
}

/// Rows that compare the last minute with the first.
fn compare_latencies(out: &mut String, ledger: &Ledger, minutes: Duration) -> Result<()> {
    let minute = Duration::from_secs(60);
    let window = |from, to| ledger.latencies(Window { from, to });
    let before = window(Duration::ZERO, minute);
    let between = window(minute, minutes - minute);
    let after = window(minutes - minute, minutes);
    let is_calm = |one: &Latencies| one.share > 0.999;
    let words = |one: &Latencies| {
        let Latencies { p50, p99, share } = one;
        format!("p50 {p50:.1} ms, p99 {p99:.1} ms, {:.2}% of those due", share * 100.0)
    };
    for (index, what) in ["acknowledged", "called"].into_iter().enumerate() {
        let (before, between, after) = (&before[index], &between[index], &after[index]);
        let is_as_before = after.p50 <= before.p50 * 1.25 && after.p99 <= before.p99 * 1.25;
        writeln!(
            out,
            "| from due until {what}: afterwards as before | first minute {}; between {}; last minute {} | {} |",
            words(before),
            words(between),
            words(after),
            yes(is_calm(before) && is_calm(after) && is_as_before),
        )?;
    }
    Ok(())
}
