//! The engine: it appends facts, applies them, and performs the actions that follow.
//!
//! - [`plans`]: definitions seen before
//! - `live`: one run under way
//! - `attempt`: one attempt at a node with effects
//! - `meters`: what runs and nodes count
//! - `schedule`: stored workflows that begin by themselves
//! - `wake`: recovery at start, timers, retention

mod attempt;
mod handle;
mod live;
mod meters;
pub mod plans;
mod schedule;
mod shared;
#[cfg(test)]
pub(crate) mod tests;
mod wake;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use serde_json::Value;
use tokio::sync::{broadcast, oneshot};
use waystation_core::entry::{Data, Entry, Outcome, Start};
use waystation_core::error::{Code, Error};
use waystation_core::plan::{NodeIndex, Plan};
use waystation_core::run::{NodeRecord, Run};

use handle::Command;
pub use handle::{Decision, Finished};
use live::Live;
use plans::{Definition, SourceKey};
pub use schedule::Moments;
use shared::Shared;
pub use shared::{Health, Library, LinkMaker, NoLibrary, Parts, Settings, Stored};

use crate::event::hub::{Place, Topic, Watcher};
use crate::event::redis::{OutputSink, RedisStatus};
use crate::id::RunId;
use crate::node::catalog::Catalog;
use crate::node::context::Token;
use crate::store::{Claim, Fired, RunFilter, RunRow, Status, Store};

/// The namespace of runs that begin by a schedule: that of all stored workflows.
const SCHEDULED_NAMESPACE: &str = "workflows";

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
    /// Where it comes from.
    pub origin: Origin,
}

/// Where a run comes from, beyond a call that is made once.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The version of a stored definition.
    pub version: Option<u32>,
    /// What tells the call from its repetition: a second one is refused as a conflict.
    pub claim: Option<Claim>,
    /// The span of the caller, as the header `traceparent` writes it.
    pub trace: Option<String>,
    /// The trigger that began it: refused as a conflict if this occurrence has begun one already.
    pub fired: Option<Fired>,
}

/// How another try at a run differs from it.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// The id of the first node that runs again, with all that follow from it.
    pub from: Option<String>,
    /// Another input. Nodes that completed before keep their results all the same.
    pub input: Option<Value>,
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
        self.shared.plans.define(source, compile)
    }

    /// Begins a run. Dropping what it gives does not stop the run.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted, Error> {
        let Submission { definition, workflow, namespace, name, input, warnings, origin } =
            submission;
        let start = Start {
            plan: definition.program.hash.to_string(),
            workflow,
            namespace,
            name,
            input: Data::from(input),
            version: origin.version,
            trace: origin.trace.clone(),
            trigger: origin.fired.as_ref().map(|fired| fired.trigger.clone()),
            ..Start::default()
        };
        let live = Live::begin(&self.shared, &definition, start, warnings, Vec::new());
        self.launch(live.coming_from(origin)).await
    }

    async fn launch(&self, live: Live) -> Result<Submitted, Error> {
        self.shared.admit()?;
        let id = live.id();
        let finished = live.launch().await?;
        Ok(Submitted { id, finished })
    }

    /// Begins another try at a finished run, on the same plan: completed nodes keep their results, but for
    /// those that it asks to run again.
    pub async fn retry(&self, id: RunId, again: Again) -> Result<Submitted, Error> {
        let previous = self.run(id).await?;
        let ended = previous.outcome.is_some();
        let Some(start) = previous.start.as_deref().filter(|_| ended) else {
            return Err(Error::new(Code::Conflict, format!("Run {id} is still running")));
        };
        let definition = self.shared.definition(&start.plan).await?;
        // Another input for what has completed whole means all of it.
        let is_anew = again.input.is_some()
            && again.from.is_none()
            && previous.outcome == Some(Outcome::Completed);
        let reuse = match is_anew {
            true => Vec::new(),
            false => reused(&previous, again.from.as_deref())?,
        };
        let input = again.input.map_or_else(|| start.input.clone(), Data::from);
        let (retry_of, parent) = (Some(id.to_string()), None);
        let start = Start { retry_of, parent, input, ..start.clone() };
        let version = start.version;
        let live = Live::begin(&self.shared, &definition, start, Vec::new(), reuse);
        self.launch(live.coming_from(Origin { version, ..Origin::default() })).await
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
        self.shared.replay(id).await
    }

    /// Ends the wait of a node as somebody has decided, and answers when that is durable.
    pub async fn decide(&self, id: RunId, decision: Decision) -> Result<(), Error> {
        let row = self.row(id).await?;
        if row.status != Status::Running {
            let text = format!("Run {id} has already {}", ended_how(row.status));
            return Err(Error::new(Code::RunEnded, text));
        }
        // What is refused does not bring a sleeping run to memory.
        live::decided(&self.shared.replay(id).await?, &decision)?;
        let (reply, answer) = oneshot::channel();
        drop(self.shared.ensure_asked(id, Some(Command::Decide { decision, reply })));
        let gone = |_| Err(Error::new(Code::RunEnded, format!("Run {id} has just ended")));
        answer.await.unwrap_or_else(gone)
    }

    /// Everything known about a run, and its journal.
    pub async fn history(&self, id: RunId) -> Result<(Run, Vec<Entry>), Error> {
        let row = self.row(id).await?;
        let definition = self.shared.definition(&row.plan).await?;
        let entries = self.shared.store.journal(id, 0).await?;
        Ok((Run::replay(Arc::clone(&definition.program), &entries), entries))
    }

    /// Says that schedules have changed, so that the next one may be due sooner.
    pub fn schedules_changed(&self) {
        self.shared.rescheduled.notify_one();
    }

    /// The node types that definitions may use.
    pub fn catalog(&self) -> &Catalog {
        self.shared.registry.catalog()
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

    /// Watches a run or a workflow from behind an event on; without one, a run from its beginning and a
    /// workflow from now on.
    pub async fn watch(&self, topic: Topic, after: Option<Place>) -> Result<Watcher, Error> {
        let shared = Arc::clone(&self.shared);
        let listen = Arc::new(move |id| shared.ties_of(id).map(|ties| ties.listen()));
        self.shared.hub.watch(topic, after, listen).await
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

/// What is known of the nodes that another try does not run again.
fn reused(previous: &Run, from: Option<&str>) -> Result<Vec<NodeRecord>, Error> {
    let mut records = previous.nodes.clone();
    let Some(from) = from else { return Ok(records) };
    let program = &previous.program;
    let Some(node) = program.by_id.get(from) else {
        return Err(Error::new(Code::RequestInvalid, format!("The run has no node {from}")));
    };
    for node in program.downstream(*node) {
        records[node as usize] = NodeRecord::default();
    }
    Ok(records)
}
