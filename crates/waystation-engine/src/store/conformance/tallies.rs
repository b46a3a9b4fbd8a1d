//! What every store counts and sums up.

use serde_json::json;
use waystation_core::error::Code;
use waystation_core::plan::Dialect;
use waystation_core::usage::Usage;

use super::{
    Append, code, completed, ending, finished, first, new_run, next, spent, started, used,
};
use crate::id::RunId;
use crate::store::{
    ChildPlace, Finished, Histogram, NewRun, NodeTally, RunFilter, RunTally, Status, Store,
    Tallies, TallyFilter, WORKFLOWS,
};

const DAY: u64 = 86_400_000;

/// Every case on a fresh store.
pub(super) async fn run<S: Store>(fresh: &impl Fn() -> S) {
    runs_are_counted_by_what_they_are(&fresh()).await;
    graphs_are_summed_up_by_day(&fresh()).await;
    what_is_no_graph_or_a_child_is_not_summed_up(&fresh()).await;
}

/// The first append of a run of a stored workflow.
fn graph(workflow: &str, created: u64, append: Append) -> Append {
    let dialect = Dialect::Graph;
    let (namespace, workflow) = (WORKFLOWS.into(), workflow.into());
    let new_run = Some(NewRun { dialect, namespace, workflow, created, ..new_run() });
    Append { new_run, ..append }
}

/// The same append as the last of a run whose nodes are told.
fn with_nodes(append: Append, nodes: &[NodeTally]) -> Append {
    let finished = append.finished.map(|end| Finished { nodes: nodes.to_vec(), ..end });
    Append { finished, ..append }
}

fn took(durations: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    durations.iter().for_each(|duration| histogram.record(*duration));
    histogram
}

fn nodes(kind: &str, failures: u64, durations: &[u64]) -> NodeTally {
    let count = durations.len() as u64;
    NodeTally { kind: kind.into(), count, failures, durations: took(durations) }
}

async fn days(store: &impl Store, from_day: u64, to_day: u64, workflow: Option<&str>) -> Tallies {
    let workflow = workflow.map(str::to_owned);
    store.tallies(TallyFilter { from_day, to_day, workflow }).await.unwrap()
}

async fn runs_are_counted_by_what_they_are(store: &impl Store) {
    let dialects = [Dialect::Pipeline, Dialect::Instructions, Dialect::Graph];
    let mut last = None;
    for number in 0..24usize {
        let run = RunId(number as i64 + 1);
        let dialect = dialects[number % 3];
        let workflow = ["sums", "mail"][number % 2].to_owned();
        let new_run = Some(NewRun { dialect, workflow, ..new_run() });
        let append = Append { new_run, ..first(run) };
        match Status::ALL[number % 4] {
            Status::Running => store.append(append).await.unwrap(),
            ended if number < 12 => store.append(ending(append, ended, 5)).await.unwrap(),
            ended => {
                store.append(append).await.unwrap();
                let later = next(run, 1, 2, vec![completed(1, json!(1)), finished()]);
                store.append(ending(later, ended, 5)).await.unwrap();
                last = Some(run);
            }
        }
    }
    let late = next(last.unwrap(), 2, 4, vec![finished()]);
    assert_eq!(code(store.append(late).await), Code::RunEnded);
    let all = RunFilter::default;
    let (status, dialect) = (Some(Status::Failed), Some(Dialect::Graph));
    let (workflow, namespace) = (Some("sums".to_owned()), Some("default".to_owned()));
    for (filter, expected) in [
        (all(), 24),
        (RunFilter { limit: 3, offset: 9, before: Some(RunId(4)), ..all() }, 24),
        (RunFilter { status, ..all() }, 6),
        (RunFilter { status: Some(Status::Running), ..all() }, 6),
        (RunFilter { dialect, ..all() }, 8),
        (RunFilter { dialect, status, ..all() }, 2),
        (RunFilter { workflow: workflow.clone(), ..all() }, 12),
        (
            RunFilter {
                workflow: workflow.clone(),
                namespace: namespace.clone(),
                dialect,
                ..all()
            },
            4,
        ),
        (RunFilter { workflow, namespace, status, ..all() }, 6),
        (RunFilter { namespace: Some("other".into()), ..all() }, 0),
        (RunFilter { workflow: Some("none".into()), ..all() }, 0),
    ] {
        assert_eq!(store.count_runs(&filter).await.unwrap(), expected, "{filter:?}");
    }
    assert_eq!(store.expire(6, 5).await.unwrap(), 5);
    assert_eq!(store.count_runs(&all()).await.unwrap(), 19, "those that are gone count no more");
    assert_eq!(store.expire(6, 99).await.unwrap(), 13);
    assert_eq!(store.count_runs(&RunFilter { status, ..all() }).await.unwrap(), 0);
    assert_eq!(store.count_runs(&all()).await.unwrap(), 6);
}

async fn graphs_are_summed_up_by_day(store: &impl Store) {
    let [one, two, three] = [(); 3].map(|()| RunId::new());
    // Ends at once; ends two days later; goes on.
    let at = 7 * DAY + 1_000;
    let whole = ending(graph("a", at, first(one)), Status::Completed, at + 50);
    let kinds = [nodes("http", 1, &[10, 20]), nodes("code", 0, &[3])];
    store.append(with_nodes(whole, &kinds)).await.unwrap();
    let begun = Append { entries: vec![started(json!(1)), spent(7 * DAY, 5)], ..first(two) };
    store.append(graph("b", at, begun)).await.unwrap();
    let last = ending(next(two, 1, 2, vec![finished()]), Status::Failed, at + 2 * DAY);
    store.append(with_nodes(last, &[nodes("http", 0, &[40])])).await.unwrap();
    store.append(graph("a", at + DAY, first(three))).await.unwrap();

    let completed =
        RunTally { started: 1, completed: 1, durations: took(&[50]), ..RunTally::default() };
    let begun = |started| RunTally { started, ..RunTally::default() };
    let failed = RunTally { failed: 1, durations: took(&[2 * DAY]), ..RunTally::default() };
    let told = days(store, 0, u64::MAX, None).await;
    let durations = took(&[50, 2 * DAY]);
    assert_eq!(
        told.total,
        RunTally { started: 3, completed: 1, failed: 1, cancelled: 0, durations }
    );
    let seventh = RunTally { started: 2, ..completed.clone() };
    assert_eq!(told.days, [(7, seventh.clone()), (8, begun(1)), (9, failed.clone())]);
    let of_a = RunTally { started: 2, ..completed.clone() };
    let of_b = RunTally { started: 1, ..failed.clone() };
    assert_eq!(told.workflows, [("a".into(), of_a), ("b".into(), of_b)]);
    assert_eq!(told.nodes, [nodes("code", 0, &[3]), nodes("http", 1, &[10, 20, 40])]);
    assert_eq!(told.spent, used(1, 5));

    let told = days(store, 7, 8, Some("a")).await;
    assert_eq!(told.days, [(7, completed), (8, begun(1))]);
    assert_eq!(told.nodes, kinds.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(told.spent, Usage::default());
    assert_eq!(days(store, 10, 99, None).await, Tallies::default());

    store.expire(8 * DAY, 99).await.unwrap();
    let told = days(store, 0, 99, None).await;
    assert_eq!(told.days, [(8, begun(1)), (9, failed)], "old days go");
    assert_eq!(told.nodes, [nodes("http", 0, &[40])]);
    let after = Append { wake_at: None, ..next(three, 1, 2, vec![finished()]) };
    store.append(ending(after, Status::Cancelled, at + DAY + 9)).await.unwrap();
    let eighth =
        RunTally { started: 1, cancelled: 1, durations: took(&[9]), ..RunTally::default() };
    assert_eq!(days(store, 8, 8, None).await.total, eighth);
}

async fn what_is_no_graph_or_a_child_is_not_summed_up(store: &impl Store) {
    let [pipeline, parent, child] = [(); 3].map(|()| RunId::new());
    let kinds = [nodes("http", 0, &[1])];
    let append = ending(first(pipeline), Status::Completed, 5);
    store.append(with_nodes(append, &kinds)).await.unwrap();
    store.append(graph("a", 9, first(parent))).await.unwrap();
    let below = graph("a", 9, first(child));
    let place = Some(ChildPlace { parent, node: 0, item: 0 });
    let new_run = below.new_run.map(|new| NewRun { parent: place, ..new });
    store.append(Append { new_run, entries: vec![spent(0, 3)], ..first(child) }).await.unwrap();
    let last = ending(next(child, 1, 1, vec![finished()]), Status::Failed, 20);
    store.append(with_nodes(last, &kinds)).await.unwrap();

    let told = days(store, 0, 9, None).await;
    assert_eq!(told.total, RunTally { started: 1, ..RunTally::default() });
    assert_eq!(told.nodes, []);
    assert_eq!(told.spent, used(1, 3), "what a child spends is its workflow's");
    let graphs = RunFilter { dialect: Some(Dialect::Graph), ..RunFilter::default() };
    assert_eq!(store.count_runs(&graphs).await.unwrap(), 1);
}
