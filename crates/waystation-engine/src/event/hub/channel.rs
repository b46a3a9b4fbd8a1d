//! The latest events of a topic, for all who watch it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast, watch};
use waystation_core::error::Error;

use super::{Place, Told, Topic};
use crate::limits::{EVENT_BYTES_KEPT, EVENTS_KEPT, TOKENS_BEHIND};

pub(super) struct Channel {
    pub(super) topic: Topic,
    /// Rung when something has become durable.
    pub(super) bell: Notify,
    pub(super) tail: watch::Sender<Tail>,
    pub(super) tokens: broadcast::Sender<Piece>,
    ring: Mutex<Ring>,
}

/// A piece of a model's answer, told behind an event.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) after: Place,
    pub(super) text: Arc<str>,
}

/// How far the events go.
#[derive(Clone, Default)]
pub(super) struct Tail {
    /// Whether all that was durable when the channel was made has been read.
    pub(super) is_loaded: bool,
    /// The event after which there are none.
    pub(super) ended_at: Option<Place>,
    /// Why the journal could not be read last.
    pub(super) trouble: Option<Error>,
}

struct Ring {
    /// All events behind this place are kept.
    floor: Place,
    events: VecDeque<Arc<Told>>,
    bytes: usize,
}

/// What a channel has behind a place.
pub(super) enum Kept {
    /// All that there is, or the first of it.
    All(Vec<Arc<Told>>),
    /// Something in between has been let go.
    Some,
}

impl Channel {
    pub(super) fn new(topic: Topic, floor: Place) -> Channel {
        Channel {
            topic,
            bell: Notify::new(),
            tail: watch::Sender::default(),
            tokens: broadcast::Sender::new(TOKENS_BEHIND),
            ring: Mutex::new(Ring { floor, events: VecDeque::new(), bytes: 0 }),
        }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps further events, and tells those who wait.
    pub(super) fn keep(&self, events: Vec<Told>) {
        let Some(last) = events.last() else { return };
        let ended_at = last.is_last.then_some(last.place);
        self.ring().keep(events);
        self.tail.send_modify(|tail| tail.ended_at = ended_at);
    }

    /// All events behind this place are kept.
    pub(super) fn floor(&self) -> Place {
        self.ring().floor
    }

    pub(super) fn after(&self, place: Place, limit: usize) -> Kept {
        self.ring().after(place, limit)
    }

    pub(super) fn tell_token(&self, text: Option<Arc<str>>) {
        if let Some(text) = text {
            let after = self.ring().last();
            // Nobody may be listening any more.
            let _ = self.tokens.send(Piece { after, text });
        }
    }
}

impl Ring {
    fn last(&self) -> Place {
        self.events.back().map_or(self.floor, |event| event.place)
    }

    fn keep(&mut self, events: Vec<Told>) {
        for event in events {
            self.bytes += event.text.len();
            self.events.push_back(Arc::new(event));
        }
        while self.events.len() > EVENTS_KEPT || self.bytes > EVENT_BYTES_KEPT {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.text.len();
            self.floor = oldest.place;
        }
    }

    fn after(&self, place: Place, limit: usize) -> Kept {
        if place < self.floor {
            return Kept::Some;
        }
        let first = self.events.partition_point(|event| event.place <= place);
        Kept::All(self.events.range(first..).take(limit).cloned().collect())
    }
}
