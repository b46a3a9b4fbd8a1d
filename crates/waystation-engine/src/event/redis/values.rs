//! Values under keys in Redis, for whoever can do without them: each question is bounded in time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::{Instant, timeout};

use super::RedisConfig;
use super::transport::{Link, Transport};

/// A value is as large at the most, as JSON in JSON.
pub(super) const VALUE_BYTES_MAX: usize = 4 << 20;
/// What a question may take.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long Redis is left alone after it failed.
const REST: Duration = Duration::from_secs(1);

/// Values in a Redis that is connected to when it is first needed.
pub struct RedisValues {
    transport: Transport,
    place: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    link: Option<Connecting>,
    /// Until when Redis is left alone.
    rests_until: Option<Instant>,
    /// Whether the last question failed, so that only a change is told.
    failed: bool,
}

/// A connection that is made or being made, by a task of its own: who asks does not wait for its end.
type Connecting = Shared<BoxFuture<'static, Result<Link, String>>>;

impl RedisValues {
    /// Values in this Redis. Connects to nothing yet.
    pub fn new(config: RedisConfig) -> RedisValues {
        let RedisConfig { transport, place } = config;
        RedisValues { transport, place, state: Mutex::default() }
    }

    /// The value under a key. An error means that Redis cannot be asked just now.
    pub async fn get(&self, key: &str) -> Result<Option<String>, String> {
        let link = self.link()?;
        self.asked(async { link.await?.get(key).await }).await
    }

    /// Keeps a value under a key for so many seconds.
    pub async fn put(&self, key: &str, value: &str, seconds: u64) -> Result<(), String> {
        let link = self.link()?;
        self.asked(async { link.await?.set(key, value, seconds).await }).await
    }

    async fn asked<T>(
        &self,
        question: impl Future<Output = Result<T, String>>,
    ) -> Result<T, String> {
        let answer = timeout(PATIENCE, question).await;
        let answer = answer.unwrap_or_else(|_| Err("no answer in time".into()));
        match &answer {
            Ok(_) => self.works(),
            Err(error) => self.fails(error),
        }
        answer
    }

    fn link(&self) -> Result<Connecting, String> {
        let mut state = self.state();
        if state.rests_until.is_some_and(|until| Instant::now() < until) {
            return Err("left alone after a failure".into());
        }
        let connect = || {
            let transport = self.transport.clone();
            let connecting = tokio::spawn(async move { transport.connect().await });
            let link = connecting.map(|ended| ended.unwrap_or_else(|error| Err(error.to_string())));
            link.boxed().shared()
        };
        Ok(state.link.get_or_insert_with(connect).clone())
    }

    fn works(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.failed) {
            tracing::info!(place = self.place, "Redis gives values again");
        }
    }

    fn fails(&self, error: &str) {
        let mut state = self.state();
        state.rests_until = Some(Instant::now() + REST);
        // A connection that is still being made may yet come about.
        if state.link.as_ref().is_some_and(|link| link.peek().is_some()) {
            state.link = None;
        }
        if !std::mem::replace(&mut state.failed, true) {
            tracing::warn!(place = self.place, error, "Redis gives no values");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
