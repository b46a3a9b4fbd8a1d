//! One attempt at a node with effects: its place among the others, its time limit, its containment.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::Value;
use tracing::Instrument;
use waystation_core::entry::Level;
use waystation_core::error::{Code, Failure};
use waystation_core::plan::{Node, NodeIndex};
use waystation_core::usage::Usage;

use crate::node::context::{Account, RunContext};
use crate::node::{AttemptContext, Call, Effect, Outcome, http};
use crate::secret::{Redactor, Secret};

/// An attempt that is about to be made.
pub(super) struct Attempt {
    pub(super) node: NodeIndex,
    pub(super) number: u32,
    effect: Arc<dyn Effect>,
    config: Value,
    idempotency_key: String,
    outputs: Vec<String>,
    is_repeated: bool,
    timeout: Duration,
    /// The secrets in the settings, as they were then.
    secrets: Vec<Secret>,
}

/// How an attempt came out.
pub(super) struct Ended {
    pub(super) node: NodeIndex,
    pub(super) attempt: u32,
    pub(super) outcome: Outcome,
    /// What it has used.
    pub(super) spent: Usage,
    /// What it has to say for the run's log.
    pub(super) log: Vec<(Level, String)>,
}

/// The attempts of a run that are under way.
pub(super) type Attempts = FuturesUnordered<Underway>;

/// An attempt under way. Once stopped it never ends.
pub(super) struct Underway {
    node: NodeIndex,
    context: AttemptContext,
    work: Option<BoxFuture<'static, Ended>>,
}

impl Attempt {
    pub(super) fn new(
        (node, number): (NodeIndex, u32),
        is_repeated: bool,
        definition: &Node,
        effect: Arc<dyn Effect>,
        (config, idempotency_key): (Value, String),
        secrets: Vec<Secret>,
    ) -> Attempt {
        let outputs = definition.outputs.clone();
        let timeout = Duration::from_millis(definition.timeout_ms);
        Attempt {
            node,
            number,
            effect,
            config,
            idempotency_key,
            outputs,
            is_repeated,
            timeout,
            secrets,
        }
    }

    pub(super) fn make(mut self, ties: &Arc<RunContext>, account: Account) -> Underway {
        let (node, secrets) = (self.node, std::mem::take(&mut self.secrets));
        let context = AttemptContext::new(Arc::clone(ties), (node, self.number), account, secrets);
        Underway { node, context: context.clone(), work: Some(self.run(context).boxed()) }
    }

    async fn run(self, context: AttemptContext) -> Ended {
        let Attempt { effect, config, idempotency_key, outputs, is_repeated, .. } = self;
        // What is logged meanwhile says of which run and node: the key names both.
        let span = tracing::info_span!(
            "attempt",
            run = %context.run(),
            node = idempotency_key.split_once(':').map(|(_, node)| node),
            attempt = self.number
        );
        let call = Call { idempotency_key, config, outputs, is_repeated, context: context.clone() };
        let attempting = effect.attempt(call).instrument(span.clone());
        let work = AssertUnwindSafe(attempting).catch_unwind();
        let work = work.map(|ended| ended.unwrap_or_else(|_| Err(panicked())));
        let outcome = context.within(self.timeout, work).await;
        let outcome = outcome.unwrap_or_else(|| Err(timed_out(self.timeout)));
        let outcome = presentable(outcome, context.secrets());
        if let Err(failure) = &outcome {
            span.in_scope(|| tracing::info!(code = failure.code.as_str(), "an attempt has failed"));
        }
        let (spent, log) = (context.spent(), context.take_log());
        Ended { node: self.node, attempt: self.number, outcome, spent, log }
    }
}

impl Underway {
    pub(super) fn node(&self) -> NodeIndex {
        self.node
    }

    /// Drops the work, and gives what it has used.
    pub(super) fn stop(&mut self) -> Usage {
        self.work = None;
        self.context.spent()
    }
}

impl Future for Underway {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ended> {
        match &mut self.work {
            Some(work) => work.poll_unpin(context),
            None => Poll::Pending,
        }
    }
}

/// Runs a pure node; a panic in it is a failure of that node.
pub(super) fn contained<T>(evaluate: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(evaluate)).unwrap_or_else(|_| Err(panicked()))
}

fn panicked() -> Failure {
    Failure::fatal(Code::NodePanicked, "the step hit a fault of this program")
}

fn timed_out(timeout: Duration) -> Failure {
    let text = format!("Timeout after {} seconds", timeout.as_secs_f64());
    Failure::retryable(Code::Timeout, text, None)
}

/// Takes the values of the secrets that a node used out of what it gives. Only then is a quoted answer
/// cut: a secret that is cut could not be recognised.
pub(super) fn presentable(outcome: Outcome, secrets: &[Secret]) -> Outcome {
    let mut outcome = outcome;
    if !secrets.is_empty() {
        let redactor = Redactor::new(secrets);
        match &mut outcome {
            Ok(completion) => {
                redactor.redact_value(&mut completion.output);
                completion.details.values_mut().for_each(|value| redactor.redact_value(value));
            }
            Err(failure) => {
                failure.message = redactor.redact_text(&failure.message).into_owned();
                let hint = failure.hint.take();
                failure.hint = hint.map(|hint| redactor.redact_text(&hint).into_owned());
            }
        }
    }
    outcome.map_err(http::cut_quotation)
}

/// A random number for the spread of retries.
pub(super) fn jitter() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness retries are merely not spread.
    let _ = SystemRandom::new().fill(&mut bytes);
    u16::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::Completion;

    #[test]
    fn what_a_node_gives_is_redacted_first_and_cut_then() {
        let secrets = [Secret::new("swordfish".into())];
        let quoted = format!("HTTP 404: {}swordfish, and more", "p".repeat(195));
        let failure = Failure::fatal(Code::HttpStatus, quoted);
        let failure = presentable(Err(failure), &secrets).unwrap_err();
        assert_eq!(failure.message, format!("HTTP 404: {}[reda", "p".repeat(195)));
        let given = Completion::from(json!({ "echo": "a swordfish" }));
        let given = presentable(Ok(given), &secrets).unwrap();
        assert_eq!(given.output, json!({ "echo": "a [redacted]" }));
    }
}
