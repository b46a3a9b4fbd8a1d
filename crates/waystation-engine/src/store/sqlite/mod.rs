//! The embedded store: one SQLite file, one thread that writes it, a few connections that read it.

mod answers;
mod append;
pub mod backup;
mod claims;
mod expire;
mod feed;
mod keys;
mod lists;
mod owner;
mod readers;
mod runs;
mod schema;
mod spending;
mod sums;
mod tables;
mod triggers;
mod workflows;
mod writer;

pub use owner::is_owned;
pub use schema::WRITER_PRAGMAS;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::Connection;
use waystation_core::entry::Entry;
use waystation_core::error::{Code, Error};
use waystation_core::usage::Usage;

use self::owner::Owner;
use self::readers::Readers;
use self::writer::{Session, Writer, Written};
use super::{
    Append, BlockRow, ChildPlace, ChildRow, Cursor, FeedRow, FeedStore, KeyRow, KeyStore, Progress,
    Result, RunFilter, RunRow, RunStore, Sleep, Store, StoreError, Tallies, TallyFilter,
    TallyStore, codec, day_of,
};
use crate::id::RunId;

pub use self::writer::Fatal;

/// What can be chosen when a store is opened.
#[derive(Clone)]
pub struct Options {
    /// Connections that read; a further question waits for one of them.
    pub readers: usize,
    /// What to do when a commit failed or the disk does: by default the process stops, because what
    /// is on disk is then known only to the recovery at the next start.
    pub fatal: Fatal,
}

impl Default for Options {
    fn default() -> Options {
        Options { readers: 3, fatal: Arc::new(abort) }
    }
}

fn abort(reason: &str) {
    tracing::error!(reason, "the store cannot go on; the process stops");
    std::process::abort();
}

/// A store in one directory, owned by one process at a time.
pub struct SqliteStore {
    // Dropped first, so that all that was accepted is written before the directory is given up.
    writer: Option<Writer>,
    readers: Readers,
    _owner: Option<Owner>,
}

impl SqliteStore {
    /// Opens the store of a directory and creates what is missing. Refuses if another process has it.
    pub fn open(dir: &Path, options: &Options) -> Result<SqliteStore> {
        let owner = owner::claim(dir)?;
        let file = owner::database(dir);
        let connection = schema::open_writer(&file)?;
        let readers = Readers::open(&file, options.readers.max(1))?;
        let writer = Writer::start(connection, options.fatal.clone())?;
        Ok(SqliteStore { writer: Some(writer), readers, _owner: Some(owner) })
    }

    /// Opens the store of a directory to look at it, also beside the process that owns it.
    pub fn open_read_only(dir: &Path) -> Result<SqliteStore> {
        let file = owner::database(dir);
        if !file.exists() {
            return Err(no_data(dir));
        }
        Ok(SqliteStore { writer: None, readers: Readers::open(&file, 1)?, _owner: None })
    }

    /// How many transactions were committed since the store was opened.
    pub fn commits(&self) -> u64 {
        self.writer.as_ref().map_or(0, Writer::commits)
    }

    async fn write<T, W>(&self, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnMut(&mut Session) -> Written<T> + Send + 'static,
    {
        match &self.writer {
            Some(writer) => writer.write(work).await,
            None => Err(read_only()),
        }
    }
}

fn no_data(dir: &Path) -> StoreError {
    let message = format!("there is no data in {}", dir.display());
    let error = Error::new(Code::Store, message.clone())
        .with_hint("name the server's data directory with --data");
    StoreError { error, detail: message }
}

fn read_only() -> StoreError {
    let message = "the data is open for reading only";
    StoreError { error: Error::new(Code::Store, message), detail: message.to_owned() }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        StoreError::failed(error)
    }
}

/// Moments and counts as SQLite takes them. What is later than it can tell is never.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

#[async_trait]
impl RunStore for SqliteStore {
    async fn append(&self, append: Append) -> Result<()> {
        let prepared = append::Prepared::new(append)?;
        self.write(move |session| append::append(session, &prepared)).await
    }

    async fn sleep(&self, sleep: Sleep) -> Result<bool> {
        self.write(move |session| append::sleep(&session.connection, &sleep)).await
    }

    async fn plan(&self, hash: &str) -> Result<Option<Vec<u8>>> {
        let hash = hash.to_owned();
        self.readers.read(move |connection| runs::plan(connection, &hash)).await
    }

    async fn journal(&self, run: RunId, from_seq: u32) -> Result<Vec<Entry>> {
        self.readers.read(move |connection| runs::journal(connection, run, from_seq)).await
    }

    async fn next_batch(&self, run: RunId) -> Result<u32> {
        self.readers.read(move |connection| Ok(runs::next_batch(connection, run)?)).await
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>> {
        self.readers.read(move |connection| runs::run(connection, run)).await
    }

    async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>> {
        self.readers.read(move |connection| lists::runs(connection, &filter)).await
    }

    async fn count_runs(&self, filter: &RunFilter) -> Result<u64> {
        let filter = filter.clone();
        self.readers.read(move |connection| lists::count(connection, &filter)).await
    }

    async fn children(&self, parent: RunId) -> Result<Vec<ChildRow>> {
        self.readers.read(move |connection| runs::children(connection, parent)).await
    }

    async fn child(&self, place: ChildPlace) -> Result<Option<ChildRow>> {
        self.readers.read(move |connection| runs::child(connection, place)).await
    }

    async fn claimed(&self, key: &str, now: u64) -> Result<Option<(RunId, [u8; 32])>> {
        let key = key.to_owned();
        self.readers.read(move |connection| claims::get(connection, &key, now)).await
    }

    async fn unfinished(&self) -> Result<Vec<RunId>> {
        self.readers.read(runs::unfinished).await
    }

    async fn due(&self, now: u64, limit: usize) -> Result<Vec<RunId>> {
        self.readers.read(move |connection| runs::due(connection, now, limit)).await
    }

    async fn next_wake(&self) -> Result<Option<u64>> {
        self.readers.read(runs::next_wake).await
    }
}

#[async_trait]
impl FeedStore for SqliteStore {
    async fn feed(&self, after: u64, workflow: Option<&str>, limit: usize) -> Result<Vec<FeedRow>> {
        let workflow = workflow.map(str::to_owned);
        let read = move |connection: &Connection| {
            feed::after(connection, after, workflow.as_deref(), limit)
        };
        self.readers.read(read).await
    }

    async fn feed_end(&self) -> Result<u64> {
        self.readers.read(feed::end).await
    }

    async fn mark(&self, name: &str) -> Result<Option<u64>> {
        let name = name.to_owned();
        self.readers.read(move |connection| feed::mark(connection, &name)).await
    }

    async fn put_mark(&self, name: &str, value: u64) -> Result<()> {
        let name = name.to_owned();
        self.write(move |session| feed::put_mark(session, &name, value)).await
    }
}

#[async_trait]
impl KeyStore for SqliteStore {
    async fn put_key(&self, key: KeyRow) -> Result<bool> {
        self.write(move |session| keys::put(session, &key)).await
    }

    async fn keys(&self) -> Result<Vec<KeyRow>> {
        self.readers.read(keys::all).await
    }

    async fn revoke_key(&self, id: &str, at: u64) -> Result<bool> {
        let id = id.to_owned();
        self.write(move |session| keys::revoke(session, &id, at)).await
    }
}

#[async_trait]
impl TallyStore for SqliteStore {
    async fn tallies(&self, filter: TallyFilter) -> Result<Tallies> {
        self.readers.read(move |connection| sums::tallies(connection, &filter)).await
    }
}

impl SqliteStore {
    /// Deletes old runs and children, at most so many; answers how many went.
    async fn expire_runs(&self, before: u64, limit: usize) -> Result<usize> {
        let mut gone = 0;
        for expire in [expire::children, expire::runs] {
            while gone < limit {
                let rest = limit - gone;
                match self.write(move |session| expire(session, before, rest)).await? {
                    0 => break,
                    some => gone += some,
                }
            }
        }
        Ok(gone)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn expire(&self, finished_before: u64, limit: usize) -> Result<usize> {
        let gone = self.expire_runs(finished_before, limit).await?;
        if gone < limit {
            self.write(move |session| expire::plans(session, finished_before)).await?;
        }
        while self.write(move |session| expire::progress(session, finished_before)).await? > 0 {}
        while self.write(move |session| feed::expire(session, finished_before)).await? > 0 {}
        while self.write(answers::expire).await? > 0 {}
        while self.write(claims::expire).await? > 0 {}
        let day = day_of(finished_before);
        self.write(move |session| spending::expire(session, day)).await?;
        self.write(move |session| sums::expire(session, day)).await?;
        while self.write(expire::give_back).await? {}
        Ok(gone)
    }

    async fn cursors_due(&self, now: u64, limit: usize) -> Result<Vec<Cursor>> {
        self.readers.read(move |connection| tables::cursors_due(connection, now, limit)).await
    }

    async fn cursor(&self, run: RunId) -> Result<Option<Cursor>> {
        self.readers.read(move |connection| tables::cursor(connection, run)).await
    }

    async fn put_cursor(&self, cursor: Cursor) -> Result<()> {
        self.write(move |session| tables::put_cursor(session, &cursor)).await
    }

    async fn cursor_backlog(&self) -> Result<(u64, u64)> {
        self.readers.read(tables::cursor_backlog).await
    }

    async fn put_secret(&self, name: &str, sealed: Vec<u8>) -> Result<()> {
        let name = name.to_owned();
        self.write(move |session| tables::put_secret(session, &name, &sealed)).await
    }

    async fn secrets(&self) -> Result<Vec<(String, Vec<u8>)>> {
        self.readers.read(tables::secrets).await
    }

    async fn remove_secret(&self, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write(move |session| tables::remove_secret(session, &name)).await
    }

    async fn put_block(&self, namespace: &str, block: BlockRow, create: bool) -> Result<bool> {
        let namespace = namespace.to_owned();
        let body = codec::pack(&block.body)?;
        self.write(move |session| tables::put_block(session, &namespace, &block, &body, create))
            .await
    }

    async fn block(&self, namespace: &str, id: &str) -> Result<Option<BlockRow>> {
        let (namespace, id) = (namespace.to_owned(), id.to_owned());
        self.readers.read(move |connection| tables::block(connection, &namespace, &id)).await
    }

    async fn blocks(
        &self,
        namespace: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<BlockRow>> {
        let (namespace, after) = (namespace.to_owned(), after.map(str::to_owned));
        self.readers
            .read(move |connection| tables::blocks(connection, &namespace, after.as_deref(), limit))
            .await
    }

    async fn remove_block(&self, namespace: &str, id: &str) -> Result<bool> {
        let (namespace, id) = (namespace.to_owned(), id.to_owned());
        self.write(move |session| tables::remove_block(session, &namespace, &id)).await
    }

    async fn put_progress(&self, progress: Progress) -> Result<bool> {
        let event = codec::pack(&progress.event)?;
        self.write(move |session| tables::put_progress(session, &progress, &event)).await
    }

    async fn progress(
        &self,
        namespace: &str,
        workflow: &str,
        limit: usize,
    ) -> Result<Vec<Progress>> {
        let (namespace, workflow) = (namespace.to_owned(), workflow.to_owned());
        self.readers
            .read(move |connection| tables::progress(connection, &namespace, &workflow, limit))
            .await
    }

    async fn cached_answer(&self, key: &str, now: u64) -> Result<Option<Vec<u8>>> {
        let key = key.to_owned();
        self.readers.read(move |connection| answers::get(connection, &key, now)).await
    }

    async fn put_cached_answer(&self, key: &str, value: Vec<u8>, expires: u64) -> Result<()> {
        let (key, value) = (key.to_owned(), codec::pack_json(&value));
        self.write(move |session| answers::put(session, &key, &value, expires)).await
    }

    async fn spent(&self, namespace: &str, workflow: &str, day: u64) -> Result<Usage> {
        let (namespace, workflow) = (namespace.to_owned(), workflow.to_owned());
        let question =
            move |connection: &_| spending::of_day(connection, (&namespace, &workflow), day);
        self.readers.read(question).await
    }

    async fn ping(&self) -> Result<()> {
        self.readers.read(|connection| Ok(connection.query_row("SELECT 1", [], |_| Ok(()))?)).await
    }
}
