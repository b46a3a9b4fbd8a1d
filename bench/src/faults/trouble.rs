//! What goes wrong: Redis that dies, a disk that is full, a clock that jumps, and the server, which is started
//! again whenever it ends, as a service manager does.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::process::{Server, Usage, free_address, serve};

/// How soon an ended server is started again.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// The pause between two looks at whether it is there.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes that are written to a disk instead of allocated, and how many at once until it takes no more.
const WRITTEN: u64 = 256 << 20;
const PIECES: [usize; 2] = [1 << 20, 1 << 12];

/// A Redis server on a port of its own.
pub(super) struct Redis {
    address: SocketAddr,
    log: PathBuf,
    server: Option<Server>,
}

impl Redis {
    pub(super) fn start(directory: &Path) -> Result<Redis> {
        let (address, log) = (free_address()?, directory.join("redis.log"));
        let mut redis = Redis { address, log, server: None };
        redis.start_again()?;
        Ok(redis)
    }

    pub(super) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    pub(super) fn kill(&mut self) {
        self.server = None;
    }

    pub(super) fn start_again(&mut self) -> Result<()> {
        let mut command = Command::new("redis-server");
        command.args(["--bind", &self.address.ip().to_string()]);
        command.args(["--port", &self.address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        self.server = Some(Server::start(command, self.address, &self.log)?);
        Ok(())
    }
}

/// Fills a file system; removing the file makes room again.
pub(super) fn fill(directory: &Path) -> Result<PathBuf> {
    let ballast = directory.join("ballast");
    let mut df = Command::new("df");
    let room = df.args(["--output=avail", "--block-size=1"]).arg(directory).output()?;
    let room = String::from_utf8_lossy(&room.stdout);
    let room: u64 = room.lines().last().unwrap_or_default().trim().parse().context("the room")?;
    let mut allocate = Command::new("fallocate");
    allocate.args(["--length", &room.saturating_sub(WRITTEN).max(1).to_string()]).arg(&ballast);
    ensure!(allocate.status()?.success(), "the disk cannot be filled");
    // The rest is written, for others use the disk meanwhile.
    let mut file = File::options().append(true).open(&ballast)?;
    for bytes in PIECES {
        let piece = vec![0; bytes];
        while file.write_all(&piece).is_ok() {}
    }
    Ok(ballast)
}

/// How the server is started.
pub(super) struct Launch {
    pub(super) engine: PathBuf,
    pub(super) data: PathBuf,
    pub(super) log: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) redis: String,
    /// The library that moves a program's clock, and the file that says by how much.
    pub(super) clock: Option<(PathBuf, PathBuf)>,
}

impl Launch {
    fn start(&self) -> Result<Server> {
        let mut command = serve(&self.engine, self.address, &self.data);
        command.env("REDIS_URL", &self.redis);
        if let Some((library, file)) = &self.clock {
            command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
            command.env("FAKETIME_CACHE_DURATION", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        Server::start(command, self.address, &self.log)
    }
}

/// Says by how many seconds the server's clock is ahead.
pub(super) fn set_clock(file: &Path, seconds: i64) -> Result<()> {
    std::fs::write(file, format!("{seconds:+}\n")).context("set the clock")
}

/// The server, kept alive from a thread of its own.
pub(super) struct Supervised {
    server: Arc<Mutex<Option<Server>>>,
    starts: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Supervised {
    pub(super) fn start(launch: Launch) -> Result<Supervised> {
        let server = Arc::new(Mutex::new(Some(launch.start()?)));
        let supervised =
            Supervised { server, starts: Arc::new(AtomicUsize::new(1)), is_over: Arc::default() };
        let (server, starts) = (Arc::clone(&supervised.server), Arc::clone(&supervised.starts));
        let is_over = Arc::clone(&supervised.is_over);
        thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let has_ended = lock(&server).as_mut().is_none_or(|server| !server.is_running());
                if has_ended {
                    thread::sleep(RESTART_AFTER);
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    starts.fetch_add(1, Ordering::Relaxed);
                    *lock(&server) = launch.start().inspect_err(|why| eprintln!("{why:#}")).ok();
                }
                thread::sleep(LOOK);
            }
        });
        Ok(supervised)
    }

    /// How often it was started.
    pub(super) fn starts(&self) -> usize {
        self.starts.load(Ordering::Relaxed)
    }

    /// What it has used since it was started last, if it is there.
    pub(super) fn usage(&self) -> Option<Usage> {
        lock(&self.server).as_ref()?.usage().ok()
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        *lock(&self.server) = None;
    }
}

fn lock(server: &Mutex<Option<Server>>) -> MutexGuard<'_, Option<Server>> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}
