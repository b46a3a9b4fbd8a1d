//! What a sync and a commit cost here, with nothing else going on.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::histogram::Histogram;
use crate::journal;

/// Enough for a steady median, and for the store's log to be reused after a checkpoint.
const REPEATS: u64 = 2000;
const PAGE_BYTES: usize = 4096;

/// The medians of what lasting costs.
pub(crate) struct Disk {
    /// A page appended to a file and `fdatasync`.
    pub(crate) sync: Duration,
    /// A transaction of one row, in the engine's settings of SQLite.
    pub(crate) commit: Duration,
    /// The kind of file system.
    pub(crate) file_system: String,
}

impl Disk {
    /// Measures in a directory.
    pub(crate) fn measure(directory: &Path, journal_bytes: usize) -> Result<Disk> {
        let scratch = tempfile::tempdir_in(directory).context("create a scratch directory")?;
        Ok(Disk {
            sync: sync_cost(scratch.path())?,
            commit: commit_cost(scratch.path(), journal_bytes)?,
            file_system: file_system(scratch.path())?,
        })
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

/// The type of the mount that holds a directory.
fn file_system(directory: &Path) -> Result<String> {
    let directory = directory.canonicalize()?;
    let mounts = std::fs::read_to_string("/proc/mounts").context("read the mounts")?;
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && directory.starts_with(fields[1]));
    let nearest = holding.max_by_key(|fields| fields[1].len());
    Ok(nearest.map_or("unknown", |fields| fields[2]).to_owned())
}
