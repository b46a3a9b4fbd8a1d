//! Events for those who watch a run or a workflow: made once, however many watch.
//!
//! Each watched topic has one task that reads the journal and keeps its latest events; watchers take them
//! from there, each at its own pace, and nothing is queued for anybody. Who is further behind than that
//! reads the journal itself, a few at a time.
//!
//! - `replay`: journals into events, from any place on
//! - `channel`: the latest events of a topic

mod channel;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::Instant;
use waystation_core::dialect::graph::event::Event;
use waystation_core::error::{Code, Error};

use self::channel::{Channel, Kept, Piece, Tail};
pub(crate) use self::replay::FeedReader;
use self::replay::{Replay, Sources};
use crate::driver::plans::Plans;
use crate::id::{RunId, now_ms};
use crate::limits::{EVENT_PAGE, EVENT_READERS};
use crate::node::context::{Token, next_token};
use crate::store::Store;

/// What each watcher of a topic adds to the time between two deliveries to one of them; what happens meanwhile
/// is delivered together. So all watchers of a topic take less than a tenth of a core, however many they are:
/// a delivery takes 25 to 45 microseconds. Pieces of answers come with the events.
const PACE_EACH: Duration = Duration::from_micros(500);
/// The pause after the store could not be read.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// What can be watched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// One run.
    Run(RunId),
    /// All runs of a stored workflow, but for those within others.
    Workflow(Arc<str>),
}

/// A place among the events of a topic. Of a run it is the number of an event; of a workflow a place in the
/// feed and an event within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    row: u64,
    index: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index {
            0 => write!(f, "{}", self.row),
            index => write!(f, "{}-{index}", self.row),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let (row, index) = text.split_once('-').unwrap_or((text, "0"));
        let place = row.parse().ok().zip(index.parse().ok());
        place
            .map(|(row, index)| Place { row, index })
            .ok_or_else(|| format!("{text:?} is not the id of an event"))
    }
}

/// An event, ready to be sent.
#[derive(Debug)]
pub struct Told {
    /// Where it stands.
    pub place: Place,
    /// As JSON.
    pub text: Arc<str>,
    /// Whether nothing follows it in its topic.
    pub is_last: bool,
}

/// What a watcher gets.
#[derive(Clone)]
pub enum News {
    /// The next event.
    Event(Arc<Told>),
    /// A piece of a model's answer as it comes, as JSON. It is live only, and has no place.
    Token(Arc<str>),
}

/// Listens to the pieces of models' answers of a run in memory.
pub(crate) type Listen = Arc<dyn Fn(RunId) -> Option<broadcast::Receiver<Token>> + Send + Sync>;

/// All topics that are watched.
pub(crate) struct Hub {
    sources: Sources,
    channels: Mutex<HashMap<Topic, Arc<Channel>>>,
    /// How many those are, to spare every append a look at them.
    watched: AtomicUsize,
    /// Places for those who read the journal themselves.
    readers: Arc<Semaphore>,
    closing: watch::Receiver<bool>,
    /// Rung when the feed has grown, for the one who reads all of it.
    pub(crate) fed: Notify,
}

impl Hub {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        plans: Arc<Plans>,
        closing: watch::Receiver<bool>,
    ) -> Hub {
        Hub {
            sources: Sources { store, plans },
            channels: Mutex::default(),
            watched: AtomicUsize::new(0),
            readers: Arc::new(Semaphore::new(EVENT_READERS)),
            closing,
            fed: Notify::new(),
        }
    }

    /// Where the feed is.
    pub(crate) fn store(&self) -> &dyn Store {
        &*self.sources.store
    }

    /// The next row of the whole feed, and its events.
    pub(crate) async fn next_of_feed(
        &self,
        reader: &mut FeedReader,
    ) -> Result<Option<(u64, Vec<Event>)>, Error> {
        reader.next(&self.sources, None).await
    }

    fn channels(&self) -> MutexGuard<'_, HashMap<Topic, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that something about a run has become durable.
    pub(crate) fn published(&self, run: RunId, workflow: Option<&str>) {
        if workflow.is_some() {
            self.fed.notify_one();
        }
        if self.watched.load(Ordering::Acquire) == 0 {
            return;
        }
        let channels = self.channels();
        let of_workflow =
            workflow.and_then(|workflow| channels.get(&Topic::Workflow(workflow.into())));
        let found = channels.get(&Topic::Run(run)).into_iter().chain(of_workflow);
        found.for_each(|channel| channel.bell.notify_one());
    }

    /// Watches a topic from behind a place on; without one, a run from its beginning and a workflow from
    /// now on.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        topic: Topic,
        after: Option<Place>,
        listen: Listen,
    ) -> Result<Watcher, Error> {
        let now = match &topic {
            Topic::Run(_) => Place::default(),
            // A row has its first event at index 0, and nothing has a greater one than the last row's.
            Topic::Workflow(_) => {
                Place { row: self.sources.store.feed_end().await?, index: u32::MAX }
            }
        };
        let place = after.unwrap_or(now);
        let (channel, tail) = self.channel(topic, now, listen);
        let tokens = channel.tokens.subscribe();
        let (hub, rests_until) = (Arc::clone(self), Instant::now());
        Ok(Watcher {
            hub,
            channel,
            tail,
            tokens,
            place,
            rests_until,
            piece: None,
            room: None,
            behind: None,
        })
    }

    /// The channel of a topic, made if nobody watches it yet.
    fn channel(
        self: &Arc<Self>,
        topic: Topic,
        from: Place,
        listen: Listen,
    ) -> (Arc<Channel>, watch::Receiver<Tail>) {
        let mut channels = self.channels();
        if let Some(channel) = channels.get(&topic) {
            return (Arc::clone(channel), channel.tail.subscribe());
        }
        let channel = Arc::new(Channel::new(topic.clone(), from));
        let tail = channel.tail.subscribe();
        channels.insert(topic, Arc::clone(&channel));
        self.watched.fetch_add(1, Ordering::Release);
        tokio::spawn(Arc::clone(self).follow(Arc::clone(&channel), from, listen));
        (channel, tail)
    }

    /// Keeps a channel's latest events until nobody watches it.
    async fn follow(self: Arc<Self>, channel: Arc<Channel>, from: Place, listen: Listen) {
        let mut replay = Replay::new(channel.topic.clone(), from);
        let mut tokens = None;
        let mut is_read = Ok(());
        let mut has_more = true;
        loop {
            if tokens.is_none()
                && let Topic::Run(run) = channel.topic
            {
                // Before the journal is read, so that the pieces of no later node are missed.
                tokens = listen(run);
            }
            if std::mem::take(&mut has_more) {
                is_read = self.read_on(&channel, &mut replay).await;
                if let Err(error) = &is_read {
                    tracing::warn!(%error, topic = ?channel.topic, "events could not be read");
                    channel.tail.send_modify(|tail| tail.trouble = Some(error.clone()));
                }
            }
            tokio::select! {
                // Pieces first: what the journal has of their node since is the whole answer.
                biased;
                token = next_token(&mut tokens) => {
                    // The journal tells of a node before its model is asked.
                    if !replay.has_begun(&token) {
                        is_read = self.read_on(&channel, &mut replay).await;
                    }
                    channel.tell_token(replay.token(&token, now_ms()));
                }
                () = channel.bell.notified() => has_more = true,
                () = tokio::time::sleep(STORE_PAUSE), if is_read.is_err() => has_more = true,
                () = channel.tail.closed() => if self.close(&channel) { return },
            }
        }
    }

    /// Keeps all events that there are by now.
    async fn read_on(&self, channel: &Channel, replay: &mut Replay) -> Result<(), Error> {
        loop {
            let events = replay.page(&self.sources, EVENT_PAGE).await?;
            let is_all = events.is_empty();
            channel.keep(events);
            if is_all {
                channel.tail.send_modify(|tail| (tail.is_loaded, tail.trouble) = (true, None));
                return Ok(());
            }
        }
    }

    /// Forgets a channel that nobody watches; answers whether that is so.
    fn close(&self, channel: &Channel) -> bool {
        let mut channels = self.channels();
        let is_unwatched = channel.tail.receiver_count() == 0;
        if is_unwatched && channels.remove(&channel.topic).is_some() {
            self.watched.fetch_sub(1, Ordering::Release);
        }
        is_unwatched
    }
}

fn closing_down() -> Error {
    Error::new(Code::ShuttingDown, "the server is shutting down; come again soon")
}

/// Somebody who watches a topic.
pub struct Watcher {
    hub: Arc<Hub>,
    channel: Arc<Channel>,
    tail: watch::Receiver<Tail>,
    tokens: broadcast::Receiver<Piece>,
    /// The next piece of an answer, once it has come.
    piece: Option<Piece>,
    /// The last event that it has got.
    place: Place,
    /// Before this moment it gets no further events.
    rests_until: Instant,
    /// Its turn among those who want to read the journal; it keeps it if it is interrupted.
    room: Option<BoxFuture<'static, Result<OwnedSemaphorePermit, AcquireError>>>,
    /// Reads the journal for it, where the channel does not reach back far enough.
    behind: Option<(Box<Replay>, OwnedSemaphorePermit)>,
}

impl Watcher {
    /// The last event that it has got.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether the topic has ended with the event that it has got last.
    pub async fn has_all(&mut self) -> bool {
        // The channel is there as long as it is watched.
        let is_read = |tail: &Tail| tail.is_loaded || tail.trouble.is_some();
        let loaded = self.tail.wait_for(is_read).await;
        loaded.is_ok_and(|tail| tail.ended_at.is_some_and(|end| end <= self.place))
    }

    /// What comes next, all that there is by now up to a bound; nothing after the end of a run. Dropping the
    /// future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Vec<News>>, Error> {
        loop {
            if self.behind.is_some() {
                // What has been let go by now was durable, and is among what is read.
                let floor = self.channel.floor();
                let page = self.page_behind().await?;
                if let Some(last) = page.last() {
                    self.got(last.place);
                    return Ok(Some(page.into_iter().map(News::Event).collect()));
                }
                self.behind = None;
                self.place = self.place.max(floor);
            }
            tokio::time::sleep_until(self.rests_until).await;
            let tail = self.tail.borrow_and_update().clone();
            if let Some(error) = tail.trouble {
                return Err(error);
            }
            if tail.is_loaded {
                match self.channel.after(self.place, EVENT_PAGE) {
                    Kept::All(events) => {
                        let news = self.in_order(events);
                        if !news.is_empty() {
                            return Ok(Some(news));
                        }
                        if self.piece.is_some() {
                            // The event before it has been kept meanwhile.
                            continue;
                        }
                        if tail.ended_at.is_some_and(|end| end <= self.place) {
                            return Ok(None);
                        }
                    }
                    Kept::Some => {
                        self.fall_behind().await;
                        continue;
                    }
                }
            }
            let mut closing = self.hub.closing.clone();
            tokio::select! {
                // An engine that is gone has closed.
                _ = closing.wait_for(|closing| *closing) => return Err(closing_down()),
                // The channel is there as long as it is watched.
                _ = self.tail.changed() => {}
                piece = self.tokens.recv() => self.piece = piece.ok(),
            }
        }
    }

    /// Events, each piece of an answer behind the one that it was told behind. What was told before one of these
    /// events is looked for after them, and so is there by now.
    fn in_order(&mut self, events: Vec<Arc<Told>>) -> Vec<News> {
        let end = events.last().map_or(self.place, |last| last.place);
        let mut news = Vec::with_capacity(events.len());
        let mut events = events.into_iter().peekable();
        while let Some(piece) = self.next_piece() {
            if piece.after > end {
                // Of an event that comes with the next ones.
                self.piece = Some(piece);
                break;
            }
            let before = std::iter::from_fn(|| events.next_if(|event| event.place <= piece.after));
            news.extend(before.map(News::Event));
            news.push(News::Token(piece.text));
        }
        news.extend(events.map(News::Event));
        if !news.is_empty() {
            self.got(end);
        }
        news
    }

    /// The next piece that is not behind what has been told.
    fn next_piece(&mut self) -> Option<Piece> {
        loop {
            let piece = match self.piece.take() {
                Some(piece) => piece,
                None => match self.tokens.try_recv() {
                    Ok(piece) => piece,
                    Err(TryRecvError::Lagged(_)) => continue,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
                },
            };
            if piece.after >= self.place {
                return Some(piece);
            }
        }
    }

    /// Reads the journal from here on, once there is room for one more who does.
    async fn fall_behind(&mut self) {
        let readers = &self.hub.readers;
        let room = self.room.get_or_insert_with(|| Box::pin(Arc::clone(readers).acquire_owned()));
        let permit = room.await;
        self.room = None;
        // The semaphore is never closed.
        if let Ok(permit) = permit {
            let replay = Replay::new(self.channel.topic.clone(), self.place);
            self.behind = Some((Box::new(replay), permit));
        }
    }

    async fn page_behind(&mut self) -> Result<Vec<Arc<Told>>, Error> {
        let Some((replay, _)) = &mut self.behind else { return Ok(Vec::new()) };
        let page = replay.page(&self.hub.sources, EVENT_PAGE).await?;
        Ok(page.into_iter().map(Arc::new).collect())
    }

    fn got(&mut self, place: Place) {
        let watchers = u32::try_from(self.channel.tail.receiver_count()).unwrap_or(u32::MAX);
        self.rests_until = Instant::now() + PACE_EACH.saturating_mul(watchers);
        self.place = place;
    }
}
