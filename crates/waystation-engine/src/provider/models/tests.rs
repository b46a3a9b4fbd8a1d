//! Models against scripted providers.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::{join_all, poll_immediate};
use serde_json::json;
use tokio::sync::Semaphore;
use waystation_core::entry::{Entry as JournalEntry, Start};
use waystation_core::plan::Budget;

use super::super::directory::{Access, KeyState};
use super::super::limiter::limits::ModelLimits;
use super::*;
use crate::id::RunId;
use crate::node::context::{Account, RunContext};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{Append, conformance};

/// More than any test calls.
const PERMITS: usize = 1_000_000;

/// Gives what its script says, and then always the same answer.
struct Script {
    calls: AtomicUsize,
    /// Calls that may end.
    gate: Semaphore,
    outcomes: Mutex<VecDeque<Result<Reply, Failure>>>,
    keys: Mutex<Vec<Option<String>>>,
    models: Mutex<Vec<String>>,
}

fn reply() -> Reply {
    Reply {
        text: "an answer".into(),
        model: "m-1".into(),
        finish: Finish::Stop,
        prompt_tokens: 30,
        completion_tokens: 12,
        nano_usd: None,
    }
}

fn script(outcomes: impl IntoIterator<Item = Result<Reply, Failure>>) -> Arc<Script> {
    Arc::new(Script {
        calls: AtomicUsize::new(0),
        gate: Semaphore::new(PERMITS),
        outcomes: Mutex::new(outcomes.into_iter().collect()),
        keys: Mutex::default(),
        models: Mutex::default(),
    })
}

/// One whose calls end only when they are let through.
fn gated(outcomes: impl IntoIterator<Item = Result<Reply, Failure>>) -> Arc<Script> {
    let script = script(outcomes);
    script.gate.forget_permits(PERMITS);
    script
}

impl Script {
    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Provider for Script {
    async fn ask(&self, question: &Question, manner: Manner<'_>) -> Result<Reply, Failure> {
        self.models.lock().unwrap().push(question.model.clone());
        self.calls.fetch_add(1, Ordering::SeqCst);
        let key = manner.key.map(|key| key.expose().to_owned());
        self.keys.lock().unwrap().push(key);
        if let Some(tell) = manner.tell {
            tell("an ");
            tell("answer");
        }
        let outcome = self.outcomes.lock().unwrap().pop_front();
        self.gate.acquire().await.unwrap().forget();
        outcome.unwrap_or_else(|| Ok(reply()))
    }
}

fn entry(provider: Arc<Script>) -> Entry {
    Entry { provider, default_model: Some("m".into()) }
}

fn parts(script: &Arc<Script>) -> ModelParts {
    let providers = BTreeMap::from([("openai".to_owned(), entry(script.clone()))]);
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    ModelParts { store: Some(store), ..providers.into() }
}

fn models(script: &Arc<Script>) -> Models {
    Models::new(parts(script))
}

fn ask(text: &str) -> Ask {
    let message = Message { role: Role::User, text: text.into() };
    Ask { messages: vec![message], cache: true, ..Ask::default() }
}

fn uncached(text: &str) -> Ask {
    Ask { cache: false, ..ask(text) }
}

fn context(account: Account) -> (Arc<RunContext>, AttemptContext) {
    let ties = Arc::new(RunContext::new(RunId::new(), Arc::new(Semaphore::new(10))));
    (ties.clone(), AttemptContext::new(ties, (0, 1), account, Vec::new()))
}

/// What the answers cost is 2 billionths of a dollar for each token sent, and 10 for each received.
fn prices() -> Prices {
    Prices::parse(r#"{"m-1": {"input": 0.002, "output": 0.01}}"#).unwrap()
}

fn tokens(tokens: u64) -> Budget {
    Budget { tokens: Some(tokens), nano_usd: None }
}

/// What the recalled answer counts.
fn free() -> Usage {
    Usage { cached: 1, prompt_tokens: 30, completion_tokens: 12, ..Usage::default() }
}

#[tokio::test]
async fn a_hit_is_marked_free_and_takes_no_call() {
    let script = script([]);
    let models = Models::new(ModelParts { prices: prices(), ..parts(&script) });
    let alone = AttemptContext::alone();
    let first = models.ask(ask("q"), &alone).await.unwrap();
    let paid = Usage { calls: 1, cached: 0, paid_tokens: 42, nano_usd: 180, ..free() };
    assert_eq!((first.usage, first.cached, alone.spent()), (paid, false, paid));

    let alone = AttemptContext::alone();
    let second = models.ask(ask("q"), &alone).await.unwrap();
    assert_eq!((second.usage, second.cached, alone.spent()), (free(), true, free()));
    let told = |answer: &Answer| (answer.text.clone(), answer.model.clone(), answer.finish);
    assert_eq!(told(&second), told(&first));
    assert_eq!((second.provider.as_str(), script.calls()), ("openai", 1));

    models.ask(ask("another"), &alone).await.unwrap();
    models.ask(uncached("q"), &alone).await.unwrap();
    assert_eq!(script.calls(), 3);
}

#[tokio::test]
async fn what_the_provider_says_of_the_cost_counts_more() {
    let script = script([Ok(Reply { nano_usd: Some(7), ..reply() })]);
    let models = Models::new(ModelParts { prices: prices(), ..parts(&script) });
    let alone = AttemptContext::alone();
    assert_eq!(models.ask(uncached("q"), &alone).await.unwrap().usage.nano_usd, 7);
    assert_eq!(models.ask(uncached("q"), &alone).await.unwrap().usage.nano_usd, 180);
}

#[tokio::test]
async fn answers_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let script = script([]);
    for cached in [false, true] {
        let store = SqliteStore::open(dir.path(), &Options::default()).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let models = Models::new(ModelParts { store: Some(store), ..parts(&script) });
        let answer = models.ask(ask("q"), &AttemptContext::alone()).await.unwrap();
        assert_eq!(answer.cached, cached);
    }
    assert_eq!(script.calls(), 1);
}

#[tokio::test]
async fn a_cache_that_is_off_keeps_and_shares_nothing() {
    let script = script([]);
    let settings = ModelSettings { cache: None, ..ModelSettings::default() };
    let models = Models::new(ModelParts { settings, ..parts(&script) });
    let alone = AttemptContext::alone();
    let answers = join_all((0..3).map(|_| models.ask(ask("q"), &alone))).await;
    assert!(answers.iter().all(|answer| !answer.as_ref().unwrap().cached));
    assert_eq!(script.calls(), 3);
}

#[tokio::test]
async fn a_hundred_equal_questions_make_one_call() {
    let script = gated([]);
    let models = models(&script);
    let contexts: Vec<_> = (0..100).map(|_| context(Account::default())).collect();
    let asks = join_all(contexts.iter().map(|(_, context)| models.ask(ask("q"), context)));
    let look = async {
        // All have asked by the time this runs again.
        tokio::task::yield_now().await;
        let waits = contexts.iter().filter(|(ties, _)| !ties.reasons().is_empty()).count();
        assert_eq!((waits, script.calls()), (99, 1));
        script.gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(asks, look);
    let cached = answers.iter().filter(|answer| answer.as_ref().unwrap().cached).count();
    assert_eq!((cached, script.calls()), (99, 1));
    let mut spent = Usage::default();
    contexts.iter().for_each(|(_, context)| spent.add(&context.spent()));
    assert_eq!((spent.calls, spent.cached, spent.paid_tokens), (1, 99, 42));
}

#[tokio::test]
async fn one_who_leaves_hands_the_question_over() {
    let script = gated([]);
    let models = models(&script);
    let alone = AttemptContext::alone();
    let mut first = Box::pin(models.ask(ask("q"), &alone));
    let mut second = Box::pin(models.ask(ask("q"), &alone));
    let third = models.ask(ask("q"), &alone);
    assert!(poll_immediate(&mut first).await.is_none());
    assert!(poll_immediate(&mut second).await.is_none());
    drop(first);
    script.gate.add_permits(1);
    let (second, third) = tokio::join!(second, third);
    assert_eq!((second.unwrap().cached, third.unwrap().cached), (false, true));
    assert_eq!(script.calls(), 2);
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_waited_and_not_kept() {
    let failure = Failure::retryable(Code::HttpStatus, "OpenAI API error: 500 - no", None);
    let script = gated([Err(failure.clone())]);
    let models = models(&script);
    let alone = AttemptContext::alone();
    let asks = join_all((0..5).map(|_| models.ask(ask("q"), &alone)));
    let open = async { script.gate.add_permits(2) };
    let (answers, ()) = tokio::join!(asks, open);
    assert!(answers.iter().all(|answer| answer.as_ref() == Err(&failure)));
    assert_eq!(script.calls(), 1);
    assert!(!models.ask(ask("q"), &alone).await.unwrap().cached);
}

#[tokio::test]
async fn equal_questions_with_different_keys_share_what_is_cached_and_nothing_else() {
    let refused = Failure::fatal(Code::HttpStatus, "OpenAI API error: 401 - no");
    let script = gated([Err(refused.clone())]);
    let models = models(&script);
    let alone = AttemptContext::alone();
    let with = |key: &str| Ask { key: Some(Secret::new(key.into())), ..ask("q") };
    let open = async { script.gate.add_permits(9) };
    let (wrong, right, ()) =
        tokio::join!(models.ask(with("wrong"), &alone), models.ask(with("right"), &alone), open);
    assert_eq!(wrong, Err(refused));
    assert!(!right.unwrap().cached);
    assert!(models.ask(with("third"), &alone).await.unwrap().cached);
    let keys = ["wrong", "right"].map(|key| Some(key.to_owned()));
    assert_eq!(*script.keys.lock().unwrap(), keys);
}

#[tokio::test]
async fn a_run_that_may_not_spend_leaves_the_question_to_one_that_may() {
    let script = script([]);
    let models = models(&script);
    let spent = Usage { paid_tokens: 10, ..Usage::default() };
    let (_, poor) = context(Account { spent, budget: tokens(10), ..Account::default() });
    let (_, rich) = context(Account::default());
    let (refused, answered) =
        tokio::join!(models.ask(ask("q"), &poor), models.ask(ask("q"), &rich));
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, Code::BudgetExceeded);
    assert_eq!(refused.message, "The run's budget is used up: 10 of 10 tokens");
    assert!(!answered.unwrap().cached);
    assert!(models.ask(ask("q"), &poor).await.unwrap().cached, "what costs nothing is given");
}

#[tokio::test]
async fn a_workflow_has_a_budget_for_each_day() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let script = script([]);
    let workflow_budget = tokens(100);
    let settings = ModelSettings { workflow_budget, ..ModelSettings::default() };
    let parts = ModelParts { store: Some(store.clone()), settings, ..parts(&script) };
    let models = Models::new(parts);
    let account = |workflow: &str| {
        let start = Start {
            plan: "plan-1".into(),
            workflow: workflow.into(),
            namespace: "default".into(),
            input: json!({}).into(),
            ..Start::default()
        };
        Account { start: Some(Arc::new(start)), ..Account::default() }
    };
    let (_, ours) = context(account("sums"));
    models.ask(ask("q"), &ours).await.unwrap();
    let spend = |at: u64, tokens: u64| -> Append {
        let entries: Vec<JournalEntry> = vec![conformance::spent(at, tokens)];
        Append { entries, ..conformance::first(RunId::new()) }
    };
    store.append(spend(now_ms() - 86_400_000, 1_000)).await.unwrap();
    store.append(spend(now_ms(), 57)).await.unwrap();
    models.ask(ask("99 tokens so far"), &ours).await.unwrap();
    let refused = models.ask(ask("141 tokens so far"), &ours).await.unwrap_err();
    assert_eq!(
        refused.message,
        "The budget of workflow sums for today is used up: 141 of 100 tokens"
    );
    assert_eq!((refused.code, script.calls()), (Code::BudgetExceeded, 2));
    assert!(models.ask(ask("q"), &ours).await.unwrap().cached);
    let (_, theirs) = context(account("mail"));
    models.ask(ask("more"), &theirs).await.unwrap();
}

/// One provider whose key is missing.
struct Keyless(Arc<Script>);

impl Directory for Keyless {
    fn find(&self, _: &str) -> Result<Access, Failure> {
        let key = Err(Failure::fatal(Code::ModelKeyMissing, "Missing OPENAI_API_KEY"));
        Ok(Access { provider: self.0.clone(), default_model: None, key })
    }

    fn list(&self) -> Vec<Listed> {
        Vec::new()
    }
}

#[tokio::test]
async fn without_a_key_only_cached_answers_are_given() {
    let script = script([]);
    let directory = Arc::new(Keyless(script.clone()));
    let models = Models::new(ModelParts { directory, ..parts(&script) });
    let alone = AttemptContext::alone();
    let missing = models.ask(ask("q"), &alone).await.unwrap_err();
    assert_eq!(missing.message, "Missing OPENAI_API_KEY");
    let key = Some(Secret::new("of the request".into()));
    assert!(!models.ask(Ask { key, ..ask("q") }, &alone).await.unwrap().cached);
    assert!(models.ask(ask("q"), &alone).await.unwrap().cached);
}

#[tokio::test]
async fn a_secret_in_an_answer_is_neither_kept_for_others_nor_told_in_pieces() {
    let script = script([]);
    let models = models(&script);
    let ties = Arc::new(RunContext::new(RunId::new(), Arc::new(Semaphore::new(1))));
    let secret = Secret::new("answer".into());
    let with = |secrets| AttemptContext::new(ties.clone(), (0, 1), Account::default(), secrets);
    let mut told = ties.listen();
    models.ask(ask("q"), &with(vec![secret.clone()])).await.unwrap();
    assert!(told.try_recv().is_err());
    let other = models.ask(ask("q"), &AttemptContext::alone()).await.unwrap();
    assert_eq!((other.text.as_str(), other.cached), ("an [redacted]", true));
    // The key alone is the providers' to keep.
    let keyed = Ask { key: Some(secret.clone()), ..uncached("q") };
    models.ask(keyed, &with(vec![secret])).await.unwrap();
    assert_eq!(&*told.try_recv().unwrap().text, "an ");
}

#[tokio::test]
async fn pieces_are_told_to_who_wants_to_hear_them() {
    for (watched, stream, expected) in [
        (true, None, vec!["an ", "answer", "an answer"]),
        (true, Some(true), vec!["an ", "answer", "an answer"]),
        (true, Some(false), vec![]),
        (false, None, vec![]),
    ] {
        let models = models(&script([]));
        let (ties, context) = context(Account::default());
        let mut heard = ties.listen();
        if !watched {
            drop(std::mem::replace(
                &mut heard,
                Arc::new(RunContext::new(RunId::new(), Arc::new(Semaphore::new(1)))).listen(),
            ));
        }
        for cached in [false, true] {
            let answer = models.ask(Ask { stream, ..ask("q") }, &context).await.unwrap();
            assert_eq!(answer.cached, cached);
        }
        let mut pieces = Vec::new();
        while let Ok(token) = heard.try_recv() {
            pieces.push(token.text.to_string());
        }
        assert_eq!(pieces, expected, "{watched} {stream:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_asks_for_a_pause_gets_it_from_all() {
    let refused = |code, wait| Err(Failure::retryable(code, "no", wait));
    let script = script([
        refused(Code::HttpStatus, Some(7_000)),
        refused(Code::HttpStatus, None),
        refused(Code::Transport, Some(7_000)),
    ]);
    let models = models(&script);
    let alone = AttemptContext::alone();
    models.ask(uncached("a"), &alone).await.unwrap_err();
    for (code, least) in [(Code::HttpStatus, 7.0), (Code::Transport, 0.0)] {
        let began = Instant::now();
        assert_eq!(models.ask(uncached("b"), &alone).await.unwrap_err().code, code);
        let waited = began.elapsed().as_secs_f64();
        assert!((least..least + 0.1).contains(&waited), "{waited}");
    }
    assert!(models.ask(uncached("c"), &alone).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn tokens_used_count_against_the_limit() {
    let script = script([]);
    let limits = ModelLimits::parse("openai tokens=60").unwrap();
    let settings = ModelSettings { limits, ..ModelSettings::default() };
    let models = Models::new(ModelParts { settings, ..parts(&script) });
    let alone = AttemptContext::alone();
    let began = Instant::now();
    for _ in 0..3 {
        models.ask(uncached("a question of 35 letters or so, ..."), &alone).await.unwrap();
    }
    // The first takes 42 of 60, the second waits for none of its 8 and leaves a debt of 24.
    let waited = began.elapsed().as_secs_f64();
    assert!((32.0..33.1).contains(&waited), "{waited}");
}

#[tokio::test]
async fn an_unknown_provider_is_told_with_the_nearest() {
    let models = models(&script([]));
    let provider = Some("opnai".to_owned());
    let failure =
        models.ask(Ask { provider, ..ask("q") }, &AttemptContext::alone()).await.unwrap_err();
    assert_eq!(failure.message, "Unknown provider: opnai");
    assert_eq!(failure.hint(), Some("did you mean openai?"));
    let failure = Models::default().ask(ask("q"), &AttemptContext::alone()).await.unwrap_err();
    assert_eq!((failure.code, failure.hint.as_deref()), (Code::ProviderUnknown, None));
}

#[tokio::test]
async fn providers_are_listed_and_tested() {
    let script = script([]);
    let limits = ModelLimits::parse("openai concurrency=3").unwrap();
    let settings = ModelSettings { limits, ..ModelSettings::default() };
    let models = Models::new(ModelParts { settings, ..parts(&script) });
    let (listed, limits) = models.list().remove(0);
    assert_eq!((listed.name.as_str(), listed.key), ("openai", KeyState::NotNeeded));
    assert_eq!(limits.concurrency, 3);
    for _ in 0..2 {
        assert!(!models.test("openai", None).await.unwrap().cached);
    }
    models.test("openai", Some("another".into())).await.unwrap();
    let asked = script.models.lock().unwrap();
    assert_eq!(*asked, ["m", "m", "another"]);
}

/// What a hit takes. Run it with `--run-ignored all --no-capture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, proves nothing"]
async fn the_time_of_a_hit() {
    const HITS: u32 = 2_000;
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), &Options::default()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let models = Models::new(ModelParts { store: Some(store), ..parts(&script([])) });
    let (text, alone) = ("a question of some length, ".repeat(100), AttemptContext::alone());
    let put = std::time::Instant::now();
    models.ask(ask(&text), &alone).await.unwrap();
    let put = put.elapsed();
    let began = std::time::Instant::now();
    for _ in 0..HITS {
        assert!(models.ask(ask(&text), &alone).await.unwrap().cached);
    }
    let hit = began.elapsed() / HITS;
    let calls = std::time::Instant::now();
    for _ in 0..HITS {
        models.ask(uncached(&text), &alone).await.unwrap();
    }
    let call = calls.elapsed() / HITS;
    eprintln!("call with its put {put:?}, hit {hit:?}, all that stands around a call {call:?}");
}
