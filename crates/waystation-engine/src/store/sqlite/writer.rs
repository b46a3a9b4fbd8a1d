//! The one thread that writes: it commits together whatever has queued, and only then acknowledges.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use quick_cache::unsync::Cache;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::{mpsc, oneshot};
use waystation_core::error::{Code, Error};

use super::sums::{self, Sums};
use crate::limits;
use crate::store::{Result, StoreError};

/// What is done when a write may or may not have reached the disk. It gets the reason.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

/// The write connection, and what its thread remembers.
pub(super) struct Session {
    pub(super) connection: Connection,
    /// Row ids of plans by their hashes, and when their use was noted last, to spare a look-up for
    /// each run.
    pub(super) plans: Cache<Arc<str>, (i64, u64)>,
    /// What the present transaction adds to counts and sums.
    pub(super) sums: Sums,
}

/// Why a write was not done.
pub(super) enum Failed {
    /// It contradicts what is there. Nothing was changed.
    Refused(StoreError),
    /// The database could not do it; the transaction must not be committed.
    Database(rusqlite::Error),
}

impl From<StoreError> for Failed {
    fn from(refused: StoreError) -> Failed {
        Failed::Refused(refused)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Failed {
        Failed::Database(error)
    }
}

/// What a single write gives.
pub(super) type Written<T> = std::result::Result<T, Failed>;

/// A write that waits for its commit.
trait Job: Send {
    /// Does the work inside a transaction. It may be asked again after a rollback.
    fn run(&mut self, session: &mut Session) -> rusqlite::Result<()>;
    /// Tells the caller what came of it, once that is certain.
    fn acknowledge(self: Box<Self>, committed: std::result::Result<(), &str>);
}

struct Request<T, W> {
    work: W,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T, W> Job for Request<T, W>
where
    T: Send,
    W: FnMut(&mut Session) -> Written<T> + Send,
{
    fn run(&mut self, session: &mut Session) -> rusqlite::Result<()> {
        self.outcome = Some(match (self.work)(session) {
            Ok(value) => Ok(value),
            Err(Failed::Refused(refused)) => Err(refused),
            Err(Failed::Database(error)) => return Err(error),
        });
        Ok(())
    }

    fn acknowledge(self: Box<Self>, committed: std::result::Result<(), &str>) {
        let outcome = match committed {
            Ok(()) => self.outcome.unwrap_or_else(|| Err(StoreError::failed("nothing was done"))),
            Err(reason) => Err(StoreError::failed(reason)),
        };
        // A caller that has gone needs no answer; the write stays.
        let _ = self.reply.send(outcome);
    }
}

/// The way to the writer's thread. Dropping it waits until everything accepted is written.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn start(connection: Connection, fatal: Fatal) -> Result<Writer> {
        let (queue, jobs) = mpsc::channel(limits::WRITER_QUEUE);
        let commits = Arc::new(AtomicU64::new(0));
        let plans = Cache::new(limits::PLAN_IDS_CACHED);
        let session = Session { connection, plans, sums: Sums::default() };
        let mut committer = Committer { session, commits: commits.clone(), jobs };
        let work = move || {
            let ended = catch_unwind(AssertUnwindSafe(|| committer.run()));
            let reason = match ended {
                Ok(Ok(())) => return,
                Ok(Err(reason)) => reason,
                Err(_) => "the writer panicked".to_owned(),
            };
            fatal(&reason);
        };
        let named = std::thread::Builder::new().name("store-writer".to_owned());
        let thread = named.spawn(work).map_err(StoreError::failed)?;
        Ok(Writer { queue: Some(queue), thread: Some(thread), commits })
    }

    /// Queues a write, waiting for room, and answers when it is durable.
    pub(super) async fn write<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Session) -> Written<T> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let request = Box::new(Request { work, outcome: None, reply });
        queue.send(request).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// How many transactions were committed.
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic was already reported as fatal.
            let _ = thread.join();
        }
    }
}

fn stopped() -> StoreError {
    let message = "the store has stopped";
    StoreError { error: Error::new(Code::Store, message), detail: message.to_owned() }
}

struct Committer {
    session: Session,
    commits: Arc<AtomicU64>,
    jobs: mpsc::Receiver<Box<dyn Job>>,
}

impl Committer {
    /// Works until the queue is closed. An error means that nothing more may be written.
    fn run(&mut self) -> std::result::Result<(), String> {
        let mut batch = Vec::new();
        while self.jobs.blocking_recv_many(&mut batch, limits::WRITES_PER_TRANSACTION) > 0 {
            metrics::gauge!("waystation_store_queue_length").set(self.jobs.len() as f64);
            self.settle(&mut batch)?;
        }
        Ok(())
    }

    /// Commits all jobs together; if one of them cannot be done, each by itself, so that only that
    /// one fails.
    fn settle(&mut self, batch: &mut Vec<Box<dyn Job>>) -> std::result::Result<(), String> {
        match self.commit(batch) {
            Err(Stop::Job(_)) if batch.len() > 1 => batch.drain(..).try_for_each(|job| {
                let mut alone = vec![job];
                let outcome = self.commit(&mut alone);
                answer(&mut alone, outcome)
            }),
            outcome => answer(batch, outcome),
        }
    }

    fn commit(&mut self, batch: &mut [Box<dyn Job>]) -> std::result::Result<(), Stop> {
        let begun = Instant::now();
        let begin = self.session.connection.execute_batch("BEGIN IMMEDIATE");
        begin.map_err(|error| Stop::after(&error, Stop::All))?;
        let done = batch.iter_mut().try_for_each(|job| job.run(&mut self.session));
        if let Err(error) = done.and_then(|()| sums::flush(&mut self.session)) {
            self.roll_back();
            return Err(Stop::after(&error, Stop::Job));
        }
        let committed = self.session.connection.execute_batch("COMMIT");
        committed.map_err(|error| Stop::ForGood(format!("the commit failed: {error}")))?;
        self.commits.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("waystation_store_commits_total").increment(1);
        metrics::histogram!("waystation_store_commit_seconds").record(begun.elapsed());
        metrics::histogram!("waystation_store_batch_size").record(batch.len() as f64);
        Ok(())
    }

    fn roll_back(&mut self) {
        self.session.plans.clear();
        self.session.sums.clear();
        // After some errors SQLite has rolled back by itself, and then this is refused.
        let _ = self.session.connection.execute_batch("ROLLBACK");
    }
}

/// Why a transaction was not committed.
enum Stop {
    /// One of its writes cannot be done; the others may be.
    Job(String),
    /// It could not begin, because somebody else has locked the database. Later ones may.
    All(String),
    /// What is on disk is uncertain, or no further write can succeed.
    ForGood(String),
}

impl Stop {
    /// What an error before the commit means: that of the disk, and else what `otherwise` says.
    fn after(error: &rusqlite::Error, otherwise: fn(String) -> Stop) -> Stop {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::DatabaseCorrupt
                | ErrorCode::NotADatabase
                | ErrorCode::ReadOnly
                | ErrorCode::CannotOpen
                | ErrorCode::OutOfMemory
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed,
            ) => Stop::ForGood(reason),
            _ => otherwise(reason),
        }
    }
}

/// Tells every caller; gives back the reason for which the writer has to stop.
fn answer(
    batch: &mut Vec<Box<dyn Job>>,
    outcome: std::result::Result<(), Stop>,
) -> std::result::Result<(), String> {
    let committed = match &outcome {
        Ok(()) => Ok(()),
        Err(Stop::Job(reason) | Stop::All(reason) | Stop::ForGood(reason)) => Err(reason.as_str()),
    };
    batch.drain(..).for_each(|job| job.acknowledge(committed));
    match outcome {
        Err(Stop::ForGood(reason)) => Err(reason),
        _ => Ok(()),
    }
}
