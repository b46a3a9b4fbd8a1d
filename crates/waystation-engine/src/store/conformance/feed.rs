//! What every store does with the feed, and with the marks of its readers.

use serde_json::json;
use waystation_core::plan::Dialect;

use super::{Append, completed, ending, finished, first, next, whole};
use crate::id::RunId;
use crate::store::{ChildPlace, FeedRow, NewRun, Status, Store};

/// Every case on a fresh store.
pub(super) async fn run<S: Store>(fresh: &impl Fn() -> S) {
    appends_to_graphs_are_fed_in_order(&fresh()).await;
    the_feed_forgets_what_is_old_and_never_counts_twice(&fresh()).await;
    marks_are_kept(&fresh()).await;
}

fn graph(workflow: &str, append: Append) -> Append {
    let dialect = Dialect::Graph;
    let new_run = append.new_run.map(|new| NewRun { dialect, workflow: workflow.into(), ..new });
    Append { new_run, ..append }
}

fn pieces(rows: &[FeedRow]) -> Vec<(RunId, u32, u32)> {
    rows.iter().map(|row| (row.run, row.first_seq, row.entries.len() as u32)).collect()
}

async fn appends_to_graphs_are_fed_in_order(store: &impl Store) {
    let [one, two, pipeline, item] = [(); 4].map(|()| RunId::new());
    assert_eq!(store.feed_end().await.unwrap(), 0);
    store.append(graph("a", first(one))).await.unwrap();
    store.append(first(pipeline)).await.unwrap();
    store.append(graph("b", whole(two, 7))).await.unwrap();
    let place = ChildPlace { parent: one, node: 0, item: 0 };
    let child = graph("a", first(item));
    let new_run = child.new_run.map(|new| NewRun { parent: Some(place), ..new });
    store.append(Append { new_run, ..child }).await.unwrap();
    store.append(next(item, 1, 2, vec![completed(1, json!(1))])).await.unwrap();
    store.append(next(one, 1, 2, vec![completed(1, json!(1))])).await.unwrap();
    let last = ending(next(one, 2, 3, vec![finished()]), Status::Completed, 9);
    store.append(last).await.unwrap();

    let all = store.feed(0, None, 9).await.unwrap();
    assert_eq!(pieces(&all), [(one, 0, 2), (two, 0, 3), (one, 2, 1), (one, 3, 1)]);
    assert!(all.is_sorted_by(|a, b| a.id < b.id));
    assert_eq!(store.feed_end().await.unwrap(), all[3].id);
    assert_eq!(store.feed(all[1].id, None, 1).await.unwrap(), all[2..3]);
    for row in &all {
        let journal = store.journal(row.run, row.first_seq).await.unwrap();
        assert_eq!(row.entries, journal[..row.entries.len()]);
        let plan = store.run(row.run).await.unwrap().map(|run| run.plan);
        assert_eq!(row.plan, plan.filter(|_| row.first_seq == 0));
    }
    let of_a = [all[0].clone(), all[2].clone(), all[3].clone()];
    assert_eq!(store.feed(0, Some("a"), 9).await.unwrap(), of_a);
    assert_eq!(store.feed(all[0].id, Some("a"), 9).await.unwrap(), of_a[1..]);
    assert_eq!(store.feed(0, Some("nobody's"), 9).await.unwrap(), []);

    let stale = next(one, 1, 2, vec![completed(1, json!(1))]);
    store.append(stale).await.unwrap_err();
    assert_eq!(store.feed(all[3].id, None, 9).await.unwrap(), [], "what is refused is not told");
}

async fn the_feed_forgets_what_is_old_and_never_counts_twice(store: &impl Store) {
    store.append(graph("a", whole(RunId::new(), 7))).await.unwrap();
    let end = store.feed_end().await.unwrap();
    store.expire(3, 9).await.unwrap();
    assert_eq!(store.feed(0, None, 9).await.unwrap().len(), 1, "its last entry is of that moment");
    store.expire(4, 9).await.unwrap();
    assert_eq!(store.feed(0, None, 9).await.unwrap(), []);
    assert_eq!(store.feed_end().await.unwrap(), end);
    store.append(graph("a", whole(RunId::new(), 7))).await.unwrap();
    assert!(store.feed_end().await.unwrap() > end);
}

async fn marks_are_kept(store: &impl Store) {
    assert_eq!(store.mark("reader").await.unwrap(), None);
    for value in [7, 9] {
        store.put_mark("reader", value).await.unwrap();
        assert_eq!(store.mark("reader").await.unwrap(), Some(value));
    }
    assert_eq!(store.mark("other").await.unwrap(), None);
}
