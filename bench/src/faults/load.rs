//! Runs begun over HTTP: as fast as they are answered, or at a steady rate whatever the answers are.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ledger::Ledger;
use crate::client::{Connection, RUN_NUMBER, Request};

/// Connections at work at the same time: for the peak, and for the load, whose answers may be late.
const PEAK_CONNECTIONS: usize = 64;
const LOAD_CONNECTIONS: usize = 256;
/// How long an answer may take; then it counts as none.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// The number of a run that nobody counts.
const NOBODY: u64 = 999_999_999_999;
/// The pause after a connection or a run was refused.
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);

/// What is begun, and where.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    pub(super) workflow: String,
}

impl Target {
    fn request(&self) -> Request {
        let path = format!("/api/v1/workflows/{}/execute", self.workflow);
        Request::post(&path, &format!(r#"{{"input_data":{{"number":"{RUN_NUMBER}"}}}}"#))
    }
}

/// Begins runs as fast as each connection hears that its last one is accepted; answers how many.
pub(super) async fn begin(target: &Target, time: Duration) -> Result<usize> {
    let (until, begun) = (Instant::now() + time, Arc::new(AtomicUsize::new(0)));
    let mut connections = JoinSet::new();
    for _ in 0..PEAK_CONNECTIONS {
        let (mut request, begun) = (target.request(), Arc::clone(&begun));
        let mut connection = Connection::open(target.address).await?;
        request.set_number(NOBODY);
        connections.spawn(async move {
            while Instant::now() < until {
                match connection.exchange(&request).await?.status {
                    202 => _ = begun.fetch_add(1, Ordering::Relaxed),
                    // So many are under way that they have to wait.
                    429 => sleep(RECONNECT_PAUSE).await,
                    status => anyhow::bail!("a run was answered with {status}"),
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok(begun.load(Ordering::Relaxed))
}

/// Begins so many runs, so many a second; answers the requests that were not acknowledged, by what happened.
pub(super) async fn steady(
    target: &Target,
    ledger: &Arc<Ledger>,
    began: Instant,
    (runs, rate): (usize, f64),
) -> Result<Refused> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = JoinSet::new();
    for _ in 0..LOAD_CONNECTIONS {
        let (target, ledger, next) = (target.clone(), Arc::clone(ledger), Arc::clone(&next));
        connections.spawn(async move {
            let mut sender = Sender::new(&target, ledger);
            loop {
                let run = next.fetch_add(1, Ordering::Relaxed);
                if run >= runs {
                    return sender.refused;
                }
                let due = Duration::from_secs_f64(run as f64 / rate);
                sleep_until(began + due).await;
                sender.send(run, due).await;
            }
        });
    }
    let mut refused = Refused::default();
    while let Some(ended) = connections.join_next().await {
        let Refused { answers, broken } = ended?;
        refused.answers += answers;
        refused.broken += broken;
    }
    Ok(refused)
}

/// Requests that were not acknowledged.
#[derive(Default)]
pub(super) struct Refused {
    /// Answered with an error.
    pub(super) answers: usize,
    /// Not answered: the server was not there, or went.
    pub(super) broken: usize,
}

struct Sender {
    address: SocketAddr,
    request: Request,
    connection: Option<Connection>,
    ledger: Arc<Ledger>,
    refused: Refused,
}

impl Sender {
    fn new(target: &Target, ledger: Arc<Ledger>) -> Sender {
        let request = target.request();
        Sender {
            address: target.address,
            request,
            connection: None,
            ledger,
            refused: Refused::default(),
        }
    }

    async fn send(&mut self, run: usize, due: Duration) {
        self.ledger.due(run, due);
        self.request.set_number(run as u64);
        match timeout(ANSWER_MAX, self.exchange()).await {
            Ok(Ok(202)) => self.ledger.acknowledged(run),
            Ok(Ok(_)) => self.refused.answers += 1,
            Ok(Err(_)) | Err(_) => {
                self.refused.broken += 1;
                self.connection = None;
                sleep(RECONNECT_PAUSE).await;
            }
        }
    }

    async fn exchange(&mut self) -> Result<u16> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(self.address).await?),
        };
        Ok(connection.exchange(&self.request).await?.status)
    }
}
