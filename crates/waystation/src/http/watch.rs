//! A chain as it goes, as server-sent events: its status whenever it has changed, and the pieces of
//! models' answers as they come.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use axum::response::sse::Event;
use futures_util::{Stream, StreamExt, pin_mut, stream};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use waystation_core::dialect::instructions::reply::status;
use waystation_core::entry::Entry;
use waystation_core::error::{Code, Error};
use waystation_core::run::Run;
use waystation_engine::driver::Engine;
use waystation_engine::id::RunId;
use waystation_engine::limits::TOKENS_BEHIND;
use waystation_engine::node::context::{Token, next_token};

use super::Context;
use super::access::Caller;
use super::room::Room;
use super::sse;

/// The least time between two statuses: what changes meanwhile is told at once.
const PACE: Duration = Duration::from_millis(100);
/// Events that wait for a slow reader; the watcher then waits, and the next status tells all it missed.
/// A status may be large, so that there is never a second one in memory.
const EVENTS_WAITING: usize = 1;
/// How long the watcher waits for a reader; then the stream ends.
const READER_PATIENCE: Duration = Duration::from_secs(30);
/// How often a run that sleeps in the store is looked at.
const ASLEEP: Duration = Duration::from_secs(1);

/// The stream of a run that has come this far. Refuses when too many are watched.
pub(super) fn stream(
    context: &Context,
    caller: Caller,
    id: RunId,
    run: Run,
) -> Result<Response, Error> {
    let place = context.watchers.clone().try_acquire_owned();
    let place = place.map_err(|_| Error::new(Code::Busy, "Too many runs are being watched"))?;
    let (reader, receiver) = Reader::new(context.room.clone());
    let engine = context.app.engine.clone();
    // From now on: whoever is told the first status must not miss what follows it.
    let tokens = engine.tokens(id);
    let watcher = Watcher { engine, id, run, tokens, results_told: 0, reader };
    let lapse = caller.lapse(Arc::clone(&context.app.auth));
    tokio::spawn(async move {
        tokio::select! {
            () = watcher.work(place) => {}
            _ = lapse => {}
        }
    });
    Ok(sse::reply(events(receiver)))
}

/// The room that an event takes is given back when the next one is asked for.
fn events(receiver: mpsc::Receiver<Told>) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold((receiver, None), |(mut receiver, sent)| async {
        drop(sent);
        let (event, taken) = receiver.recv().await?;
        Some((Ok(event), (receiver, taken)))
    })
}

/// An event, and the room that it takes.
type Told = (Event, Option<OwnedSemaphorePermit>);

/// The reader is gone, or reads too slowly.
#[derive(Debug)]
struct Gone;

/// How a visit at a run in memory ended.
enum Visit {
    Ended,
    /// It is in the store until its next moment comes.
    Asleep,
    /// The process goes down, or the store failed: whoever watches may come again.
    Lost,
}

/// Takes events to who reads them.
struct Reader {
    events: mpsc::Sender<Told>,
    room: Room,
}

impl Reader {
    fn new(room: Room) -> (Reader, mpsc::Receiver<Told>) {
        let (events, receiver) = mpsc::channel(EVENTS_WAITING);
        (Reader { events, room }, receiver)
    }

    /// Tells an event, which is made only when there is room for it.
    async fn tell(&self, name: &str, body: impl FnOnce() -> Value) -> Result<(), Gone> {
        let place = timeout(READER_PATIENCE, self.events.reserve()).await;
        let place = place.map_err(|_| Gone)?.map_err(|_| Gone)?;
        let data = body().to_string();
        let taken = self.room.take(&data).map_err(|_| Gone)?;
        place.send((Event::default().event(name).data(data), taken));
        Ok(())
    }
}

struct Watcher {
    engine: Engine,
    id: RunId,
    run: Run,
    tokens: Option<broadcast::Receiver<Token>>,
    /// Steps whose results the last status told: their pieces are of no use any more.
    results_told: usize,
    reader: Reader,
}

impl Watcher {
    async fn work(mut self, _place: OwnedSemaphorePermit) {
        if self.tell_status().await.is_err() {
            return;
        }
        while self.run.outcome.is_none() {
            match self.visit().await {
                Ok(Visit::Asleep) => sleep(ASLEEP).await,
                Ok(Visit::Ended | Visit::Lost) | Err(Gone) => return,
            }
            // Before the journal is read, so that the pieces of no later step are missed.
            self.tokens = self.engine.tokens(self.id);
        }
    }

    /// Tells all that happens while the run is in memory.
    async fn visit(&mut self) -> Result<Visit, Gone> {
        let engine = self.engine.clone();
        let entries = engine.follow(self.id, self.run.next_seq);
        pin_mut!(entries);
        let (mut told_at, mut is_stale) = (Instant::now() - PACE, false);
        loop {
            tokio::select! {
                biased;
                () = self.reader.events.closed() => return Err(Gone),
                batch = entries.next() => match batch {
                    Some(Ok(batch)) => {
                        self.apply(&batch);
                        is_stale = true;
                    }
                    Some(Err(_)) => return Ok(Visit::Lost),
                    None => break,
                },
                () = sleep_until(told_at + PACE), if is_stale => {
                    self.catch_up().await?;
                    (told_at, is_stale) = (Instant::now(), false);
                }
                token = next_token(&mut self.tokens) => {
                    // The journal tells of a step before its model is asked; this reader may be behind.
                    while self.is_ahead(&token) {
                        let Some(Ok(batch)) = entries.next().await else { break };
                        self.apply(&batch);
                        is_stale = true;
                    }
                    self.tell_token(&token).await?;
                }
            }
        }
        if is_stale {
            self.catch_up().await?;
        }
        Ok(if self.run.outcome.is_some() { Visit::Ended } else { Visit::Asleep })
    }

    fn apply(&mut self, batch: &[Entry]) {
        for entry in batch {
            self.run.apply(entry, &mut Vec::new());
        }
    }

    /// Tells the pieces that were there before the status, and then the status.
    async fn catch_up(&mut self) -> Result<(), Gone> {
        for _ in 0..TOKENS_BEHIND {
            let Some(Ok(token)) = self.tokens.as_mut().map(broadcast::Receiver::try_recv) else {
                break;
            };
            self.tell_token(&token).await?;
        }
        self.tell_status().await
    }

    async fn tell_status(&mut self) -> Result<(), Gone> {
        let begun = self.run.scheduler.begun().iter();
        self.results_told = begun.filter(|item| self.run.item_result(**item).is_some()).count();
        let body = || {
            let waiting = self.engine.waiting(self.id);
            json!({ "instanceId": self.id.to_string(), "status": status(&self.run, &waiting) })
        };
        self.reader.tell("status", body).await
    }

    /// Pieces of what is not a step's own result, such as a verdict, are nobody's business.
    async fn tell_token(&self, token: &Token) -> Result<(), Gone> {
        let Some((step, index)) = self.step(token) else { return Ok(()) };
        if step <= self.results_told {
            return Ok(());
        }
        let (attempt, text) = (token.attempt, &*token.text);
        let body =
            || json!({ "stepNumber": step, "stepIndex": index, "attempt": attempt, "text": text });
        self.reader.tell("token", body).await
    }

    /// Whether a piece belongs to a step of which nothing is known yet.
    fn is_ahead(&self, token: &Token) -> bool {
        let is_shown = |node: u32| !self.run.program.plan.nodes[node as usize].hidden;
        self.run.outcome.is_none() && is_shown(token.node) && self.step(token).is_none()
    }

    /// The ordinal of the step whose node a piece is of, and its place in the definition.
    fn step(&self, token: &Token) -> Option<(usize, u32)> {
        let begun = self.run.scheduler.begun();
        let is_its = |item: &u32| self.run.program.item_node(*item) == Some(token.node);
        let place = begun.iter().position(is_its)?;
        Some((place + 1, begun[place]))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_who_does_not_read_has_one_event_made_for_him_and_is_left() {
        let (reader, mut receiver) = Reader::new(Room::default());
        let made = Cell::new(0);
        let body = || {
            made.set(made.get() + 1);
            json!({})
        };
        reader.tell("status", body).await.unwrap();
        assert!(reader.tell("status", body).now_or_never().is_none());
        assert_eq!(made.get(), 1);
        assert!(receiver.recv().await.is_some());
        reader.tell("status", body).await.unwrap();
        assert_eq!(made.get(), 2);
        let began = Instant::now();
        reader.tell("status", body).await.unwrap_err();
        assert_eq!((made.get(), began.elapsed()), (2, READER_PATIENCE));
    }
}
