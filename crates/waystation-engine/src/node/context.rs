//! An attempt's ties to its run: waiting that does not use up its time, what it spends, what it tells
//! while it is under way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, broadcast, watch};
use waystation_core::entry::{Level, Start};
use waystation_core::error::{Code, Failure};
use waystation_core::limits::LOG_LINES_PER_RUN;
use waystation_core::plan::{Budget, NodeIndex};
use waystation_core::usage::Usage;

use super::Outcome;
use crate::event::trace::{self, TraceParent};
use crate::id::RunId;
use crate::limits::{LOG_LINE_LETTERS, TOKENS_BEHIND};
use crate::secret::{Redactor, Secret};

/// A piece of a model's answer, told while the answer is being made. It is live only: the journal
/// has the whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// The node that asks.
    pub node: NodeIndex,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The piece.
    pub text: Arc<str>,
}

/// The next piece, of a run that is listened to; without one it never comes. One who listens too slowly
/// misses some: the journal has the whole answer.
pub async fn next_token(tokens: &mut Option<broadcast::Receiver<Token>>) -> Token {
    use broadcast::error::RecvError;
    loop {
        let Some(receiver) = tokens else { return std::future::pending().await };
        match receiver.recv().await {
            Ok(token) => return token,
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => *tokens = None,
        }
    }
}

/// What a run's attempts have in common.
pub struct RunContext {
    /// The run.
    pub run: RunId,
    /// The places for nodes with effects, over all runs.
    pub places: Arc<Semaphore>,
    /// Who hears tokens; made when somebody first listens.
    pub tokens: OnceLock<broadcast::Sender<Token>>,
    /// What attempts wait for, by node.
    pub waiting: Mutex<BTreeMap<NodeIndex, String>>,
    /// Whether its spans are recorded.
    pub is_traced: bool,
}

impl RunContext {
    /// The ties of a run.
    pub fn new(run: RunId, places: Arc<Semaphore>) -> RunContext {
        let (tokens, waiting) = (OnceLock::new(), Mutex::default());
        RunContext { run, places, tokens, waiting, is_traced: false }
    }

    /// Listens to the tokens from now on.
    pub fn listen(&self) -> broadcast::Receiver<Token> {
        self.tokens.get_or_init(|| broadcast::Sender::new(TOKENS_BEHIND)).subscribe()
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<NodeIndex, String>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What attempts wait for, by node.
    pub fn reasons(&self) -> Vec<(NodeIndex, String)> {
        self.waiting().iter().map(|(node, reason)| (*node, reason.clone())).collect()
    }
}

/// Who pays for an attempt, and what is left.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// How the run began: tells its workflow. `None` outside of runs.
    pub start: Option<Arc<Start>>,
    /// What the run had used when the attempt began.
    pub spent: Usage,
    /// What the run may use.
    pub budget: Budget,
}

/// One attempt's ties. Clones share them.
#[derive(Clone)]
pub struct AttemptContext {
    shared: Arc<Attempt>,
}

struct Attempt {
    ties: Arc<RunContext>,
    node: NodeIndex,
    number: u32,
    account: Account,
    /// What must not be seen of what the attempt works with.
    secrets: Vec<Secret>,
    spent: Mutex<Usage>,
    log: Mutex<Vec<(Level, String)>>,
    /// Waits under way; while there are any, the attempt's time stands still.
    pauses: watch::Sender<u32>,
}

impl fmt::Debug for AttemptContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttemptContext").field("run", &self.shared.ties.run).finish_non_exhaustive()
    }
}

impl AttemptContext {
    /// The ties of an attempt at a node.
    pub fn new(
        ties: Arc<RunContext>,
        (node, number): (NodeIndex, u32),
        account: Account,
        secrets: Vec<Secret>,
    ) -> AttemptContext {
        let (spent, log, pauses) = (Mutex::default(), Mutex::default(), watch::Sender::new(0));
        let shared = Attempt { ties, node, number, account, secrets, spent, log, pauses };
        AttemptContext { shared: Arc::new(shared) }
    }

    /// Ties to nothing, for calls outside of runs: no budget, nobody who listens.
    pub fn alone() -> AttemptContext {
        let places = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let ties = RunContext::new(RunId::new(), places);
        AttemptContext::new(Arc::new(ties), (0, 1), Account::default(), Vec::new())
    }

    /// What is passed on to those whom the attempt calls, as the header `traceparent`.
    pub fn trace(&self) -> Option<TraceParent> {
        let Attempt { ties, node, number, account, .. } = &*self.shared;
        let start = account.start.as_deref()?;
        trace::passed_on(start, ties.is_traced, ties.run, (*node, *number))
    }

    /// The run.
    pub fn run(&self) -> RunId {
        self.shared.ties.run
    }

    /// Which attempt of its node it is, from 1.
    pub fn attempt(&self) -> u32 {
        self.shared.number
    }

    /// The namespace and the name of the run's workflow.
    pub fn workflow(&self) -> (&str, &str) {
        let start = self.shared.account.start.as_deref();
        start.map_or(("", ""), |start| (&start.namespace, &start.workflow))
    }

    /// The secrets that the attempt works with, for those who pass on what it gets before it ends.
    pub fn secrets(&self) -> &[Secret] {
        &self.shared.secrets
    }

    /// Waits for something without using up the attempt's time; the reason is shown meanwhile.
    pub async fn waiting<F: Future>(&self, reason: impl Into<String>, what: F) -> F::Output {
        let _pause = Pause::new(&self.shared, reason.into());
        what.await
    }

    /// Waits for one of the places for nodes with effects.
    pub async fn place(&self) -> Option<SemaphorePermit<'_>> {
        let places = &self.shared.ties.places;
        if let Ok(place) = places.try_acquire() {
            return Some(place);
        }
        // The semaphore is never closed.
        self.waiting("waits for a place among the nodes under way", places.acquire()).await.ok()
    }

    /// Counts what has been used.
    pub fn spend(&self, usage: &Usage) {
        self.shared.spent.lock().unwrap_or_else(PoisonError::into_inner).add(usage);
    }

    /// What the attempt has used so far.
    pub fn spent(&self) -> Usage {
        *self.shared.spent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something for the run's log, without the secrets in it; too many or too long lines are cut.
    pub fn log(&self, level: Level, line: &str) {
        let mut log = self.shared.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.len() >= LOG_LINES_PER_RUN as usize {
            return;
        }
        let line = Redactor::new(&self.shared.secrets).redact_text(line).into_owned();
        log.push((level, line.chars().take(LOG_LINE_LETTERS).collect()));
    }

    /// What was said for the log.
    pub fn take_log(&self) -> Vec<(Level, String)> {
        std::mem::take(&mut self.shared.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Refuses once the run's budget is reached.
    pub fn check_budget(&self) -> Result<(), Failure> {
        let mut used = self.shared.account.spent;
        used.add(&self.spent());
        match used.reaches(&self.shared.account.budget) {
            None => Ok(()),
            Some(amount) => {
                let text = format!("The run's budget is used up: {amount}");
                Err(Failure::fatal(Code::BudgetExceeded, text))
            }
        }
    }

    /// What attempts of the run wait for.
    #[cfg(test)]
    pub(crate) fn reasons(&self) -> Vec<String> {
        self.shared.ties.reasons().into_iter().map(|(_, reason)| reason).collect()
    }

    /// Whether somebody listens to tokens.
    pub fn is_watched(&self) -> bool {
        self.shared.ties.tokens.get().is_some_and(|tokens| tokens.receiver_count() > 0)
    }

    /// Tells a piece of an answer to whoever listens.
    pub fn tell(&self, text: &str) {
        if let Some(tokens) = self.shared.ties.tokens.get() {
            let (node, attempt) = (self.shared.node, self.shared.number);
            // Nobody may be listening any more.
            let _ = tokens.send(Token { node, attempt, text: text.into() });
        }
    }

    /// The outcome of work that has this long, not counting what it waited for.
    pub(crate) async fn within(
        &self,
        limit: Duration,
        work: impl Future<Output = Outcome>,
    ) -> Option<Outcome> {
        let mut pauses = self.shared.pauses.subscribe();
        let mut left = limit;
        tokio::pin!(work);
        loop {
            let paused = *pauses.borrow_and_update() > 0;
            let began = tokio::time::Instant::now();
            tokio::select! {
                biased;
                outcome = &mut work => return Some(outcome),
                () = tokio::time::sleep(left), if !paused => return None,
                changed = pauses.changed() => changed.ok()?,
            }
            if !paused {
                left = left.saturating_sub(began.elapsed());
            }
        }
    }
}

/// A wait under way: ends with it, also when the attempt is dropped.
struct Pause<'a>(&'a Attempt);

impl Pause<'_> {
    fn new(attempt: &Attempt, reason: String) -> Pause<'_> {
        attempt.ties.waiting().insert(attempt.node, reason);
        attempt.pauses.send_modify(|pauses| *pauses += 1);
        Pause(attempt)
    }
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        self.0.ties.waiting().remove(&self.0.node);
        self.0.pauses.send_modify(|pauses| *pauses -= 1);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waiting_does_not_use_up_the_time_of_an_attempt() {
        let context = AttemptContext::alone();
        let work = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            let wait = tokio::time::sleep(Duration::from_secs(100));
            context.waiting("waits for the test", wait).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
            Ok(json!(1).into())
        };
        assert!(context.within(Duration::from_secs(10), work).await.unwrap().is_ok());
        let work = async {
            tokio::time::sleep(Duration::from_secs(11)).await;
            Ok(json!(1).into())
        };
        assert!(context.within(Duration::from_secs(10), work).await.is_none());
    }

    #[tokio::test]
    async fn the_reason_is_shown_as_long_as_the_attempt_waits() {
        let context = AttemptContext::alone();
        let bell = Notify::new();
        let reasons = || context.shared.ties.reasons();
        let wait = context.waiting("waits for the bell", bell.notified());
        let look = async {
            assert_eq!(reasons(), [(0, "waits for the bell".to_owned())]);
            bell.notify_one();
        };
        tokio::join!(wait, look);
        assert_eq!(reasons(), []);
    }
}
