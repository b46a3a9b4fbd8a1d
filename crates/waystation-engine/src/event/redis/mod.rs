//! Writes outputs to Redis for others to read. The journal has them anyway, so this never holds a run up.
//! Keeps values there for a while, too.
//!
//! - [`config`]: which Redis, from the settings' names
//! - `stream`: events of stored workflows, each once
//! - `transport`: the Redis protocol and Upstash's REST interface
//! - [`values`]: values under keys, for whoever can do without them
//! - `writer`: the one task that connects, writes in batches, and comes back after failures

pub mod config;
pub(crate) mod stream;
mod transport;
pub mod values;
mod writer;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub use config::RedisConfig;

use crate::limits::{REDIS_QUEUE, REDIS_QUEUE_BYTES};

/// Takes outputs and has them written in the background.
pub struct OutputSink {
    ledger: Arc<Ledger>,
    queue: Mutex<Option<mpsc::Sender<Write>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// How the writing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisStatus {
    /// Whether Redis answers.
    pub state: RedisState,
    /// What went wrong last, since Redis last came back.
    pub last_error: Option<String>,
    /// Outputs that are in Redis.
    pub written: u64,
    /// Outputs that Redis did not take.
    pub failed: u64,
    /// Outputs for which there was no room, or no time at the end.
    pub dropped: u64,
    /// Outputs that wait.
    pub queued: u64,
}

/// Whether Redis answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedisState {
    /// The first connection is being made.
    Connecting,
    /// It answers.
    Connected,
    /// It does not answer; outputs wait for it.
    Down,
}

impl RedisState {
    /// The word that people and clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            RedisState::Connecting => "connecting",
            RedisState::Connected => "connected",
            RedisState::Down => "down",
        }
    }
}

/// One output on its way.
struct Write {
    key: String,
    value: Arc<Value>,
    bytes: usize,
}

impl OutputSink {
    /// Starts the background task of the current runtime and returns at once, whatever state Redis is in.
    pub fn start(config: RedisConfig) -> OutputSink {
        let (sender, receiver) = mpsc::channel(REDIS_QUEUE);
        let ledger = Arc::new(Ledger::default());
        let writer = writer::Writer::new(config, receiver, Arc::clone(&ledger));
        let task = tokio::spawn(writer.run());
        OutputSink { ledger, queue: Mutex::new(Some(sender)), task: Mutex::new(Some(task)) }
    }

    /// Has an output written under `{workflow}:output:{name}`. Never waits: without room it is dropped
    /// and counted.
    pub fn put(&self, workflow: &str, name: &str, value: Arc<Value>) {
        let bytes = weight(&value);
        let write = Write { key: format!("{workflow}:output:{name}"), value, bytes };
        // Held throughout, so that the end of the queue comes either before or after this output.
        let queue = lock(&self.queue);
        let fits = self.ledger.admit(bytes);
        let sent = fits && queue.as_ref().is_some_and(|queue| queue.try_send(write).is_ok());
        if !sent {
            self.ledger.settle(Settled::Dropped, bytes);
        }
    }

    /// How the writing goes.
    pub fn status(&self) -> RedisStatus {
        self.ledger.read().status.clone()
    }

    /// Writes what waits, as far as that is possible in the time given; the rest is dropped and counted.
    pub async fn close(&self, timeout: Duration) {
        lock(&self.queue).take();
        let Some(mut task) = lock(&self.task).take() else { return };
        if self.status().queued == 0 || tokio::time::timeout(timeout, &mut task).await.is_err() {
            task.abort();
            // It ends as cancelled, unless it was just done.
            let _ = task.await;
        }
        self.ledger.give_up();
    }
}

impl Drop for OutputSink {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// What became of an output.
#[derive(Clone, Copy)]
enum Settled {
    Written,
    Failed,
    Dropped,
}

impl Settled {
    fn as_str(self) -> &'static str {
        match self {
            Settled::Written => "written",
            Settled::Failed => "failed",
            Settled::Dropped => "dropped",
        }
    }
}

/// What the sink and its task know in common.
struct Ledger(Mutex<Account>);

struct Account {
    status: RedisStatus,
    /// The weight of what waits.
    bytes: usize,
}

impl Default for Ledger {
    fn default() -> Ledger {
        let status = RedisStatus {
            state: RedisState::Connecting,
            last_error: None,
            written: 0,
            failed: 0,
            dropped: 0,
            queued: 0,
        };
        Ledger(Mutex::new(Account { status, bytes: 0 }))
    }
}

impl Ledger {
    fn read(&self) -> MutexGuard<'_, Account> {
        lock(&self.0)
    }

    /// Counts an output in, and answers whether there is room for so many bytes more.
    fn admit(&self, bytes: usize) -> bool {
        let mut account = self.read();
        account.bytes += bytes;
        account.status.queued += 1;
        account.bytes <= REDIS_QUEUE_BYTES
    }

    /// Counts an output out.
    fn settle(&self, how: Settled, bytes: usize) {
        let mut account = self.read();
        account.bytes = account.bytes.saturating_sub(bytes);
        account.status.queued = account.status.queued.saturating_sub(1);
        match how {
            Settled::Written => account.status.written += 1,
            Settled::Failed => account.status.failed += 1,
            Settled::Dropped => account.status.dropped += 1,
        }
        drop(account);
        count(how, 1);
    }

    /// Nothing that still waits will be written.
    fn give_up(&self) {
        let mut account = self.read();
        let rest = std::mem::take(&mut account.status.queued);
        account.bytes = 0;
        account.status.dropped += rest;
        drop(account);
        count(Settled::Dropped, rest);
    }

    fn connected(&self, place: &str) {
        let mut account = self.read();
        if account.status.state != RedisState::Connected {
            account.status.state = RedisState::Connected;
            account.status.last_error = None;
            tracing::info!(place, queued = account.status.queued, "Redis answers");
        }
    }

    fn down(&self, place: &str, error: String) {
        let mut account = self.read();
        if account.status.state != RedisState::Down {
            account.status.state = RedisState::Down;
            tracing::warn!(place, error, "Redis does not answer; outputs wait for it");
        }
        account.status.last_error = Some(error);
    }

    /// Redis answers, but did not take an output. Said once for a reason, not once for an output.
    fn refused(&self, place: &str, error: String) {
        let mut account = self.read();
        if account.status.last_error.as_ref() != Some(&error) {
            tracing::warn!(place, error, "Redis refuses an output");
            account.status.last_error = Some(error);
        }
    }
}

fn count(how: Settled, outputs: u64) {
    metrics::counter!("waystation_redis_writes_total", "result" => how.as_str()).increment(outputs);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// About how many bytes a value has as JSON, without writing it.
fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 2 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(key, value)| key.len() + 4 + weight(value)).sum::<usize>()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
