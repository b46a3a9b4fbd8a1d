//! What only the embedded store promises.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;
use waystation_core::error::Code;

use super::*;
use crate::store::conformance::{self, completed, ending, finished, first, next, whole};
use crate::store::{RunFilter, Status};

fn open(dir: &Path) -> SqliteStore {
    SqliteStore::open(dir, &Options::default()).unwrap()
}

fn fresh() -> (TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (dir, store)
}

async fn pragma(store: &SqliteStore, name: &'static str) -> i64 {
    let ask = move |session: &mut Session| {
        Ok(session.connection.pragma_query_value(None, name, |row| row.get(0))?)
    };
    store.write(ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_conforms() {
    let dirs = Mutex::new(Vec::new());
    conformance::run(|| {
        let (dir, store) = fresh();
        dirs.lock().unwrap().push(dir);
        store
    })
    .await;
}

#[tokio::test]
async fn reopening_finds_everything() {
    let (dir, store) = fresh();
    let (run, ended) = (RunId::new(), RunId::new());
    let large = json!("x".repeat(crate::limits::INLINE_BYTES_MAX * 2));
    let entries = vec![completed(1, large)];
    store.append(first(run)).await.unwrap();
    let sleep = Append { wake_at: Some(77), ..next(run, 1, 2, entries.clone()) };
    store.append(sleep).await.unwrap();
    store.append(whole(ended, 9)).await.unwrap();
    store.put_secret("s", vec![1]).await.unwrap();
    store.put_cached_answer("k", vec![b'1'], u64::MAX).await.unwrap();
    let spending = vec![conformance::spent(0, 7)];
    store.append(Append { entries: spending, ..first(RunId::new()) }).await.unwrap();
    drop(store);

    let store = open(dir.path());
    assert_eq!(store.journal(run, 2).await.unwrap(), entries);
    assert_eq!(store.next_wake().await.unwrap(), Some(77));
    assert_eq!(store.next_batch(run).await.unwrap(), 2);
    assert_eq!(store.run(ended).await.unwrap().unwrap().status, Status::Completed);
    assert_eq!(store.plan("plan-1").await.unwrap().unwrap(), b"{\"nodes\":[]}");
    assert_eq!(store.secrets().await.unwrap().len(), 1);
    assert_eq!(store.cached_answer("k", 9).await.unwrap(), Some(vec![b'1']));
    assert_eq!(store.spent("default", "sums", 0).await.unwrap().paid_tokens, 7);
    let last = ending(next(run, 2, 3, vec![finished()]), Status::Completed, 99);
    store.append(last).await.unwrap();
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_is_kept() {
    let (dir, store) = fresh();
    let run = RunId::new();
    {
        let mut append = Box::pin(store.append(first(run)));
        let once = futures_util::poll!(append.as_mut());
        assert!(once.is_pending() || once.is_ready());
    }
    drop(store);
    assert_eq!(open(dir.path()).journal(run, 0).await.unwrap().len(), 2);
}

/// Keeps the writer busy until the sender is dropped, so that writes queue behind it.
fn hold(store: &SqliteStore) -> (std::sync::mpsc::Sender<()>, impl Future<Output = Result<()>>) {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let waiting = store.write(move |_| {
        let _ = held.recv();
        Ok(())
    });
    (release, waiting)
}

#[tokio::test]
async fn writes_that_queue_share_a_commit() {
    let (_dir, store) = fresh();
    let (release, waiting) = hold(&store);
    let runs: Vec<RunId> = (0..100).map(|_| RunId::new()).collect();
    let appends = futures_util::future::join_all(runs.iter().map(|id| store.append(first(*id))));
    let ((), held, appended) = tokio::join!(
        async move {
            // The appends are polled, and so queued, before this runs again.
            tokio::task::yield_now().await;
            drop(release);
        },
        waiting,
        appends,
    );
    held.unwrap();
    assert!(appended.iter().all(std::result::Result::is_ok));
    assert!(store.commits() <= 3, "{} commits", store.commits());
    let all = RunFilter { limit: 1_000, ..RunFilter::default() };
    assert_eq!(store.count_runs(&all).await.unwrap(), 100);
    assert_eq!(store.runs(all).await.unwrap().len(), 100);
}

#[tokio::test]
async fn a_write_that_fails_halfway_spoils_no_other() {
    let (_dir, store) = fresh();
    let (release, waiting) = hold(&store);
    let (before, after) = (RunId::new(), RunId::new());
    let broken = |session: &mut Session| {
        session.connection.execute("INSERT INTO secrets VALUES ('half', x'00')", [])?;
        session.connection.execute("INSERT INTO secrets VALUES ('half', NULL)", [])?;
        Ok(())
    };
    let ((), held, one, failed, two) = tokio::join!(
        async move {
            tokio::task::yield_now().await;
            drop(release);
        },
        waiting,
        store.append(first(before)),
        store.write(broken),
        store.append(first(after)),
    );
    held.unwrap();
    one.unwrap();
    two.unwrap();
    assert!(failed.unwrap_err().detail.contains("NOT NULL"));
    assert_eq!(store.secrets().await.unwrap(), [], "the broken write left nothing");
    assert_eq!(store.plan("plan-1").await.unwrap().unwrap(), b"{\"nodes\":[]}");
    assert_eq!(store.unfinished().await.unwrap(), [before, after]);
    let counted = store.count_runs(&RunFilter::default()).await.unwrap();
    assert_eq!(counted, 2, "what was counted before the rollback is not counted twice");
}

#[tokio::test]
async fn a_full_disk_is_fatal_and_nothing_is_acknowledged_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let told = reasons.clone();
    let fatal: Fatal = Arc::new(move |reason| told.lock().unwrap().push(reason.to_owned()));
    let store = SqliteStore::open(dir.path(), &Options { fatal, ..Options::default() }).unwrap();
    let kept = RunId::new();
    store.append(first(kept)).await.unwrap();
    let fill = |session: &mut Session| {
        let pages: i64 = session.connection.pragma_query_value(None, "page_count", |r| r.get(0))?;
        let limit = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
        session.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], limit)?;
        Ok(())
    };
    store.write(fill).await.unwrap();

    let lost = RunId::new();
    let noise: Vec<u64> = (0..50_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    let large = Append { entries: vec![completed(0, json!(noise))], ..first(lost) };
    assert!(store.append(large).await.unwrap_err().detail.contains("full"));
    let refused = store.append(first(RunId::new())).await.unwrap_err();
    assert_eq!(refused.error.code, Code::Store);
    drop(store);
    let reasons = reasons.lock().unwrap().clone();
    assert!(reasons.len() == 1 && reasons[0].contains("full"), "{reasons:?}");

    let store = open(dir.path());
    assert_eq!(store.unfinished().await.unwrap(), [kept]);
}

#[tokio::test]
async fn a_database_that_is_locked_fails_writes_and_not_the_process() {
    let (dir, store) = fresh();
    let impatient = |session: &mut Session| Ok(session.connection.busy_timeout(Duration::ZERO)?);
    store.write(impatient).await.unwrap();
    let shell = rusqlite::Connection::open(owner::database(dir.path())).unwrap();
    shell.execute_batch("BEGIN IMMEDIATE").unwrap();
    let run = RunId::new();
    assert!(store.append(first(run)).await.unwrap_err().detail.contains("locked"));
    shell.execute_batch("ROLLBACK").unwrap();
    store.append(first(run)).await.unwrap();
}

#[tokio::test]
async fn a_panic_in_the_writer_is_fatal() {
    let dir = tempfile::tempdir().unwrap();
    let told = Arc::new(Mutex::new(0));
    let count = told.clone();
    let fatal: Fatal = Arc::new(move |_| *count.lock().unwrap() += 1);
    let store = SqliteStore::open(dir.path(), &Options { fatal, ..Options::default() }).unwrap();
    let panicked = store.write(|_| -> Written<()> { panic!("on purpose") }).await;
    assert_eq!(panicked.unwrap_err().error.message, "the store has stopped");
    drop(store);
    assert_eq!(*told.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_directory_has_one_owner() {
    let (dir, store) = fresh();
    let refused = SqliteStore::open(dir.path(), &Options::default()).err().unwrap();
    let pid = format!("in use by process {}", std::process::id());
    assert!(refused.error.message.contains(&pid), "{}", refused.error.message);
    assert!(refused.error.hint().unwrap().contains("--data"));
    drop(store);
    open(dir.path());
}

#[tokio::test]
async fn reading_beside_the_owner_sees_what_is_committed_and_writes_nothing() {
    let (dir, store) = fresh();
    let reader = SqliteStore::open_read_only(dir.path()).unwrap();
    let run = RunId::new();
    store.append(first(run)).await.unwrap();
    assert_eq!(reader.journal(run, 0).await.unwrap().len(), 2);
    let refused = reader.append(first(RunId::new())).await.unwrap_err();
    assert_eq!(refused.error.message, "the data is open for reading only");
    drop(store);
    assert_eq!(reader.journal(run, 0).await.unwrap().len(), 2, "also without an owner");
    drop(reader);
    let reader = SqliteStore::open_read_only(dir.path()).unwrap();
    assert_eq!(reader.journal(run, 0).await.unwrap().len(), 2);
}

#[test]
fn a_directory_without_data_has_nothing_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let refused = SqliteStore::open_read_only(dir.path()).err().unwrap();
    assert!(refused.error.message.starts_with("there is no data in "));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "looking creates nothing");
}

#[test]
fn an_impossible_directory_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let refused = SqliteStore::open(&file.path().join("below"), &Options::default()).err().unwrap();
    assert!(refused.error.message.contains("below cannot be used: "), "{}", refused.error.message);
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("new/data");
    let store = open(&data);
    store.append(first(RunId::new())).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&data), 0o700);
    for file in std::fs::read_dir(&data).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn equal_large_values_are_stored_once_and_go_with_the_last_run() {
    let (_dir, store) = fresh();
    let large = json!("x".repeat(crate::limits::INLINE_BYTES_MAX * 2));
    let runs = [1, 2, 3].map(RunId);
    for (at, run) in runs.iter().enumerate() {
        let entries = vec![completed(0, large.clone()), completed(1, large.clone())];
        let append = Append { entries, ..first(*run) };
        store.append(ending(append, Status::Completed, at as u64)).await.unwrap();
    }
    let count = |session: &mut Session| {
        let sql = "SELECT count(*) FROM payloads";
        Ok(session.connection.query_row(sql, [], |row| row.get::<_, i64>(0))?)
    };
    for (before, payloads) in [(0, 1), (2, 1), (3, 0)] {
        store.expire(before, 9).await.unwrap();
        assert_eq!(store.write(count).await.unwrap(), payloads, "before {before}");
    }
}

#[tokio::test]
async fn expired_runs_give_their_space_back() {
    let (_dir, store) = fresh();
    let runs: Vec<RunId> = (1..=600).map(RunId).collect();
    let noise: Vec<u64> = (0..1_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    let appends = runs.iter().map(|run| {
        let entries = vec![completed(0, json!(noise))];
        store.append(ending(Append { entries, ..first(*run) }, Status::Completed, 5))
    });
    futures_util::future::try_join_all(appends).await.unwrap();
    let full = pragma(&store, "page_count").await;
    assert!(full > 1_000, "{full} pages");
    assert_eq!(store.expire(6, 1_000).await.unwrap(), 600);
    let (pages, free) =
        (pragma(&store, "page_count").await, pragma(&store, "freelist_count").await);
    assert!(pages < 150 && free <= 64, "{pages} pages, {free} of them free");
}

#[tokio::test]
async fn expired_answers_give_their_space_back_and_go_even_without_retention() {
    let (_dir, store) = fresh();
    let noise: Vec<u64> = (0..1_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    let value = serde_json::to_vec(&noise).unwrap();
    let keys: Vec<String> = (0..600).map(|number| format!("k{number}")).collect();
    let later = crate::id::now_ms() + 600_000;
    let puts = keys.iter().map(|key| store.put_cached_answer(key, value.clone(), later));
    futures_util::future::try_join_all(puts).await.unwrap();
    let age = |session: &mut Session| {
        Ok(session.connection.execute("UPDATE answers SET expires = 1 WHERE key <> 'k0'", [])?)
    };
    store.write(age).await.unwrap();
    let count = |session: &mut Session| {
        let sql = "SELECT count(*) FROM answers";
        Ok(session.connection.query_row(sql, [], |row| row.get::<_, i64>(0))?)
    };
    store.put_cached_answer("new", vec![b'1'], later).await.unwrap();
    assert_eq!(store.write(count).await.unwrap(), 597, "four go for one that comes");
    store.expire(0, 1).await.unwrap();
    assert_eq!(store.write(count).await.unwrap(), 2);
    let (pages, free) =
        (pragma(&store, "page_count").await, pragma(&store, "freelist_count").await);
    assert!(pages < 150 && free <= 64, "{pages} pages, {free} of them free");
}

#[tokio::test]
async fn the_open_connection_is_durable() {
    let (_dir, store) = fresh();
    assert_eq!(pragma(&store, "synchronous").await, 2);
    assert_eq!(pragma(&store, "wal_autocheckpoint").await, 2_000);
}
