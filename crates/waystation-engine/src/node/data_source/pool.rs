//! Connections that stay open between queries: so many at once to one source, kept for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::digest::{SHA256, digest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits::{SOURCE_CONNECTIONS, SOURCE_CONNECTIONS_IDLE, SOURCE_IDLE_TIME};
use crate::node::AttemptContext;

/// Names a source without saying how it is reached: a hash of the connection string.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key([u8; 32]);

impl Key {
    pub(super) fn of(connection: &str) -> Key {
        let hash = digest(&SHA256, connection.as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(hash.as_ref());
        Key(key)
    }
}

/// The connections of one kind of source.
pub(super) struct Pool<C> {
    shared: Arc<Mutex<Shared<C>>>,
}

struct Shared<C> {
    /// The one idle longest comes first.
    idle: Vec<Idle<C>>,
    slots: HashMap<Key, Arc<Semaphore>>,
    is_swept: bool,
}

struct Idle<C> {
    key: Key,
    since: Instant,
    connection: C,
}

/// The right to one connection of a source.
pub(super) struct Lease<C> {
    shared: Arc<Mutex<Shared<C>>>,
    key: Key,
    _slot: Option<OwnedSemaphorePermit>,
}

impl<C: Send + 'static> Pool<C> {
    pub(super) fn new() -> Pool<C> {
        let shared = Shared { idle: Vec::new(), slots: HashMap::new(), is_swept: false };
        Pool { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Waits until the source may have one more connection.
    pub(super) async fn lease(&self, connection: &str, context: &AttemptContext) -> Lease<C> {
        let key = Key::of(connection);
        let slots = Arc::clone(
            lock(&self.shared)
                .slots
                .entry(key)
                .or_insert_with(|| Arc::new(Semaphore::new(SOURCE_CONNECTIONS))),
        );
        let slot = match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => Some(slot),
            // The semaphore is never closed.
            Err(_) => context.waiting("waits for a connection", slots.acquire_owned()).await.ok(),
        };
        Lease { shared: Arc::clone(&self.shared), key, _slot: slot }
    }
}

impl<C: Send + 'static> Lease<C> {
    /// A connection that is open already; the one used last, so that others may go.
    pub(super) fn take(&self) -> Option<C> {
        let mut shared = lock(&self.shared);
        shared.drop_expired();
        let at = shared.idle.iter().rposition(|idle| idle.key == self.key)?;
        Some(shared.idle.remove(at).connection)
    }

    /// Keeps a connection that is as good as new.
    pub(super) fn keep(self, connection: C) {
        let mut shared = lock(&self.shared);
        if shared.idle.len() >= SOURCE_CONNECTIONS_IDLE {
            shared.idle.remove(0);
        }
        shared.idle.push(Idle { key: self.key, since: Instant::now(), connection });
        if !std::mem::replace(&mut shared.is_swept, true) {
            tokio::spawn(sweep(Arc::clone(&self.shared)));
        }
    }
}

/// Closes what nobody has used for long, as long as there is anything.
async fn sweep<C>(shared: Arc<Mutex<Shared<C>>>) {
    loop {
        tokio::time::sleep(SOURCE_IDLE_TIME / 2).await;
        let mut shared = lock(&shared);
        shared.drop_expired();
        if shared.idle.is_empty() {
            shared.is_swept = false;
            return;
        }
    }
}

impl<C> Shared<C> {
    fn drop_expired(&mut self) {
        self.idle.retain(|idle| idle.since.elapsed() < SOURCE_IDLE_TIME);
        // A lease holds a share of its semaphore.
        self.slots.retain(|_, slots| Arc::strong_count(slots) > 1);
    }
}

fn lock<C>(shared: &Mutex<Shared<C>>) -> MutexGuard<'_, Shared<C>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;
    use std::time::Duration;

    use super::*;

    async fn lease(pool: &Pool<Arc<u32>>, connection: &str) -> Lease<Arc<u32>> {
        pool.lease(connection, &AttemptContext::alone()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_given_again_to_its_own_source_alone() {
        let pool = Pool::new();
        lease(&pool, "a").await.keep(Arc::new(1));
        assert_eq!(lease(&pool, "b").await.take(), None);
        assert_eq!(lease(&pool, "a").await.take().as_deref(), Some(&1));
        assert_eq!(lease(&pool, "a").await.take(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed_although_nobody_asks() {
        let pool = Pool::new();
        let connection = Arc::new(1);
        let watch: Weak<u32> = Arc::downgrade(&connection);
        lease(&pool, "a").await.keep(connection);
        tokio::time::sleep(SOURCE_IDLE_TIME / 2).await;
        assert!(watch.upgrade().is_some());
        tokio::time::sleep(SOURCE_IDLE_TIME).await;
        assert!(watch.upgrade().is_none());
        assert!(lock(&pool.shared).slots.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_are_bounded_and_the_oldest_goes() {
        let pool = Pool::new();
        for number in 0..=SOURCE_CONNECTIONS_IDLE as u32 {
            let lease = lease(&pool, &number.to_string()).await;
            lease.keep(Arc::new(number));
        }
        assert_eq!(lock(&pool.shared).idle.len(), SOURCE_CONNECTIONS_IDLE);
        assert_eq!(lease(&pool, "0").await.take(), None);
        assert_eq!(lease(&pool, "1").await.take().as_deref(), Some(&1));
    }

    #[tokio::test(start_paused = true)]
    async fn one_source_has_so_many_connections_at_once() {
        let pool = Pool::new();
        let mut leases = Vec::new();
        for _ in 0..SOURCE_CONNECTIONS {
            leases.push(lease(&pool, "a").await);
        }
        let further = tokio::time::timeout(Duration::from_secs(1), lease(&pool, "a")).await;
        assert!(further.is_err());
        assert!(tokio::time::timeout(Duration::from_secs(1), lease(&pool, "b")).await.is_ok());
        leases.pop();
        assert!(tokio::time::timeout(Duration::from_secs(1), lease(&pool, "a")).await.is_ok());
    }
}
