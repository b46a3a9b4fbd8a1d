//! A few connections that only read, each used by one question at a time on a blocking thread.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::schema;
use crate::store::{Result, StoreError};

/// The connections that are free, and the right to take one.
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Opens the connections.
    pub(super) fn open(file: &Path, count: usize) -> Result<Readers> {
        let idle = (0..count).map(|_| schema::open_reader(file)).collect::<Result<Vec<_>>>()?;
        Ok(Readers { idle: Arc::new(Mutex::new(idle)), permits: Arc::new(Semaphore::new(count)) })
    }

    /// Asks a question in one short transaction, so that all its statements see the same state.
    pub(super) async fn read<T, Q>(&self, question: Q) -> Result<T>
    where
        T: Send + 'static,
        Q: FnOnce(&Connection) -> Result<T> + Send + 'static,
    {
        let permit = self.permits.clone().acquire_owned().await.map_err(StoreError::failed)?;
        let idle = self.idle.clone();
        let answered = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let lease = Lease::take(idle);
            question(&*lease.connection()?.unchecked_transaction()?)
        });
        answered.await.map_err(StoreError::failed)?
    }
}

/// A connection on loan; it returns even if the question panics.
struct Lease {
    connection: Option<Connection>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Lease {
    fn take(idle: Arc<Mutex<Vec<Connection>>>) -> Lease {
        let connection = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Lease { connection, idle }
    }

    fn connection(&self) -> Result<&Connection> {
        self.connection.as_ref().ok_or_else(|| StoreError::failed("no reader is free"))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.connection.take());
    }
}
