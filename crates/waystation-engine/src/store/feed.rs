//! What has happened to runs of stored workflows, across runs, in the order in which it became durable.

use async_trait::async_trait;
use waystation_core::entry::Entry;

use super::Result;
use crate::id::RunId;

/// A piece of a run's journal.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedRow {
    /// Its place in the feed: grows, is never given twice, and has gaps.
    pub id: u64,
    /// Whose journal.
    pub run: RunId,
    /// The hash of its plan, with its first piece.
    pub plan: Option<String>,
    /// The place of its first entry in the journal, from 0.
    pub first_seq: u32,
    /// What was appended; nothing, once the run is gone.
    pub entries: Vec<Entry>,
}

/// Every append to a run of a stored workflow has a row, written with it; runs within others have none.
#[async_trait]
pub trait FeedStore: Send + Sync {
    /// The rows after a place, of one workflow or of all, in order: so many, or fewer if those are
    /// [`FEED_BYTES`](crate::limits::FEED_BYTES) in the store.
    async fn feed(&self, after: u64, workflow: Option<&str>, limit: usize) -> Result<Vec<FeedRow>>;
    /// The last place that was given; 0 where there is none.
    async fn feed_end(&self) -> Result<u64>;
    /// A number that a reader keeps.
    async fn mark(&self, name: &str) -> Result<Option<u64>>;
    /// Keeps a number for a reader.
    async fn put_mark(&self, name: &str, value: u64) -> Result<()>;
}
