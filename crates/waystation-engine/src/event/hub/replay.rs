//! Journals into events, from any place on, in pages.

use std::collections::VecDeque;
use std::sync::Arc;

use waystation_core::dialect::graph::event::{Event, Projector};
use waystation_core::entry::Entry;
use waystation_core::error::Error;

use super::{Place, Told, Topic};
use crate::driver::plans::Plans;
use crate::id::RunId;
use crate::limits::{EVENT_BYTES_KEPT, EVENT_RUNS_OPEN};
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
}

impl OneRun {
    /// Nothing, if the run is gone.
    async fn open(sources: &Sources, id: RunId) -> Result<Option<OneRun>, Error> {
        let Some(row) = sources.store.run(id).await? else { return Ok(None) };
        let definition = sources.plans.stored(&*sources.store, &row.plan).await?;
        let projector = Projector::new(Arc::clone(&definition.program), &id.to_string());
        Ok(Some(OneRun { id, projector, ahead: VecDeque::new() }))
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
    /// Runs under way, the least used first.
    open: VecDeque<OneRun>,
}

/// Rows of the feed that are read at once.
const ROWS: usize = 64;

impl FeedReader {
    /// Behind a row.
    pub(crate) fn new(row: u64) -> FeedReader {
        FeedReader { row, rows: VecDeque::new(), open: VecDeque::new() }
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
        let Some(row) = self.rows.front().copied() else { return Ok(None) };
        let events = self.events(sources, row).await?;
        self.rows.pop_front();
        self.row = row.id;
        Ok(Some((row.id, events)))
    }

    async fn events(&mut self, sources: &Sources, row: FeedRow) -> Result<Vec<Event>, Error> {
        let known = self.open.iter().position(|run| run.id == row.run);
        let run = match known.and_then(|place| self.open.remove(place)) {
            // One that is ahead of the row has been read from another place on.
            Some(run) if run.projector.entries_seen() <= row.first_seq => Some(run),
            _ => OneRun::open(sources, row.run).await?,
        };
        let Some(mut run) = run else { return Ok(Vec::new()) };
        let mut events = Vec::new();
        let end = row.first_seq + row.count;
        while run.projector.entries_seen() < end {
            if run.projector.entries_seen() <= row.first_seq {
                events.clear();
            }
            if !run.step(sources, &mut events).await? {
                break;
            }
        }
        let is_over = events.last().is_some_and(Event::is_last);
        if !is_over {
            self.open.push_back(run);
            if self.open.len() > EVENT_RUNS_OPEN {
                self.open.pop_front();
            }
        }
        Ok(events)
    }
}
