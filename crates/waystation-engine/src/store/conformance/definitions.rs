//! What every store does with stored workflows.

use serde_json::{Value, json};
use waystation_core::error::Code;

use super::{code, hook, whole};
use crate::id::{RunId, WorkflowId};
use crate::store::{
    Changed, Expected, NewRun, Store, VersionLine, WORKFLOWS, WorkflowChange, WorkflowFilter,
    WorkflowLine,
};

/// Every case on a fresh store.
pub(super) async fn run<S: Store>(fresh: &impl Fn() -> S) {
    versions_count_and_stay(&fresh()).await;
    a_change_says_what_it_expects(&fresh()).await;
    lists_are_filtered_sorted_and_paged(&fresh()).await;
    a_removed_workflow_leaves_its_runs(&fresh()).await;
    a_path_belongs_to_one_hook(&fresh()).await;
    two_triggers_of_one_id_are_refused(&fresh()).await;
    a_large_definition_comes_back(&fresh()).await;
}

/// A change of a workflow without triggers.
pub(crate) fn change(id: WorkflowId, expected: Expected, at: u64) -> WorkflowChange {
    WorkflowChange {
        id,
        name: format!("name at {at}"),
        status: "active".into(),
        description: None,
        definition: json!({ "name": format!("name at {at}"), "nodes": [], "more": [1, null] }),
        at,
        expected,
        triggers: Vec::new(),
    }
}

pub(super) async fn done(store: &impl Store, change: WorkflowChange) -> u32 {
    match store.change_workflow(change).await.unwrap() {
        Changed::Done { version } => version,
        refused => panic!("{refused:?}"),
    }
}

async fn versions_count_and_stay(store: &impl Store) {
    let id = WorkflowId::new();
    assert_eq!(store.workflow(&id, None).await.unwrap(), None);
    assert_eq!(store.versions(&id).await.unwrap(), []);
    assert_eq!(done(store, change(id, Expected::Absent, 10)).await, 1);
    let draft = |at| WorkflowChange { status: "draft".into(), ..change(id, Expected::Any, at) };
    assert_eq!(done(store, draft(20)).await, 2);
    assert_eq!(done(store, change(id, Expected::Version(2), 30)).await, 3);

    for (asked, version, at, status) in [
        (None, 3, 30, "active"),
        (Some(3), 3, 30, "active"),
        (Some(2), 2, 20, "draft"),
        (Some(1), 1, 10, "active"),
    ] {
        let row = store.workflow(&id, asked).await.unwrap().unwrap();
        assert_eq!((row.id, row.version, row.created, row.updated), (id, version, 10, at));
        assert_eq!((row.name, row.status), (format!("name at {at}"), status.to_owned()));
        assert_eq!(*row.definition, change(id, Expected::Any, at).definition);
    }
    assert_eq!(store.workflow(&id, Some(4)).await.unwrap(), None);
    assert_eq!(store.workflow(&id, Some(0)).await.unwrap(), None);
    let line = |version: u32, created: u64| VersionLine {
        version,
        name: format!("name at {created}"),
        created,
    };
    assert_eq!(store.versions(&id).await.unwrap(), [line(3, 30), line(2, 20), line(1, 10)]);
}

async fn a_change_says_what_it_expects(store: &impl Store) {
    let id = WorkflowId::new();
    let change = |expected| store.change_workflow(change(id, expected, 1));
    assert_eq!(change(Expected::Any).await.unwrap(), Changed::Missing);
    assert_eq!(change(Expected::Version(1)).await.unwrap(), Changed::Missing);
    assert_eq!(change(Expected::Absent).await.unwrap(), Changed::Done { version: 1 });
    assert_eq!(change(Expected::Absent).await.unwrap(), Changed::Exists);
    assert_eq!(change(Expected::Version(2)).await.unwrap(), Changed::Stale { present: 1 });
    assert_eq!(change(Expected::Version(1)).await.unwrap(), Changed::Done { version: 2 });
    assert_eq!(change(Expected::Version(1)).await.unwrap(), Changed::Stale { present: 2 });
    assert_eq!(store.versions(&id).await.unwrap().len(), 2, "refusals change nothing");

    assert!(store.remove_workflow(&id).await.unwrap());
    assert_eq!(change(Expected::Any).await.unwrap(), Changed::Missing);
    assert_eq!(change(Expected::Absent).await.unwrap(), Changed::Done { version: 1 });
}

async fn lists_are_filtered_sorted_and_paged(store: &impl Store) {
    let ids: Vec<WorkflowId> = (0..6u8).map(|number| WorkflowId([number; 12])).collect();
    for (number, id) in ids.iter().enumerate() {
        let description = [None, Some("Counts ÄPFEL".to_owned())][number % 2].clone();
        let status = ["active", "draft", "active"][number % 3].to_owned();
        let name = ["Sums", "Mail 100%", "Öl_Preise"][number % 3].to_owned();
        let at = 100 - number as u64 / 2;
        let new = change(*id, Expected::Absent, at);
        done(store, WorkflowChange { description, status, name, ..new }).await;
    }
    done(store, change(ids[5], Expected::Any, 200)).await;
    let all = || WorkflowFilter { limit: 100, ..WorkflowFilter::default() };
    let text = |text: &str| WorkflowFilter { text: Some(text.to_owned()), ..all() };
    let status = Some("active".to_owned());
    let both = WorkflowFilter { status: status.clone(), ..text("sums") };
    for (filter, expected, total) in [
        (all(), &[5, 0, 1, 2, 3, 4][..], 6),
        (WorkflowFilter { offset: 1, limit: 2, ..all() }, &[0, 1], 6),
        (WorkflowFilter { offset: 9, ..all() }, &[], 6),
        (WorkflowFilter { limit: 0, ..all() }, &[], 6),
        (WorkflowFilter { status, limit: 2, ..all() }, &[5, 0], 4),
        (both, &[0, 3], 2),
        (text("SUMS"), &[0, 3], 2),
        (text("äpfel"), &[1, 3], 2),
        (text("öL_"), &[2], 1),
        (text("0%"), &[1, 4], 2),
        (text("%"), &[1, 4], 2),
        (text("nothing"), &[], 0),
        (text(""), &[5, 0, 1, 2, 3, 4], 6),
    ] {
        let label = format!("{filter:?}");
        let (lines, found) = store.workflows(filter).await.unwrap();
        let lines: Vec<WorkflowId> = lines.iter().map(|line| line.id).collect();
        let expected: Vec<WorkflowId> = expected.iter().map(|number| ids[*number]).collect();
        assert_eq!((lines, found), (expected, total), "{label}");
    }
    let (lines, _) =
        store.workflows(WorkflowFilter { offset: 2, limit: 1, ..all() }).await.unwrap();
    let expected = WorkflowLine {
        id: ids[1],
        version: 1,
        name: "Mail 100%".into(),
        status: "draft".into(),
        description: Some("Counts ÄPFEL".into()),
        created: 100,
        updated: 100,
    };
    assert_eq!(lines, [expected]);
}

async fn a_removed_workflow_leaves_its_runs(store: &impl Store) {
    let (id, other) = (WorkflowId::new(), WorkflowId::new());
    let triggers = vec![hook("in", "a")];
    done(store, WorkflowChange { triggers, ..change(id, Expected::Absent, 1) }).await;
    done(store, change(other, Expected::Absent, 1)).await;
    let run = RunId::new();
    let (workflow, namespace) = (id.to_string(), WORKFLOWS.to_owned());
    let new_run = Some(NewRun { workflow, namespace, version: Some(1), ..super::new_run() });
    store.append(super::Append { new_run, ..whole(run, 5) }).await.unwrap();

    assert!(store.remove_workflow(&id).await.unwrap());
    assert!(!store.remove_workflow(&id).await.unwrap());
    assert_eq!(store.workflow(&id, None).await.unwrap(), None);
    assert_eq!(store.workflow(&id, Some(1)).await.unwrap(), None);
    assert_eq!(store.versions(&id).await.unwrap(), []);
    assert_eq!(store.triggers(None).await.unwrap(), []);
    let (lines, total) =
        store.workflows(WorkflowFilter { limit: 9, ..WorkflowFilter::default() }).await.unwrap();
    assert_eq!((lines[0].id, total), (other, 1));
    let row = store.run(run).await.unwrap().unwrap();
    assert_eq!((row.workflow, row.version), (id.to_string(), Some(1)));
}

async fn a_path_belongs_to_one_hook(store: &impl Store) {
    let (one, two) = (WorkflowId::new(), WorkflowId::new());
    let with = |id, expected, triggers| WorkflowChange { triggers, ..change(id, expected, 1) };
    let taken = |path: &str| Changed::PathTaken { path: path.to_owned() };
    let triggers = vec![hook("a", "first"), hook("b", "second")];
    done(store, with(one, Expected::Absent, triggers)).await;
    let triggers = || vec![hook("a", "third"), hook("b", "second")];
    let refused = store.change_workflow(with(two, Expected::Absent, triggers())).await.unwrap();
    assert_eq!(refused, taken("second"));
    assert_eq!(store.workflow(&two, None).await.unwrap(), None);
    assert_eq!(store.hook("third").await.unwrap(), None);

    let swapped = vec![hook("a", "second"), hook("b", "first")];
    done(store, with(one, Expected::Any, swapped)).await;
    assert_eq!(store.hook("first").await.unwrap().unwrap().id, "b");
    let doubled = vec![hook("a", "first"), hook("c", "first")];
    let refused = store.change_workflow(with(one, Expected::Any, doubled)).await.unwrap();
    assert_eq!(refused, taken("first"));
    done(store, with(one, Expected::Any, Vec::new())).await;
    assert_eq!(done(store, with(two, Expected::Absent, triggers())).await, 1, "free again");
}

async fn two_triggers_of_one_id_are_refused(store: &impl Store) {
    let id = WorkflowId::new();
    let triggers = vec![hook("a", "first"), hook("a", "second")];
    let doubled = WorkflowChange { triggers, ..change(id, Expected::Absent, 1) };
    assert_eq!(code(store.change_workflow(doubled).await), Code::Conflict);
    assert_eq!(store.workflow(&id, None).await.unwrap(), None);
}

async fn a_large_definition_comes_back(store: &impl Store) {
    let id = WorkflowId::new();
    let node = |number: u32| json!({ "id": format!("n{number}"), "code": "x = 1\n".repeat(200) });
    let definition: Value = (0..500).map(node).collect();
    let large = change(id, Expected::Absent, 1);
    done(store, WorkflowChange { definition: definition.clone(), ..large }).await;
    let row = store.workflow(&id, None).await.unwrap().unwrap();
    assert_eq!(*row.definition, definition);
}
