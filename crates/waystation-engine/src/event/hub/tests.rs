//! Watchers of journals that grow.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use tokio::sync::watch;
use waystation_core::entry::{Entry, Fact, Level};
use waystation_core::plan::{Dialect, Plan};

use super::*;
use crate::driver::tests::{node, plan};
use crate::limits::EVENTS_KEPT;
use crate::store::conformance::{completed, ending, finished, first, new_run, next, started};
use crate::store::memory::MemoryStore;
use crate::store::sqlite::{Options, SqliteStore};
use crate::store::{Append, NewRun, Status, Store};

/// A graph whose one node nobody runs.
fn graph() -> Vec<u8> {
    let plan = plan(vec![node(0, "set", json!({}))], true);
    serde_json::to_vec(&Plan { dialect: Dialect::Graph, ..plan }).unwrap()
}

pub(super) struct Scene {
    store: Arc<dyn Store>,
    pub(super) hub: Arc<Hub>,
    _closing: watch::Sender<bool>,
}

impl Scene {
    pub(super) fn new() -> Scene {
        Scene::on(Arc::new(MemoryStore::default()))
    }

    fn on(store: Arc<dyn Store>) -> Scene {
        let closing = watch::Sender::new(false);
        let plans = Arc::new(Plans::new());
        let hub = Hub::new(Arc::clone(&store), plans, closing.subscribe());
        Scene { store, hub: Arc::new(hub), _closing: closing }
    }

    /// A run of the workflow `w`.
    pub(super) async fn begin(&self) -> RunId {
        let run = RunId::new();
        let new_run = NewRun {
            workflow: "w".into(),
            dialect: Dialect::Graph,
            plan_json: graph().into(),
            ..new_run()
        };
        let entries = vec![started(json!({}))];
        let append = Append { entries, new_run: Some(new_run), ..first(run) };
        self.append(append).await;
        run
    }

    async fn append(&self, append: Append) {
        let run = append.run;
        self.store.append(append).await.unwrap();
        self.hub.published(run, Some("w"));
    }

    /// Lines for the log of a run, each an event.
    async fn log(&self, run: RunId, (batch, first_seq): (u32, u32), count: usize) {
        let line = |number: usize| {
            let message = format!("line {number}");
            Entry { at: 2, fact: Fact::Logged { node: None, level: Level::Info, message } }
        };
        self.append(next(run, batch, first_seq, (0..count).map(line).collect())).await;
    }

    /// Ends a run with three events.
    async fn end(&self, run: RunId, batch: u32, first_seq: u32) {
        let last = next(run, batch, first_seq, vec![completed(0, json!(1)), finished()]);
        self.append(ending(last, Status::Completed, 9)).await;
    }

    async fn watch(&self, topic: Topic, after: Option<Place>) -> Watcher {
        self.hub.watch(topic, after, Arc::new(|_| None)).await.unwrap()
    }
}

/// Up to so many events.
async fn take(watcher: &mut Watcher, most: usize) -> Vec<Arc<Told>> {
    let mut all = Vec::new();
    while all.len() < most {
        match watcher.next().await.unwrap() {
            Some(news) => all.extend(events_of(news)),
            None => break,
        }
    }
    all
}

fn events_of(news: Vec<News>) -> impl Iterator<Item = Arc<Told>> {
    news.into_iter().filter_map(|one| match one {
        News::Event(told) => Some(told),
        News::Token(_) => None,
    })
}

fn numbers(told: &[Arc<Told>]) -> Vec<u64> {
    told.iter().map(|told| told.place.row).collect()
}

#[test]
fn places_are_read_as_they_are_written() {
    for (text, row, index) in [("0", 0, 0), ("17", 17, 0), ("17-3", 17, 3)] {
        let place = Place { row, index };
        assert_eq!((text.parse(), place.to_string()), (Ok(place), text.to_owned()));
    }
    for wrong in ["", "-1", "1-", "x", "1-2-3", "99999999999999999999"] {
        assert!(wrong.parse::<Place>().is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn who_is_far_behind_misses_nothing() {
    let scene = Scene::new();
    let run = scene.begin().await;
    let many = EVENTS_KEPT * 3;
    scene.log(run, (1, 1), many).await;
    let mut watcher = scene.watch(Topic::Run(run), None).await;
    let told = take(&mut watcher, many + 1).await;
    assert_eq!(numbers(&told), (1..=many as u64 + 1).collect::<Vec<_>>());
    scene.end(run, 2, many as u32 + 1).await;
    let last = take(&mut watcher, 9).await;
    assert_eq!((last.len(), last[2].is_last), (3, true));
    assert!(watcher.next().await.unwrap().is_none());
    assert!(watcher.has_all().await);
}

#[tokio::test]
async fn a_workflow_may_be_watched_from_long_ago_and_goes_on_live() {
    let scene = Scene::new();
    let [one, two] = [scene.begin().await, scene.begin().await];
    scene.log(one, (1, 1), 3).await;
    scene.log(two, (1, 1), EVENTS_KEPT * 2).await;
    let topic = || Topic::Workflow("w".into());
    let mut now = scene.watch(topic(), None).await;
    let mut all = scene.watch(topic(), Some(Place::default())).await;
    let count = 5 + EVENTS_KEPT * 2;
    assert_eq!(take(&mut all, count).await.len(), count);
    scene.end(one, 2, 4).await;
    for watcher in [&mut now, &mut all] {
        let told = take(watcher, 3).await;
        assert!(told[2].text.contains("workflow_completed"), "{told:?}");
        assert!(!told[2].is_last, "another run may follow");
    }
}

#[tokio::test]
async fn what_nobody_watches_is_forgotten() {
    let scene = Scene::new();
    let run = scene.begin().await;
    let watchers =
        [scene.watch(Topic::Run(run), None).await, scene.watch(Topic::Run(run), None).await];
    assert_eq!(scene.hub.channels().len(), 1, "watched together");
    drop(watchers);
    while !scene.hub.channels().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.hub.watched.load(Ordering::Relaxed), 0);
}

/// Events by their numbers, pieces by their texts.
fn in_words(news: &[News]) -> Vec<String> {
    let word = |one: &News| match one {
        News::Event(told) => told.place.to_string(),
        News::Token(text) => {
            let event: serde_json::Value = serde_json::from_str(text).unwrap();
            event["data"]["text"].as_str().unwrap().to_owned()
        }
    };
    news.iter().map(word).collect()
}

#[tokio::test]
async fn pieces_of_answers_keep_their_places_among_events() {
    let scene = Scene::new();
    let run = scene.begin().await;
    let pieces = broadcast::Sender::new(64);
    let source = pieces.clone();
    let listen: Listen = Arc::new(move |_| Some(source.subscribe()));
    let mut late = scene.hub.watch(Topic::Run(run), None, Arc::clone(&listen)).await.unwrap();
    let mut prompt = scene.hub.watch(Topic::Run(run), None, listen).await.unwrap();
    let mut told = prompt.next().await.unwrap().unwrap();
    let tell = |text: &str, attempt| {
        let token = Token { node: 0, attempt, text: text.into() };
        assert!(pieces.send(token).is_ok(), "the channel listens");
    };
    let fact = Fact::NodeStarted { node: 0, attempt: 1 };
    scene.append(next(run, 1, 1, vec![Entry { at: 2, fact }])).await;
    // One that is told at once may be of a node that is not known to have begun.
    tell("a", 1);
    tell("b", 1);
    told.extend(until(&mut prompt, 3).await);
    scene.log(run, (2, 2), 2).await;
    told.extend(until(&mut prompt, 2).await);
    tell("of no attempt that is under way", 2);
    tell("c", 1);
    told.extend(until(&mut prompt, 1).await);
    scene.end(run, 3, 4).await;
    told.extend(until(&mut prompt, 2).await);
    assert_eq!(in_words(&told), ["1", "2", "a", "b", "3", "4", "c", "5", "6"]);
    let at_once = late.next().await.unwrap().unwrap();
    assert_eq!(in_words(&at_once), in_words(&told));
    assert!(late.next().await.unwrap().is_none());
}

/// At least so many of what comes next.
async fn until(watcher: &mut Watcher, count: usize) -> Vec<News> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(watcher.next().await.unwrap().unwrap());
    }
    all
}

/// Up to so many events, by one who stops waiting after ever other numbers of turns of other tasks.
async fn taken_in_bits(watcher: &mut Watcher, most: usize, first: u64) -> Vec<Arc<Told>> {
    let (mut all, mut patience) = (Vec::new(), first);
    while all.len() < most {
        let others_turns = async {
            for _ in 0..patience {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            news = watcher.next() => match news.unwrap() {
                Some(news) => all.extend(events_of(news)),
                None => break,
            },
            () = others_turns => {}
        }
        patience = (patience * 7 + 1) % 5_000;
    }
    all
}

/// Whoever watches also listens to a client, and so stops waiting for events again and again.
#[tokio::test]
async fn waiting_may_be_broken_off_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), &Options::default()).unwrap();
    let scene = Scene::on(Arc::new(store));
    let run = scene.begin().await;
    let many = EVENTS_KEPT * 2;
    scene.log(run, (1, 1), many).await;
    scene.end(run, 2, many as u32 + 1).await;
    let topics = [Topic::Run(run), Topic::Workflow("w".into())];
    let _held = scene.watch(topics[0].clone(), None).await;
    for (topic, first) in
        topics.iter().flat_map(|topic| (0..20_u64).map(move |first| (topic, first)))
    {
        let mut watcher = scene.watch(topic.clone(), Some(Place::default())).await;
        let told = taken_in_bits(&mut watcher, many + 4, first);
        let all = tokio::time::timeout(Duration::from_secs(60), told).await.expect("all events");
        assert_eq!(all.len(), many + 4, "{topic:?}");
        assert!(all.is_sorted_by(|a, b| a.place < b.place));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However often a client is cut off, and however the journal grows meanwhile.
    #[test]
    fn a_client_that_comes_again_gets_each_event_once_and_in_order(
        steps in prop::collection::vec((1usize..400, 0usize..500, any::<bool>()), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let scene = Scene::new();
            let run = scene.begin().await;
            let topics = [Topic::Run(run), Topic::Workflow("w".into())];
            let mut got: [Vec<Arc<Told>>; 2] = Default::default();
            let (mut seq, mut batch) = (1, 1);
            let mut held = None;
            for (grows, takes, stays) in steps {
                scene.log(run, (batch, seq), grows).await;
                batch += 1;
                seq += grows as u32;
                for (topic, got) in topics.iter().zip(&mut got) {
                    let place = got.last().map(|last| last.place).unwrap_or_default();
                    let mut watcher = scene.watch(topic.clone(), Some(place)).await;
                    let left = seq as usize - got.len();
                    got.extend(take(&mut watcher, takes.min(left)).await);
                    // A channel that lives on has other events at hand than one that is made anew.
                    held = stays.then_some(watcher).or(held);
                }
            }
            scene.end(run, batch, seq).await;
            for (topic, got) in topics.iter().zip(&mut got) {
                let place = got.last().map(|last| last.place).unwrap_or_default();
                let mut watcher = scene.watch(topic.clone(), Some(place)).await;
                let left = seq as usize + 3 - got.len();
                got.extend(take(&mut watcher, left).await);
                prop_assert!(got.is_sorted_by(|a, b| a.place < b.place));
                let ids = got.iter().map(|told| {
                    serde_json::from_str::<serde_json::Value>(&told.text).unwrap()["id"].as_u64()
                });
                prop_assert!(ids.eq((1..=u64::from(seq) + 3).map(Some)));
            }
            Ok(())
        })?;
    }
}
