//! What every store does with the triggers of stored workflows.

use serde_json::{Value, json};
use waystation_core::error::Code;

use super::definitions::{change, done};
use super::{Append, code, first, new_run};
use crate::id::{RunId, WorkflowId};
use crate::store::{
    Expected, Fired, NewRun, NewTrigger, Store, StoreError, TriggerKind, TriggerRow, WorkflowChange,
};

/// Every case on a fresh store.
pub(super) async fn run<S: Store>(fresh: &impl Fn() -> S) {
    schedules_are_due_when_their_moment_comes(&fresh()).await;
    each_moment_fires_once(&fresh()).await;
    hooks_fire_always(&fresh()).await;
    a_moment_may_be_left_out(&fresh()).await;
    a_refused_run_fires_nothing(&fresh()).await;
    a_new_version_keeps_what_its_triggers_did(&fresh()).await;
}

/// A schedule that is enabled.
fn schedule(id: &str, next_at: Option<u64>) -> NewTrigger {
    let kind = TriggerKind::Schedule;
    let settings = json!({ "cron": "0 * * * *" });
    NewTrigger { id: id.into(), kind, settings, path: None, enabled: true, next_at }
}

/// A hook that is enabled.
pub(super) fn hook(id: &str, path: &str) -> NewTrigger {
    let (kind, settings, path) = (TriggerKind::Hook, json!({ "secret": "s" }), Some(path.into()));
    NewTrigger { id: id.into(), kind, settings, path, enabled: true, next_at: None }
}

async fn put(store: &impl Store, id: WorkflowId, expected: Expected, triggers: Vec<NewTrigger>) {
    done(store, WorkflowChange { triggers, ..change(id, expected, 1) }).await;
}

async fn of(store: &impl Store, workflow: WorkflowId, id: &str) -> TriggerRow {
    let triggers = store.triggers(Some(&workflow)).await.unwrap();
    triggers.into_iter().find(|trigger| trigger.id == id).unwrap()
}

/// Starts a run that a trigger starts.
async fn fire(store: &impl Store, at: u64, fired: &Fired) -> Result<RunId, StoreError> {
    let run = RunId::new();
    let new_run = Some(NewRun { created: at, fired: Some(fired.clone()), ..new_run() });
    store.append(Append { new_run, ..first(run) }).await.map(|()| run)
}

fn names(triggers: &[TriggerRow]) -> Vec<&str> {
    triggers.iter().map(|trigger| trigger.id.as_str()).collect()
}

async fn schedules_are_due_when_their_moment_comes(store: &impl Store) {
    let (one, two) = (WorkflowId([1; 12]), WorkflowId([2; 12]));
    assert_eq!(store.next_schedule().await.unwrap(), None);
    let disabled = NewTrigger { enabled: false, ..schedule("off", Some(100)) };
    let all = vec![schedule("late", Some(300)), schedule("never", None), disabled];
    put(store, one, Expected::Absent, all).await;
    let all = vec![hook("hook", "path"), schedule("early", Some(200)), schedule("same", Some(300))];
    put(store, two, Expected::Absent, all).await;

    assert_eq!(store.next_schedule().await.unwrap(), Some(200));
    for (now, limit, expected) in [
        (199, 9, &[][..]),
        (200, 9, &["early"]),
        (300, 9, &["early", "late", "same"]),
        (300, 2, &["early", "late"]),
        (u64::MAX, 0, &[]),
    ] {
        let due = store.schedules_due(now, limit).await.unwrap();
        assert_eq!(names(&due), expected, "{now} {limit}");
    }
    assert_eq!(names(&store.triggers(None).await.unwrap()).len(), 6);
    assert_eq!(names(&store.triggers(Some(&one)).await.unwrap()), ["late", "never", "off"]);
    let found = store.hook("path").await.unwrap().unwrap();
    assert_eq!(found, of(store, two, "hook").await);
    assert_eq!((found.workflow, found.settings), (two, json!({ "secret": "s" })));
    assert_eq!(store.hook("other").await.unwrap(), None);

    assert!(store.set_trigger(&one, "off", true, Some(100)).await.unwrap());
    assert!(store.set_trigger(&two, "early", false, None).await.unwrap());
    assert!(!store.set_trigger(&two, "off", true, Some(1)).await.unwrap());
    assert_eq!(names(&store.schedules_due(299, 9).await.unwrap()), ["off"]);
    assert_eq!(store.next_schedule().await.unwrap(), Some(100));
}

async fn each_moment_fires_once(store: &impl Store) {
    let workflow = WorkflowId::new();
    put(store, workflow, Expected::Absent, vec![schedule("s", Some(100))]).await;
    let occurrence =
        |at, next_at| Fired { workflow, trigger: "s".into(), occurrence: Some(at), next_at };
    let run = fire(store, 105, &occurrence(100, Some(200))).await.unwrap();
    assert!(store.run(run).await.unwrap().is_some());
    let row = of(store, workflow, "s").await;
    assert_eq!((row.next_at, row.last_at, row.fired), (Some(200), Some(105), 1));

    let again = fire(store, 106, &occurrence(100, Some(300))).await;
    assert_eq!(code(again), Code::Conflict);
    assert_eq!(of(store, workflow, "s").await, row, "nothing was changed");
    fire(store, 200, &occurrence(200, None)).await.unwrap();
    assert_eq!(code(fire(store, 201, &occurrence(200, None)).await), Code::Conflict);
    let row = of(store, workflow, "s").await;
    assert_eq!((row.next_at, row.last_at, row.fired), (None, Some(200), 2));
    assert_eq!(store.next_schedule().await.unwrap(), None);

    assert!(store.set_trigger(&workflow, "s", false, Some(300)).await.unwrap());
    assert_eq!(code(fire(store, 300, &occurrence(300, None)).await), Code::Conflict, "disabled");
    store.remove_workflow(&workflow).await.unwrap();
    assert_eq!(code(fire(store, 300, &occurrence(300, None)).await), Code::Conflict, "gone");
}

async fn hooks_fire_always(store: &impl Store) {
    let workflow = WorkflowId::new();
    let all = vec![hook("h", "path"), schedule("s", Some(100))];
    put(store, workflow, Expected::Absent, all).await;
    let called = |id: &str| Fired { workflow, trigger: id.into(), occurrence: None, next_at: None };
    for at in [5, 6, 6] {
        fire(store, at, &called("h")).await.unwrap();
    }
    let row = of(store, workflow, "h").await;
    assert_eq!((row.next_at, row.last_at, row.fired), (None, Some(6), 3));
    fire(store, 7, &called("s")).await.unwrap();
    let row = of(store, workflow, "s").await;
    assert_eq!((row.next_at, row.last_at, row.fired), (Some(100), Some(7), 1), "it stays");
    assert_eq!(code(fire(store, 8, &called("gone")).await), Code::Conflict);
}

async fn a_moment_may_be_left_out(store: &impl Store) {
    let workflow = WorkflowId::new();
    put(store, workflow, Expected::Absent, vec![schedule("s", Some(100))]).await;
    assert!(!store.skip_occurrence(&workflow, "s", 99, Some(1)).await.unwrap());
    assert!(store.skip_occurrence(&workflow, "s", 100, Some(200)).await.unwrap());
    assert!(!store.skip_occurrence(&workflow, "s", 100, Some(300)).await.unwrap());
    assert!(!store.skip_occurrence(&workflow, "t", 200, None).await.unwrap());
    let row = of(store, workflow, "s").await;
    assert_eq!((row.next_at, row.last_at, row.fired), (Some(200), None, 0));
}

async fn a_refused_run_fires_nothing(store: &impl Store) {
    let workflow = WorkflowId::new();
    put(store, workflow, Expected::Absent, vec![schedule("s", Some(100))]).await;
    let run = RunId::new();
    store.append(first(run)).await.unwrap();
    let fired = Fired { workflow, trigger: "s".into(), occurrence: Some(100), next_at: None };
    let new_run = Some(NewRun { fired: Some(fired), ..new_run() });
    let taken = Append { new_run, ..first(run) };
    assert_eq!(code(store.append(taken).await), Code::Conflict);
    let row = of(store, workflow, "s").await;
    assert_eq!((row.next_at, row.fired), (Some(100), 0));
}

async fn a_new_version_keeps_what_its_triggers_did(store: &impl Store) {
    let workflow = WorkflowId::new();
    let all = ["same", "other", "kind", "off", "gone"].map(|id| schedule(id, Some(100)));
    put(store, workflow, Expected::Absent, all.to_vec()).await;
    for id in ["same", "other", "kind", "off", "gone"] {
        let (occurrence, next_at) = (Some(100), Some(200));
        let fired = Fired { workflow, trigger: id.into(), occurrence, next_at };
        fire(store, 101, &fired).await.unwrap();
    }
    assert!(store.set_trigger(&workflow, "off", false, Some(50)).await.unwrap());

    let settings: Value = json!({ "cron": "1 * * * *" });
    let next = [
        NewTrigger { enabled: false, ..schedule("same", Some(900)) },
        NewTrigger { settings, ..schedule("other", Some(900)) },
        hook("kind", "path"),
        schedule("off", Some(900)),
        schedule("new", Some(900)),
    ];
    put(store, workflow, Expected::Any, next.to_vec()).await;
    for (id, enabled, next_at, last_at, fired) in [
        ("same", false, Some(200), Some(101), 1),
        ("other", true, Some(900), Some(101), 1),
        ("kind", true, None, None, 0),
        ("off", true, Some(900), Some(101), 1),
        ("new", true, Some(900), None, 0),
    ] {
        let row = of(store, workflow, id).await;
        let found = (row.enabled, row.next_at, row.last_at, row.fired);
        assert_eq!(found, (enabled, next_at, last_at, fired), "{id}");
    }
    assert_eq!(store.triggers(Some(&workflow)).await.unwrap().len(), 5);
}
