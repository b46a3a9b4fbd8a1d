//! What every store does with child runs and idempotency keys.

use serde_json::json;
use waystation_core::error::Code;
use waystation_core::usage::Usage;

use super::{Append, code, completed, ending, finished, first, next, spent, used, whole};
use crate::id::{RunId, now_ms};
use crate::store::{ChildPlace, ChildRow, Claim, NewRun, RunFilter, Sleep, Status, Store};

/// Every case on a fresh store.
pub(super) async fn run<S: Store>(fresh: &impl Fn() -> S) {
    children_are_known_by_their_place(&fresh()).await;
    children_run_like_others(&fresh()).await;
    the_end_of_a_child_wakes_its_parent(&fresh()).await;
    a_parent_sleeps_only_while_its_children_run(&fresh()).await;
    the_end_of_a_parent_wakes_what_is_left_of_its_children(&fresh()).await;
    children_stay_as_long_as_their_parent_needs_them(&fresh()).await;
    keys_belong_to_one_run_for_their_time(&fresh()).await;
    a_refused_run_claims_nothing(&fresh()).await;
}

fn place(parent: RunId, node: u32, item: u32) -> ChildPlace {
    ChildPlace { parent, node, item }
}

/// The same append, of a run that another one waits for.
fn below(parent: RunId, node: u32, item: u32, append: Append) -> Append {
    let new_run =
        append.new_run.map(|new| NewRun { parent: Some(place(parent, node, item)), ..new });
    Append { new_run, ..append }
}

async fn children_are_known_by_their_place(store: &impl Store) {
    let [parent, one, two, three, late] = [(); 5].map(|()| RunId::new());
    store.append(first(parent)).await.unwrap();
    store.append(below(parent, 4, 1, first(one))).await.unwrap();
    store.append(below(parent, 4, 0, whole(two, 7))).await.unwrap();
    store.append(below(parent, 2, 9, first(three))).await.unwrap();
    assert_eq!(code(store.append(below(parent, 4, 1, first(late))).await), Code::Conflict);
    assert_eq!(store.run(late).await.unwrap(), None);
    assert_eq!(store.journal(late, 0).await.unwrap(), []);

    let row = |run, node, item, status| ChildRow { run, node, item, status };
    let expected = [
        row(three, 2, 9, Status::Running),
        row(two, 4, 0, Status::Completed),
        row(one, 4, 1, Status::Running),
    ];
    assert_eq!(store.children(parent).await.unwrap(), expected);
    assert_eq!(store.children(one).await.unwrap(), []);
    assert_eq!(store.child(place(parent, 4, 0)).await.unwrap().as_ref(), Some(&expected[1]));
    assert_eq!(store.child(place(parent, 4, 2)).await.unwrap(), None);
    assert_eq!(store.run(one).await.unwrap().unwrap().parent, Some(parent));
    assert_eq!(store.run(parent).await.unwrap().unwrap().parent, None);

    let all = RunFilter { limit: 9, ..RunFilter::default() };
    let below = RunFilter { parent: Some(parent), ..all.clone() };
    let running = RunFilter { status: Some(Status::Running), offset: 1, ..below.clone() };
    for (filter, expected, count) in
        [(all, &[parent][..], 1), (below, &[three, two, one], 3), (running, &[one], 2)]
    {
        assert_eq!(store.count_runs(&filter).await.unwrap(), count, "{filter:?}");
        let rows = store.runs(filter).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), expected);
    }
}

async fn children_run_like_others(store: &impl Store) {
    let [parent, child] = [(); 2].map(|()| RunId::new());
    store.append(first(parent)).await.unwrap();
    store.append(below(parent, 0, 0, first(child))).await.unwrap();
    assert_eq!(code(store.append(first(child)).await), Code::Conflict, "the id is taken");
    assert_eq!(store.unfinished().await.unwrap(), [parent, child]);
    let asleep = next(child, 1, 2, vec![completed(1, json!(1)), spent(0, 10)]);
    store.append(Append { wake_at: Some(70), ..asleep }).await.unwrap();
    assert_eq!(store.unfinished().await.unwrap(), [parent]);
    let asleep = next(parent, 1, 2, vec![completed(1, json!(1))]);
    store.append(Append { wake_at: Some(60), ..asleep }).await.unwrap();
    assert_eq!(store.next_wake().await.unwrap(), Some(60));
    assert_eq!(store.due(70, 9).await.unwrap(), [parent, child]);
    assert_eq!(store.due(70, 1).await.unwrap(), [parent]);
    assert_eq!(store.spent("default", "sums", 0).await.unwrap(), used(1, 10));

    assert_eq!(store.next_batch(child).await.unwrap(), 2);
    assert_eq!(store.journal(child, 2).await.unwrap().len(), 2);
    let stale = next(child, 1, 4, vec![completed(2, json!(1))]);
    assert_eq!(code(store.append(stale).await), Code::Conflict);
    let last = ending(next(child, 2, 4, vec![finished()]), Status::Failed, 50);
    store.append(last).await.unwrap();
    let row = store.run(child).await.unwrap().unwrap();
    assert_eq!(
        (row.status, row.finished, row.error.as_deref()),
        (Status::Failed, Some(50), Some("timeout"))
    );
    let late = next(child, 3, 5, vec![finished()]);
    assert_eq!(code(store.append(late).await), Code::RunEnded);
    assert_eq!(store.spent("default", "other", 0).await.unwrap(), Usage::default());
}

async fn the_end_of_a_child_wakes_its_parent(store: &impl Store) {
    let [parent, child, grandchild] = [(); 3].map(|()| RunId::new());
    store.append(Append { wake_at: Some(900), ..first(parent) }).await.unwrap();
    let middle = Append { wake_at: Some(800), ..first(child) };
    store.append(below(parent, 1, 0, middle)).await.unwrap();
    assert_eq!(store.next_wake().await.unwrap(), Some(800), "a start wakes nobody");

    store.append(below(child, 1, 0, first(grandchild))).await.unwrap();
    let last = ending(next(grandchild, 1, 2, vec![finished()]), Status::Cancelled, 300);
    store.append(last).await.unwrap();
    assert_eq!(store.due(300, 9).await.unwrap(), [child]);
    store
        .append(ending(next(child, 1, 2, vec![finished()]), Status::Completed, 400))
        .await
        .unwrap();
    assert_eq!(store.due(u64::MAX, 9).await.unwrap(), [parent]);
    assert_eq!(store.next_wake().await.unwrap(), Some(400));

    store.append(below(parent, 1, 1, whole(RunId::new(), 350))).await.unwrap();
    assert_eq!(store.next_wake().await.unwrap(), Some(350), "also a child that ends at once");
    store.append(next(parent, 1, 2, vec![completed(1, json!(1))])).await.unwrap();
    store.append(below(parent, 1, 2, whole(RunId::new(), 500))).await.unwrap();
    assert_eq!(store.next_wake().await.unwrap(), None, "who is awake is not woken");
    store
        .append(ending(next(parent, 2, 3, vec![finished()]), Status::Completed, 600))
        .await
        .unwrap();
    store.append(below(parent, 1, 3, whole(RunId::new(), 700))).await.unwrap();
    assert_eq!(store.next_wake().await.unwrap(), None, "nor who has ended");
}

async fn a_parent_sleeps_only_while_its_children_run(store: &impl Store) {
    let [parent, one, two] = [(); 3].map(|()| RunId::new());
    store.append(first(parent)).await.unwrap();
    store.append(below(parent, 0, 0, first(one))).await.unwrap();
    store.append(below(parent, 0, 1, first(two))).await.unwrap();
    let asleep = |run, batch, awaits: &[RunId]| Sleep {
        run,
        batch,
        wake_at: u64::MAX,
        awaits: awaits.to_vec(),
    };
    let stale = asleep(parent, 0, &[one]);
    assert!(!store.sleep(stale).await.unwrap(), "it is another owner's");
    assert!(!store.sleep(asleep(parent, 1, &[one, RunId::new()])).await.unwrap());
    assert_eq!(store.unfinished().await.unwrap().len(), 3);

    assert!(store.sleep(asleep(parent, 1, &[one, two])).await.unwrap());
    let asleep_child = Sleep { wake_at: 800, ..asleep(two, 1, &[]) };
    assert!(store.sleep(asleep_child).await.unwrap());
    assert_eq!(store.unfinished().await.unwrap(), [one]);
    assert_eq!(store.due(700, 9).await.unwrap(), []);

    let last = ending(next(one, 1, 2, vec![finished()]), Status::Completed, 300);
    store.append(last).await.unwrap();
    assert_eq!(store.due(700, 9).await.unwrap(), [parent]);
    assert!(!store.sleep(asleep(parent, 1, &[one, two])).await.unwrap(), "one has ended");
    assert!(!store.sleep(asleep(one, 2, &[])).await.unwrap(), "it has ended");
    assert_eq!(store.due(700, 9).await.unwrap(), [parent]);
    assert!(store.sleep(asleep(parent, 1, &[two])).await.unwrap());
    assert_eq!(store.due(700, 9).await.unwrap(), []);
}

async fn the_end_of_a_parent_wakes_what_is_left_of_its_children(store: &impl Store) {
    let [parent, awake, asleep, ended, other] = [(); 5].map(|()| RunId::new());
    store.append(first(parent)).await.unwrap();
    store.append(first(other)).await.unwrap();
    store.append(below(parent, 0, 0, first(awake))).await.unwrap();
    let sleeping = Append { wake_at: Some(1_000_000), ..first(asleep) };
    store.append(below(parent, 0, 1, sleeping)).await.unwrap();
    store.append(below(parent, 0, 2, whole(ended, 7))).await.unwrap();
    assert_eq!(store.due(500_000, 9).await.unwrap(), []);
    let last = ending(next(parent, 1, 2, vec![finished()]), Status::Completed, 9);
    store.append(last).await.unwrap();
    let mut due = store.due(500_000, 9).await.unwrap();
    due.sort_unstable();
    let mut left = [awake, asleep];
    left.sort_unstable();
    assert_eq!(due, left);
    assert_eq!(store.unfinished().await.unwrap(), [other]);
}

async fn children_stay_as_long_as_their_parent_needs_them(store: &impl Store) {
    let [parent, one, two, lone] = [1, 2, 3, 4].map(RunId);
    store.append(first(parent)).await.unwrap();
    store.append(below(parent, 1, 0, first(one))).await.unwrap();
    store.append(below(one, 1, 0, whole(two, 5))).await.unwrap();
    store.append(below(RunId(99), 1, 0, whole(lone, 5))).await.unwrap();
    assert_eq!(store.expire(10, 9).await.unwrap(), 1, "only the one whose parent is gone");
    assert_eq!(store.run(lone).await.unwrap(), None);

    store.append(ending(next(one, 1, 2, vec![finished()]), Status::Completed, 6)).await.unwrap();
    assert_eq!(store.expire(10, 9).await.unwrap(), 1, "what the ended child waited for");
    assert_eq!(store.children(parent).await.unwrap().len(), 1);
    store
        .append(ending(next(parent, 1, 2, vec![finished()]), Status::Completed, 50))
        .await
        .unwrap();
    assert_eq!(store.expire(10, 9).await.unwrap(), 1, "the child goes before its parent");
    assert_eq!(store.journal(one, 0).await.unwrap(), []);
    assert_eq!(store.expire(51, 9).await.unwrap(), 1);
    assert_eq!(store.run(parent).await.unwrap(), None);
}

fn claim(key: &str, tag: u8, expires: u64) -> Claim {
    Claim { key: key.into(), fingerprint: [tag; 32], expires }
}

fn claiming(claim: Claim, created: u64, append: Append) -> Append {
    let new_run = append.new_run.map(|new| NewRun { claim: Some(claim), created, ..new });
    Append { new_run, ..append }
}

async fn keys_belong_to_one_run_for_their_time(store: &impl Store) {
    let [one, two, three] = [(); 3].map(|()| RunId::new());
    let now = now_ms();
    assert_eq!(store.claimed("a", now).await.unwrap(), None);
    store.append(claiming(claim("a", 1, now + 60_000), now, whole(one, now))).await.unwrap();
    assert_eq!(store.claimed("a", now).await.unwrap(), Some((one, [1; 32])));
    assert_eq!(store.claimed("b", now).await.unwrap(), None);

    let again = |at| claiming(claim("a", 2, now + 90_000), at, first(two));
    assert_eq!(code(store.append(again(now + 59_999)).await), Code::Conflict);
    assert_eq!(store.run(two).await.unwrap(), None);
    assert_eq!(store.claimed("a", now + 59_999).await.unwrap(), Some((one, [1; 32])));
    assert_eq!(store.claimed("a", now + 60_000).await.unwrap(), None, "its time is over");
    store.append(again(now + 60_000)).await.unwrap();
    assert_eq!(store.claimed("a", now + 60_000).await.unwrap(), Some((two, [2; 32])));

    store.append(claiming(claim("old", 3, 5), 4, first(three))).await.unwrap();
    assert_eq!(store.claimed("old", 4).await.unwrap(), Some((three, [3; 32])));
    store.expire(0, 9).await.unwrap();
    assert_eq!(store.claimed("old", 4).await.unwrap(), None, "expired keys are deleted");
    assert!(store.claimed("a", now).await.unwrap().is_some());
}

async fn a_refused_run_claims_nothing(store: &impl Store) {
    let run = RunId::new();
    store.append(first(run)).await.unwrap();
    let later = now_ms() + 60_000;
    let taken = claiming(claim("a", 1, later), 1, first(run));
    assert_eq!(code(store.append(taken).await), Code::Conflict);
    assert_eq!(store.claimed("a", 1).await.unwrap(), None);
}
