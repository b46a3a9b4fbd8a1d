//! The task behind the sink: connects, drains the queue in batches, waits and tries again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::transport::{Answer, Link, Transport};
use super::{Ledger, RedisConfig, Settled, Write};

/// Outputs taken from the queue together.
const BATCH_WRITES_MAX: usize = 256;
/// Bytes sent together, so that a batch has a chance to be through before the reply is due.
const BATCH_BYTES_MAX: usize = 1 << 20;
pub(super) const BACKOFF_MIN: Duration = Duration::from_millis(100);
pub(super) const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How often one output may break a connection that worked until then; it must not stop all others.
const BREAKS_PER_WRITE: u32 = 3;
/// A connection without work is looked after this often, so that the status stays true.
pub(super) const IDLE_CHECK: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    transport: Transport,
    place: String,
    queue: mpsc::Receiver<Write>,
    ledger: Arc<Ledger>,
    /// Taken from the queue and not settled, oldest first.
    pending: Vec<Write>,
    backoff: Duration,
    /// Connections in a row that broke over the first of the pending outputs.
    breaks: u32,
}

impl Writer {
    pub(super) fn new(
        config: RedisConfig,
        queue: mpsc::Receiver<Write>,
        ledger: Arc<Ledger>,
    ) -> Writer {
        let RedisConfig { transport, place } = config;
        let (pending, backoff, breaks) = (Vec::new(), BACKOFF_MIN, 0);
        Writer { transport, place, queue, ledger, pending, backoff, breaks }
    }

    /// Runs until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        loop {
            let error = match self.transport.connect().await {
                Ok(link) => match self.serve(link).await {
                    Ok(()) => return,
                    Err(error) => error,
                },
                Err(error) => error,
            };
            self.ledger.down(&self.place, error);
            sleep(self.backoff).await;
            self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Writes over one connection for as long as it works.
    async fn serve(&mut self, mut link: Link) -> Result<(), String> {
        loop {
            if self.pending.is_empty() {
                self.works();
                if !self.take(&mut link).await? {
                    return Ok(());
                }
            }
            match link.write(&self.pending[..self.batch()]).await {
                Ok(answers) => {
                    self.works();
                    self.settle(answers);
                }
                Err(error) => {
                    self.broke(&error);
                    return Err(error);
                }
            }
        }
    }

    fn works(&mut self) {
        self.backoff = BACKOFF_MIN;
        self.breaks = 0;
        self.ledger.connected(&self.place);
    }

    /// Waits for outputs; answers false once there will be no more.
    async fn take(&mut self, link: &mut Link) -> Result<bool, String> {
        loop {
            let taking = self.queue.recv_many(&mut self.pending, BATCH_WRITES_MAX);
            match timeout(IDLE_CHECK, taking).await {
                Ok(taken) => return Ok(taken > 0),
                Err(_) => link.keep_alive().await?,
            }
        }
    }

    /// How many of the pending outputs to send together: one by one after a break, to find the culprit.
    fn batch(&self) -> usize {
        let mut bytes = 0;
        let fits = |write: &&Write| {
            bytes += write.bytes;
            self.breaks == 0 && bytes <= BATCH_BYTES_MAX
        };
        self.pending.iter().take_while(fits).count().max(1)
    }

    fn settle(&mut self, answers: Vec<Answer>) {
        let writes = self.pending.drain(..answers.len().min(self.pending.len()));
        for (write, answer) in writes.zip(answers) {
            match answer {
                Ok(()) => self.ledger.settle(Settled::Written, write.bytes),
                Err(error) => {
                    self.ledger.refused(&self.place, error);
                    self.ledger.settle(Settled::Failed, write.bytes);
                }
            }
        }
    }

    fn broke(&mut self, error: &str) {
        self.breaks += 1;
        if self.breaks >= BREAKS_PER_WRITE {
            self.breaks = 1;
            self.settle(vec![Err(error.to_owned())]);
        }
    }
}
