//! Stored workflows, their triggers, and runs that come from them or from one another.

use std::sync::Arc;

use serde_json::{Value, json};
use waystation_core::error::Code;
use waystation_core::plan::Dialect;

use super::{code, ending, finished, first, new_run, next, whole};
use crate::id::{RunId, WorkflowId, now_ms};
use crate::store::{
    Append, Changed, ChildRow, Claim, Expected, Fired, NewRun, NewTrigger, RunFilter, Status,
    Store, TriggerKind, TriggerRow, WorkflowChange, WorkflowFilter,
};

pub(super) async fn run<S: Store>(fresh: impl Fn() -> S) {
    definitions_have_versions(&fresh()).await;
    a_change_has_to_meet_what_it_expects(&fresh()).await;
    workflows_are_listed_and_searched(&fresh()).await;
    triggers_keep_what_they_have_done(&fresh()).await;
    a_path_belongs_to_one_workflow(&fresh()).await;
    a_moment_of_a_schedule_begins_one_run(&fresh()).await;
    a_key_is_taken_once(&fresh()).await;
    an_item_has_one_run_and_lists_do_not_show_it(&fresh()).await;
    a_sleeping_run_is_woken_when_a_part_of_it_ends(&fresh()).await;
    jobs_are_counted_without_counting(&fresh()).await;
}

fn change(id: WorkflowId, name: &str, at: u64, expected: Expected) -> WorkflowChange {
    WorkflowChange {
        id,
        name: name.into(),
        status: "active".into(),
        description: Some(format!("about {name}")),
        definition: json!({ "name": name, "at": at }),
        at,
        expected,
        triggers: Vec::new(),
    }
}

fn trigger(id: &str, settings: Value, path: Option<&str>, next_at: Option<u64>) -> NewTrigger {
    let kind = if path.is_some() { TriggerKind::Hook } else { TriggerKind::Schedule };
    let path = path.map(str::to_owned);
    NewTrigger { id: id.into(), kind, settings, path, enabled: true, next_at }
}

async fn definitions_have_versions(store: &impl Store) {
    let id = WorkflowId::new();
    assert_eq!(store.workflow(&id, None).await.unwrap(), None);
    for (version, name, at) in [(1, "one", 10), (2, "two", 20), (3, "three", 30)] {
        let expected = if version == 1 { Expected::Absent } else { Expected::Any };
        let done = store.change_workflow(change(id, name, at, expected)).await.unwrap();
        assert_eq!(done, Changed::Done { version });
    }
    let present = store.workflow(&id, None).await.unwrap().unwrap();
    assert_eq!((present.version, present.name.as_str()), (3, "three"));
    assert_eq!((present.created, present.updated), (10, 30));
    let second = store.workflow(&id, Some(2)).await.unwrap().unwrap();
    assert_eq!(second.definition, Arc::new(json!({ "name": "two", "at": 20 })));
    assert_eq!(store.workflow(&id, Some(4)).await.unwrap(), None);
    let versions = store.versions(&id).await.unwrap();
    let versions: Vec<_> = versions.iter().map(|line| (line.version, line.created)).collect();
    assert_eq!(versions, [(3, 30), (2, 20), (1, 10)]);
    assert!(store.remove_workflow(&id).await.unwrap());
    assert!(!store.remove_workflow(&id).await.unwrap());
    assert_eq!(store.workflow(&id, Some(2)).await.unwrap(), None);
    let again = store.change_workflow(change(id, "again", 40, Expected::Absent)).await.unwrap();
    assert_eq!(again, Changed::Done { version: 1 });
}

async fn a_change_has_to_meet_what_it_expects(store: &impl Store) {
    let id = WorkflowId::new();
    let make = |expected| store.change_workflow(change(id, "w", 1, expected));
    assert_eq!(make(Expected::Any).await.unwrap(), Changed::Missing);
    assert_eq!(make(Expected::Version(1)).await.unwrap(), Changed::Missing);
    assert_eq!(make(Expected::Absent).await.unwrap(), Changed::Done { version: 1 });
    assert_eq!(make(Expected::Absent).await.unwrap(), Changed::Exists);
    assert_eq!(make(Expected::Version(1)).await.unwrap(), Changed::Done { version: 2 });
    assert_eq!(make(Expected::Version(1)).await.unwrap(), Changed::Stale { present: 2 });
}

async fn workflows_are_listed_and_searched(store: &impl Store) {
    for (number, name) in ["Mail", "Sums", "Reports"].into_iter().enumerate() {
        let mut change = change(WorkflowId::new(), name, number as u64, Expected::Absent);
        if name == "Sums" {
            change.status = "draft".into();
        }
        store.change_workflow(change).await.unwrap();
    }
    let all = || WorkflowFilter { limit: 9, ..WorkflowFilter::default() };
    let text = |text: &str| Some(text.to_owned());
    for (filter, expected, count) in [
        (all(), &["Reports", "Sums", "Mail"][..], 3),
        (WorkflowFilter { limit: 1, offset: 1, ..all() }, &["Sums"], 3),
        (WorkflowFilter { status: text("draft"), ..all() }, &["Sums"], 1),
        (WorkflowFilter { text: text("MAIL"), ..all() }, &["Mail"], 1),
        (WorkflowFilter { text: text("about re"), ..all() }, &["Reports"], 1),
        (WorkflowFilter { text: text("%"), ..all() }, &[], 0),
    ] {
        let label = format!("{filter:?}");
        let (lines, total) = store.workflows(filter).await.unwrap();
        let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!((names.as_slice(), total), (expected, count), "{label}");
    }
}

async fn only(store: &impl Store, workflow: &WorkflowId) -> TriggerRow {
    let mut rows = store.triggers(Some(workflow)).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

fn fired(workflow: WorkflowId, occurrence: Option<u64>, next_at: Option<u64>) -> Fired {
    Fired { workflow, trigger: "t".into(), occurrence, next_at, at: 77 }
}

fn from_trigger(fired: Fired) -> Append {
    let new_run = NewRun { fired: Some(fired), dialect: Dialect::Graph, ..new_run() };
    Append { new_run: Some(new_run), ..first(RunId::new()) }
}

async fn triggers_keep_what_they_have_done(store: &impl Store) {
    let id = WorkflowId::new();
    let save = async |expected, cron: &str, next_at| {
        let triggers = vec![trigger("t", json!({ "cron": cron }), None, next_at)];
        let change = WorkflowChange { triggers, ..change(id, "w", 1, expected) };
        store.change_workflow(change).await.unwrap();
    };
    save(Expected::Absent, "hourly", Some(100)).await;
    store.append(from_trigger(fired(id, Some(100), Some(200)))).await.unwrap();
    let row = only(store, &id).await;
    assert_eq!((row.next_at, row.last_at, row.fired), (Some(200), Some(77), 1));
    save(Expected::Any, "hourly", Some(5)).await;
    let row = only(store, &id).await;
    assert_eq!((row.next_at, row.last_at, row.fired), (Some(200), Some(77), 1));
    save(Expected::Any, "daily", Some(5)).await;
    let row = only(store, &id).await;
    assert_eq!((row.next_at, row.last_at, row.fired), (Some(5), Some(77), 1));
    assert!(store.set_trigger(&id, "t", false, None).await.unwrap());
    assert!(!store.set_trigger(&id, "other", false, None).await.unwrap());
    assert!(!only(store, &id).await.enabled);
    assert_eq!(store.next_schedule().await.unwrap(), None);
    store.remove_workflow(&id).await.unwrap();
    assert_eq!(store.triggers(None).await.unwrap(), []);
}

async fn a_path_belongs_to_one_workflow(store: &impl Store) {
    let [one, two] = [(); 2].map(|()| WorkflowId::new());
    let save = async |id, expected| {
        let triggers = vec![trigger("t", json!({}), Some("orders"), None)];
        store.change_workflow(WorkflowChange { triggers, ..change(id, "w", 1, expected) }).await
    };
    save(one, Expected::Absent).await.unwrap();
    let taken = save(two, Expected::Absent).await.unwrap();
    assert_eq!(taken, Changed::PathTaken { path: "orders".into() });
    assert_eq!(store.workflow(&two, None).await.unwrap(), None, "nothing was changed");
    save(one, Expected::Any).await.unwrap();
    let hook = store.hook("orders").await.unwrap().unwrap();
    assert_eq!((hook.workflow, hook.kind), (one, TriggerKind::Hook));
    assert_eq!(store.hook("others").await.unwrap(), None);
    store.append(from_trigger(fired(one, None, None))).await.unwrap();
    assert_eq!(store.hook("orders").await.unwrap().unwrap().fired, 1);
}

async fn a_moment_of_a_schedule_begins_one_run(store: &impl Store) {
    let id = WorkflowId::new();
    let triggers = vec![trigger("t", json!({}), None, Some(100))];
    let new = WorkflowChange { triggers, ..change(id, "w", 1, Expected::Absent) };
    store.change_workflow(new).await.unwrap();
    assert_eq!(store.next_schedule().await.unwrap(), Some(100));
    assert_eq!(store.schedules_due(99, 9).await.unwrap(), []);
    assert_eq!(store.schedules_due(100, 9).await.unwrap().len(), 1);
    let begin = |occurrence| store.append(from_trigger(fired(id, Some(occurrence), Some(200))));
    assert_eq!(code(begin(90).await), Code::Conflict);
    begin(100).await.unwrap();
    assert_eq!(code(begin(100).await), Code::Conflict);
    assert_eq!(only(store, &id).await.fired, 1);
    assert!(!store.skip_occurrence(&id, "t", 100, Some(300)).await.unwrap());
    assert!(store.skip_occurrence(&id, "t", 200, Some(300)).await.unwrap());
    assert_eq!(store.next_schedule().await.unwrap(), Some(300));
}

async fn a_key_is_taken_once(store: &impl Store) {
    let (now, later) = (now_ms(), now_ms() + 60_000);
    let begin = async |fingerprint: u8, created, expires| {
        let claim = Claim { key: "k".into(), fingerprint: [fingerprint; 32], expires };
        let new_run = NewRun { claim: Some(claim), created, ..new_run() };
        let run = RunId::new();
        let append = Append { new_run: Some(new_run), ..first(run) };
        store.append(append).await.map(|()| run)
    };
    assert_eq!(store.claimed("k", now).await.unwrap(), None);
    let run = begin(1, now, later).await.unwrap();
    assert_eq!(store.claimed("k", now).await.unwrap(), Some((run, [1; 32])));
    assert_eq!(code(begin(1, now, later).await), Code::Conflict);
    assert_eq!(store.claimed("k", later).await.unwrap(), None, "its time is over");
    let second = begin(2, later, later + 9).await.unwrap();
    assert_eq!(store.claimed("k", later).await.unwrap(), Some((second, [2; 32])));
}

fn child(parent: RunId, node: u32, item: u32) -> Append {
    let new_run = NewRun { parent: Some((parent, node, item)), ..new_run() };
    Append { new_run: Some(new_run), ..first(RunId::new()) }
}

async fn an_item_has_one_run_and_lists_do_not_show_it(store: &impl Store) {
    let parent = RunId::new();
    store.append(first(parent)).await.unwrap();
    assert_eq!(store.child(parent, 1, 0).await.unwrap(), None);
    let (one, two) = (child(parent, 1, 5), child(parent, 1, 0));
    let ids = [two.run, one.run];
    store.append(one).await.unwrap();
    store.append(two).await.unwrap();
    assert_eq!(code(store.append(child(parent, 1, 5)).await), Code::Conflict);
    let row = |run, item| ChildRow { run, node: 1, item, status: Status::Running };
    let expected = [row(ids[0], 0), row(ids[1], 5)];
    assert_eq!(store.children(parent).await.unwrap(), expected);
    assert_eq!(store.child(parent, 1, 5).await.unwrap(), Some(expected[1]));
    let filter = RunFilter { limit: 9, ..RunFilter::default() };
    let listed = store.runs(filter).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.id).collect::<Vec<_>>(), [parent]);
    assert_eq!(store.run(ids[0]).await.unwrap().unwrap().parent, Some(parent));
}

async fn a_sleeping_run_is_woken_when_a_part_of_it_ends(store: &impl Store) {
    let (parent, now) = (RunId::new(), now_ms());
    store.append(Append { wake_at: Some(now + 3_600_000), ..first(parent) }).await.unwrap();
    let part = child(parent, 0, 0);
    let run = part.run;
    store.append(part).await.unwrap();
    assert_eq!(store.due(now, 9).await.unwrap(), []);
    store.append(ending(next(run, 1, 2, vec![finished()]), Status::Completed, now)).await.unwrap();
    assert_eq!(store.due(now, 9).await.unwrap(), [parent]);
}

async fn jobs_are_counted_without_counting(store: &impl Store) {
    let job = |run: RunId, workflow: &str| {
        let workflow = workflow.to_owned();
        let new_run = NewRun { workflow, dialect: Dialect::Graph, ..new_run() };
        Append { new_run: Some(new_run), ..first(run) }
    };
    let [one, two, three] = [10, 20, 30].map(RunId);
    store.append(job(one, "a")).await.unwrap();
    store.append(job(two, "a")).await.unwrap();
    store.append(job(three, "b")).await.unwrap();
    store.append(whole(RunId(40), 5)).await.unwrap();
    store.append(ending(next(one, 1, 2, vec![finished()]), Status::Failed, 9)).await.unwrap();
    let count = async |workflow: Option<&str>, status| {
        let workflow = workflow.map(str::to_owned);
        store.count_jobs(&RunFilter { workflow, status, ..RunFilter::default() }).await.unwrap()
    };
    assert_eq!(count(None, None).await, 3);
    assert_eq!(count(Some("a"), None).await, 2);
    assert_eq!(count(Some("a"), Some(Status::Failed)).await, 1);
    assert_eq!(count(None, Some(Status::Running)).await, 2);
    store.expire(1_000, 9).await.unwrap();
    assert_eq!(count(None, None).await, 2, "what has expired is not counted");
}
