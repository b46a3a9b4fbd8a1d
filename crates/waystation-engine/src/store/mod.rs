//! The journal and everything else that lasts, behind one trait that every backend passes the same
//! suite for.
//!
//! - `run`, `feed`, `workflow`, `trigger`, `tally`, `key`: what lasts and the part of the trait for it; webhook
//!   cursors, secrets, blocks, notifications and answers are here
//! - [`sqlite`]: the embedded store, one file on one machine
//! - `memory`: a second backend, for tests
//! - `codec`: how entries become bytes; `histogram`: how durations do
//! - `conformance`: the suite

pub(crate) mod codec;
#[cfg(test)]
pub(crate) mod conformance;
mod feed;
mod histogram;
mod key;
#[cfg(test)]
pub(crate) mod memory;
mod run;
pub mod sqlite;
mod tally;
mod trigger;
mod workflow;

use async_trait::async_trait;
use serde_json::Value;
use waystation_core::entry::{Entry, Fact};
use waystation_core::error::{Code, Error};
use waystation_core::usage::Usage;

use crate::id::RunId;

pub use self::feed::{FeedRow, FeedStore};
pub use self::histogram::Histogram;
pub use self::key::{KeyRow, KeyStore};
pub use self::run::{
    Append, ChildPlace, ChildRow, Claim, Finished, Fired, NewRun, RunFilter, RunRow, RunStore,
    Sleep, Status,
};
pub use self::tally::{NodeTally, RunTally, Tallies, TallyFilter, TallyStore};
pub use self::trigger::{NewTrigger, TriggerKind, TriggerRow, TriggerStore};
pub use self::workflow::{
    Changed, DefinitionStore, Expected, VersionLine, WORKFLOWS, WorkflowChange, WorkflowFilter,
    WorkflowLine, WorkflowRow,
};

/// A store that could not do what was asked. The detail is for the program's log only.
#[derive(Debug)]
pub struct StoreError {
    /// What the caller may be told.
    pub error: Error,
    /// What the operator needs to know.
    pub detail: String,
}

impl StoreError {
    /// A failure of the store itself.
    #[expect(clippy::needless_pass_by_value, reason = "so that it fits `map_err`")]
    pub fn failed(detail: impl ToString) -> StoreError {
        let error = Error::new(Code::Store, "the store failed");
        StoreError { error, detail: detail.to_string() }
    }
}

/// The place in the run's journal is taken: whoever appends is not the run's owner any more.
fn fenced(run: RunId) -> StoreError {
    let error = Error::new(Code::Conflict, "the run has moved on under another owner");
    StoreError { error, detail: format!("run {run}: the append's number is taken") }
}

/// Another run has what this one asks for alone: a place at its parent, a key, a moment of a schedule.
fn taken(what: &str, detail: String) -> StoreError {
    StoreError { error: Error::new(Code::Conflict, what), detail }
}

/// Another run is at the place of a child.
fn place_taken(place: ChildPlace) -> StoreError {
    taken("the node has started this run already", format!("{place:?} is taken"))
}

/// Another run has the idempotency key.
fn key_taken() -> StoreError {
    taken("the idempotency key is taken", "an idempotency key that is taken".to_owned())
}

/// The trigger is not where the run says it is.
fn not_firing(fired: &Fired) -> StoreError {
    taken("the trigger has fired already, or is gone", format!("{fired:?} is over"))
}

/// The run cannot go on: it has ended, or it is gone.
fn ended(run: RunId) -> StoreError {
    let error = Error::new(Code::RunEnded, "the run has already ended");
    StoreError { error, detail: format!("run {run}: an append after the end") }
}

impl From<StoreError> for Error {
    fn from(failed: StoreError) -> Error {
        match failed.error.code {
            // Somebody else was first, which is ordinary.
            Code::Conflict => tracing::debug!(detail = %failed.detail, "store"),
            _ => tracing::error!(detail = %failed.detail, "store"),
        }
        failed.error
    }
}

/// The day of a moment, counted from 1970, UTC.
pub fn day_of(unix_ms: u64) -> u64 {
    unix_ms / 86_400_000
}

/// What entries tell of use, by day.
fn spent_by_day(entries: &[Entry]) -> Vec<(u64, Usage)> {
    let mut days: Vec<(u64, Usage)> = Vec::new();
    for entry in entries {
        let Fact::Spent { usage, .. } = &entry.fact else { continue };
        let day = day_of(entry.at);
        match days.iter_mut().find(|(known, _)| *known == day) {
            Some((_, sum)) => sum.add(usage),
            None => days.push((day, *usage)),
        }
    }
    days
}

/// What the store's operations give.
pub type Result<T> = std::result::Result<T, StoreError>;

/// How far a run's webhook has been delivered.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    /// Whose.
    pub run: RunId,
    /// Entries below this place of the journal are delivered or need no delivery.
    pub next_seq: u32,
    /// Failed attempts at the present entry.
    pub attempts: u32,
    /// When to try next, in Unix milliseconds.
    pub next_at: u64,
    /// Where it stands.
    pub state: CursorState,
    /// What the last failed attempt met.
    pub error: Option<String>,
}

/// Where a webhook's delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CursorState {
    /// There is or will be something to deliver.
    Active,
    /// All is delivered.
    Done,
    /// The receiver did not answer for too long; nothing more is sent.
    Dead,
}

/// A block of a namespace: content that can become a step.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockRow {
    /// Unique within its namespace.
    pub id: String,
    /// The block without its id, in the wire format's shape.
    pub body: Value,
    /// Unix milliseconds.
    pub created: u64,
    /// Unix milliseconds.
    pub updated: u64,
}

/// A progress notification received for a run, here or of another engine.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The sender's id of the notification; a second one with the same id changes nothing.
    pub webhook_id: String,
    /// The namespace it names.
    pub namespace: String,
    /// The workflow it names.
    pub workflow: String,
    /// The run it names, in the sender's words.
    pub execution: String,
    /// When it came, in Unix milliseconds.
    pub received: u64,
    /// The notification as it came.
    pub event: Value,
}

/// Everything that lasts. Every write returns once it is durable.
#[async_trait]
pub trait Store:
    RunStore + FeedStore + DefinitionStore + TriggerStore + TallyStore + KeyStore + 'static
{
    /// Deletes runs that began and ended before a moment, oldest first, with all that only they need;
    /// gives the space back. Answers how many went; at most `limit`. Children stay as long as their
    /// parent is unfinished. Notifications received before that moment go too, uncounted, and so do the
    /// feed and the sums of days before it and what has expired: answers and idempotency keys.
    async fn expire(&self, finished_before: u64, limit: usize) -> Result<usize>;

    /// Cursors that are active and whose moment has come, the earliest first.
    async fn cursors_due(&self, now: u64, limit: usize) -> Result<Vec<Cursor>>;
    /// One run's cursor.
    async fn cursor(&self, run: RunId) -> Result<Option<Cursor>>;
    /// Replaces a cursor. Does nothing for a run without one: it is gone, or never had a webhook.
    async fn put_cursor(&self, cursor: Cursor) -> Result<()>;
    /// Cursors that are active or dead, counted.
    async fn cursor_backlog(&self) -> Result<(u64, u64)>;

    /// Stores a sealed secret.
    async fn put_secret(&self, name: &str, sealed: Vec<u8>) -> Result<()>;
    /// All sealed secrets by name, in order of names.
    async fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>>;
    /// Removes a secret; answers whether there was one.
    async fn remove_secret(&self, name: &str) -> Result<bool>;

    /// Creates or replaces a block; `create` refuses to replace, its absence refuses to create.
    /// Answers whether it was done. A replaced block keeps its moment of creation.
    async fn put_block(&self, namespace: &str, block: BlockRow, create: bool) -> Result<bool>;
    /// One block.
    async fn block(&self, namespace: &str, id: &str) -> Result<Option<BlockRow>>;
    /// A namespace's blocks in order of creation and then id; pages continue after the last id, and
    /// nothing comes after an id that is gone.
    async fn blocks(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BlockRow>>;
    /// Removes a block; answers whether there was one.
    async fn remove_block(&self, namespace: &str, id: &str) -> Result<bool>;

    /// Keeps a notification; answers whether it is new.
    async fn put_progress(&self, progress: Progress) -> Result<bool>;
    /// A workflow's notifications in the order in which they came, newest `limit`.
    async fn progress(
        &self,
        namespace: &str,
        workflow: &str,
        limit: usize,
    ) -> Result<Vec<Progress>>;

    /// The answer of a model that is kept under a key, if its time is not over by now.
    async fn cached_answer(&self, key: &str, now: u64) -> Result<Option<Vec<u8>>>;
    /// Keeps JSON under a key until a moment, in place of what is there.
    async fn put_cached_answer(&self, key: &str, value: Vec<u8>, expires: u64) -> Result<()>;
    /// What a workflow's runs have used of models on a day, by all appends that are durable.
    async fn spent(&self, namespace: &str, workflow: &str, day: u64) -> Result<Usage>;

    /// Asks the store a trivial question, to know that it answers.
    async fn ping(&self) -> Result<()>;
}
