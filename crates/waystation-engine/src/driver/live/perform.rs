//! Actions performed: nodes prepared and run, facts recorded. Nothing here waits.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use waystation_core::entry::{Body, Data, Ending, Entry, Fact, Level, Outcome};
use waystation_core::error::{Code, Failure};
use waystation_core::extract::bytes_about;
use waystation_core::limits::LOG_LINES_PER_RUN;
use waystation_core::plan::{Edge, NodeIndex, When};
use waystation_core::prepare::{Prepared, prepare};
use waystation_core::run::NodeRecord;
use waystation_core::scheduler::{Action, NodeStatus};
use waystation_core::scope::{NodeScope, Outside};
use waystation_core::usage::Usage;

use super::super::attempt::{Attempt, Ended, contained, jitter, presentable};
use super::Live;
use super::items::Place;
use crate::id::now_ms;
use crate::limits::EFFECTS_PER_RUN;
use crate::node::{self, NodeType, PureCall, Wait};
use crate::secret::{Redactor, Secret};

/// The time after which the next action waits until other tasks have had their turn.
const TURN: Duration = Duration::from_millis(5);

impl Live {
    /// Performs actions, and those that follow from them; answers whether some are left.
    pub(super) fn perform(&mut self, most: usize) -> bool {
        let began = Instant::now();
        for _ in 0..most {
            if began.elapsed() > TURN {
                break;
            }
            let Some(action) = self.actions.pop() else { return false };
            match action {
                Action::Start { node, attempt } => self.start(node, attempt),
                Action::Skip { node, reason } => self.record(Fact::NodeSkipped { node, reason }),
                Action::SetTimer { timer, at } => {
                    self.timers.insert((at, timer));
                }
                Action::StartItem { node, attempt, item } => {
                    self.start_item(Place { node, attempt, item });
                }
                Action::Gather { node, attempt } => self.gather(node, attempt),
                Action::Cancel { node } => self.cancel(node),
                Action::Finish { outcome } => self.finish(outcome),
            }
        }
        !self.actions.is_empty()
    }

    /// Applies a fact that is a consequence of, or news to, the present state.
    pub(super) fn record(&mut self, fact: Fact) {
        let entry = Entry { at: self.now(), fact };
        let before = self.actions.len();
        if !self.run.apply(&entry, &mut self.actions) {
            // News that came too late to matter, such as a result after the run's end was decided.
            return;
        }
        self.shared.meters.count(&self.run, &entry.fact);
        // The stack is popped from its end; what was asked for first has to be done first.
        self.actions[before..].reverse();
        self.entries.push(entry);
    }

    pub(super) fn log(&mut self, node: Option<NodeIndex>, level: Level, message: String) {
        if self.run.log.len() > LOG_LINES_PER_RUN as usize {
            return;
        }
        self.record(Fact::Logged { node, level, message });
    }

    fn start(&mut self, node: NodeIndex, attempt: u32) {
        // The run may have ended between the request and its turn.
        if !matches!(self.run.status(node), NodeStatus::Ready | NodeStatus::Running) {
            return;
        }
        if let Some(NodeRecord { output: Some(output), port, details, .. }) =
            self.reuse.get(node as usize)
        {
            let (output, port) = (Data::Value(Arc::clone(output)), port.as_deref().map(Into::into));
            let details = details.as_deref().cloned().unwrap_or_default();
            return self.record(Fact::NodeCompleted { node, attempt, output, port, details });
        }
        if self.starting.len() + self.attempts.len() >= EFFECTS_PER_RUN && self.has_effect(node) {
            return self.waiting.push_back((node, attempt));
        }
        let vault = Arc::clone(&self.shared.vault);
        let lacking = OnceCell::new();
        let secrets = |name: &str| match vault.get(name) {
            Ok(secret) => Some(secret.expose().to_owned()),
            Err(error) => {
                // The first of several is told.
                let _ = lacking.set(error);
                None
            }
        };
        let links = |name: &str| self.link_to(name);
        let prepared = prepare(
            &self.run,
            &self.id_text,
            node,
            attempt,
            now_ms(),
            Outside { secrets: &secrets, links: &links },
        );
        match (prepared, lacking.into_inner()) {
            (Prepared::Skip { reason }, _) => self.record(Fact::NodeSkipped { node, reason }),
            (Prepared::Fail(_), Some(error)) => self.failed(node, attempt, error.into()),
            // A placeholder instead of a secret would only be refused elsewhere, with less of a reason.
            (Prepared::Run { warnings, .. }, Some(error)) if !warnings.is_empty() => {
                self.failed(node, attempt, error.into());
            }
            (Prepared::Fail(failure), None) => self.failed(node, attempt, failure),
            (Prepared::Run { config, warnings, secrets, holds }, _) => {
                for warning in warnings {
                    self.log(Some(node), Level::Warning, warning);
                }
                // As they are now: an attempt may outlast them.
                let secrets = secrets.iter().filter_map(|name| vault.get(name).ok()).collect();
                self.dispatch((node, attempt), (config, holds), secrets);
            }
        }
    }

    /// The link by which somebody ends the wait of a node of this run.
    fn link_to(&self, name: &str) -> Option<String> {
        let make = self.shared.links.as_ref()?;
        let program = &self.run.program;
        let node = *program.by_id.get(name)?;
        let attempt = self.run.nodes[node as usize].attempts.max(1);
        let waits = program.plan.nodes[node as usize].kind == node::wait::KIND;
        waits.then(|| make(self.id, name, attempt))
    }

    fn has_effect(&self, node: NodeIndex) -> bool {
        let kind = &self.run.program.plan.nodes[node as usize].kind;
        matches!(self.shared.registry.get(kind), Some(NodeType::Effect(_)))
    }

    fn dispatch(
        &mut self,
        (node, attempt): (NodeIndex, u32),
        (config, holds): (Value, Option<bool>),
        secrets: Vec<Secret>,
    ) {
        let definition = &self.run.program.plan.nodes[node as usize];
        match self.shared.registry.get(&definition.kind) {
            Some(NodeType::Pure(evaluate)) => {
                let outcome = self.call_pure(node, config, holds, *evaluate);
                let outcome = presentable(outcome, &secrets);
                let (spent, log) = (Usage::default(), Vec::new());
                self.ended(Ended { node, attempt, outcome, spent, log });
            }
            Some(NodeType::Wait(wait)) => {
                let wait = self.call_pure(node, config, holds, *wait);
                self.suspend((node, attempt), wait, &secrets);
            }
            Some(NodeType::Body(body)) => {
                let body = self.call_pure(node, config, holds, *body);
                self.begin_body((node, attempt), body, &secrets);
            }
            Some(NodeType::Effect(effect)) => {
                let effect = Arc::clone(effect);
                let completed = self.call_pure(node, config, holds, |call| {
                    effect.complete(call)?;
                    Ok(std::mem::take(&mut call.config))
                });
                let config = match completed {
                    Ok(config) => config,
                    Err(failure) => return self.failed(node, attempt, failure),
                };
                let is_repeated = self.run.scheduler.was_started(node);
                let key = format!("{}:{}", self.id_text, definition.id);
                let attempt = Attempt::new(
                    (node, attempt),
                    is_repeated,
                    definition,
                    effect,
                    (config, key),
                    secrets,
                );
                self.starting.push(attempt);
            }
            None => {
                let text = format!("no node type is called {}", definition.kind);
                self.failed(node, attempt, Failure::fatal(Code::DefinitionInvalid, text));
            }
        }
    }

    fn suspend(
        &mut self,
        (node, attempt): (NodeIndex, u32),
        wait: Result<Wait, Failure>,
        secrets: &[Secret],
    ) {
        match wait {
            Ok(Wait { for_ms, mut then }) => {
                if let Ending::Completed { output, .. } = &mut then {
                    redact(output, secrets);
                }
                let until = for_ms.map(|wait| self.now().saturating_add(wait));
                self.record(Fact::NodeSuspended { node, attempt, until, then });
            }
            Err(failure) => self.failed(node, attempt, failure),
        }
    }

    fn begin_body(
        &mut self,
        (node, attempt): (NodeIndex, u32),
        body: Result<Body, Failure>,
        secrets: &[Secret],
    ) {
        match body {
            Ok(mut body) => {
                redact(&mut body.items, secrets);
                redact(&mut body.outer, secrets);
                let held = [&body.items, &body.outer].into_iter().filter_map(Data::value);
                let bytes = held.map(|value| bytes_about(value)).fold(0, usize::saturating_add);
                if let Err(failure) = self.take_room(bytes) {
                    return self.failed(node, attempt, failure);
                }
                self.want_items(node);
                self.record(Fact::BodyStarted { node, attempt, body: Box::new(body) });
            }
            Err(failure) => self.failed(node, attempt, failure),
        }
    }

    /// Calls what works on values alone; a panic in it is a failure of that node.
    fn call_pure<T>(
        &self,
        node: NodeIndex,
        config: Value,
        holds: Option<bool>,
        work: impl FnOnce(&mut PureCall<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let run = &self.run;
        let upstream = || self.results_before(node);
        let outputs = &run.program.plan.nodes[node as usize].outputs;
        let attempt = run.nodes[node as usize].attempts.max(1);
        let outside = Outside { secrets: &|_| None, links: &|name| self.link_to(name) };
        let names = NodeScope::new(run, &self.id_text, attempt, now_ms(), outside);
        let input = &run.input;
        let mut call =
            PureCall { config, outputs, holds, input, names: &names, upstream: &upstream };
        contained(|| work(&mut call))
    }

    /// The results that lead to a node, by the ids of the nodes that gave them: of edges that were not
    /// followed there are none.
    fn results_before(&self, node: NodeIndex) -> Vec<(String, Arc<Value>)> {
        let program = &self.run.program;
        let followed = program.edges_to(node).filter(|edge| self.was_followed(edge));
        let results = followed.filter_map(|edge| {
            let source = &program.plan.nodes[edge.from as usize];
            // What judges an edge's condition stands in the way of what the edge brings.
            let is_judge = source.hidden && source.condition.is_some();
            let judged = program.edges_to(edge.from).next().filter(|_| is_judge);
            let from = judged.unwrap_or(edge).from as usize;
            let output = self.run.nodes[from].output.clone()?;
            Some((program.plan.nodes[from].id.clone(), output))
        });
        results.collect()
    }

    fn was_followed(&self, edge: &Edge) -> bool {
        let source = &self.run.nodes[edge.from as usize];
        match &edge.when {
            When::Completed | When::Settled => source.output.is_some(),
            When::Port(port) => source.port.as_deref() == Some(port),
            When::Failed | When::Never => false,
        }
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        let Ended { node, attempt, outcome, spent, log } = ended;
        for (level, line) in log {
            self.log(Some(node), level, line);
        }
        if !spent.is_nothing() {
            self.record(Fact::Spent { node, usage: spent });
        }
        match outcome.and_then(|completion| self.within_bounds(completion)) {
            Ok(node::Completion { output, port, details }) => {
                let output = Data::from(output);
                self.record(Fact::NodeCompleted { node, attempt, output, port, details });
            }
            Err(failure) => self.failed(node, attempt, failure),
        }
    }

    /// A result that the run has room for. Steps that repeat earlier results, of which each is small
    /// enough by itself, would otherwise let a short request fill all memory.
    fn within_bounds(&mut self, completion: node::Completion) -> node::Outcome {
        self.take_room(bytes_about(&completion.output)).map(|()| completion)
    }

    /// Takes room for a result of so many bytes.
    pub(super) fn take_room(&mut self, bytes: usize) -> Result<(), Failure> {
        let most = self.shared.settings.result_bytes_max;
        let total = self.result_bytes.saturating_add(bytes);
        if total > most {
            let text = format!("the results of this run take more than {most} bytes together");
            let hint = "let steps give less, or raise WAYSTATION_MAX_RESULT_BYTES".to_owned();
            let failure = Failure::fatal(Code::LimitExceeded, text);
            return Err(Failure { hint: Some(hint), ..failure });
        }
        self.result_bytes = total;
        Ok(())
    }

    fn failed(&mut self, node: NodeIndex, attempt: u32, failure: Failure) {
        let jitter = jitter();
        self.record(Fact::NodeFailed { node, attempt, failure, jitter });
    }

    fn cancel(&mut self, node: NodeIndex) {
        self.abandon(node);
        self.starting.retain(|attempt| attempt.node != node);
        let attempts = self.attempts.iter_mut().filter(|attempt| attempt.node() == node);
        let mut usage = Usage::default();
        attempts.for_each(|attempt| usage.add(&attempt.stop()));
        if !usage.is_nothing() {
            self.record(Fact::Spent { node, usage });
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        // What was asked for before the end came must not be recorded after it.
        self.actions.clear();
        self.starting.clear();
        self.waiting.clear();
        self.items_starting.clear();
        self.attempts.clear();
        self.timers.clear();
        self.record(Fact::RunFinished { outcome });
    }
}

/// Takes secrets out of a value that is about to be recorded.
fn redact(data: &mut Data, secrets: &[Secret]) {
    if secrets.is_empty() {
        return;
    }
    if let Data::Value(value) = data {
        Redactor::new(secrets).redact_value(Arc::make_mut(value));
    }
}
