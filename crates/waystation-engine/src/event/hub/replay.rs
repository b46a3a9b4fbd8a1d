//! Journals into events, from any place on, in pages.

use std::collections::VecDeque;
use std::sync::Arc;

use lru::LruCache;
use waystation_core::dialect::graph::event::{Event, Projector};
use waystation_core::entry::Entry;
use waystation_core::error::Error;
use waystation_core::extract::bytes_about;

use super::{Place, Told, Topic};
use crate::driver::plans::Plans;
use crate::id::RunId;
use crate::limits::{EVENT_BYTES_KEPT, EVENT_RUNS_BYTES, EVENT_RUNS_OPEN};
use crate::node::context::Token;
use crate::store::{FeedRow, Store};

/// Where journals and plans are.
pub(super) struct Sources {
    pub(super) store: Arc<dyn Store>,
    pub(super) plans: Arc<Plans>,
}

/// The events of one run so far, and what is read and not yet told.
struct OneRun {
    id: RunId,
    projector: Projector,
    ahead: VecDeque<Entry>,
    /// What it takes in memory, roughly.
    bytes: usize,
}

/// What a run takes beside the values in its events, roughly.
const RUN_BYTES: usize = 2 << 10;

impl OneRun {
    /// Nothing, if the run is gone.
    async fn open(sources: &Sources, id: RunId) -> Result<Option<OneRun>, Error> {
        let Some(row) = sources.store.run(id).await? else { return Ok(None) };
        Ok(Some(OneRun::of_plan(sources, id, &row.plan).await?))
    }

    async fn of_plan(sources: &Sources, id: RunId, plan: &str) -> Result<OneRun, Error> {
        let definition = sources.plans.stored(&*sources.store, plan).await?;
        let projector = Projector::new(Arc::clone(&definition.program), &id.to_string());
        Ok(OneRun { id, projector, ahead: VecDeque::new(), bytes: RUN_BYTES })
    }

    /// One that has seen all before a row. Nothing, if the run is gone.
    async fn before(sources: &Sources, row: &FeedRow) -> Result<Option<OneRun>, Error> {
        if row.entries.is_empty() {
            return Ok(None);
        }
        if let Some(plan) = &row.plan {
            return Ok(Some(OneRun::of_plan(sources, row.run, plan).await?));
        }
        let Some(mut run) = OneRun::open(sources, row.run).await? else { return Ok(None) };
        let mut events = Vec::new();
        while run.projector.entries_seen() < row.first_seq {
            if !run.step(sources, &mut events).await? {
                return Ok(None);
            }
            run.weigh(&events);
            events.clear();
        }
        run.ahead.clear();
        Ok(Some(run))
    }

    fn weigh(&mut self, events: &[Event]) {
        self.bytes += events.iter().map(|event| bytes_about(&event.data)).sum::<usize>();
    }

    /// Adds the events of the next entry; answers whether there was one.
    async fn step(&mut self, sources: &Sources, events: &mut Vec<Event>) -> Result<bool, Error> {
        if self.ahead.is_empty() {
            let seen = self.projector.entries_seen();
            self.ahead = sources.store.journal(self.id, seen).await?.into();
        }
        let Some(entry) = self.ahead.pop_front() else { return Ok(false) };
        self.projector.apply(&entry, events);
        Ok(true)
    }
}

/// Runs under way, as many as there is room for: the least used make room.
struct OpenRuns {
    runs: LruCache<RunId, OneRun>,
    bytes: usize,
}

impl OpenRuns {
    fn new() -> OpenRuns {
        OpenRuns { runs: LruCache::unbounded(), bytes: 0 }
    }

    /// The events of a row.
    async fn events(&mut self, sources: &Sources, row: &FeedRow) -> Result<Vec<Event>, Error> {
        let known = self.take(row.run);
        let mut run = match known.filter(|run| run.projector.entries_seen() == row.first_seq) {
            Some(run) => run,
            None => match OneRun::before(sources, row).await? {
                Some(run) => run,
                None => return Ok(Vec::new()),
            },
        };
        let mut events = Vec::new();
        row.entries.iter().for_each(|entry| run.projector.apply(entry, &mut events));
        if !events.last().is_some_and(Event::is_last) {
            run.weigh(&events);
            self.keep(run);
        }
        Ok(events)
    }

    fn take(&mut self, id: RunId) -> Option<OneRun> {
        let run = self.runs.pop(&id)?;
        self.bytes -= run.bytes;
        Some(run)
    }

    /// The one that is kept last stays, so that a large run is not read again for each of its rows.
    fn keep(&mut self, run: OneRun) {
        self.bytes += run.bytes;
        self.runs.put(run.id, run);
        let is_too_much =
            |open: &OpenRuns| open.runs.len() > EVENT_RUNS_OPEN || open.bytes > EVENT_RUNS_BYTES;
        while is_too_much(self) && self.runs.len() > 1 {
            let Some((_, run)) = self.runs.pop_lru() else { return };
            self.bytes -= run.bytes;
        }
    }
}

/// The events of a topic behind a place.
pub(super) struct Replay {
    topic: Topic,
    after: Place,
    run: Option<OneRun>,
    feed: FeedReader,
}

impl Replay {
    pub(super) fn new(topic: Topic, after: Place) -> Replay {
        // A row may be told in part.
        let feed = FeedReader::new(after.row.saturating_sub(1));
        Replay { topic, after, run: None, feed }
    }

    /// The next events, so many at once or a few more; none when there are none by now. Whoever waits for
    /// it may stop waiting: nothing is waited for with events in hand, which would be lost then.
    pub(super) async fn page(
        &mut self,
        sources: &Sources,
        limit: usize,
    ) -> Result<Vec<Told>, Error> {
        match self.topic.clone() {
            Topic::Run(id) => self.page_of_run(sources, id, limit).await,
            Topic::Workflow(workflow) => self.page_of_feed(sources, &workflow).await,
        }
    }

    async fn page_of_run(
        &mut self,
        sources: &Sources,
        id: RunId,
        limit: usize,
    ) -> Result<Vec<Told>, Error> {
        if self.run.is_none() {
            self.run = OneRun::open(sources, id).await?;
        }
        let mut page = Page::default();
        let mut events = Vec::new();
        while let Some(run) = &mut self.run
            && !page.is_full(limit)
            && (page.told.is_empty() || !run.ahead.is_empty())
            && run.step(sources, &mut events).await?
        {
            for event in events.drain(..) {
                let place = Place { row: event.id.unwrap_or(0).into(), index: 0 };
                if place > self.after {
                    self.after = place;
                    page.add(place, &event, event.is_last());
                }
            }
        }
        Ok(page.told)
    }

    async fn page_of_feed(
        &mut self,
        sources: &Sources,
        workflow: &str,
    ) -> Result<Vec<Told>, Error> {
        let mut page = Page::default();
        while page.told.is_empty() {
            let Some((row, events)) = self.feed.next(sources, Some(workflow)).await? else { break };
            for (index, event) in (0..).zip(&events) {
                let place = Place { row, index };
                if place > self.after {
                    self.after = place;
                    // Another run may follow.
                    page.add(place, event, false);
                }
            }
        }
        Ok(page.told)
    }

    /// Whether the start of the attempt that gave a piece has been told.
    pub(super) fn has_begun(&self, token: &Token) -> bool {
        let projector = self.run.as_ref().map(|run| &run.projector);
        projector.is_some_and(|projector| projector.has_begun(token.node, token.attempt))
    }

    /// A piece of a model's answer as an event.
    pub(super) fn token(&self, token: &Token, at: u64) -> Option<Arc<str>> {
        let run = self.run.as_ref()?;
        let event = run.projector.token(token.node, token.attempt, &token.text, at)?;
        Some(event.to_json().to_string().into())
    }
}

#[derive(Default)]
struct Page {
    told: Vec<Told>,
    bytes: usize,
}

impl Page {
    fn is_full(&self, limit: usize) -> bool {
        self.told.len() >= limit || self.bytes >= EVENT_BYTES_KEPT
    }

    fn add(&mut self, place: Place, event: &Event, is_last: bool) {
        let text: Arc<str> = event.to_json().to_string().into();
        self.bytes += text.len();
        self.told.push(Told { place, text, is_last });
    }
}

/// Reads the feed, row by row.
pub(crate) struct FeedReader {
    /// The last row that was read.
    row: u64,
    rows: VecDeque<FeedRow>,
    open: OpenRuns,
}

/// Rows of the feed that are read at once.
const ROWS: usize = 256;

impl FeedReader {
    /// Behind a row.
    pub(crate) fn new(row: u64) -> FeedReader {
        FeedReader { row, rows: VecDeque::new(), open: OpenRuns::new() }
    }

    /// The next row and its events, none of which the journal of a run that is gone has.
    pub(super) async fn next(
        &mut self,
        sources: &Sources,
        workflow: Option<&str>,
    ) -> Result<Option<(u64, Vec<Event>)>, Error> {
        if self.rows.is_empty() {
            self.rows = sources.store.feed(self.row, workflow, ROWS).await?.into();
        }
        let Some(row) = self.rows.front() else { return Ok(None) };
        let (id, events) = (row.id, self.open.events(sources, row).await?);
        self.rows.pop_front();
        self.row = id;
        Ok(Some((id, events)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::hub::tests::Scene;

    async fn open(scene: &Scene, bytes: usize) -> OneRun {
        let id = scene.begin().await;
        OneRun { bytes, ..OneRun::open(&scene.hub.sources, id).await.unwrap().unwrap() }
    }

    #[tokio::test]
    async fn runs_are_kept_as_long_as_there_is_room_and_the_last_one_in_any_case() {
        let scene = Scene::new();
        let mut kept = OpenRuns::new();
        let half = EVENT_RUNS_BYTES / 2;
        let [one, two, three] =
            [open(&scene, half).await, open(&scene, half).await, open(&scene, 1).await];
        let ids = [one.id, two.id, three.id];
        kept.keep(one);
        kept.keep(two);
        let one = kept.take(ids[0]).unwrap();
        kept.keep(one);
        kept.keep(three);
        assert_eq!(ids.map(|id| kept.runs.contains(&id)), [true, false, true]);
        let large = open(&scene, half * 5).await;
        let id = large.id;
        kept.keep(large);
        assert_eq!((kept.runs.len(), kept.bytes), (1, half * 5));
        assert!(kept.take(id).is_some());
        assert_eq!(kept.bytes, 0);
        for _ in 0..=EVENT_RUNS_OPEN {
            kept.keep(open(&scene, 1).await);
        }
        assert_eq!((kept.runs.len(), kept.bytes), (EVENT_RUNS_OPEN, EVENT_RUNS_OPEN));
    }
}
