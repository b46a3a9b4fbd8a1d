//! The calls of one key: those under way, those that wait, and what a minute still allows.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::bucket::Bucket;
use super::limits::Limits;
use super::queue::{Queue, Ticket};
use crate::id::RunId;
use crate::limits::LLM_CALLS_WAITING;

/// The calls of one key.
#[derive(Debug)]
pub(super) struct Lane {
    concurrency: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    under_way: usize,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    paused_until: Option<Instant>,
    queue: Queue<Waiter>,
    /// When the lane is looked after next, if no call ends before.
    alarm: Option<Instant>,
}

#[derive(Debug)]
struct Waiter {
    tokens: u64,
    grant: oneshot::Sender<()>,
}

/// What somebody gets who comes for a turn.
pub(super) enum Place {
    /// It is theirs at once.
    Taken,
    /// It comes later.
    Waiting(Waiting),
    /// Too many wait.
    Refused,
}

/// A place in the queue, given up when dropped.
pub(super) struct Waiting {
    lane: Arc<Lane>,
    ticket: Ticket,
    tokens: u64,
    granted: oneshot::Receiver<()>,
    /// Whether the turn that came is somebody's.
    claimed: bool,
    /// What there is to wait for, in words.
    pub(super) reason: String,
}

/// What stands in a call's way.
enum Obstacle {
    Paused(Instant),
    Full,
    Requests(Duration),
    Tokens(Duration),
}

impl Lane {
    pub(super) fn new(limits: Limits) -> Arc<Lane> {
        let bucket = |a_minute: Option<u64>| Some(Bucket::new(a_minute?, Instant::now()));
        let state = State {
            under_way: 0,
            requests: bucket(limits.requests),
            tokens: bucket(limits.tokens),
            paused_until: None,
            queue: Queue::default(),
            alarm: None,
        };
        Arc::new(Lane { concurrency: limits.concurrency, state: Mutex::new(state) })
    }

    /// Takes a turn, or a place in the queue.
    pub(super) fn enter(self: &Arc<Self>, run: RunId, tokens: u64) -> Place {
        let mut state = self.state();
        if state.queue.len() >= LLM_CALLS_WAITING {
            return Place::Refused;
        }
        let (grant, mut granted) = oneshot::channel();
        let ticket = state.queue.push(run, Waiter { tokens, grant });
        self.advance(&mut state);
        if granted.try_recv().is_ok() {
            return Place::Taken;
        }
        let reason = state.reason(self.concurrency, run);
        let (lane, claimed) = (Arc::clone(self), false);
        Place::Waiting(Waiting { lane, ticket, tokens, granted, claimed, reason })
    }

    /// Gives back a turn.
    pub(super) fn leave(self: &Arc<Self>) {
        let mut state = self.state();
        state.under_way = state.under_way.saturating_sub(1);
        self.advance(&mut state);
    }

    /// Counts what a call has really used in place of what was taken for it.
    pub(super) fn correct(self: &Arc<Self>, taken: u64, used: u64) {
        let mut state = self.state();
        let Some(bucket) = &mut state.tokens else { return };
        bucket.take(used.saturating_sub(taken));
        bucket.put_back(taken.saturating_sub(used));
        self.advance(&mut state);
    }

    /// Gives nobody a turn for a while.
    pub(super) fn pause(&self, wait: Duration) {
        let mut state = self.state();
        let until = Instant::now() + wait;
        state.paused_until = state.paused_until.max(Some(until));
    }

    /// Whether there is nothing to remember of it.
    pub(super) fn is_at_rest(&self, now: Instant) -> bool {
        let mut state = self.state();
        let is_full = |bucket: &mut Option<Bucket>| bucket.as_mut().is_none_or(|b| b.is_full(now));
        let is_full = is_full(&mut state.requests) && is_full(&mut state.tokens);
        let paused = state.paused_until.is_some_and(|until| now < until);
        is_full && !paused && state.under_way == 0 && state.queue.len() == 0
    }

    /// Gives as many turns as there are, and sees to it that the next ones are given when they come.
    fn advance(self: &Arc<Self>, state: &mut State) {
        let now = Instant::now();
        while let Some(tokens) = state.queue.first().map(|first| first.tokens) {
            if let Some(obstacle) = state.obstacle(tokens, self.concurrency, now) {
                return self.set_alarm(state, &obstacle, now);
            }
            // Who waits no more has left the queue.
            if state.queue.pop().is_some_and(|waiter| waiter.grant.send(()).is_ok()) {
                state.take(tokens);
            }
        }
    }

    fn set_alarm(self: &Arc<Self>, state: &mut State, obstacle: &Obstacle, now: Instant) {
        let at = match obstacle {
            // The end of a call comes by itself.
            Obstacle::Full => return,
            Obstacle::Paused(until) => *until,
            Obstacle::Requests(wait) | Obstacle::Tokens(wait) => now + *wait,
        };
        if state.alarm.is_some_and(|alarm| alarm <= at) {
            return;
        }
        state.alarm = Some(at);
        let lane = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(at).await;
            let Some(lane) = lane.upgrade() else { return };
            let mut state = lane.state();
            if state.alarm == Some(at) {
                state.alarm = None;
                lane.advance(&mut state);
            }
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What stands in the way of a call that will probably use so many tokens.
    fn obstacle(&mut self, tokens: u64, concurrency: usize, now: Instant) -> Option<Obstacle> {
        if let Some(until) = self.paused_until.filter(|until| now < *until) {
            return Some(Obstacle::Paused(until));
        }
        if self.under_way >= concurrency {
            return Some(Obstacle::Full);
        }
        let wait = |bucket: &mut Option<Bucket>, units| match bucket {
            Some(bucket) => bucket.wait(units, now),
            None => Duration::ZERO,
        };
        let (requests, tokens) = (wait(&mut self.requests, 1), wait(&mut self.tokens, tokens));
        if requests.is_zero() && tokens.is_zero() {
            return None;
        }
        let lacks_tokens = tokens > requests;
        Some(if lacks_tokens { Obstacle::Tokens(tokens) } else { Obstacle::Requests(requests) })
    }

    fn take(&mut self, tokens: u64) {
        self.under_way += 1;
        if let Some(bucket) = &mut self.requests {
            bucket.take(1);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.take(tokens);
        }
    }

    /// Undoes what was taken for a call that is not made.
    fn give_back(&mut self, tokens: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(bucket) = &mut self.requests {
            bucket.put_back(1);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.put_back(tokens);
        }
    }

    /// What the first in the queue waits for, and how many come before the last one of a run.
    fn reason(&mut self, concurrency: usize, run: RunId) -> String {
        let tokens = self.queue.first().map_or(0, |first| first.tokens);
        let obstacle = self.obstacle(tokens, concurrency, Instant::now());
        let a_minute = |bucket: &Option<Bucket>| bucket.as_ref().map_or(0, Bucket::a_minute);
        let reason = match obstacle {
            Some(Obstacle::Paused(_)) => "it asked for a pause".to_owned(),
            Some(Obstacle::Requests(_)) => {
                format!("{} requests a minute are used up", a_minute(&self.requests))
            }
            Some(Obstacle::Tokens(_)) => {
                format!("{} tokens a minute are used up", a_minute(&self.tokens))
            }
            Some(Obstacle::Full) | None => {
                format!("{} of {concurrency} calls under way", self.under_way)
            }
        };
        match self.queue.before_last(run) {
            0 => reason,
            ahead => format!("{reason}, {ahead} ahead"),
        }
    }
}

impl Waiting {
    /// Waits until the turn comes.
    pub(super) async fn turn(mut self) {
        // The lane outlives those who wait in it, and takes nobody out but with a turn.
        self.claimed = (&mut self.granted).await.is_ok();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.claimed {
            return;
        }
        let mut state = self.lane.state();
        if state.queue.remove(self.ticket).is_none() {
            // The turn has come, and nobody wants it any more.
            state.give_back(self.tokens);
        }
        self.lane.advance(&mut state);
    }
}
