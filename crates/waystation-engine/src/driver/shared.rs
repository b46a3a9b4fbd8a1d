//! What all runs of an engine share.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use waystation_core::entry::{Entry, Outcome};
use waystation_core::error::{Code, Error};
use waystation_core::plan::{Budget, Dialect};
use waystation_core::run::Run;

use super::handle::{Command, End, Finished, Handle, Progress};
use super::live::Live;
use super::live::items::ABANDONED;
use super::meters::Meters;
use super::plans::{Definition, Plans};
use super::unknown_run;
use crate::egress::HttpClient;
use crate::event::hub::Hub;
use crate::event::redis::stream::EventStream;
use crate::event::redis::{OutputSink, RedisConfig, RedisStatus};
use crate::event::signature::SigningKey;
use crate::event::trace::export::Tracer;
use crate::event::webhook::Courier;
use crate::id::RunId;
use crate::limits::{NODES_LIVE, RESULT_BYTES_PER_RUN, RUN_DEPTH, RUNS_LIVE, WEBHOOK_PATIENCE};
use crate::node::Registry;
use crate::node::context::RunContext;
use crate::secret::Vault;
use crate::store::Store;

/// The pause after the store failed a run for the first time; it doubles.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// The longest such pause.
const STORE_PAUSE_MAX: Duration = Duration::from_secs(600);

/// What an engine is made of.
pub struct Parts {
    /// Where everything lasts.
    pub store: Arc<dyn Store>,
    /// What nodes can do.
    pub registry: Registry,
    /// What nodes may use and nobody may see.
    pub vault: Arc<Vault>,
    /// Takes webhooks to their receivers.
    pub client: Arc<HttpClient>,
    /// Signs them.
    pub webhook_key: Option<Arc<SigningKey>>,
    /// Where outputs are written as well.
    pub outputs: Option<OutputSink>,
    /// Where events are written as well, and about how many of each workflow are kept there.
    pub events: Option<(RedisConfig, u64)>,
    /// Where spans of runs are sent, if they are.
    pub tracer: Option<Tracer>,
    /// The stored workflows that runs may begin.
    pub library: Arc<dyn Library>,
    /// Makes the links by which somebody ends a wait.
    pub links: Option<LinkMaker>,
    /// Bounds and times.
    pub settings: Settings,
}

/// Makes the link by which somebody ends the wait of a node: of a run, the node's id, and its attempt.
pub type LinkMaker = Arc<dyn Fn(RunId, &str, u32) -> String + Send + Sync>;

/// Stored workflows, as something that runs.
#[async_trait]
pub trait Library: Send + Sync + 'static {
    /// A workflow in a version, or in the present one.
    async fn stored(
        &self,
        plans: &Plans,
        workflow: &str,
        version: Option<u32>,
    ) -> Result<Stored, Error>;
}

/// A stored workflow, ready to run.
pub struct Stored {
    /// What runs.
    pub definition: Arc<Definition>,
    /// Its version.
    pub version: u32,
    /// What people call it.
    pub name: Option<String>,
}

/// No stored workflows.
pub struct NoLibrary;

#[async_trait]
impl Library for NoLibrary {
    async fn stored(&self, _: &Plans, id: &str, _: Option<u32>) -> Result<Stored, Error> {
        Err(Error::new(Code::NotFound, format!("Workflow with ID {id} not found")))
    }
}

/// An engine's bounds and times.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Runs under way at once.
    pub runs_live: usize,
    /// Nodes with effects under way at once.
    pub nodes_live: usize,
    /// Bytes, roughly, that the results of one run may take together.
    pub result_bytes_max: usize,
    /// What each run may spend on models at the most, whatever its plan says.
    pub run_budget: Budget,
    /// How long finished runs are kept; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// Whether it takes care of all runs in the store, or only of those it is given.
    pub is_resident: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        let retention = Some(Duration::from_secs(30 * 24 * 3_600));
        Settings {
            runs_live: RUNS_LIVE,
            nodes_live: NODES_LIVE,
            result_bytes_max: RESULT_BYTES_PER_RUN,
            run_budget: Budget::default(),
            retention,
            is_resident: true,
        }
    }
}

/// How an engine's parts are.
#[derive(Debug)]
pub struct Health {
    /// Whether the store answers.
    pub store: Result<(), Error>,
    /// The state of Redis, where configured.
    pub redis: Option<RedisStatus>,
    /// Runs under way.
    pub runs_live: usize,
    /// Webhook cursors with something to deliver, and those given up.
    pub webhooks: (u64, u64),
    /// Whether it is going down.
    pub closing: bool,
}

pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) registry: Registry,
    pub(super) vault: Arc<Vault>,
    pub(super) courier: Courier,
    pub(super) hub: Arc<Hub>,
    pub(super) outputs: Option<OutputSink>,
    events: Mutex<Option<EventStream>>,
    tracer: Option<Tracer>,
    pub(super) library: Arc<dyn Library>,
    pub(super) links: Option<LinkMaker>,
    /// The places for runs within others, by how deep they are: those further down never wait for those
    /// further up.
    rooms: Vec<Arc<Semaphore>>,
    pub(super) settings: Settings,
    pub(super) plans: Arc<Plans>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) meters: Meters,
    /// Told when a run has gone to sleep, so that the alarm can be set earlier.
    pub(super) slept: Notify,
    /// Told when schedules have changed.
    pub(super) rescheduled: Notify,
    pub(super) closing: watch::Sender<bool>,
    handles: Mutex<HashMap<RunId, Arc<Handle>>>,
    /// Tasks that drive runs.
    driving: AtomicUsize,
    /// Those of them whose run is no part of another, as far as that is known.
    roots: AtomicUsize,
    /// Runs that the store has stopped, and how often.
    stopped: Mutex<HashMap<RunId, Stopped>>,
    idle: Notify,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Shared {
        let Parts {
            store,
            registry,
            vault,
            client,
            webhook_key,
            outputs,
            events,
            tracer,
            library,
            links,
            settings,
        } = parts;
        let room = || Arc::new(Semaphore::new(settings.runs_live));
        let rooms = (0..=RUN_DEPTH).map(|_| room()).collect();
        let plans = Arc::new(Plans::new());
        let courier = Courier::new(Arc::clone(&store), Arc::clone(&plans), client, webhook_key);
        let closing = watch::Sender::new(false);
        let hub = Hub::new(Arc::clone(&store), Arc::clone(&plans), closing.subscribe());
        let hub = Arc::new(hub);
        let start = |(config, length)| EventStream::start(config, Arc::clone(&hub), length);
        // One process has the store, and sends its events.
        let events = events.filter(|_| settings.is_resident).map(start);
        Shared {
            store,
            hub,
            events: Mutex::new(events),
            tracer,
            meters: Meters::new(registry.names()),
            registry,
            vault,
            courier,
            outputs,
            library,
            links,
            rooms,
            permits: Arc::new(Semaphore::new(settings.nodes_live)),
            settings,
            plans,
            slept: Notify::new(),
            rescheduled: Notify::new(),
            closing,
            handles: Mutex::default(),
            driving: AtomicUsize::new(0),
            roots: AtomicUsize::new(0),
            stopped: Mutex::default(),
            idle: Notify::new(),
        }
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Handle>>> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the attempts of a run have in common.
    pub(super) fn ties(&self, id: RunId) -> RunContext {
        RunContext {
            is_traced: self.tracer.is_some(),
            ..RunContext::new(id, Arc::clone(&self.permits))
        }
    }

    /// The ties of a run in memory.
    pub(super) fn ties_of(&self, id: RunId) -> Option<Arc<RunContext>> {
        self.handles().get(&id).map(|handle| Arc::clone(&handle.ties))
    }

    /// Whether there is room for one more run.
    pub(super) fn admit(&self) -> Result<(), Error> {
        if *self.closing.borrow() {
            return Err(Error::new(Code::ShuttingDown, "the server is shutting down"));
        }
        if self.roots.load(Ordering::Relaxed) >= self.settings.runs_live {
            let text = format!("{} runs are under way already", self.settings.runs_live);
            return Err(Error::new(Code::Busy, text));
        }
        Ok(())
    }

    /// A place for a run so deep within others, waiting for one.
    pub(super) async fn room_at(&self, depth: u32) -> Option<OwnedSemaphorePermit> {
        // The semaphores are never closed.
        let room = self.rooms.get(depth as usize)?;
        Arc::clone(room).acquire_owned().await.ok()
    }

    /// Everything known about a run.
    pub(super) async fn replay(&self, id: RunId) -> Result<Run, Error> {
        let row = self.store.run(id).await?.ok_or_else(|| unknown_run(id))?;
        let definition = self.definition(&row.plan).await?;
        let entries = self.store.journal(id, 0).await?;
        Ok(Run::replay(Arc::clone(&definition.program), &entries))
    }

    pub(super) async fn definition(&self, plan: &str) -> Result<Arc<Definition>, Error> {
        self.plans.stored(&*self.store, plan).await
    }

    /// The progress of a run in memory. Who holds it keeps the run there.
    pub(super) fn progress(&self, id: RunId) -> Option<watch::Receiver<Progress>> {
        self.handles().get(&id).map(|handle| handle.progress.subscribe())
    }

    /// Asks something of a run in memory; answers whether it is there.
    pub(super) fn command(&self, id: RunId, command: Command) -> bool {
        let handles = self.handles();
        let handle = handles.get(&id);
        handle.inspect(|handle| handle.send(command)).is_some()
    }

    /// Drives a new run in a task of its own.
    pub(super) fn drive(self: &Arc<Self>, live: Live, handle: Arc<Handle>) {
        self.handles().insert(live.id(), Arc::clone(&handle));
        let driving = Driving::new(Arc::clone(self), live.is_child());
        tokio::spawn(driving.run(live.id(), std::future::ready(Ok(live)), handle));
    }

    /// Brings an unfinished run into memory, unless it is there, and gives its end.
    pub(super) fn ensure_live(self: &Arc<Self>, id: RunId) -> Finished {
        self.ensure_asked(id, None)
    }

    /// Likewise, and asks something of it, which it cannot miss by falling asleep just now.
    pub(super) fn ensure_asked(self: &Arc<Self>, id: RunId, command: Option<Command>) -> Finished {
        let handle = Handle::new(self.ties(id));
        let finished = handle.finished();
        let mut handles = self.handles();
        if let Some(known) = handles.get(&id) {
            command.into_iter().for_each(|command| known.send(command));
            return known.finished();
        }
        command.into_iter().for_each(|command| handle.send(command));
        handles.insert(id, Arc::clone(&handle));
        drop(handles);
        let shared = Arc::clone(self);
        let driving = Driving::new(Arc::clone(self), false);
        let recovered = async move { Live::recover(&shared, id).await };
        tokio::spawn(driving.run(id, recovered, handle));
        finished
    }

    /// Ends the presence of a run that is not finished.
    pub(super) fn leave(&self, id: RunId, handle: &Handle, error: Error) {
        self.handles().remove(&id);
        handle.end(End::Left(error));
    }

    /// Ends the presence of a run that could not go on. One that the store stopped is tried again, ever
    /// later.
    pub(super) fn give_up(self: &Arc<Self>, id: RunId, handle: &Handle, error: Error) {
        tracing::error!(run = %id, %error, "a run cannot go on");
        if error.code == Code::Store
            && let Some(pause) = self.stopped().entry(id).or_default().next_pause()
        {
            let shared = Arc::clone(self);
            tokio::spawn(async move {
                tokio::time::sleep(pause).await;
                if let Some(stopped) = shared.stopped().get_mut(&id) {
                    stopped.is_to_be_tried = false;
                }
                shared.ensure_live(id);
            });
        }
        self.leave(id, handle, error);
    }

    fn stopped(&self) -> MutexGuard<'_, HashMap<RunId, Stopped>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of these runs that are neither in memory nor to be tried again by themselves, as many as there
    /// is room for. Runs that rest take no room: they may wait for those that are to be woken.
    pub(super) fn to_be_woken(&self, mut due: Vec<RunId>) -> Vec<RunId> {
        {
            let stopped = self.stopped();
            due.retain(|id| !stopped.contains_key(id));
        }
        let handles = self.handles();
        due.retain(|id| !handles.contains_key(id));
        let busy = handles.values().filter(|handle| !handle.rests()).count();
        due.truncate(self.settings.runs_live.saturating_sub(busy));
        due
    }

    /// Lets a run sleep in the store, unless somebody waits for it here.
    pub(super) fn sleep(&self, id: RunId, handle: &Handle) -> bool {
        let mut handles = self.handles();
        let unwatched = handle.progress.receiver_count() == 0 && handle.is_quiet();
        if unwatched {
            handles.remove(&id);
            self.stopped().remove(&id);
            self.slept.notify_one();
        }
        unwatched
    }

    pub(super) fn finish(self: &Arc<Self>, id: RunId, handle: &Handle, run: Run) {
        self.handles().remove(&id);
        self.stopped().remove(&id);
        // There is room for one that is due.
        self.slept.notify_one();
        self.tell_parent(&run);
        handle.end(End::Finished(Arc::new(run)));
    }

    /// Tells the run that an ended one is a part of. One that is not in memory finds out when it is.
    fn tell_parent(self: &Arc<Self>, run: &Run) {
        let parent = run.start.as_ref().and_then(|start| start.parent.as_ref());
        // One that was let go is not awaited.
        let is_abandoned =
            matches!(&run.outcome, Some(Outcome::Cancelled { reason }) if reason == ABANDONED);
        let Some((parent, ending)) = parent.zip(run.ending()).filter(|_| !is_abandoned) else {
            return;
        };
        let Ok(id) = parent.run.parse::<RunId>() else { return };
        let told = self.handles().get(&id).map(|handle| {
            handle.send(Command::ItemEnded { node: parent.node, item: parent.item, ending });
        });
        if told.is_none() {
            drop(self.ensure_live(id));
        }
    }

    /// Tells the readers of the journal what has become durable.
    pub(super) fn published(&self, id: RunId, run: &Run, entries: &[Entry]) {
        if run.program.plan.webhook_url.is_some() {
            self.courier.poke(id);
        }
        let start = run.start.as_deref().filter(|start| start.parent.is_none());
        let is_fed = run.program.plan.dialect == Dialect::Graph;
        self.hub.published(id, start.filter(|_| is_fed).map(|start| &*start.workflow));
        if run.outcome.is_some() {
            self.ended(id, run);
        }
        if let Some(outputs) = &self.outputs {
            crate::event::publish_outputs(outputs, run, entries);
        }
    }

    fn ended(&self, id: RunId, run: &Run) {
        let workflow = run.start.as_deref().map(|start| start.workflow.as_str());
        match run.outcome.as_ref() {
            Some(Outcome::Failed { failure, .. }) => {
                let code = failure.code.as_str();
                tracing::info!(run = %id, workflow, code, "a run has failed");
            }
            Some(Outcome::Cancelled { .. }) => {
                tracing::info!(run = %id, workflow, "a run was cancelled");
            }
            _ => tracing::info!(run = %id, workflow, "a run has completed"),
        }
        if let Some(tracer) = &self.tracer {
            tracer.ended(id, &run.program);
        }
    }

    pub(super) async fn health(&self) -> Health {
        let store = self.store.ping().await.map_err(Error::from);
        Health {
            store,
            redis: self.outputs.as_ref().map(OutputSink::status),
            runs_live: self.driving.load(Ordering::Relaxed),
            webhooks: self.store.cursor_backlog().await.unwrap_or_default(),
            closing: *self.closing.borrow(),
        }
    }

    /// Tells those who wait for a run that it does not end in this process.
    fn give_up_waiting(&self) {
        for handle in self.handles().values() {
            handle.end(End::Left(closing_down()));
        }
    }

    pub(super) async fn close(&self, grace: Duration) {
        self.closing.send_replace(true);
        let all_idle = async {
            loop {
                let idle = self.idle.notified();
                if self.driving.load(Ordering::Acquire) == 0 {
                    return;
                }
                idle.await;
            }
        };
        if tokio::time::timeout(grace, all_idle).await.is_err() {
            let left = self.driving.load(Ordering::Relaxed);
            tracing::warn!(runs = left, "runs were cut short; they go on at the next start");
            self.give_up_waiting();
        }
        if !self.settings.is_resident {
            // Nobody takes over from a process that runs only its own.
            self.courier.settle(WEBHOOK_PATIENCE).await;
        }
        self.courier.close();
        // What is not sent yet is sent at the next start.
        drop(self.events.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(outputs) = &self.outputs {
            outputs.close(Duration::from_secs(1)).await;
        }
    }
}

/// A run that the store has stopped.
#[derive(Default)]
struct Stopped {
    times: u32,
    is_to_be_tried: bool,
}

impl Stopped {
    /// The pause until it is tried again, unless that is under way already.
    fn next_pause(&mut self) -> Option<Duration> {
        if std::mem::replace(&mut self.is_to_be_tried, true) {
            return None;
        }
        self.times += 1;
        Some(
            STORE_PAUSE
                .saturating_mul(1 << self.times.saturating_sub(1).min(10))
                .min(STORE_PAUSE_MAX),
        )
    }
}

/// What is told of a run that the end of the process cuts short.
pub(super) fn closing_down() -> Error {
    let text = "the server is shutting down; the run goes on at its next start";
    Error::new(Code::ShuttingDown, text)
}

/// Counts a task that drives a run.
struct Driving {
    shared: Arc<Shared>,
    is_root: bool,
}

impl Driving {
    fn new(shared: Arc<Shared>, is_child: bool) -> Driving {
        shared.driving.fetch_add(1, Ordering::Relaxed);
        shared.roots.fetch_add(usize::from(!is_child), Ordering::Relaxed);
        Driving { shared, is_root: !is_child }
    }

    /// Drives a run. A fault of this program must not leave anybody waiting for ever.
    async fn run(
        self,
        id: RunId,
        live: impl Future<Output = Result<Live, Error>>,
        handle: Arc<Handle>,
    ) {
        let work = async {
            match live.await {
                Ok(live) => live.drive(Arc::clone(&handle)).await,
                Err(error) => self.shared.give_up(id, &handle, error),
            }
        };
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            let text = "the run hit a fault of this program";
            self.shared.give_up(id, &handle, Error::new(Code::Internal, text));
        }
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.shared.roots.fetch_sub(usize::from(self.is_root), Ordering::Relaxed);
        if self.shared.driving.fetch_sub(1, Ordering::Release) == 1 {
            self.shared.idle.notify_one();
        }
    }
}
