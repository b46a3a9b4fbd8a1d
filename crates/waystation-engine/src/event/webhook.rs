//! Progress to a run's receiver: from the journal, in order, signed, tried again until it is taken.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, watch};
use waystation_core::dialect::graph::event::{Event, Projector};
use waystation_core::dialect::pipeline::notify::Notifier;
use waystation_core::entry::{Entry, Fact};
use waystation_core::error::Error;
use waystation_core::plan::Dialect;
use waystation_core::program::Program;

use super::signature::{ID_HEADER, SIGNATURE_HEADER, SigningKey, TIMESTAMP_HEADER};
use crate::driver::plans::Plans;
use crate::egress::{HttpClient, Request, SendError};
use crate::id::{RunId, now_ms};
use crate::limits::{WEBHOOKS_LIVE, WEBHOOKS_PER_HOST};
use crate::store::{Cursor, CursorState, Store};

/// How long a receiver may take for one notification.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of the receiver's answer that are read, so that the connection can be used again.
const ANSWER_BYTES: usize = 64 << 10;
/// The first wait after a failed delivery; it doubles up to the longest.
const FIRST_WAIT_MS: u64 = 1_000;
const LONGEST_WAIT_MS: u64 = 3_600_000;
/// Failed deliveries of one notification after which the receiver counts as dead: some ten hours.
const ATTEMPTS_MAX: u32 = 20;
/// A longer wait than this is spent in the store.
const WAIT_IN_MEMORY: Duration = Duration::from_secs(30);
/// How long a courier stays with a run that says nothing.
const LINGER: Duration = Duration::from_secs(10);
/// How often the store is asked for deliveries that have become due.
const SWEEP: Duration = Duration::from_secs(5);
/// A moment that does not come.
const NEVER: u64 = i64::MAX as u64;
/// Deliveries picked up in one sweep.
const SWEEP_PAGE: usize = 1_000;

/// Takes notifications to receivers. Clones share it.
#[derive(Clone)]
pub(crate) struct Courier {
    office: Arc<Office>,
}

struct Office {
    store: Arc<dyn Store>,
    plans: Arc<Plans>,
    client: Arc<HttpClient>,
    key: Option<Arc<SigningKey>>,
    places: Semaphore,
    /// The places of each host, so that one that is silent does not hold up the others.
    hosts: Mutex<HashMap<String, Arc<Semaphore>>>,
    rounds: Mutex<HashMap<RunId, Arc<Bell>>>,
    closing: watch::Sender<bool>,
    /// Told when a courier has left its run.
    left: Notify,
}

/// Tells a courier that there is something new.
#[derive(Default)]
struct Bell {
    rings: AtomicU64,
    notify: Notify,
}

/// What a courier does next.
enum Next {
    /// All is delivered that there is; more may come.
    Linger,
    /// The receiver did not take it.
    Wait(Duration),
    /// Nothing more will be delivered.
    Stop,
}

impl Courier {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        plans: Arc<Plans>,
        client: Arc<HttpClient>,
        key: Option<Arc<SigningKey>>,
    ) -> Courier {
        let office = Arc::new(Office {
            store,
            plans,
            client,
            key,
            places: Semaphore::new(WEBHOOKS_LIVE),
            hosts: Mutex::default(),
            rounds: Mutex::default(),
            closing: watch::Sender::new(false),
            left: Notify::new(),
        });
        Courier { office }
    }

    /// Picks up what an earlier process left, and then what becomes due, until closed.
    pub(crate) fn spawn_sweeper(&self) {
        let courier = self.clone();
        let mut closing = self.office.closing.subscribe();
        tokio::spawn(async move {
            // At first all of them, also those that rest: their next entry may be there already.
            let (mut due_before, mut page) = (NEVER, usize::MAX);
            while !*closing.borrow() {
                match courier.office.store.cursors_due(due_before, page).await {
                    Ok(cursors) => cursors.iter().for_each(|cursor| courier.poke(cursor.run)),
                    Err(failed) => tracing::warn!(detail = %failed.detail, "webhook cursors"),
                }
                // The end of the wait, whichever it is, leads to the next look at both.
                let _ = tokio::time::timeout(SWEEP, closing.changed()).await;
                (due_before, page) = (now_ms(), SWEEP_PAGE);
            }
        });
    }

    /// Tells that a run's journal has grown.
    pub(crate) fn poke(&self, run: RunId) {
        let mut rounds = self.office.rounds();
        if let Some(bell) = rounds.get(&run) {
            bell.rings.fetch_add(1, Ordering::Release);
            bell.notify.notify_one();
            return;
        }
        let bell = Arc::new(Bell::default());
        rounds.insert(run, Arc::clone(&bell));
        drop(rounds);
        let office = Arc::clone(&self.office);
        tokio::spawn(async move { office.serve(run, &bell).await });
    }

    /// Waits until nothing is left to deliver, but not longer than this.
    pub(crate) async fn settle(&self, patience: Duration) {
        let all_left = async {
            loop {
                let left = self.office.left.notified();
                if self.office.rounds().is_empty() {
                    return;
                }
                left.await;
            }
        };
        // What is not delivered by then is kept.
        let _ = tokio::time::timeout(patience, all_left).await;
    }

    /// Stops after the deliveries under way; the rest follows at the next start.
    pub(crate) fn close(&self) {
        self.office.closing.send_replace(true);
    }
}

impl Office {
    fn rounds(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Bell>>> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stays with a run as long as there is something to deliver soon.
    async fn serve(&self, run: RunId, bell: &Bell) {
        let mut closing = self.closing.subscribe();
        let mut round = None;
        while !*closing.borrow() {
            let rings = bell.rings.load(Ordering::Acquire);
            let next = self.deliver(run, &mut round).await.unwrap_or_else(|error| {
                tracing::warn!(%run, %error, "webhook delivery");
                Next::Wait(SWEEP)
            });
            let wait = match next {
                Next::Linger => LINGER,
                Next::Wait(wait) if wait <= WAIT_IN_MEMORY => wait,
                Next::Wait(_) | Next::Stop => Duration::ZERO,
            };
            let waits = matches!(next, Next::Wait(_));
            let rung = async {
                match waits {
                    true => tokio::time::sleep(wait).await,
                    false => drop(tokio::time::timeout(wait, bell.notify.notified()).await),
                }
            };
            tokio::select! {
                () = rung => {}
                _ = closing.changed() => {}
            }
            if waits && !wait.is_zero() {
                continue;
            }
            if bell.rings.load(Ordering::Acquire) == rings {
                // Before the run is left to another courier, which would write the same cursor.
                self.rest(round.as_mut()).await;
                if self.leave(run, bell, rings) {
                    return;
                }
            }
        }
        self.rounds().remove(&run);
        self.left.notify_waiters();
    }

    /// Leaves a run, unless the bell has rung since.
    fn leave(&self, run: RunId, bell: &Bell, rings: u64) -> bool {
        let mut rounds = self.rounds();
        let quiet = bell.rings.load(Ordering::Acquire) == rings;
        if quiet {
            rounds.remove(&run);
            self.left.notify_waiters();
        }
        quiet
    }

    /// Takes a run that says nothing out of the sweep: its next entry calls for a courier.
    async fn rest(&self, round: Option<&mut Round>) {
        let silent = |round: &&mut Round| round.parcels.is_empty() && !round.ended;
        let Some(Round { cursor, .. }) = round.filter(silent) else { return };
        cursor.next_at = NEVER;
        if let Err(failed) = self.store.put_cursor(cursor.clone()).await {
            tracing::warn!(detail = %failed.detail, "webhook cursor");
        }
    }

    /// Delivers what the journal has beyond the cursor.
    async fn deliver(&self, run: RunId, place: &mut Option<Round>) -> Result<Next, Error> {
        if place.is_none() {
            *place = self.open_round(run).await?;
        }
        let Some(round) = place else { return Ok(Next::Stop) };
        if round.cursor.state == CursorState::Dead {
            return Ok(Next::Stop);
        }
        let entries = self.store.journal(run, round.folded).await?;
        round.fold(run, &entries);
        // Neither a new entry nor a restart makes a receiver that is waited for any readier.
        let wait_ms = round.cursor.next_at.saturating_sub(now_ms());
        if round.cursor.attempts > 0 && wait_ms > 0 {
            return Ok(Next::Wait(Duration::from_millis(wait_ms)));
        }
        while let Some(parcel) = round.parcels.front() {
            if let Err(refusal) = self.post(&round.url, parcel).await {
                return self.put_off(&mut round.cursor, refusal).await;
            }
            round.cursor.next_seq = parcel.next_seq;
            round.cursor.attempts = 0;
            round.cursor.error = None;
            round.parcels.pop_front();
            let more = !round.parcels.is_empty() || !round.ended;
            round.cursor.state = if more { CursorState::Active } else { CursorState::Done };
            self.store.put_cursor(round.cursor.clone()).await?;
        }
        Ok(if round.ended { Next::Stop } else { Next::Linger })
    }

    async fn open_round(&self, run: RunId) -> Result<Option<Round>, Error> {
        let cursor = self.store.cursor(run).await?;
        let Some(cursor) = cursor.filter(|cursor| cursor.state == CursorState::Active) else {
            return Ok(None);
        };
        let Some(row) = self.store.run(run).await? else { return Ok(None) };
        let definition = self.plans.stored(&*self.store, &row.plan).await?;
        let Some(url) = definition.program.plan.webhook_url.clone() else { return Ok(None) };
        let words = Words::of(&definition.program, run);
        let parcels = VecDeque::new();
        Ok(Some(Round { url, words, cursor, folded: 0, parcels, ended: false }))
    }

    async fn post(&self, url: &str, parcel: &Parcel) -> Result<(), Refusal> {
        let host = self.host(url);
        // The semaphores are never closed.
        let _place_there = host.acquire().await;
        let _place = self.places.acquire().await;
        let mut request = Request::new(Method::POST, url);
        request.headers = self.headers(parcel);
        request.body = Some(parcel.body.clone().into());
        let sent = tokio::time::timeout(DELIVERY_TIMEOUT, self.client.send(request, ANSWER_BYTES));
        let (result, refusal) = match sent.await {
            Ok(Ok(answer)) if answer.status.is_success() => ("delivered", None),
            Ok(Ok(answer)) => {
                let gone = answer.status == StatusCode::GONE;
                ("refused", Some(Refusal { reason: format!("HTTP {}", answer.status), gone }))
            }
            // What is larger than anybody reads was still taken.
            Ok(Err(SendError::TooLarge { .. })) => ("delivered", None),
            Ok(Err(error)) => {
                // What the policy forbids or nobody can call stays so.
                let gone = matches!(error, SendError::Refused(_) | SendError::Invalid(_));
                ("failed", Some(Refusal { reason: error.to_string(), gone }))
            }
            Err(_) => {
                let reason = format!("no answer within {} seconds", DELIVERY_TIMEOUT.as_secs());
                ("failed", Some(Refusal { reason, gone: false }))
            }
        };
        metrics::counter!("waystation_webhooks_total", "result" => result).increment(1);
        refusal.map_or(Ok(()), Err)
    }

    /// The places of the host of an address. Hosts that nobody calls are forgotten.
    fn host(&self, url: &str) -> Arc<Semaphore> {
        let parsed = url::Url::parse(url).ok();
        let name = parsed.as_ref().and_then(url::Url::host_str).unwrap_or_default();
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if hosts.len() > WEBHOOKS_LIVE {
            hosts.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let fresh = || Arc::new(Semaphore::new(WEBHOOKS_PER_HOST));
        Arc::clone(hosts.entry(name.to_owned()).or_insert_with(fresh))
    }

    fn headers(&self, parcel: &Parcel) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let seconds = now_ms() / 1_000;
        let mut set = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        set(ID_HEADER, &parcel.id);
        set(TIMESTAMP_HEADER, &seconds.to_string());
        if let Some(key) = &self.key {
            set(SIGNATURE_HEADER, &key.sign(&parcel.id, seconds, &parcel.body));
        }
        headers
    }

    /// Notes a failed delivery and tells when the next one is due.
    async fn put_off(&self, cursor: &mut Cursor, refusal: Refusal) -> Result<Next, Error> {
        cursor.attempts += 1;
        let doublings = (cursor.attempts - 1).min(30);
        let wait_ms = (FIRST_WAIT_MS << doublings).min(LONGEST_WAIT_MS);
        let dead = refusal.gone || cursor.attempts >= ATTEMPTS_MAX;
        tracing::warn!(run = %cursor.run, reason = refusal.reason, dead, "webhook not taken");
        cursor.error = Some(refusal.reason);
        cursor.next_at = now_ms() + wait_ms;
        cursor.state = if dead { CursorState::Dead } else { CursorState::Active };
        self.store.put_cursor(cursor.clone()).await?;
        Ok(if dead { Next::Stop } else { Next::Wait(Duration::from_millis(wait_ms)) })
    }
}

/// A courier's work on one run.
struct Round {
    url: String,
    words: Words,
    cursor: Cursor,
    /// Entries that are put into words.
    folded: u32,
    /// Notifications that are not delivered, in order.
    parcels: VecDeque<Parcel>,
    /// Whether the journal has its last entry.
    ended: bool,
}

/// How a run is told.
enum Words {
    /// A pipeline's own notifications, which its receivers know.
    Pipeline(Notifier),
    /// The events that sockets and streams carry too.
    Events(Projector),
}

impl Words {
    fn of(program: &Arc<Program>, run: RunId) -> Words {
        let (program, run) = (Arc::clone(program), run.to_string());
        match program.plan.dialect {
            Dialect::Pipeline => Words::Pipeline(Notifier::new(program, &run)),
            Dialect::Graph | Dialect::Instructions => Words::Events(Projector::new(program, &run)),
        }
    }

    fn fold(&mut self, entry: &Entry) -> Vec<Value> {
        match self {
            Words::Pipeline(notifier) => notifier.fold(entry),
            Words::Events(projector) => {
                let mut events = Vec::new();
                projector.apply(entry, &mut events);
                events.iter().map(Event::to_json).collect()
            }
        }
    }
}

/// One notification on its way.
struct Parcel {
    id: String,
    body: Vec<u8>,
    /// Where the cursor stands once it is delivered.
    next_seq: u32,
}

/// Why a receiver did not take a notification.
struct Refusal {
    reason: String,
    /// It will never take one again.
    gone: bool,
}

impl Round {
    fn fold(&mut self, run: RunId, entries: &[Entry]) {
        for entry in entries {
            let seq = self.folded;
            self.folded += 1;
            self.ended |= matches!(entry.fact, Fact::RunFinished { .. });
            let notifications = self.words.fold(entry);
            if seq < self.cursor.next_seq {
                continue;
            }
            let last = notifications.len().saturating_sub(1);
            for (index, notification) in notifications.iter().enumerate() {
                let id = format!("{run}-{seq}-{index}");
                let next_seq = if index == last { seq + 1 } else { seq };
                let body = notification.to_string().into_bytes();
                self.parcels.push_back(Parcel { id, body, next_seq });
            }
        }
    }
}
