//! What was asked: counted by model and by body, the last calls kept. Never a key.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Mutex;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::watch;

use crate::service::Service;

/// So many calls are kept whole; all are counted.
const KEPT: usize = 1_000;

/// A call as it arrived.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// The path.
    pub path: String,
    /// The model that was asked.
    pub model: String,
    /// Whether there was a key.
    pub has_key: bool,
    /// The `Idempotency-Key`, if there was one.
    pub idempotency_key: Option<String>,
    /// A digest of the body's bytes.
    pub digest: String,
    /// The body; text where it is not JSON.
    pub body: Value,
}

impl Call {
    /// Whether the answer was to be streamed.
    pub fn is_streamed(&self) -> bool {
        self.body["stream"] == true
    }
}

/// How many calls there were, and the last ones.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Calls {
    /// All of them.
    pub total: usize,
    /// By model.
    pub by_model: BTreeMap<String, usize>,
    /// By the digest of the whole body.
    pub by_body: BTreeMap<String, usize>,
    /// The last ones, in order of arrival.
    pub last: VecDeque<Call>,
}

impl Calls {
    /// How often this model was asked.
    pub fn of(&self, model: &str) -> usize {
        self.by_model.get(model).copied().unwrap_or_default()
    }
}

/// Where calls are written down.
pub(crate) struct Ledger {
    calls: Mutex<Calls>,
    failed_once: Mutex<HashSet<(Service, String)>>,
    total: watch::Sender<usize>,
}

impl Ledger {
    pub(crate) fn new() -> Ledger {
        let total = watch::Sender::new(0);
        Ledger { calls: Mutex::default(), failed_once: Mutex::default(), total }
    }

    pub(crate) fn record(&self, call: Call) {
        let total = {
            let mut calls = lock(&self.calls);
            calls.total += 1;
            *calls.by_model.entry(call.model.clone()).or_default() += 1;
            *calls.by_body.entry(call.digest.clone()).or_default() += 1;
            calls.last.push_back(call);
            if calls.last.len() > KEPT {
                calls.last.pop_front();
            }
            calls.total
        };
        self.total.send_modify(|known| *known = total.max(*known));
    }

    pub(crate) fn so_far(&self) -> Calls {
        lock(&self.calls).clone()
    }

    /// Whether a call of this service with this body is the first that asks.
    pub(crate) fn is_first(&self, service: Service, digest: &str) -> bool {
        lock(&self.failed_once).insert((service, digest.to_owned()))
    }

    /// Waits until there were so many calls.
    pub(crate) async fn reached(&self, count: usize) {
        // The sender lives as long as the ledger, so waiting cannot fail.
        let _ = self.total.subscribe().wait_for(|total| *total >= count).await;
    }
}

/// Nothing that is done under the lock leaves it half done, so a panic elsewhere does no harm.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
