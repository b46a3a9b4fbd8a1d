//! What lasts of runs: their journals, their rows in lists, and how they hang together.

use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use waystation_core::entry::Entry;
use waystation_core::error::Code;
use waystation_core::plan::Dialect;

use super::{NodeTally, Result};
use crate::id::{RunId, WorkflowId};

/// Where a run stands, as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Work is under way or waits for a timer.
    Running,
    /// It ended well.
    Completed,
    /// It failed.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl Status {
    /// All of them.
    pub const ALL: [Status; 4] =
        [Status::Running, Status::Completed, Status::Failed, Status::Cancelled];

    /// The word that people and clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Running => "running",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }
}

impl FromStr for Status {
    type Err = String;

    /// Reads the word; the error tells all words.
    fn from_str(word: &str) -> std::result::Result<Status, String> {
        let known = Status::ALL.into_iter().find(|status| status.as_str() == word);
        known.ok_or_else(|| {
            format!("the statuses are {}", Status::ALL.map(Status::as_str).join(", "))
        })
    }
}

/// Facts to add to one run's journal, atomically and durably, with what follows from them.
#[derive(Debug)]
pub struct Append {
    /// Whose journal.
    pub run: RunId,
    /// Counts the run's appends from 0; a second append with the same number is a conflict, so that
    /// a stale owner of a run cannot write.
    pub batch: u32,
    /// The place of the first entry in the journal, counted from 0.
    pub first_seq: u32,
    /// The facts, never empty.
    pub entries: Vec<Entry>,
    /// The run itself, with its first append.
    pub new_run: Option<NewRun>,
    /// When the run, now idle, has to be woken, in Unix milliseconds; `None` while it is active.
    pub wake_at: Option<u64>,
    /// How it ended, with its last append.
    pub finished: Option<Finished>,
}

/// A run that has nothing to add to its journal, and goes to sleep.
#[derive(Clone, Debug)]
pub struct Sleep {
    /// Which.
    pub run: RunId,
    /// The number of its next append, so that a stale owner cannot put it to sleep.
    pub batch: u32,
    /// When it has to be woken at the latest, in Unix milliseconds.
    pub wake_at: u64,
    /// The child runs that it waits for: the end of each wakes it.
    pub awaits: Vec<RunId>,
}

/// The row of a run that starts.
#[derive(Debug)]
pub struct NewRun {
    /// The workflow it belongs to.
    pub workflow: String,
    /// The namespace of that workflow.
    pub namespace: String,
    /// A name for people.
    pub name: Option<String>,
    /// The hash of its plan.
    pub plan: Arc<str>,
    /// The plan's JSON. It always comes along and is kept once, so that nobody has to remember
    /// which plans are stored, and a plan can go with the last run that needs it.
    pub plan_json: Arc<[u8]>,
    /// Unix milliseconds.
    pub created: u64,
    /// Whether its progress goes to a webhook: creates the cursor with it.
    pub webhook: bool,
    /// The wire format that its plan came from.
    pub dialect: Dialect,
    /// The version of the stored workflow that it runs.
    pub version: Option<u32>,
    /// The node that it runs for; a second run at the same place is refused with `Conflict`.
    pub parent: Option<ChildPlace>,
    /// An idempotency key; one that is taken and has not expired is refused with `Conflict`.
    pub claim: Option<Claim>,
    /// The trigger that starts it; one that has fired already is refused with `Conflict`.
    pub fired: Option<Fired>,
}

/// Where a child run belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildPlace {
    /// The run that waits for it.
    pub parent: RunId,
    /// The node of that run.
    pub node: u32,
    /// The item that the node runs it for, counted from 0.
    pub item: u32,
}

/// An idempotency key: as long as it lasts, no other run gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Unique among all claims that have not expired.
    pub key: String,
    /// What tells equal requests from others with the same key.
    pub fingerprint: [u8; 32],
    /// From when on the key is free again, in Unix milliseconds.
    pub expires: u64,
}

/// What starting a run does to the trigger that starts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Whose trigger.
    pub workflow: WorkflowId,
    /// Its id.
    pub trigger: String,
    /// The moment of the schedule that this is, in Unix milliseconds. The trigger must be enabled and
    /// still be at this moment. `None` for a hook, which always fires.
    pub occurrence: Option<u64>,
    /// The next moment of the schedule. Hooks have none.
    pub next_at: Option<u64>,
}

/// The end of a run.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended; never `Running`.
    pub status: Status,
    /// Unix milliseconds.
    pub at: u64,
    /// The code of the error that ended it.
    pub error: Option<Code>,
    /// What its nodes did, by kind, for the sums of a graph's runs; of others it is not kept.
    pub nodes: Vec<NodeTally>,
    /// Whether runs that it has begun may be under way still. They are due at once, so that they end even
    /// if nobody is left to tell them.
    pub has_parts: bool,
}

/// One line in a list of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct RunRow {
    /// Its id.
    pub id: RunId,
    /// The workflow it belongs to.
    pub workflow: String,
    /// The namespace of that workflow.
    pub namespace: String,
    /// A name for people.
    pub name: Option<String>,
    /// The hash of its plan.
    pub plan: String,
    /// Where it stands.
    pub status: Status,
    /// Unix milliseconds.
    pub created: u64,
    /// Unix milliseconds.
    pub finished: Option<u64>,
    /// The code of the error that ended it.
    pub error: Option<String>,
    /// The wire format that its plan came from.
    pub dialect: Dialect,
    /// The version of the stored workflow that it runs.
    pub version: Option<u32>,
    /// The run that waits for it.
    pub parent: Option<RunId>,
}

/// Which runs to list, newest first. Child runs are listed for their parent alone. Pages continue
/// below the last id seen, or skip so many.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Only of this workflow.
    pub workflow: Option<String>,
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only in this state.
    pub status: Option<Status>,
    /// Only from this wire format.
    pub dialect: Option<Dialect>,
    /// The children of this run, instead of runs without a parent.
    pub parent: Option<RunId>,
    /// Only with ids below this one.
    pub before: Option<RunId>,
    /// How many of them to pass over.
    pub offset: usize,
    /// How many at the most.
    pub limit: usize,
}

/// A child run, as its parent sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildRow {
    /// Its id.
    pub run: RunId,
    /// The parent's node.
    pub node: u32,
    /// The node's item.
    pub item: u32,
    /// Where it stands.
    pub status: Status,
}

/// Runs and their journals.
#[async_trait]
pub trait RunStore: Send + Sync {
    /// Adds facts to a run's journal, and what follows from them: the row of the run in lists, what its
    /// workflow has spent, counts and sums; the end of a child wakes a parent that sleeps. Refuses with
    /// `Conflict` if the append's number is taken, or what the new run asks for alone is; with `RunEnded`
    /// if the run has ended or is gone.
    async fn append(&self, append: Append) -> Result<()>;
    /// Puts a run to sleep without an entry. Answers `false`, and changes nothing, if it is not the
    /// caller's any more, or if one of the children that it waits for has ended or is gone.
    async fn sleep(&self, sleep: Sleep) -> Result<bool>;
    /// The JSON of a plan.
    async fn plan(&self, hash: &str) -> Result<Option<Vec<u8>>>;
    /// A run's entries from a place on, in order, with stored values resolved.
    async fn journal(&self, run: RunId, from_seq: u32) -> Result<Vec<Entry>>;
    /// How many appends a run's journal has had: the number of the next one.
    async fn next_batch(&self, run: RunId) -> Result<u32>;
    /// One run's row.
    async fn run(&self, run: RunId) -> Result<Option<RunRow>>;
    /// Runs, newest first.
    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>>;
    /// How many runs a filter matches, over all pages.
    async fn count_runs(&self, filter: &RunFilter) -> Result<u64>;
    /// A run's children by node and item.
    async fn children(&self, parent: RunId) -> Result<Vec<ChildRow>>;
    /// The child at a place.
    async fn child(&self, place: ChildPlace) -> Result<Option<ChildRow>>;
    /// Who has an idempotency key at a moment, and for what.
    async fn claimed(&self, key: &str, now: u64) -> Result<Option<(RunId, [u8; 32])>>;
    /// Unfinished runs that were active when last heard of, by id.
    async fn unfinished(&self) -> Result<Vec<RunId>>;
    /// Sleeping runs whose moment has come, by that moment.
    async fn due(&self, now: u64, limit: usize) -> Result<Vec<RunId>>;
    /// The moment at which the next sleeping run has to be woken.
    async fn next_wake(&self) -> Result<Option<u64>>;
}
