//! Turns under a clock that stands still between them.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::limits::Limits;
use super::*;
use crate::id::RunId;
use crate::node::context::{Account, RunContext};

fn limiter(text: &str) -> Arc<Limiter> {
    Arc::new(Limiter::new(ModelLimits::parse(text).unwrap()))
}

fn openai() -> LaneKey {
    ("openai".into(), None)
}

/// Ties of one run, and what shows the reasons for which it waits.
fn ties() -> Arc<RunContext> {
    Arc::new(RunContext::new(RunId::new(), Arc::new(Semaphore::new(1_000))))
}

fn context(ties: &Arc<RunContext>, node: u32) -> AttemptContext {
    AttemptContext::new(Arc::clone(ties), (node, 1), Account::default(), Vec::new())
}

async fn turn(limiter: &Limiter, tokens: u64) -> Turn {
    limiter.turn(openai(), tokens, &AttemptContext::alone()).await.unwrap()
}

/// Seconds that pass until something is done.
async fn seconds<T>(work: impl Future<Output = T>) -> (f64, T) {
    let began = Instant::now();
    let done = work.await;
    (began.elapsed().as_secs_f64(), done)
}

#[tokio::test(start_paused = true)]
async fn without_limits_nothing_waits_but_for_the_default_concurrency() {
    let limiter = limiter("");
    let turns: Vec<Turn> =
        join_all((0..64).map(|_| turn(&limiter, u64::MAX))).await.into_iter().collect();
    assert!(turns.iter().all(|turn| !turn.waited));
    let mut late = Box::pin(turn(&limiter, 0));
    assert!(futures_util::poll!(&mut late).is_pending());
    drop(turns);
    assert!(late.await.waited);
}

#[tokio::test(start_paused = true)]
async fn a_minute_takes_so_many_requests() {
    let limiter = limiter("openai requests=60");
    for _ in 0..60 {
        assert!(!turn(&limiter, 0).await.waited);
    }
    let (waited, _) = seconds(join_all((0..30).map(|_| turn(&limiter, 0)))).await;
    assert!((30.0..30.1).contains(&waited), "{waited}");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    let (waited, _) = seconds(join_all((0..61).map(|_| turn(&limiter, 0)))).await;
    assert!((1.0..1.1).contains(&waited), "no more than a minute's is saved up: {waited}");
}

#[tokio::test(start_paused = true)]
async fn tokens_are_corrected_by_what_was_used() {
    let limiter = limiter("openai tokens=600");
    let mut first = turn(&limiter, 100).await;
    first.used(1_200);
    drop(first);
    let (waited, mut second) = seconds(turn(&limiter, 100)).await;
    assert!((70.0..70.1).contains(&waited), "600 of debt and 100 to take: {waited}");
    second.used(0);
    let (waited, _) = seconds(turn(&limiter, 100)).await;
    assert!(waited < 0.01, "what was not used is put back: {waited}");
    let (waited, _) = seconds(turn(&limiter, 9_999)).await;
    assert!((60.0..60.1).contains(&waited), "a greater one goes when the bucket is full: {waited}");
}

#[tokio::test(start_paused = true)]
async fn turns_go_round_over_runs() {
    let limiter = limiter("openai concurrency=1");
    let holder = turn(&limiter, 0).await;
    let (many, one) = (ties(), ties());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut calls = JoinSet::new();
    let mut call = |ties: &Arc<RunContext>, name: &'static str, node| {
        let (limiter, order, context) = (limiter.clone(), order.clone(), context(ties, node));
        calls.spawn(async move {
            let turn = limiter.turn(openai(), 0, &context).await.unwrap();
            order.lock().unwrap().push((name, node));
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(turn);
        });
    };
    (0..5).for_each(|node| call(&many, "many", node));
    call(&one, "one", 0);
    call(&one, "one", 1);
    tokio::time::sleep(Duration::from_millis(1)).await;
    let reasons = many.reasons();
    assert_eq!(reasons[0].1, "waits for openai: 1 of 1 calls under way");
    assert_eq!(reasons[3].1, "waits for openai: 1 of 1 calls under way, 3 ahead");
    assert_eq!(one.reasons()[0].1, "waits for openai: 1 of 1 calls under way, 1 ahead");
    drop(holder);
    calls.join_all().await;
    let many = |node| ("many", node);
    let expected = [many(0), ("one", 0), many(1), ("one", 1), many(2), many(3), many(4)];
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_reason_names_what_is_used_up() {
    for (limits, expected) in [
        ("openai requests=1", "waits for openai: 1 requests a minute are used up"),
        ("openai tokens=10", "waits for openai: 10 tokens a minute are used up"),
    ] {
        let limiter = limiter(limits);
        drop(turn(&limiter, 10).await);
        let ties = ties();
        let context = context(&ties, 0);
        let mut late = Box::pin(limiter.turn(openai(), 10, &context));
        assert!(futures_util::poll!(&mut late).is_pending());
        assert_eq!(ties.reasons(), [(0, expected.to_owned())]);
        late.await.unwrap();
        assert_eq!(ties.reasons(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_for_all_of_a_key_and_only_for_them() {
    let limiter = limiter("");
    let first = turn(&limiter, 0).await;
    first.pause(Duration::from_secs(20));
    first.pause(Duration::from_secs(5));
    let ties = ties();
    let waiting = context(&ties, 0);
    let mut late = Box::pin(limiter.turn(openai(), 0, &waiting));
    assert!(futures_util::poll!(&mut late).is_pending());
    assert_eq!(ties.reasons()[0].1, "waits for openai: it asked for a pause");
    let other = ("openai".into(), Some("another key".to_owned()));
    assert!(!limiter.turn(other, 0, &AttemptContext::alone()).await.unwrap().waited);
    let (waited, second) = seconds(late).await;
    assert!((20.0..20.1).contains(&waited), "{waited}");
    second.unwrap().pause(Duration::from_secs(86_400));
    let (waited, _) = seconds(turn(&limiter, 0)).await;
    assert!((60.0..60.1).contains(&waited), "nobody rests for a day: {waited}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_no_turn() {
    let limiter = limiter("openai concurrency=1 requests=3");
    let holder = turn(&limiter, 0).await;
    let mut leaving = Box::pin(turn(&limiter, 0));
    let mut granted = Box::pin(turn(&limiter, 0));
    let mut staying = Box::pin(turn(&limiter, 0));
    for waiting in [&mut leaving, &mut granted, &mut staying] {
        assert!(futures_util::poll!(waiting).is_pending());
    }
    drop(leaving);
    drop(holder);
    // It has the turn by now, and has not looked.
    drop(granted);
    let (waited, turn_of_last) = seconds(staying).await;
    assert!(waited < 0.01, "{waited}");
    let lane = limiter.lane(openai());
    drop(turn_of_last);
    assert!(!turn(&limiter, 0).await.waited, "two of three requests were made");
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(lane.is_at_rest(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn idle_keys_are_forgotten_and_others_are_not() {
    let limiter = limiter("");
    let key = |number: usize| -> LaneKey { ("openai".into(), Some(number.to_string())) };
    let alone = AttemptContext::alone();
    let busy = limiter.turn(key(0), 0, &alone).await.unwrap();
    limiter.turn(key(1), 0, &alone).await.unwrap().pause(Duration::from_secs(50));
    for number in 2..LLM_KEYS + 10 {
        drop(limiter.turn(key(number), 0, &alone).await.unwrap());
    }
    let lanes = limiter.lanes.lock().unwrap();
    assert!(lanes.len() < 20, "{}", lanes.len());
    assert!(lanes.contains_key(&key(0)) && lanes.contains_key(&key(1)));
    drop(busy);
}

#[test]
fn an_address_is_shown_by_its_host() {
    assert_eq!(shown("https://user:key@host:9/v1?key=1"), "host");
    assert_eq!(shown("openai"), "openai");
}

/// One call of a random load.
#[derive(Clone, Debug)]
struct Load {
    run: usize,
    begins_ms: u64,
    takes_ms: u64,
    tokens: u64,
    used: u64,
    gives_up_ms: Option<u64>,
}

fn load() -> impl Strategy<Value = Load> {
    let gives_up_ms = prop::option::weighted(0.2, 0u64..5_000);
    let numbers = (0usize..4, 0u64..3_000, 0u64..2_000, 0u64..50, 0u64..100, gives_up_ms);
    numbers.prop_map(|(run, begins_ms, takes_ms, tokens, used, gives_up_ms)| Load {
        run,
        begins_ms,
        takes_ms,
        tokens,
        used,
        gives_up_ms,
    })
}

async fn call(
    load: Load,
    limiter: Arc<Limiter>,
    ties: Arc<RunContext>,
    live: Arc<AtomicUsize>,
    most: usize,
) {
    tokio::time::sleep(Duration::from_millis(load.begins_ms)).await;
    let context = context(&ties, 0);
    let work = async {
        let mut turn = limiter.turn(openai(), load.tokens, &context).await.unwrap();
        assert!(live.fetch_add(1, Ordering::SeqCst) < most, "too many at once");
        struct Live(Arc<AtomicUsize>);
        impl Drop for Live {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let _live = Live(live.clone());
        tokio::time::sleep(Duration::from_millis(load.takes_ms)).await;
        turn.used(load.used);
    };
    match load.gives_up_ms {
        Some(limit) => drop(tokio::time::timeout(Duration::from_millis(limit), work).await),
        None => work.await,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes and goes: never more at once than allowed, and everybody's turn comes.
    #[test]
    fn concurrency_holds_and_nobody_starves(
        loads in prop::collection::vec(load(), 1..60),
        concurrency in 1usize..5,
        requests in prop::option::of(5u64..500),
        tokens in prop::option::of(20u64..2_000),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let limits = Limits { concurrency, requests, tokens };
            let limiter = limiter(&format!("openai {limits}"));
            let runs: Vec<_> = (0..4).map(|_| ties()).collect();
            let live = Arc::new(AtomicUsize::new(0));
            let mut calls = JoinSet::new();
            for load in loads {
                let ties = runs[load.run].clone();
                calls.spawn(call(load, limiter.clone(), ties, live.clone(), concurrency));
            }
            let all = tokio::time::timeout(Duration::from_secs(86_400), calls.join_all()).await;
            assert!(all.is_ok(), "somebody starves");
            tokio::time::sleep(Duration::from_secs(86_400)).await;
            assert!(limiter.lane(openai()).is_at_rest(Instant::now()), "something is left over");
        });
    }
}
