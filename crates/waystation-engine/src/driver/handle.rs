//! How others see and reach a run under way: its end, its progress, its orders.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{Stream, stream};
use serde_json::Value;
use tokio::sync::{Notify, oneshot, watch};
use waystation_core::entry::{Ending, Entry, Fact};
use waystation_core::error::{Code, Error};
use waystation_core::plan::NodeIndex;
use waystation_core::run::Run;

use super::shared::Shared;
use crate::id::RunId;
use crate::node::context::RunContext;

/// What can be asked of a run under way.
#[derive(Debug)]
pub(super) enum Command {
    /// End it.
    Cancel {
        /// Why, in words for the user.
        reason: String,
    },
    /// Take note of the end of an item.
    ItemEnded {
        /// The node that it is an item of.
        node: NodeIndex,
        /// Which item, from 0.
        item: u32,
        /// How.
        ending: Ending,
    },
    /// End the wait of a node.
    Decide {
        /// Which, and how.
        decision: Decision,
        /// Hears when it is durable, or why it cannot be.
        reply: oneshot::Sender<Result<(), Error>>,
    },
}

/// What somebody decides for a node that waits.
#[derive(Clone, Debug)]
pub struct Decision {
    /// The node's id.
    pub node: String,
    /// The wait that is meant, where a later one must not be ended by it.
    pub attempt: Option<u32>,
    /// One of the node's choices; its first where nothing is said.
    pub choice: Option<String>,
    /// What else there is to say.
    pub data: Value,
}

/// How far a run has come.
#[derive(Clone, Default)]
pub(super) struct Progress {
    /// Entries that are durable.
    pub(super) durable: u32,
    pub(super) end: Option<End>,
}

/// The last thing that is heard of a run under way.
#[derive(Clone)]
pub(super) enum End {
    Finished(Arc<Run>),
    /// It goes on later, or could not go on; the run is not finished.
    Left(Error),
}

/// The outside of a run under way.
pub(super) struct Handle {
    commands: Mutex<VecDeque<Command>>,
    pub(super) wake: Notify,
    /// Whether the run waits for moments, for somebody or for other runs alone.
    rests: AtomicBool,
    pub(super) progress: watch::Sender<Progress>,
    /// What its attempts have in common.
    pub(super) ties: Arc<RunContext>,
}

impl Handle {
    pub(super) fn new(ties: RunContext) -> Arc<Handle> {
        Arc::new(Handle {
            commands: Mutex::default(),
            wake: Notify::new(),
            rests: AtomicBool::new(false),
            progress: watch::Sender::new(Progress::default()),
            ties: Arc::new(ties),
        })
    }

    fn commands(&self) -> MutexGuard<'_, VecDeque<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who waits the last that is heard of the run here.
    pub(super) fn end(&self, end: End) {
        self.progress.send_modify(|progress| progress.end = Some(end));
    }

    pub(super) fn send(&self, command: Command) {
        self.commands().push_back(command);
        self.wake.notify_one();
    }

    pub(super) fn next_command(&self) -> Option<Command> {
        self.commands().pop_front()
    }

    pub(super) fn set_rests(&self, rests: bool) {
        self.rests.store(rests, Ordering::Relaxed);
    }

    pub(super) fn rests(&self) -> bool {
        self.rests.load(Ordering::Relaxed)
    }

    /// Whether nothing is asked of the run.
    pub(super) fn is_quiet(&self) -> bool {
        self.commands().is_empty()
    }

    pub(super) fn finished(&self) -> Finished {
        Finished(Source::Later(self.progress.subscribe()))
    }
}

/// The end of a run, now or later.
pub struct Finished(Source);

enum Source {
    Now(Arc<Run>),
    Later(watch::Receiver<Progress>),
}

impl Finished {
    pub(super) fn now(run: Run) -> Finished {
        Finished(Source::Now(Arc::new(run)))
    }

    /// The run, if it has ended already.
    pub(super) fn now_ended(&self) -> Option<Arc<Run>> {
        match &self.0 {
            Source::Now(run) => Some(Arc::clone(run)),
            Source::Later(_) => None,
        }
    }

    /// Waits until the run is durable, so that it will go on whatever happens to this process.
    pub async fn accepted(&self) -> Result<(), Error> {
        let Source::Later(progress) = &self.0 else { return Ok(()) };
        let mut progress = progress.clone();
        let known = |now: &Progress| now.durable > 0 || now.end.is_some();
        let now = progress.wait_for(known).await;
        match now.ok().and_then(|now| now.end.clone()) {
            Some(End::Left(error)) => Err(error),
            _ => Ok(()),
        }
    }

    /// Waits for it. The error tells why the run will not finish in this process.
    pub async fn wait(self) -> Result<Arc<Run>, Error> {
        let mut progress = match self.0 {
            Source::Now(run) => return Ok(run),
            Source::Later(progress) => progress,
        };
        let end = progress.wait_for(|progress| progress.end.is_some()).await;
        match end.ok().and_then(|progress| progress.end.clone()) {
            Some(End::Finished(run)) => Ok(run),
            Some(End::Left(error)) => Err(error),
            None => Err(Error::new(Code::ShuttingDown, "the engine stopped")),
        }
    }
}

/// A run's journal from a place on, in pieces, as it grows, to its end.
pub(super) fn follow(
    shared: Arc<Shared>,
    id: RunId,
    from_seq: u32,
) -> impl Stream<Item = Result<Vec<Entry>, Error>> {
    stream::try_unfold((shared, Some(from_seq)), move |(shared, place)| async move {
        let Some(from_seq) = place else { return Ok(None) };
        loop {
            // Subscribing before reading leaves no moment in which an entry could be missed.
            let progress = shared.progress(id);
            let entries = shared.store.journal(id, from_seq).await?;
            let Some(last) = entries.last() else {
                let Some(mut progress) = progress else { return Ok(None) };
                let grown = |now: &Progress| now.durable > from_seq || now.end.is_some();
                let now = progress.wait_for(grown).await;
                match now.ok().and_then(|now| now.end.clone()) {
                    Some(End::Left(error)) => return Err(error),
                    _ => continue,
                }
            };
            let ended = matches!(last.fact, Fact::RunFinished { .. });
            let next = from_seq + entries.len() as u32;
            return Ok(Some((entries, (shared, (!ended).then_some(next)))));
        }
    })
}
