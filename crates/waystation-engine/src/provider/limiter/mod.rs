//! How many calls each key of a provider takes, at once and a minute, and whose turn it is.
//!
//! - [`limits`]: the bounds, as an operator writes them
//! - `bucket`: so many a minute
//! - `queue`: who waits, in turn over runs
//! - `lane`: the calls of one key

mod bucket;
mod lane;
pub mod limits;
mod queue;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use waystation_core::error::{Code, Failure};

use self::lane::{Lane, Place};
use self::limits::ModelLimits;
use crate::limits::{LLM_KEYS, LLM_PAUSE_MAX};
use crate::node::AttemptContext;

/// Whose limits apply: the provider's name, and the fingerprint of the key.
pub(super) type LaneKey = (Arc<str>, Option<String>);

/// Gives calls their turns.
pub(super) struct Limiter {
    limits: ModelLimits,
    lanes: Mutex<HashMap<LaneKey, Arc<Lane>>>,
}

/// A call's turn. It ends when this is dropped.
pub(super) struct Turn {
    lane: Arc<Lane>,
    /// The tokens that were taken for it.
    tokens: u64,
    /// Whether it did not come at once.
    pub(super) waited: bool,
}

impl Limiter {
    pub(super) fn new(limits: ModelLimits) -> Limiter {
        Limiter { limits, lanes: Mutex::default() }
    }

    /// Waits for a call's turn, without using up the attempt's time. `tokens` is what it will probably use.
    pub(super) async fn turn(
        &self,
        key: LaneKey,
        tokens: u64,
        context: &AttemptContext,
    ) -> Result<Turn, Failure> {
        let provider = shown(&key.0);
        let lane = self.lane(key);
        let mut waited = false;
        match lane.enter(context.run(), tokens) {
            Place::Taken => {}
            Place::Refused => {
                let text = format!("Too many calls wait for {provider}");
                return Err(Failure::retryable(Code::Busy, text, None));
            }
            Place::Waiting(waiting) => {
                let reason = format!("waits for {provider}: {}", waiting.reason);
                let _counted = Counted::new();
                context.waiting(reason, waiting.turn()).await;
                waited = true;
            }
        }
        Ok(Turn { lane, tokens, waited })
    }

    fn lane(&self, key: LaneKey) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if lanes.len() >= LLM_KEYS && !lanes.contains_key(&key) {
            let now = Instant::now();
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.is_at_rest(now));
        }
        let limits = self.limits.of(&key.0);
        Arc::clone(lanes.entry(key).or_insert_with(|| Lane::new(limits)))
    }
}

impl Turn {
    /// Tells how many tokens the call has really used.
    pub(super) fn used(&mut self, tokens: u64) {
        self.lane.correct(self.tokens, tokens);
        self.tokens = tokens;
    }

    /// Lets nobody have a turn for a while: the provider asked for it.
    pub(super) fn pause(&self, wait: Duration) {
        self.lane.pause(wait.min(LLM_PAUSE_MAX));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.lane.leave();
    }
}

/// A provider in messages: an address that a request names may hold more than its host.
fn shown(provider: &str) -> String {
    let url = provider.contains("://").then(|| url::Url::parse(provider).ok()).flatten();
    let host = url.as_ref().and_then(url::Url::host_str);
    host.unwrap_or(provider).to_owned()
}

/// A call that waits, in the metrics.
struct Counted;

impl Counted {
    fn new() -> Counted {
        metrics::gauge!("waystation_llm_waiting").increment(1.0);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("waystation_llm_waiting").decrement(1.0);
    }
}
