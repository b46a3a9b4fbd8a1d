//! The ceilings' store: SQLite in the engine's settings, one writer thread, group commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};
use waystation_engine::store::sqlite::WRITER_PRAGMAS;

/// Rows that may wait for the writer before senders have to.
const QUEUE_MAX: usize = 4096;
/// Rows in one transaction.
const BATCH_MAX: usize = 4096;

const TABLE: &str = "CREATE TABLE journal (
    position INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    payload BLOB NOT NULL
)";
const INSERT: &str = "INSERT INTO journal (run, payload) VALUES (?1, ?2)";

/// A row and whom to tell when it is durable.
struct Row {
    run: u64,
    payload: Bytes,
    durable: oneshot::Sender<()>,
}

/// Sends rows to the writer.
#[derive(Clone)]
pub(crate) struct Journal {
    rows: mpsc::Sender<Row>,
    commits: Arc<AtomicU64>,
}

impl Journal {
    /// Creates the database and starts its writer.
    pub(crate) fn create(directory: &Path) -> Result<Journal> {
        let mut database = create_database(directory)?;
        let (rows, queue) = mpsc::channel(QUEUE_MAX);
        let commits = Arc::new(AtomicU64::new(0));
        let counter = commits.clone();
        thread::Builder::new().name("writer".to_owned()).spawn(move || {
            // With the queue gone, every request fails, which the client counts.
            if let Err(error) = write_all(&mut database, queue, &counter) {
                eprintln!("the writer stopped: {error:#}");
            }
        })?;
        Ok(Journal { rows, commits })
    }

    /// Adds a row and waits until it is durable.
    pub(crate) async fn append(&self, run: u64, payload: Bytes) -> Result<()> {
        let (durable, committed) = oneshot::channel();
        self.rows.send(Row { run, payload, durable }).await.ok().context("no writer")?;
        committed.await.context("the commit failed")
    }

    /// Commits so far.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

/// Makes a new database with the engine's settings.
pub(crate) fn create_database(directory: &Path) -> Result<Connection> {
    let database = Connection::open(directory.join("ceiling.db")).context("open the database")?;
    database.execute_batch(WRITER_PRAGMAS).context("set up the database")?;
    database.execute_batch(TABLE).context("make the table")?;
    let mode: String = database.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let synchronous: i64 = database.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    ensure!(mode == "wal" && synchronous == 2, "SQLite runs with {mode}, {synchronous}");
    Ok(database)
}

/// Commits rows in one transaction.
pub(crate) fn commit<'a>(
    database: &mut Connection,
    rows: impl Iterator<Item = (u64, &'a [u8])>,
) -> Result<()> {
    let transaction =
        database.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let mut insert = transaction.prepare_cached(INSERT)?;
    for (run, payload) in rows {
        insert.execute((run as i64, payload))?;
    }
    drop(insert);
    transaction.commit().context("commit")
}

/// Takes what has queued, commits it, tells the senders, and never waits to fill a batch.
fn write_all(
    database: &mut Connection,
    mut queue: mpsc::Receiver<Row>,
    commits: &AtomicU64,
) -> Result<()> {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while queue.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        commit(database, batch.iter().map(|row| (row.run, row.payload.as_ref())))?;
        commits.fetch_add(1, Ordering::Relaxed);
        for row in batch.drain(..) {
            // A client that has gone need not be told.
            let _ = row.durable.send(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_are_in_the_database_once_they_are_acknowledged() {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::create(directory.path()).unwrap();
        for run in 0..3 {
            journal.append(run, Bytes::from_static(b"payload")).await.unwrap();
        }
        assert_eq!(journal.commits(), 3);
        let reader = Connection::open(directory.path().join("ceiling.db")).unwrap();
        let count = "SELECT count(*) FROM journal WHERE payload = CAST('payload' AS BLOB)";
        let rows: i64 = reader.query_row(count, [], |row| row.get(0)).unwrap();
        assert_eq!(rows, 3);
    }
}
