//! Events of stored workflows into Redis Streams, and to the subscribers of channels of the same names.
//!
//! The feed gives each event a place that never changes, and so an id in the stream: what is sent again
//! after a break is refused by Redis as known. A mark in the store tells how far all is sent.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use waystation_core::dialect::graph::event::Event;
use waystation_core::time::rfc3339;

use super::RedisConfig;
use super::transport::{Answer, Link};
use super::writer::{BACKOFF_MAX, BACKOFF_MIN, IDLE_CHECK};
use crate::event::hub::{FeedReader, Hub};
use crate::id::now_ms;
use crate::store::StoreError;

/// The mark up to which all is in Redis.
const SENT: &str = "redis.events";
/// The mark that keeps the ids of this data apart from those of earlier data with the same Redis.
const BASE: &str = "redis.events.base";
/// Events sent together.
const BATCH_EVENTS: usize = 512;
/// Bytes of them, roughly.
const BATCH_BYTES: usize = 1 << 20;
/// The pause after everything is sent. What happens meanwhile is read and sent at once, in one read of the store and
/// one exchange with Redis instead of many: under load the sender has to keep up with the runs beside it.
const PACE: Duration = Duration::from_millis(20);
/// What Redis says of an id that a stream has already, or has gone past.
const KNOWN: &str = "equal or smaller";

/// The task that sends events. It ends with this value.
pub(crate) struct EventStream(JoinHandle<()>);

impl EventStream {
    /// Starts it. A stream keeps about so many events.
    pub(crate) fn start(config: RedisConfig, hub: Arc<Hub>, length: u64) -> EventStream {
        EventStream(tokio::spawn(Sender { config, hub, length, is_down: false }.run()))
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Sender {
    config: RedisConfig,
    hub: Arc<Hub>,
    length: u64,
    is_down: bool,
}

/// Events of consecutive rows of the feed.
#[derive(Default)]
struct Batch {
    events: Vec<(String, Event)>,
    bytes: usize,
    /// The last row of them.
    row: u64,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.row == 0
    }

    fn is_full(&self) -> bool {
        self.events.len() >= BATCH_EVENTS || self.bytes >= BATCH_BYTES
    }
}

impl Sender {
    async fn run(mut self) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let Err(error) = self.serve(&mut backoff).await;
            if !std::mem::replace(&mut self.is_down, true) {
                tracing::warn!(place = self.config.place, error, "events wait for Redis");
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Sends events over one connection for as long as it works.
    async fn serve(&mut self, backoff: &mut Duration) -> Result<std::convert::Infallible, String> {
        // Before Redis is there: what happens while it is awaited is sent too.
        let (base, sent) = self.marks().await.map_err(|failed| failed.detail)?;
        let mut link = self.config.transport.connect().await?;
        let mut reader = FeedReader::new(sent);
        loop {
            let batch = self.batch(&mut reader, base).await?;
            if batch.is_empty() {
                let more = timeout(IDLE_CHECK, self.hub.fed.notified()).await;
                if more.is_err() {
                    link.keep_alive().await?;
                }
                continue;
            }
            self.send(&mut link, &batch.events).await?;
            let store = self.hub.store();
            store.put_mark(SENT, batch.row).await.map_err(|failed| failed.detail)?;
            *backoff = BACKOFF_MIN;
            if std::mem::take(&mut self.is_down) {
                tracing::info!(place = self.config.place, "events reach Redis again");
            }
            if !batch.is_full() {
                sleep(PACE).await;
            }
        }
    }

    /// What the ids begin with, and the row up to which all is sent. Data that has never sent any begins
    /// with what happens from now on.
    async fn marks(&self) -> Result<(u64, u64), StoreError> {
        let end = self.hub.store().feed_end().await?;
        Ok((self.mark(BASE, now_ms()).await?, self.mark(SENT, end).await?))
    }

    /// A mark, put there if there is none.
    async fn mark(&self, name: &str, first: u64) -> Result<u64, StoreError> {
        let store = self.hub.store();
        if let Some(known) = store.mark(name).await? {
            return Ok(known);
        }
        store.put_mark(name, first).await?;
        Ok(first)
    }

    async fn batch(&self, reader: &mut FeedReader, base: u64) -> Result<Batch, String> {
        let mut batch = Batch::default();
        while !batch.is_full() {
            let next = self.hub.next_of_feed(reader).await.map_err(|error| error.message)?;
            let Some((row, events)) = next else { break };
            batch.row = row;
            for (index, event) in events.into_iter().enumerate() {
                batch.bytes += waystation_core::extract::bytes_about(&event.data);
                batch.events.push((format!("{}-{index}", base + row), event));
            }
        }
        Ok(batch)
    }

    /// Adds events to their streams, and tells those that were new to the subscribers.
    async fn send(&self, link: &mut Link, events: &[(String, Event)]) -> Result<(), String> {
        let length = self.length.to_string();
        let adding: Vec<_> = events.iter().map(|(id, event)| add(event, id, &length)).collect();
        let answers = link.commands(&adding).await?;
        let new = events.iter().zip(&answers).filter(|(_, answer)| answer.is_ok());
        let telling: Vec<_> = new.map(|((_, event), _)| publish(event)).collect();
        metrics::counter!("waystation_redis_events_total").increment(telling.len() as u64);
        self.note_refusals(&answers);
        link.commands(&telling).await.map(drop)
    }

    fn note_refusals(&self, answers: &[Answer]) {
        let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
        let mut refused = refused.filter(|error| !error.contains(KNOWN));
        if let Some(error) = refused.next() {
            tracing::warn!(place = self.config.place, error, "Redis refuses an event");
        }
    }
}

fn key(event: &Event) -> String {
    format!("workflow:events:{}", event.workflow_id)
}

fn add(event: &Event, id: &str, length: &str) -> Vec<String> {
    let number = event.id.map(|id| id.to_string()).unwrap_or_default();
    let mut command: Vec<String> =
        ["XADD", &key(event), "MAXLEN", "~", length, id].map(str::to_owned).into();
    let mut put = |name: &str, value: String| command.extend([name.to_owned(), value]);
    put("event_type", event.event_type.to_owned());
    put("workflow_id", event.workflow_id.to_string());
    put("job_id", event.job_id.to_string());
    put("data", event.data.to_string());
    put("timestamp", rfc3339(event.at));
    put("id", number);
    if let Some(node) = &event.node_id {
        put("node_id", node.clone());
    }
    command
}

fn publish(event: &Event) -> Vec<String> {
    vec!["PUBLISH".into(), key(event), event.to_json().to_string()]
}
