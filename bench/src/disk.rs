//! What a sync and a commit cost here, with nothing else going on.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::append_cost;
use crate::histogram::Histogram;
use crate::journal;
use crate::round::median;

/// Enough for a steady median, and for the store's log to be reused after a checkpoint.
const REPEATS: u64 = 2000;
const PAGE_BYTES: usize = 4096;

/// What lasting costs.
pub(crate) struct Disk {
    /// The median time to append a page to a file and `fdatasync`, in microseconds.
    pub(crate) sync_us: f64,
    /// The median time of a transaction of one row in the engine's settings of SQLite, with no
    /// thread or queue between, in microseconds.
    pub(crate) commit_us: f64,
    /// The median time of an append of a small run through the engine's store, in microseconds.
    pub(crate) append_us: f64,
}

impl Disk {
    /// Measures in a directory.
    pub(crate) fn measure(directory: &Path, journal_bytes: usize) -> Result<Disk> {
        let scratch = tempfile::tempdir_in(directory).context("create a scratch directory")?;
        Ok(Disk {
            sync_us: sync_cost(scratch.path())?.as_secs_f64() * 1e6,
            commit_us: commit_cost(scratch.path(), journal_bytes)?.as_secs_f64() * 1e6,
            append_us: append_cost::measure(directory)?,
        })
    }

    /// The medians of several measurements.
    pub(crate) fn median(measured: &[Disk]) -> Disk {
        Disk {
            sync_us: median(measured, |disk| disk.sync_us),
            commit_us: median(measured, |disk| disk.commit_us),
            append_us: median(measured, |disk| disk.append_us),
        }
    }
}

fn sync_cost(directory: &Path) -> Result<Duration> {
    let mut file = File::create(directory.join("sync"))?;
    let page = [b'x'; PAGE_BYTES];
    median_of(|_| {
        file.write_all(&page)?;
        file.sync_data().context("fdatasync")
    })
}

fn commit_cost(directory: &Path, bytes: usize) -> Result<Duration> {
    let mut database = journal::create_database(directory)?;
    let payload = vec![b'x'; bytes];
    median_of(|run| journal::commit(&mut database, std::iter::once((run, payload.as_slice()))))
}

fn median_of(mut work: impl FnMut(u64) -> Result<()>) -> Result<Duration> {
    let mut latencies = Histogram::new();
    for index in 0..REPEATS {
        let began = Instant::now();
        work(index)?;
        latencies.record(began.elapsed());
    }
    Ok(latencies.quantile(0.5))
}

/// The type of the file system that holds a directory.
pub(crate) fn file_system(directory: &Path) -> Result<String> {
    let directory = directory.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/mounts").context("read the mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && directory.starts_with(fields[1]));
    let nearest = holding.max_by_key(|fields| fields[1].len());
    Ok(nearest.map_or("unknown", |fields| fields[2]).to_owned())
}
