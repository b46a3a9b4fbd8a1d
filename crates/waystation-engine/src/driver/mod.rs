//! The engine: it appends facts, applies them, and performs the actions that follow.
//!
//! - [`plans`]: definitions seen before
//! - `live`: one run under way
//! - `attempt`: one attempt at a node with effects
//! - `meters`: what runs and nodes count
//! - `wake`: recovery at start, timers, retention

mod attempt;
mod handle;
mod live;
mod meters;
pub mod plans;
mod shared;
#[cfg(test)]
mod tests;
mod wake;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use serde_json::Value;
use tokio::sync::broadcast;
use waystation_core::entry::{Data, Entry, Start};
use waystation_core::error::{Code, Error};
use waystation_core::plan::{NodeIndex, Plan};
use waystation_core::run::Run;

use handle::Command;
pub use handle::Finished;
use live::Live;
use plans::{Definition, SourceKey};
use shared::Shared;
pub use shared::{Health, Parts, Settings};

use crate::event::redis::{OutputSink, RedisStatus};
use crate::id::RunId;
use crate::node::context::Token;
use crate::store::{RunFilter, RunRow, Status, Store};

/// The engine. Clones share it.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

/// A request to run a definition.
pub struct Submission {
    /// What to run.
    pub definition: Arc<Definition>,
    /// The workflow it belongs to.
    pub workflow: String,
    /// The namespace of that workflow.
    pub namespace: String,
    /// A name for people.
    pub name: Option<String>,
    /// The run's input.
    pub input: Value,
    /// What in this request is probably not as its author meant it; goes to the run's log.
    pub warnings: Vec<String>,
}

/// A run that has begun.
pub struct Submitted {
    /// Its id.
    pub id: RunId,
    /// Its end.
    pub finished: Finished,
}

impl Engine {
    /// An engine of these parts.
    pub fn new(parts: Parts) -> Engine {
        Engine { shared: Arc::new(Shared::new(parts)) }
    }

    /// Takes care of the runs in the store, if the engine is resident: recovers unfinished ones, wakes
    /// sleeping ones when due, deletes old ones, delivers webhooks that are still owed.
    pub async fn start(&self) -> Result<(), Error> {
        if self.shared.settings.is_resident {
            wake::recover(&self.shared).await?;
            wake::spawn_services(&self.shared);
        }
        Ok(())
    }

    /// The definition with this source, compiled now if it was not seen before.
    pub fn define<E: From<Error>>(
        &self,
        source: SourceKey,
        compile: impl FnOnce() -> Result<(Plan, Vec<String>), E>,
    ) -> Result<Arc<Definition>, E> {
        if let Some(known) = self.shared.plans.known(&source) {
            return Ok(known);
        }
        let (plan, warnings) = compile()?;
        Ok(self.shared.plans.add(source, plan, warnings)?)
    }

    /// Begins a run. Dropping what it gives does not stop the run.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, Error> {
        let Submission { definition, workflow, namespace, name, input, warnings } = submission;
        let start = Start {
            plan: definition.program.hash.to_string(),
            workflow,
            namespace,
            name,
            input: Data::from(input),
            ..Start::default()
        };
        self.begin(&definition, start, warnings, None).await
    }

    async fn begin(
        &self,
        definition: &Definition,
        start: Start,
        warnings: Vec<String>,
        reuse: Option<&Run>,
    ) -> Result<Submitted, Error> {
        self.shared.admit()?;
        let live = Live::begin(&self.shared, definition, start, warnings, reuse);
        let id = live.id();
        let finished = live.launch().await?;
        Ok(Submitted { id, finished })
    }

    /// Begins another try at a finished run: same plan and input, completed nodes keep their results.
    pub async fn retry(&self, id: RunId) -> Result<Submitted, Error> {
        let previous = self.run(id).await?;
        let ended = previous.outcome.is_some();
        let Some(start) = previous.start.as_deref().filter(|_| ended) else {
            return Err(Error::new(Code::Conflict, format!("Run {id} is still running")));
        };
        let definition = self.shared.definition(&start.plan).await?;
        let start = Start { retry_of: Some(id.to_string()), ..start.clone() };
        self.begin(&definition, start, Vec::new(), Some(&previous)).await
    }

    /// Asks a run to end, and waits until it has.
    pub async fn cancel(&self, id: RunId, reason: &str) -> Result<Arc<Run>, Error> {
        let row = self.row(id).await?;
        if row.status != Status::Running {
            let text = format!("Run {id} has already {}", ended_how(row.status));
            return Err(Error::new(Code::RunEnded, text));
        }
        let finished = self.shared.ensure_live(id);
        self.request_cancel(id, reason);
        finished.wait().await
    }

    /// Asks a run under way to end. Its end is told to whoever waits for it.
    pub fn request_cancel(&self, id: RunId, reason: &str) {
        self.shared.command(id, Command::Cancel { reason: reason.into() });
    }

    /// Everything known about a run.
    pub async fn run(&self, id: RunId) -> Result<Run, Error> {
        let row = self.row(id).await?;
        let definition = self.shared.definition(&row.plan).await?;
        let entries = self.shared.store.journal(id, 0).await?;
        Ok(Run::replay(Arc::clone(&definition.program), &entries))
    }

    /// A run's line in lists.
    pub async fn row(&self, id: RunId) -> Result<RunRow, Error> {
        let row = self.shared.store.run(id).await?;
        row.ok_or_else(|| unknown_run(id))
    }

    /// Runs, newest first.
    pub async fn runs(&self, filter: RunFilter) -> Result<Vec<RunRow>, Error> {
        Ok(self.shared.store.runs(filter).await?)
    }

    /// A run's journal from a place on, in pieces, as it grows, to its end.
    pub fn follow(
        &self,
        id: RunId,
        from_seq: u32,
    ) -> impl Stream<Item = Result<Vec<Entry>, Error>> {
        handle::follow(Arc::clone(&self.shared), id, from_seq)
    }

    /// Listens to the pieces of models' answers that a run in memory gets from now on.
    pub fn tokens(&self, id: RunId) -> Option<broadcast::Receiver<Token>> {
        self.shared.ties_of(id).map(|ties| ties.listen())
    }

    /// What a run's attempts wait for, by node.
    pub fn waiting(&self, id: RunId) -> Vec<(NodeIndex, String)> {
        self.shared.ties_of(id).map(|ties| ties.reasons()).unwrap_or_default()
    }

    /// The store behind it.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The state of Redis, where configured.
    pub fn redis_status(&self) -> Option<RedisStatus> {
        self.shared.outputs.as_ref().map(OutputSink::status)
    }

    /// How its parts are.
    pub async fn health(&self) -> Health {
        self.shared.health().await
    }

    /// Takes no more runs, gives attempts under way this long to end, and stops. What is unfinished
    /// goes on at the next start.
    pub async fn shutdown(&self, grace: Duration) {
        self.shared.close(grace).await;
    }
}

/// The error for a run that is not there.
pub fn unknown_run(id: impl Display) -> Error {
    Error::new(Code::NotFound, format!("Run {id} not found"))
}

fn ended_how(status: Status) -> &'static str {
    match status {
        Status::Cancelled => "been cancelled",
        other => other.as_str(),
    }
}
