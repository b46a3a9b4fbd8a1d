//! What every store does. Each backend runs this suite in its tests.

mod definitions;
mod family;
mod feed;
mod keys;
mod tallies;
mod triggers;

use std::sync::Arc;

use serde_json::{Map, Value, json};
use waystation_core::entry::{Data, Entry, Fact, Outcome, Start};
use waystation_core::error::Code;
use waystation_core::plan::Dialect;
use waystation_core::usage::Usage;

use self::triggers::hook;
use super::{
    Append, BlockRow, Cursor, CursorState, Finished, NewRun, Progress, RunFilter, RunRow, Status,
    Store, StoreError,
};
use crate::id::{RunId, now_ms};
use crate::limits;

/// Runs every case on a fresh store.
pub(crate) async fn run<S: Store>(fresh: impl Fn() -> S) {
    a_run_lives_from_its_first_append_to_its_last(&fresh()).await;
    a_run_may_end_with_its_first_append(&fresh()).await;
    the_journal_is_read_from_any_place(&fresh()).await;
    a_stale_owner_is_refused(&fresh()).await;
    appends_after_the_end_are_refused(&fresh()).await;
    one_refusal_leaves_the_others_alone(Arc::new(fresh())).await;
    large_values_come_back(&fresh()).await;
    plans_are_kept_once_and_go_after_their_last_run(&fresh()).await;
    lists_are_filtered_and_paged(&fresh()).await;
    sleeping_runs_are_due_when_their_moment_comes(&fresh()).await;
    old_runs_expire(&fresh()).await;
    cursors_are_kept(&fresh()).await;
    secrets_are_kept(&fresh()).await;
    blocks_are_kept(&fresh()).await;
    notifications_are_kept_once(&fresh()).await;
    answers_are_kept_for_their_time(&fresh()).await;
    spending_is_summed_up_by_day_and_workflow(&fresh()).await;
    refused_appends_spend_nothing(&fresh()).await;
    definitions::run(&fresh).await;
    triggers::run(&fresh).await;
    family::run(&fresh).await;
    feed::run(&fresh).await;
    keys::run(&fresh).await;
    tallies::run(&fresh).await;
    fresh().ping().await.unwrap();
}

/// The first entry of a run.
pub(crate) fn started(input: Value) -> Entry {
    let start = Start {
        plan: "plan-1".into(),
        workflow: "sums".into(),
        namespace: "default".into(),
        input: input.into(),
        ..Start::default()
    };
    Entry { at: 1, fact: Fact::RunStarted(Box::new(start)) }
}

/// The result of a node.
pub(crate) fn completed(node: u32, output: Value) -> Entry {
    let output = output.into();
    Entry {
        at: 2,
        fact: Fact::NodeCompleted { node, attempt: 1, output, port: None, details: Map::new() },
    }
}

/// The last entry of a run.
pub(crate) fn finished() -> Entry {
    Entry { at: 3, fact: Fact::RunFinished { outcome: Outcome::Completed } }
}

/// The row of a run that starts.
pub(crate) fn new_run() -> NewRun {
    NewRun {
        workflow: "sums".into(),
        namespace: "default".into(),
        name: Some("a sum".into()),
        plan: "plan-1".into(),
        plan_json: Arc::from(&b"{\"nodes\":[]}"[..]),
        created: 1_000,
        webhook: false,
        dialect: Dialect::Pipeline,
        version: None,
        parent: None,
        claim: None,
        fired: None,
    }
}

/// The first append of a run that goes on.
pub(crate) fn first(run: RunId) -> Append {
    let entries = vec![started(json!({"a": 1})), completed(0, json!(0.1))];
    let new_run = Some(new_run());
    Append { run, batch: 0, first_seq: 0, entries, new_run, wake_at: None, finished: None }
}

/// A later append.
pub(crate) fn next(run: RunId, batch: u32, first_seq: u32, entries: Vec<Entry>) -> Append {
    Append { run, batch, first_seq, entries, new_run: None, wake_at: None, finished: None }
}

/// The same append as the run's last.
pub(crate) fn ending(append: Append, status: Status, at: u64) -> Append {
    let error = (status == Status::Failed).then_some(Code::Timeout);
    Append {
        finished: Some(Finished { status, at, error, nodes: Vec::new(), has_parts: true }),
        ..append
    }
}

/// A run that ends with its first append.
pub(crate) fn whole(run: RunId, at: u64) -> Append {
    let entries = vec![started(json!([])), completed(0, json!({"sum": 3})), finished()];
    ending(Append { entries, ..first(run) }, Status::Completed, at)
}

fn code<T: std::fmt::Debug>(refused: Result<T, StoreError>) -> Code {
    refused.unwrap_err().error.code
}

async fn a_run_lives_from_its_first_append_to_its_last(store: &impl Store) {
    let id = RunId::new();
    assert_eq!(store.run(id).await.unwrap(), None);
    assert_eq!(store.next_batch(id).await.unwrap(), 0);
    assert_eq!(store.journal(id, 0).await.unwrap(), []);

    store.append(first(id)).await.unwrap();
    let mut row = RunRow {
        id,
        workflow: "sums".into(),
        namespace: "default".into(),
        name: Some("a sum".into()),
        plan: "plan-1".into(),
        status: Status::Running,
        created: 1_000,
        finished: None,
        error: None,
        dialect: Dialect::Pipeline,
        version: None,
        parent: None,
    };
    assert_eq!(store.run(id).await.unwrap(), Some(row.clone()));
    assert_eq!(store.next_batch(id).await.unwrap(), 1);

    store.append(next(id, 1, 2, vec![completed(1, json!("x"))])).await.unwrap();
    let last = next(id, 2, 3, vec![finished()]);
    store.append(ending(last, Status::Failed, 5_000)).await.unwrap();
    (row.status, row.finished, row.error) =
        (Status::Failed, Some(5_000), Some("timeout".to_owned()));
    assert_eq!(store.run(id).await.unwrap(), Some(row));
    assert_eq!(store.next_batch(id).await.unwrap(), 3);
    assert_eq!(store.due(u64::MAX, 10).await.unwrap(), []);
}

async fn a_run_may_end_with_its_first_append(store: &impl Store) {
    let id = RunId::new();
    store.append(whole(id, 1_001)).await.unwrap();
    let row = store.run(id).await.unwrap().unwrap();
    assert_eq!((row.status, row.finished, row.error), (Status::Completed, Some(1_001), None));
    assert_eq!(store.journal(id, 0).await.unwrap().len(), 3);
    assert_eq!(store.due(u64::MAX, 10).await.unwrap(), []);
    assert_eq!(store.next_wake().await.unwrap(), None);
}

async fn the_journal_is_read_from_any_place(store: &impl Store) {
    let (id, other) = (RunId::new(), RunId::new());
    let mut all = first(id).entries;
    store.append(first(id)).await.unwrap();
    store.append(first(other)).await.unwrap();
    for batch in 1..4u32 {
        let entries = vec![completed(batch * 2, json!(batch)), completed(batch * 2 + 1, json!([]))];
        all.extend(entries.clone());
        store.append(next(id, batch, batch * 2, entries)).await.unwrap();
    }
    for from in 0..10 {
        let expected = all.get(from..).unwrap_or_default();
        assert_eq!(store.journal(id, from as u32).await.unwrap(), expected, "from {from}");
    }
}

async fn a_stale_owner_is_refused(store: &impl Store) {
    let id = RunId::new();
    store.append(first(id)).await.unwrap();
    assert_eq!(code(store.append(first(id)).await), Code::Conflict);

    let present = next(id, 1, 2, vec![completed(1, json!("present"))]);
    store.append(present).await.unwrap();
    let stale = Append { wake_at: Some(9), ..next(id, 1, 2, vec![completed(1, json!("stale"))]) };
    assert_eq!(code(store.append(stale).await), Code::Conflict);
    let stale = ending(next(id, 1, 2, vec![finished()]), Status::Cancelled, 9);
    assert_eq!(code(store.append(stale).await), Code::Conflict);

    let expected = [completed(1, json!("present"))];
    assert_eq!(store.journal(id, 2).await.unwrap(), expected);
    assert_eq!(store.run(id).await.unwrap().unwrap().status, Status::Running);
    assert_eq!(store.next_wake().await.unwrap(), None);
}

async fn appends_after_the_end_are_refused(store: &impl Store) {
    let id = RunId(1);
    let late = || next(id, 1, 3, vec![finished()]);
    assert_eq!(code(store.append(late()).await), Code::RunEnded, "never there");
    store.append(whole(id, 5)).await.unwrap();
    assert_eq!(code(store.append(late()).await), Code::RunEnded, "ended");
    assert_eq!(code(store.append(whole(id, 6)).await), Code::Conflict, "the same id again");
    assert_eq!(store.expire(10, 10).await.unwrap(), 1);
    assert_eq!(code(store.append(late()).await), Code::RunEnded, "gone");
    assert_eq!(store.journal(id, 0).await.unwrap(), []);
}

async fn one_refusal_leaves_the_others_alone(store: Arc<impl Store>) {
    let taken = RunId::new();
    store.append(first(taken)).await.unwrap();
    let fresh: Vec<RunId> = (0..50).map(|_| RunId::new()).collect();
    let mut writes = tokio::task::JoinSet::new();
    for id in &fresh {
        for run in [*id, taken] {
            let store = store.clone();
            writes.spawn(async move { (run, store.append(first(run)).await.is_ok()) });
        }
    }
    for (run, done) in writes.join_all().await {
        assert_eq!(done, run != taken);
    }
    for id in fresh {
        assert_eq!(store.journal(id, 0).await.unwrap().len(), 2);
    }
}

async fn large_values_come_back(store: &impl Store) {
    let large = json!({"text": "long ".repeat(limits::INLINE_BYTES_MAX)});
    let ids = [1, 2, 3].map(RunId);
    for (at, id) in ids.iter().enumerate() {
        let entries = vec![started(large.clone()), completed(0, large.clone()), finished()];
        let append = Append { entries: entries.clone(), ..first(*id) };
        store.append(ending(append, Status::Completed, at as u64)).await.unwrap();
        assert_eq!(store.journal(*id, 0).await.unwrap(), entries);
    }
    assert_eq!(store.expire(2, 10).await.unwrap(), 2);
    let kept = store.journal(ids[2], 1).await.unwrap();
    let Fact::NodeCompleted { output: Data::Value(output), .. } = &kept[0].fact else {
        panic!("{kept:?}");
    };
    assert_eq!(**output, large);
}

async fn plans_are_kept_once_and_go_after_their_last_run(store: &impl Store) {
    let ids = [1, 2, 3].map(RunId);
    assert_eq!(store.plan("plan-1").await.unwrap(), None);
    store.append(whole(ids[0], 1)).await.unwrap();
    store.append(whole(ids[1], 5)).await.unwrap();
    let json = new_run().plan_json.to_vec();
    assert_eq!(store.plan("plan-1").await.unwrap(), Some(json.clone()));
    assert_eq!(store.plan("plan-2").await.unwrap(), None);

    assert_eq!(store.expire(2, 10).await.unwrap(), 1);
    assert_eq!(store.plan("plan-1").await.unwrap(), Some(json.clone()), "still needed");
    let later = new_run().created + limits::PLAN_USE_MS + 1;
    assert_eq!(store.expire(later, 10).await.unwrap(), 1);
    assert_eq!(store.plan("plan-1").await.unwrap(), None);
    store.append(whole(ids[2], 7)).await.unwrap();
    assert_eq!(store.plan("plan-1").await.unwrap(), Some(json), "needed again");
}

async fn lists_are_filtered_and_paged(store: &impl Store) {
    let ids: Vec<RunId> = (0..12).map(|_| RunId::new()).collect();
    for (i, id) in ids.iter().enumerate() {
        let workflow = ["sums", "mail"][i % 2].to_owned();
        let namespace = ["default", "other"][i % 4 / 2].to_owned();
        let dialect = [Dialect::Pipeline, Dialect::Graph][i % 4 / 2];
        let new_run = Some(NewRun { workflow, namespace, dialect, ..new_run() });
        let status = Status::ALL[i % 3];
        let append = match status {
            Status::Running => Append { new_run, ..first(*id) },
            ended => ending(Append { new_run, ..first(*id) }, ended, 5),
        };
        store.append(append).await.unwrap();
    }
    let all = || RunFilter { limit: 100, ..RunFilter::default() };
    let (sums, other) = (Some("sums".to_owned()), Some("other".to_owned()));
    let (failed, before) = (Some(Status::Failed), Some(ids[8]));
    let (running, completed) = (Some(Status::Running), Some(Status::Completed));
    let (graph, pipeline) = (Some(Dialect::Graph), Some(Dialect::Pipeline));
    for (filter, expected) in [
        (all(), &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0][..]),
        (RunFilter { limit: 3, ..all() }, &[11, 10, 9]),
        (RunFilter { limit: 3, before, ..all() }, &[7, 6, 5]),
        (RunFilter { limit: 0, ..all() }, &[]),
        (RunFilter { workflow: sums.clone(), ..all() }, &[10, 8, 6, 4, 2, 0]),
        (RunFilter { namespace: other.clone(), ..all() }, &[11, 10, 7, 6, 3, 2]),
        (RunFilter { workflow: sums.clone(), namespace: other.clone(), ..all() }, &[10, 6, 2]),
        (RunFilter { status: failed, ..all() }, &[11, 8, 5, 2]),
        (RunFilter { offset: 2, limit: 3, ..all() }, &[9, 8, 7]),
        (RunFilter { offset: 1, limit: 2, before, ..all() }, &[6, 5]),
        (RunFilter { offset: 99, ..all() }, &[]),
        (RunFilter { dialect: graph, ..all() }, &[11, 10, 7, 6, 3, 2]),
        (RunFilter { dialect: pipeline, ..all() }, &[9, 8, 5, 4, 1, 0]),
        (RunFilter { dialect: Some(Dialect::Instructions), ..all() }, &[]),
        (RunFilter { dialect: graph, status: failed, ..all() }, &[11, 2]),
        (RunFilter { dialect: graph, status: running, ..all() }, &[6, 3]),
        (RunFilter { dialect: graph, status: completed, before, ..all() }, &[7]),
        (RunFilter { dialect: graph, workflow: sums.clone(), ..all() }, &[10, 6, 2]),
        (
            RunFilter {
                dialect: graph,
                workflow: sums.clone(),
                namespace: other.clone(),
                status: failed,
                ..all()
            },
            &[2],
        ),
        (RunFilter { parent: Some(ids[3]), ..all() }, &[]),
        (RunFilter { status: Some(Status::Cancelled), ..all() }, &[]),
        (RunFilter { workflow: Some("none".into()), ..all() }, &[]),
        (RunFilter { workflow: sums, namespace: other, status: failed, before, ..all() }, &[2]),
    ] {
        let label = format!("{filter:?}");
        let rows = store.runs(filter).await.unwrap();
        let found: Vec<RunId> = rows.iter().map(|row| row.id).collect();
        let expected: Vec<RunId> = expected.iter().map(|i| ids[*i]).collect();
        assert_eq!(found, expected, "{label}");
    }
}

async fn sleeping_runs_are_due_when_their_moment_comes(store: &impl Store) {
    let [awake, late, early, never] = [(); 4].map(|()| RunId::new());
    store.append(first(awake)).await.unwrap();
    store.append(Append { wake_at: Some(900), ..first(late) }).await.unwrap();
    store.append(first(early)).await.unwrap();
    store.append(Append { wake_at: Some(u64::MAX), ..first(never) }).await.unwrap();
    let entries = || vec![completed(1, json!(1))];
    let sleep = Append { wake_at: Some(500), ..next(early, 1, 2, entries()) };
    store.append(sleep).await.unwrap();

    assert_eq!(store.next_wake().await.unwrap(), Some(500));
    for (now, limit, expected) in [
        (499, 9, &[][..]),
        (500, 9, &[early]),
        (1_000, 9, &[early, late]),
        (1_000, 1, &[early]),
        (1_000, 0, &[]),
    ] {
        assert_eq!(store.due(now, limit).await.unwrap(), expected, "{now} {limit}");
    }

    store.append(next(early, 2, 3, entries())).await.unwrap();
    assert_eq!(store.next_wake().await.unwrap(), Some(900), "an append without a moment wakes");
    assert_eq!(store.due(1_000, 9).await.unwrap(), [late]);
    assert_eq!(store.unfinished().await.unwrap(), [awake, early]);
    store.append(ending(next(late, 1, 2, entries()), Status::Cancelled, 950)).await.unwrap();
    assert_eq!(store.due(1_000, 9).await.unwrap(), [], "the ended are never due");
    assert_eq!(store.run(late).await.unwrap().unwrap().status, Status::Cancelled);
    let asleep_again = Append { wake_at: Some(2_000), ..next(early, 3, 4, entries()) };
    store.append(asleep_again).await.unwrap();
    assert_eq!(store.next_wake().await.unwrap(), Some(2_000));
}

async fn old_runs_expire(store: &impl Store) {
    let ids = [1, 2, 3, 4, 5, 6].map(RunId);
    // The first is unfinished; the others end in the reverse order of their start.
    store.append(first(ids[0])).await.unwrap();
    for (i, id) in ids.iter().enumerate().skip(1) {
        store.append(whole(*id, 100 - i as u64)).await.unwrap();
    }
    assert_eq!(store.expire(95, 10).await.unwrap(), 0, "nothing ended before");
    assert_eq!(store.expire(98, 2).await.unwrap(), 2, "no more than asked for");
    let left = store.runs(RunFilter { limit: 9, ..RunFilter::default() }).await.unwrap();
    let left: Vec<RunId> = left.iter().map(|row| row.id).collect();
    assert_eq!(left, [ids[5], ids[2], ids[1], ids[0]], "the oldest went");
    assert_eq!(store.journal(ids[3], 0).await.unwrap(), []);
    assert_eq!(store.next_batch(ids[3]).await.unwrap(), 0);
    assert_eq!(store.expire(u64::MAX, 10).await.unwrap(), 3);
    assert_eq!(store.journal(ids[0], 0).await.unwrap().len(), 2, "the unfinished stay");
}

async fn cursors_are_kept(store: &impl Store) {
    let ids: Vec<RunId> = (0..3).map(|_| RunId::new()).collect();
    for id in &ids {
        let new_run = Some(NewRun { webhook: true, ..new_run() });
        let append = Append { new_run, ..whole(*id, 1_000) };
        store.append(append).await.unwrap();
    }
    let silent = RunId::new();
    store.append(whole(silent, 1_000)).await.unwrap();
    let state = CursorState::Active;
    let fresh =
        Cursor { run: ids[0], next_seq: 0, attempts: 0, next_at: 1_000, state, error: None };
    assert_eq!(store.cursor(ids[0]).await.unwrap(), Some(fresh.clone()));
    assert_eq!(store.cursor(silent).await.unwrap(), None);
    store.put_cursor(Cursor { run: silent, ..fresh.clone() }).await.unwrap();
    assert_eq!(store.cursor(silent).await.unwrap(), None, "nobody asked for one");

    let error = Some("refused".to_owned());
    let waiting = Cursor { next_seq: 3, attempts: 2, next_at: 2_000, error, ..fresh.clone() };
    store.put_cursor(waiting.clone()).await.unwrap();
    assert_eq!(store.cursor(ids[0]).await.unwrap(), Some(waiting.clone()));
    let dead = Cursor { run: ids[1], state: CursorState::Dead, ..fresh.clone() };
    store.put_cursor(dead).await.unwrap();
    let third = Cursor { run: ids[2], ..fresh };
    assert_eq!(store.cursors_due(999, 9).await.unwrap(), []);
    assert_eq!(store.cursors_due(1_999, 9).await.unwrap(), std::slice::from_ref(&third));
    assert_eq!(store.cursors_due(2_000, 9).await.unwrap(), [third.clone(), waiting]);
    assert_eq!(store.cursors_due(2_000, 1).await.unwrap(), std::slice::from_ref(&third));
    assert_eq!(store.cursor_backlog().await.unwrap(), (2, 1));
    store.put_cursor(Cursor { state: CursorState::Done, ..third }).await.unwrap();
    assert_eq!(store.cursor_backlog().await.unwrap(), (1, 1));
    store.expire(u64::MAX, 10).await.unwrap();
    assert_eq!(store.cursor_backlog().await.unwrap(), (0, 0), "cursors go with their runs");
}

async fn secrets_are_kept(store: &impl Store) {
    assert_eq!(store.secrets().await.unwrap(), []);
    for (name, sealed) in [("b", vec![1, 2]), ("a", vec![0, 255]), ("b", vec![3])] {
        store.put_secret(name, sealed).await.unwrap();
    }
    let expected = [("a".to_owned(), vec![0, 255]), ("b".to_owned(), vec![3])];
    assert_eq!(store.secrets().await.unwrap(), expected);
    assert!(store.remove_secret("a").await.unwrap());
    assert!(!store.remove_secret("a").await.unwrap());
    assert_eq!(store.secrets().await.unwrap().len(), 1);
}

async fn blocks_are_kept(store: &impl Store) {
    let block = |id: &str, created| {
        let body = json!({"text": id});
        BlockRow { id: id.to_owned(), body, created, updated: created }
    };
    for (id, created) in [("c", 1), ("b", 2), ("a", 2), ("d", 3)] {
        assert!(store.put_block("n", block(id, created), true).await.unwrap());
    }
    assert!(store.put_block("m", block("a", 1), true).await.unwrap(), "namespaces are apart");
    assert!(!store.put_block("n", block("a", 9), true).await.unwrap(), "no second of that id");
    assert!(!store.put_block("n", block("x", 9), false).await.unwrap(), "nothing to replace");

    let body = json!({"text": "changed"});
    let changed = BlockRow { id: "a".into(), body, created: 9, updated: 10 };
    assert!(store.put_block("n", changed.clone(), false).await.unwrap());
    let expected = BlockRow { created: 2, ..changed };
    assert_eq!(store.block("n", "a").await.unwrap(), Some(expected));
    assert_eq!(store.block("m", "a").await.unwrap(), Some(block("a", 1)));
    assert_eq!(store.block("n", "x").await.unwrap(), None);

    for (after, limit, expected) in [
        (None, 9, &["c", "a", "b", "d"][..]),
        (None, 2, &["c", "a"]),
        (Some("a"), 9, &["b", "d"]),
        (Some("d"), 9, &[]),
        (Some("gone"), 9, &[]),
    ] {
        let blocks = store.blocks("n", after, limit).await.unwrap();
        let ids: Vec<&str> = blocks.iter().map(|block| block.id.as_str()).collect();
        assert_eq!(ids, expected, "{after:?} {limit}");
    }
    assert!(store.remove_block("n", "a").await.unwrap());
    assert!(!store.remove_block("n", "a").await.unwrap());
    assert!(store.block("m", "a").await.unwrap().is_some());
}

async fn notifications_are_kept_once(store: &impl Store) {
    let progress = |webhook_id: &str, workflow: &str, received| Progress {
        webhook_id: webhook_id.to_owned(),
        namespace: "n".into(),
        workflow: workflow.to_owned(),
        execution: "e".into(),
        received,
        event: json!({"id": webhook_id}),
    };
    for (id, workflow, received) in [("2", "w", 5), ("1", "w", 6), ("3", "v", 7), ("4", "w", 8)] {
        assert!(store.put_progress(progress(id, workflow, received)).await.unwrap());
    }
    assert!(!store.put_progress(progress("1", "v", 9)).await.unwrap());
    let elsewhere = Progress { namespace: "o".into(), ..progress("1", "w", 9) };
    assert!(store.put_progress(elsewhere).await.unwrap(), "an id is known in its namespace");
    let all = [progress("2", "w", 5), progress("1", "w", 6), progress("4", "w", 8)];
    assert_eq!(store.progress("n", "w", 9).await.unwrap(), all);
    assert_eq!(store.progress("n", "w", 2).await.unwrap(), all[1..]);
    assert_eq!(store.progress("m", "w", 2).await.unwrap(), []);
    assert_eq!(store.expire(6, 10).await.unwrap(), 0);
    assert_eq!(store.progress("n", "w", 9).await.unwrap(), all[1..], "they expire too");
}

async fn answers_are_kept_for_their_time(store: &impl Store) {
    let answer = |key| store.cached_answer(key, 1_000);
    let (long, later) =
        (format!("\"{}\"", "answer ".repeat(10_000)).into_bytes(), now_ms() + 60_000);
    assert_eq!(answer("a").await.unwrap(), None);
    for (key, value, expires) in [
        ("a", b"1".to_vec(), later),
        ("b", b"2".to_vec(), 1_001),
        ("b", b"3".to_vec(), 1_002),
        ("c", b"4".to_vec(), 1_000),
        ("d", long.clone(), later),
    ] {
        store.put_cached_answer(key, value, expires).await.unwrap();
    }
    assert_eq!(answer("a").await.unwrap(), Some(b"1".to_vec()));
    assert_eq!(answer("c").await.unwrap(), None, "its time is over");
    assert_eq!(answer("d").await.unwrap(), Some(long));
    store.put_cached_answer("a", b"5".to_vec(), later).await.unwrap();
    assert_eq!(answer("a").await.unwrap(), Some(b"5".to_vec()), "the last one counts");
    store.expire(0, 1).await.unwrap();
    let at_any_time = |key| store.cached_answer(key, 0);
    assert_eq!(at_any_time("b").await.unwrap(), None, "what has expired is deleted");
    assert_eq!(at_any_time("a").await.unwrap(), Some(b"5".to_vec()));
}

/// An entry that tells of tokens used.
pub(crate) fn spent(at: u64, tokens: u64) -> Entry {
    Entry { at, fact: Fact::Spent { node: 0, usage: used(1, tokens) } }
}

fn used(calls: u32, tokens: u64) -> Usage {
    let cost = tokens.saturating_mul(3);
    Usage {
        calls,
        cached: 0,
        prompt_tokens: tokens,
        completion_tokens: 1,
        paid_tokens: tokens,
        nano_usd: cost,
    }
}

async fn spending_is_summed_up_by_day_and_workflow(store: &impl Store) {
    const DAY: u64 = 86_400_000;
    let [run, second, other] = [1, 2, 3].map(RunId);
    assert_eq!(store.spent("default", "sums", 7).await.unwrap(), Usage::default());
    let entries = vec![started(json!(1)), spent(7 * DAY, 10)];
    store.append(Append { entries, ..first(run) }).await.unwrap();
    let entries = vec![spent(8 * DAY - 1, 5), spent(8 * DAY, 100), spent(8 * DAY - 1, 2)];
    store.append(next(run, 1, 2, entries)).await.unwrap();
    store.append(Append { entries: vec![spent(7 * DAY, 20)], ..whole(second, 5) }).await.unwrap();
    let new_run = Some(NewRun { namespace: "other".into(), ..new_run() });
    let entries = vec![spent(7 * DAY, u64::MAX), spent(8 * DAY, 4)];
    store.append(Append { entries, new_run, ..first(other) }).await.unwrap();
    store.append(next(other, 1, 2, vec![spent(7 * DAY, u64::MAX)])).await.unwrap();

    let seventh = store.spent("default", "sums", 7).await.unwrap();
    assert_eq!(seventh, Usage { completion_tokens: 4, ..used(4, 37) });
    assert_eq!(store.spent("default", "sums", 8).await.unwrap(), used(1, 100));
    assert_eq!(store.spent("other", "sums", 8).await.unwrap(), used(1, 4));
    assert_eq!(store.spent("other", "mail", 8).await.unwrap(), Usage::default());
    assert!(store.spent("other", "sums", 7).await.unwrap().paid_tokens >= 1 << 61);

    store.expire(8 * DAY, 10).await.unwrap();
    assert_eq!(store.spent("default", "sums", 7).await.unwrap(), Usage::default());
    assert_eq!(store.spent("default", "sums", 8).await.unwrap(), used(1, 100));
}

async fn refused_appends_spend_nothing(store: &impl Store) {
    let run = RunId::new();
    store.append(first(run)).await.unwrap();
    let append = |batch| next(run, batch, 2, vec![spent(0, 10)]);
    store.append(append(1)).await.unwrap();
    assert_eq!(code(store.append(append(1)).await), Code::Conflict);
    store.append(ending(next(run, 2, 3, vec![finished()]), Status::Completed, 9)).await.unwrap();
    assert_eq!(code(store.append(append(3)).await), Code::RunEnded);
    assert_eq!(store.spent("default", "sums", 0).await.unwrap(), used(1, 10));
}
