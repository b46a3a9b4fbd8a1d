//! The engine on real stores, with effects that the test holds in its hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use waystation_core::entry::Outcome as RunOutcome;
use waystation_core::error::{Code, Error, Failure};
use waystation_core::extract::bytes_about;
use waystation_core::plan::{
    Budget, Dialect, Edge, Join, Missing, Node, OnFailure, PLAN_FORMAT, Plan, Retry, Selection,
    Shape, When,
};
use waystation_core::run::Run;
use waystation_core::usage::Usage;

use super::handle::Handle;
use super::plans::source_key;
use super::{Again, Decision, Engine, NoLibrary, Origin, Parts, Settings, Submission, Submitted};
use crate::egress::{HttpClient, Policy, Reach};
use crate::id::RunId;
use crate::limits::EFFECTS_PER_RUN;
use crate::node::{Call, Effect, NodeType, Outcome, Registry};
use crate::secret::{Sealer, Vault};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{RunFilter, Status, Store};

/// An effect that does what its settings say.
#[derive(Default)]
struct Probe {
    under_way: AtomicUsize,
    most: AtomicUsize,
    calls: AtomicUsize,
    /// Attempts that say `wait` go on when the test adds permits.
    gate: Option<Semaphore>,
}

#[async_trait]
impl Effect for Probe {
    async fn attempt(&self, call: Call) -> Outcome {
        let _place = call.context.place().await;
        self.calls.fetch_add(1, Ordering::SeqCst);
        let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        if let Some(gate) = self.gate.as_ref().filter(|_| call.config["does"] == "wait") {
            gate.acquire().await.unwrap().forget();
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        match call.config["does"].as_str() {
            Some("panic") => panic!("as the test wants"),
            Some("hang") => std::future::pending().await,
            Some("spend") => {
                call.context.check_budget()?;
                call.context.spend(&used());
                Err(Failure::retryable(Code::ModelAnswer, "of no use", None))
            }
            Some("spend and wait") => {
                call.context.spend(&used());
                std::future::pending().await
            }
            Some("later") => Err(Failure::retryable(Code::HttpStatus, "HTTP 503", Some(3_600_000))),
            _ => Ok(json!({ "key": call.idempotency_key, "says": call.config["says"] }).into()),
        }
    }
}

/// What an attempt that spends uses.
fn used() -> Usage {
    Usage {
        calls: 1,
        prompt_tokens: 30,
        completion_tokens: 10,
        paid_tokens: 40,
        ..Usage::default()
    }
}

fn engine(store: Arc<dyn Store>, probe: &Arc<Probe>, settings: Settings) -> Engine {
    let client = Arc::new(HttpClient::new(Policy::new(Reach::PublicOnly)).unwrap());
    let mut registry = Registry::standard(&client, &Arc::default());
    registry.add("probe", NodeType::Effect(Arc::clone(probe) as Arc<dyn Effect>));
    let sealer = Sealer::from_key_text(&"7".repeat(64)).unwrap();
    let vault = Arc::new(Vault::new(sealer, Arc::clone(&store)));
    Engine::new(Parts {
        tracer: None,
        store,
        registry,
        vault,
        client,
        webhook_key: None,
        outputs: None,
        events: None,
        library: Arc::new(NoLibrary),
        links: None,
        settings,
    })
}

fn in_memory(probe: &Arc<Probe>, settings: Settings) -> Engine {
    engine(Arc::new(MemoryStore::default()), probe, settings)
}

/// A node of a plan.
pub(crate) fn node(index: usize, kind: &str, config: Value) -> Node {
    Node {
        id: format!("n{index}"),
        name: format!("node {index}"),
        kind: kind.into(),
        config,
        outputs: Vec::new(),
        join: Join::Every,
        selections: Vec::new(),
        retry: Retry { attempts: 2, delay_ms: 1 },
        timeout_ms: 50,
        hidden: false,
        metadata: Map::new(),
        condition: None,
        needs: Vec::new(),
        literal: Vec::new(),
        body: None,
    }
}

/// A plan of these nodes, each after the one before or none after another.
pub(crate) fn plan(nodes: Vec<Node>, is_chain: bool) -> Plan {
    let edge = |to| Edge { from: to - 1, to, when: When::Completed, label: None };
    let last = if is_chain { nodes.len() as u32 } else { 0 };
    Plan {
        format: PLAN_FORMAT,
        dialect: Dialect::Pipeline,
        shape: Shape::Graph { edges: (1..last).map(edge).collect() },
        nodes,
        results: Vec::new(),
        variables: Map::new(),
        missing: Missing::Fail,
        on_failure: OnFailure::Stop,
        deadline_ms: None,
        webhook_url: None,
        budget: Budget::default(),
    }
}

async fn submit(engine: &Engine, plan: &Plan) -> Result<Submitted, Error> {
    let source = serde_json::to_string(plan).unwrap();
    let definition =
        engine.define::<Error>(source_key(&[&source]), || Ok((plan.clone(), Vec::new()))).unwrap();
    let (workflow, namespace) = ("w".into(), "n".into());
    let (input, warnings) = (json!({}), Vec::new());
    let (name, origin) = (None, Origin::default());
    let submission = Submission { definition, workflow, namespace, name, input, warnings, origin };
    engine.submit(submission).await
}

async fn run(engine: &Engine, plan: &Plan) -> Arc<Run> {
    submit(engine, plan).await.unwrap().finished.wait().await.unwrap()
}

fn failure(run: &Run) -> &Failure {
    match run.outcome.as_ref().unwrap() {
        RunOutcome::Failed { failure, .. } => failure,
        other => panic!("{other:?}"),
    }
}

/// Gives other tasks their turn until a condition holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(600), waiting).await.expect(what);
}

#[tokio::test]
async fn a_chain_of_pure_nodes_costs_one_commit_and_an_effect_one_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(SqliteStore::open(dir.path(), &Options::default()).unwrap());
    let probe = Arc::new(Probe::default());
    let engine = engine(Arc::clone(&store) as Arc<dyn Store>, &probe, Settings::default());
    let pure =
        |count| (0..count).map(|index| node(index, "set", json!({ "value": index }))).collect();
    let cost = async |plan: &Plan| {
        let before = store.commits();
        assert_eq!(run(&engine, plan).await.outcome, Some(RunOutcome::Completed));
        store.commits() - before
    };
    assert_eq!(cost(&plan(pure(200), true)).await, 1);
    let mut mixed: Vec<Node> = pure(9);
    mixed.insert(4, node(9, "probe", json!({})));
    assert_eq!(cost(&plan(mixed, true)).await, 2, "before the effect, and at the end");
}

#[tokio::test]
async fn a_panic_is_a_failure_of_its_node_and_of_nothing_else() {
    let engine = in_memory(&Arc::default(), Settings::default());
    let panics = plan(vec![node(0, "probe", json!({ "does": "panic" }))], true);
    let failed = run(&engine, &panics).await;
    assert_eq!((failure(&failed).code, failed.nodes[0].attempts), (Code::NodePanicked, 1));
    let works = plan(vec![node(0, "probe", json!({}))], true);
    let run = run(&engine, &works).await;
    let id = run.nodes[0].output.as_ref().unwrap()["key"].as_str().unwrap().to_owned();
    assert!(id.ends_with(":n0"), "{id}");
}

#[tokio::test]
async fn an_attempt_that_hangs_is_ended_and_repeated() {
    let probe = Arc::default();
    let engine = in_memory(&probe, Settings::default());
    let failed = run(&engine, &plan(vec![node(0, "probe", json!({ "does": "hang" }))], true)).await;
    assert_eq!(failure(&failed).message, "Timeout after 0.05 seconds");
    assert_eq!(probe.calls.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn no_more_effects_are_under_way_than_allowed() {
    let probe = Arc::new(Probe { gate: Some(Semaphore::new(0)), ..Probe::default() });
    let engine = in_memory(&probe, Settings { nodes_live: 3, ..Settings::default() });
    let waits =
        |index| Node { timeout_ms: 60_000, ..node(index, "probe", json!({ "does": "wait" })) };
    let submitted = submit(&engine, &plan((0..20).map(waits).collect(), false)).await.unwrap();
    until("the others wait", async || engine.waiting(submitted.id).len() == 17).await;
    probe.gate.as_ref().unwrap().add_permits(20);
    let run = submitted.finished.wait().await.unwrap();
    assert_eq!(run.outcome, Some(RunOutcome::Completed));
    assert_eq!(probe.most.load(Ordering::SeqCst), 3);
    assert_eq!(probe.calls.load(Ordering::SeqCst), 20);
}

#[tokio::test]
async fn what_attempts_use_is_journaled_also_when_they_fail_and_a_budget_ends_it() {
    let probe = Arc::default();
    let engine = in_memory(&probe, Settings::default());
    let mut spends = node(0, "probe", json!({ "does": "spend" }));
    spends.retry = Retry { attempts: 4, delay_ms: 1 };
    let mut plan = plan(vec![spends], true);
    let failed = run(&engine, &plan).await;
    assert_eq!((failed.spent.calls, failed.spent.paid_tokens), (4, 160));
    assert_eq!(failed.nodes[0].spent.as_deref(), Some(&failed.spent));
    plan.budget.tokens = Some(80);
    let submitted = submit(&engine, &plan).await.unwrap();
    let stopped = submitted.finished.wait().await.unwrap();
    assert_eq!(failure(&stopped).message, "The run's budget is used up: 80 of 80 tokens");
    assert_eq!(stopped.spent.calls, 2);
    assert_eq!(engine.run(submitted.id).await.unwrap().spent, stopped.spent);
}

#[tokio::test]
async fn results_that_repeat_each_other_come_to_an_end() {
    let most = 10_000;
    let settings = Settings { result_bytes_max: most, ..Settings::default() };
    let engine = in_memory(&Arc::default(), settings);
    let said = json!({ "value": "x".repeat(1_000) });
    let nodes = (0..100).map(|index| node(index, "set", said.clone())).collect();
    let run = run(&engine, &plan(nodes, true)).await;
    let failure = failure(&run);
    assert_eq!(failure.code, Code::LimitExceeded);
    assert_eq!(failure.message, "the results of this run take more than 10000 bytes together");
    assert!(failure.hint().is_some_and(|hint| hint.contains("WAYSTATION_MAX_RESULT_BYTES")));
    let kept = run.nodes.iter().filter_map(|node| node.output.as_deref());
    assert!((most / 2..=most).contains(&kept.map(bytes_about).sum::<usize>()));
}

#[tokio::test]
async fn what_a_stopped_attempt_has_used_is_journaled() {
    let probe = Arc::default();
    let engine = in_memory(&probe, Settings::default());
    let mut spends = node(0, "probe", json!({ "does": "spend and wait" }));
    spends.timeout_ms = 60_000;
    let submitted = submit(&engine, &plan(vec![spends], true)).await.unwrap();
    until("the attempt", async || probe.calls.load(Ordering::SeqCst) == 1).await;
    let run = engine.cancel(submitted.id, "enough").await.unwrap();
    assert_eq!(run.spent, used());
    assert_eq!(engine.run(submitted.id).await.unwrap().spent, used());
}

#[tokio::test]
async fn a_wide_run_has_so_many_effects_under_way_and_ends_all_the_same() {
    let width = EFFECTS_PER_RUN * 3;
    let probe = Arc::new(Probe { gate: Some(Semaphore::new(0)), ..Probe::default() });
    let engine = in_memory(&probe, Settings::default());
    let nodes = (0..width).map(|index| {
        let mut waits = node(index, "probe", json!({ "does": "wait" }));
        waits.timeout_ms = 60_000;
        // Most of those that wait for a place find their gate closed when they get it.
        if index > EFFECTS_PER_RUN && index % 5 > 0 {
            waits.selections =
                vec![Selection { output: "selection_none".into(), member: "x".into() }];
        }
        waits
    });
    let submitted = submit(&engine, &plan(nodes.collect(), false)).await.unwrap();
    let under_way = || probe.calls.load(Ordering::SeqCst);
    until("all places are taken", async || under_way() == EFFECTS_PER_RUN).await;
    probe.gate.as_ref().unwrap().add_permits(width);
    let run = submitted.finished.wait().await.unwrap();
    assert_eq!(run.outcome, Some(RunOutcome::Completed));
    assert_eq!(probe.most.load(Ordering::SeqCst), EFFECTS_PER_RUN);
    assert!(probe.calls.load(Ordering::SeqCst) < width);
}

/// What a node used is kept out of what it gives, also when it has changed meanwhile.
#[tokio::test]
async fn a_secret_that_changes_during_an_attempt_stays_unseen() {
    let probe = Arc::new(Probe { gate: Some(Semaphore::new(0)), ..Probe::default() });
    let engine = in_memory(&probe, Settings::default());
    let vault = Arc::clone(&engine.shared.vault);
    vault.set("TOKEN", "the-old-value").await.unwrap();
    let config = json!({ "does": "wait", "says": "{{secrets.TOKEN}}" });
    let mut says = node(0, "probe", config);
    says.timeout_ms = 60_000;
    let submitted = submit(&engine, &plan(vec![says], true)).await.unwrap();
    until("the attempt", async || probe.calls.load(Ordering::SeqCst) == 1).await;
    vault.set("TOKEN", "the-new-value").await.unwrap();
    probe.gate.as_ref().unwrap().add_permits(1);
    let run = submitted.finished.wait().await.unwrap();
    assert_eq!(run.nodes[0].output.as_ref().unwrap()["says"], "[redacted]");
}

#[tokio::test]
async fn a_run_too_many_is_refused_until_there_is_room() {
    let probe = Arc::new(Probe { gate: Some(Semaphore::new(0)), ..Probe::default() });
    let engine = in_memory(&probe, Settings { runs_live: 1, ..Settings::default() });
    let mut waits = node(0, "probe", json!({ "does": "wait" }));
    waits.timeout_ms = 60_000;
    let waits = plan(vec![waits], true);
    let first = submit(&engine, &waits).await.unwrap();
    assert_eq!(submit(&engine, &waits).await.err().unwrap().code, Code::Busy);
    probe.gate.as_ref().unwrap().add_permits(2);
    first.finished.wait().await.unwrap();
    until("room", async || submit(&engine, &waits).await.is_ok()).await;
}

#[tokio::test]
async fn a_run_with_a_long_wait_leaves_memory_and_can_be_ended_there() {
    let engine = in_memory(&Arc::default(), Settings::default());
    let sleeps = plan(vec![node(0, "probe", json!({ "does": "later" }))], true);
    let submitted = submit(&engine, &sleeps).await.unwrap();
    let id = submitted.id;
    submitted.finished.accepted().await.unwrap();
    drop(submitted);
    until("sleep", async || engine.store().next_wake().await.unwrap().is_some()).await;
    until("memory is left", async || engine.health().await.runs_live == 0).await;
    let run = engine.cancel(id, "enough").await.unwrap();
    assert_eq!(run.outcome, Some(RunOutcome::Cancelled { reason: "enough".into() }));
    assert_eq!(engine.row(id).await.unwrap().status, Status::Cancelled);
}

/// With time paused, the pause between two looks for old runs takes none.
#[tokio::test(start_paused = true)]
async fn old_runs_go_by_themselves() {
    let retention = Some(Duration::ZERO);
    let engine = in_memory(&Arc::default(), Settings { retention, ..Settings::default() });
    let quick = plan(vec![node(0, "set", json!({ "value": 1 }))], true);
    for _ in 0..3 {
        run(&engine, &quick).await;
    }
    engine.start().await.unwrap();
    let list = || engine.runs(RunFilter { limit: 9, ..RunFilter::default() });
    until("runs are gone", async || list().await.unwrap().is_empty()).await;
    engine.shutdown(Duration::ZERO).await;
    assert_eq!(submit(&engine, &quick).await.err().unwrap().code, Code::ShuttingDown);
}

#[tokio::test]
async fn another_try_keeps_the_results_of_what_completed() {
    let probe = Arc::default();
    let engine = in_memory(&probe, Settings::default());
    let nodes = vec![node(0, "probe", json!({})), node(1, "probe", json!({ "does": "panic" }))];
    let id = submit(&engine, &plan(nodes, true)).await.unwrap();
    let failed = id.finished.wait().await.unwrap();
    let again = engine.retry(id.id, Again::default()).await.unwrap().finished.wait().await.unwrap();
    assert_eq!(probe.calls.load(Ordering::SeqCst), 3, "the first node ran once");
    assert_eq!(again.nodes[0].output, failed.nodes[0].output);
    let first = again.start.as_ref().unwrap().retry_of.clone();
    assert_eq!(first, Some(id.id.to_string()));
}

/// A node that runs another for each of so many items.
fn each(items: usize, concurrency: u32, of: Node) -> Node {
    let items: Vec<Value> = (0..items).map(|item| json!({ "item": item })).collect();
    let config =
        json!({ "items": items, "concurrency": concurrency, "outer": { "outputs": { "x": 1 } } });
    Node { body: Some(Box::new(plan(vec![of], true))), ..node(0, "foreach", config) }
}

fn waits() -> Node {
    Node { timeout_ms: 60_000, ..node(0, "probe", json!({ "does": "wait" })) }
}

fn gated() -> Arc<Probe> {
    Arc::new(Probe { gate: Some(Semaphore::new(0)), ..Probe::default() })
}

#[tokio::test]
async fn items_that_wait_for_room_do_not_begin_after_their_run_has_ended() {
    let probe = gated();
    let engine = in_memory(&probe, Settings { runs_live: 1, ..Settings::default() });
    let submitted = submit(&engine, &plan(vec![each(5, 5, waits())], true)).await.unwrap();
    until("an item", async || probe.calls.load(Ordering::SeqCst) == 1).await;
    let run = engine.cancel(submitted.id, "enough").await.unwrap();
    assert_eq!(run.outcome, Some(RunOutcome::Cancelled { reason: "enough".into() }));
    until("all have ended", async || engine.health().await.runs_live == 0).await;
    assert_eq!(probe.calls.load(Ordering::SeqCst), 1);
    let children = engine.store().children(submitted.id).await.unwrap();
    assert!(children.iter().all(|child| child.status == Status::Cancelled), "{children:?}");
}

#[tokio::test]
async fn items_take_no_room_from_other_runs() {
    let probe = gated();
    let engine = in_memory(&probe, Settings { runs_live: 2, ..Settings::default() });
    let submitted = submit(&engine, &plan(vec![each(3, 3, waits())], true)).await.unwrap();
    until("items", async || probe.calls.load(Ordering::SeqCst) == 2).await;
    run(&engine, &plan(vec![node(0, "set", json!({ "value": 1 }))], true)).await;
    probe.gate.as_ref().unwrap().add_permits(3);
    let ended = submitted.finished.wait().await.unwrap();
    assert_eq!(ended.outcome, Some(RunOutcome::Completed));
}

#[tokio::test]
async fn what_items_see_of_their_run_is_kept_once() {
    let engine = in_memory(&Arc::default(), Settings::default());
    let sees = json!({ "value": "{{item.item}} of {{index}}, {{outputs.x}}" });
    let each = plan(vec![each(2, 2, node(0, "set", sees))], true);
    let submitted = submit(&engine, &each).await.unwrap();
    let id = submitted.id;
    submitted.finished.wait().await.unwrap();
    let mut seen = Vec::new();
    for child in engine.store().children(id).await.unwrap() {
        let run = engine.run(child.run).await.unwrap();
        let said = run.nodes[0].output.clone().unwrap();
        seen.push((said, run.start.as_ref().unwrap().outer.clone()));
    }
    assert_eq!(*seen[0].0, json!("0 of 0, 1"));
    assert_eq!(*seen[1].0, json!("1 of 1, 1"));
    assert_eq!(seen[0].1, seen[1].1);
    assert!(seen[0].1.is_some());
}

#[tokio::test]
async fn what_a_node_holds_for_its_items_takes_room() {
    let settings = Settings { result_bytes_max: 1_000, ..Settings::default() };
    let engine = in_memory(&Arc::default(), settings);
    let many = plan(vec![each(1_000, 1, node(0, "set", json!({ "value": 1 })))], true);
    let refused = run(&engine, &many).await;
    assert_eq!(failure(&refused).code, Code::LimitExceeded);
}

#[tokio::test]
async fn a_refused_decision_does_not_bring_a_run_to_memory() {
    let engine = in_memory(&Arc::default(), Settings::default());
    let asks = plan(vec![node(0, "wait", json!({}))], true);
    let submitted = submit(&engine, &asks).await.unwrap();
    let id = submitted.id;
    submitted.finished.accepted().await.unwrap();
    drop(submitted);
    until("sleep", async || engine.health().await.runs_live == 0).await;
    for (node, choice) in [("nope", "approved"), ("n0", "perhaps")] {
        let (node, choice) = (node.to_owned(), Some(choice.to_owned()));
        let decision = Decision { node, attempt: None, choice, data: Value::Null };
        engine.decide(id, decision).await.unwrap_err();
        assert_eq!(engine.health().await.runs_live, 0);
    }
    let choice = Some("approved".to_owned());
    let decision = Decision { node: "n0".into(), attempt: None, choice, data: Value::Null };
    engine.decide(id, decision).await.unwrap();
    until("the end", async || engine.row(id).await.unwrap().status == Status::Completed).await;
}

#[tokio::test]
async fn no_more_runs_are_woken_than_there_is_room_for() {
    let probe = gated();
    let engine = in_memory(&probe, Settings { runs_live: 3, ..Settings::default() });
    let live = submit(&engine, &plan(vec![waits()], true)).await.unwrap();
    until("the attempt", async || probe.calls.load(Ordering::SeqCst) == 1).await;
    let due: Vec<RunId> = (0..5).map(|_| RunId::new()).collect();
    let all = [vec![live.id], due.clone()].concat();
    assert_eq!(engine.shared.to_be_woken(all), due[..2]);
}

fn later() -> Node {
    node(0, "probe", json!({ "does": "later" }))
}

#[tokio::test]
async fn runs_that_wait_for_sleeping_items_leave_room_to_wake_them() {
    let engine = in_memory(&Arc::default(), Settings { runs_live: 1, ..Settings::default() });
    let _waits = submit(&engine, &plan(vec![each(1, 1, later())], true)).await.unwrap();
    let due = vec![RunId::new()];
    until("sleep", async || engine.store().next_wake().await.unwrap().is_some()).await;
    until("room", async || engine.shared.to_be_woken(due.clone()) == due).await;
}

/// With time paused, what is idle for a while is so at once.
#[tokio::test(start_paused = true)]
async fn a_run_sleeps_as_long_as_all_that_it_waits_for_does() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let engine =
        |store: &Arc<dyn Store>| engine(Arc::clone(store), &Arc::default(), Settings::default());
    let mut waits = plan(vec![each(1, 1, later())], true);
    waits.deadline_ms = Some(7_200_000);
    let before = engine(&store);
    let submitted = submit(&before, &waits).await.unwrap();
    let id = submitted.id;
    drop(submitted);
    until("memory is left", async || {
        store.children(id).await.unwrap().len() == 1 && before.health().await.runs_live == 0
    })
    .await;
    before.shutdown(Duration::ZERO).await;

    let after = engine(&store);
    after.start().await.unwrap();
    assert_eq!(after.health().await.runs_live, 0, "nothing has to be loaded");
    assert_eq!(after.row(id).await.unwrap().status, Status::Running);
    let item = store.children(id).await.unwrap().remove(0);
    after.cancel(item.run, "enough").await.unwrap();
    until("the end", async || after.row(id).await.unwrap().status != Status::Running).await;
    assert_eq!(after.row(id).await.unwrap().status, Status::Failed);
}

/// The pause doubles, and there is one at a time.
#[tokio::test(start_paused = true)]
async fn a_run_that_cannot_be_read_is_tried_again_ever_later() {
    let engine = in_memory(&Arc::default(), Settings::default());
    let id = RunId::new();
    let began = tokio::time::Instant::now();
    for pauses in [0, 5, 15, 35] {
        until("another try", async || began.elapsed().as_secs() >= pauses).await;
        let handle = Handle::new(engine.shared.ties(id));
        for _ in 0..3 {
            let error = Error::new(Code::Store, "a damaged blob");
            engine.shared.give_up(id, &handle, error);
        }
        assert!(engine.shared.to_be_woken(vec![id]).is_empty());
    }
}
