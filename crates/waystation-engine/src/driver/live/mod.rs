//! One run under way: its state in memory, its turns, and what it waits for. What it does in a turn is
//! in [`perform`].

mod clock;
pub(super) mod items;
mod perform;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};
use tokio::time::Instant;
use waystation_core::entry::{Entry, Fact, Level, Outcome, Start, Timer};
use waystation_core::error::{Code, Error};
use waystation_core::extract::bytes_about;
use waystation_core::plan::{Budget, Dialect, NodeIndex, Plan};
use waystation_core::run::{NodeRecord, Run};
use waystation_core::scheduler::{Action, NodeStatus};

use self::clock::Clock;
use self::items::{ABANDONED, Begun, Place, Unwanted};
use super::attempt::{Attempt, Attempts};
use super::handle::{Command, Decision, Finished, Handle};
use super::plans::Definition;
use super::shared::{Shared, closing_down};
use super::{Origin, unknown_run};
use crate::id::{RunId, now_ms};
use crate::limits::{EFFECTS_PER_RUN, ENTRIES_PER_APPEND, SLEEP_IN_MEMORY};
use crate::node::context::Account;
use crate::node::{subworkflow, wait};
use crate::store::{Append, ChildPlace, Finished as FinishedRow, NewRun, NodeTally, Sleep, Status};

/// When a run is woken that only somebody's decision wakes.
const NEVER: u64 = i64::MAX as u64;
/// Actions that a new run may perform in its caller's task: a short run of pure nodes is done before
/// a task of its own would have started.
const ACTIONS_INLINE: usize = 256;
/// Actions between two looks at other tasks' needs.
const ACTIONS_PER_TURN: usize = 1_024;

pub(super) struct Live {
    shared: Arc<Shared>,
    id: RunId,
    id_text: String,
    run: Run,
    /// What the scheduler asked for and is not done, last first.
    actions: Vec<Action>,
    /// Entries that are applied and not yet handed to the store.
    entries: Vec<Entry>,
    batch: u32,
    first_seq: u32,
    new_run: Option<NewRun>,
    /// Attempts that begin as soon as everything before them is durable.
    starting: Vec<Attempt>,
    /// Nodes with effects, not yet prepared, for which the run has no place.
    waiting: VecDeque<(NodeIndex, u32)>,
    attempts: Attempts,
    /// Moments of its clock.
    timers: BTreeSet<(u64, Timer)>,
    clock: Clock,
    /// Items whose runs begin as soon as everything before them is durable.
    items_starting: Vec<Place>,
    /// Runs of items that are being begun.
    births: FuturesUnordered<BoxFuture<'static, Begun>>,
    /// Runs of items under way, by node and item.
    children: BTreeMap<(NodeIndex, u32), RunId>,
    /// Runs of items that nobody awaits any more.
    abandoned: Vec<RunId>,
    /// Tells runs of items that wait for room which of them are not wanted any more.
    unwanted: watch::Sender<Unwanted>,
    /// Why the run cannot go on, found out beside its turns.
    trouble: Option<Error>,
    /// Who decided, and hears of it when that is durable.
    deciders: Vec<oneshot::Sender<Result<(), Error>>>,
    /// Whether an earlier process may have begun what this one is asked to begin.
    is_recovered: bool,
    /// The place of a run within another, for as long as it is in memory.
    room: Option<OwnedSemaphorePermit>,
    /// When the store wakes the run, as far as this process has told it.
    stored_wake: Option<u64>,
    /// Results of an earlier run of the same plan, by node.
    reuse: Vec<NodeRecord>,
    /// What the results of the run take, roughly.
    result_bytes: usize,
}

impl Live {
    /// A run that begins now.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        definition: &Definition,
        start: Start,
        warnings: Vec<String>,
        reuse: Vec<NodeRecord>,
    ) -> Live {
        let run = Run::new(Arc::clone(&definition.program));
        let mut live = Live::new(shared, RunId::new(), run, 0);
        live.reuse = reuse;
        live.new_run = Some(NewRun {
            workflow: start.workflow.clone(),
            namespace: start.namespace.clone(),
            name: start.name.clone(),
            plan: Arc::clone(&definition.program.hash),
            plan_json: Arc::clone(&definition.json),
            created: now_ms(),
            webhook: definition.program.plan.webhook_url.is_some(),
            dialect: definition.program.plan.dialect,
            version: start.version,
            parent: None,
            claim: None,
            fired: None,
        });
        live.record(Fact::RunStarted(Box::new(start)));
        for warning in definition.warnings.iter().cloned().chain(warnings) {
            live.log(None, Level::Warning, warning);
        }
        live
    }

    /// A run whose journal is in the store.
    pub(super) async fn recover(shared: &Arc<Shared>, id: RunId) -> Result<Live, Error> {
        let row = shared.store.run(id).await?.ok_or_else(|| unknown_run(id))?;
        let definition = shared.definition(&row.plan).await?;
        let entries = shared.store.journal(id, 0).await?;
        let batch = shared.store.next_batch(id).await?;
        let run = Run::replay(Arc::clone(&definition.program), &entries);
        let mut live = Live::new(shared, id, run, batch);
        live.actions = live.run.scheduler.resume(live.run.program.rules());
        live.actions.reverse();
        live.is_recovered = true;
        if has_bodies(&live.run.program.plan) {
            // Items that a crash has kept from hearing that nobody awaits them any more.
            let children = shared.store.children(id).await?;
            let under_way = children.iter().filter(|child| child.status == Status::Running);
            let scheduler = &live.run.scheduler;
            let unwanted = under_way.filter(|child| !scheduler.awaits_item(child.node, child.item));
            live.abandoned = unwanted.map(|child| child.run).collect();
        }
        let start = live.run.start.clone();
        if is_orphan(shared, start.as_deref()).await? {
            live.record(Fact::CancelRequested { reason: ABANDONED.into() });
        }
        Ok(live)
    }

    /// Tells where a new run comes from.
    pub(super) fn coming_from(mut self, origin: Origin) -> Live {
        if let Some(new_run) = &mut self.new_run {
            (new_run.claim, new_run.fired) = (origin.claim, origin.fired);
        }
        self
    }

    /// Makes a new run that of an item.
    fn be_child(&mut self, parent: RunId, node: NodeIndex, item: u32) {
        if let Some(new_run) = &mut self.new_run {
            new_run.parent = Some(ChildPlace { parent, node, item });
        }
    }

    fn new(shared: &Arc<Shared>, id: RunId, run: Run, batch: u32) -> Live {
        let results = run.nodes.iter().filter_map(|node| node.output.as_deref());
        let result_bytes = results.map(bytes_about).fold(0, usize::saturating_add);
        Live {
            shared: Arc::clone(shared),
            id,
            id_text: id.to_string(),
            first_seq: run.next_seq,
            run,
            actions: Vec::new(),
            entries: Vec::new(),
            batch,
            new_run: None,
            starting: Vec::new(),
            waiting: VecDeque::new(),
            attempts: FuturesUnordered::new(),
            timers: BTreeSet::new(),
            clock: Clock::new(),
            items_starting: Vec::new(),
            births: FuturesUnordered::new(),
            children: BTreeMap::new(),
            abandoned: Vec::new(),
            unwanted: watch::Sender::default(),
            trouble: None,
            deciders: Vec::new(),
            is_recovered: false,
            room: None,
            stored_wake: None,
            reuse: Vec::new(),
            result_bytes,
        }
    }

    /// Whether it has a place among runs within others.
    pub(super) fn is_child(&self) -> bool {
        self.room.is_some()
    }

    pub(super) fn id(&self) -> RunId {
        self.id
    }

    /// Runs what can be run at once; the rest goes on in a task of its own.
    pub(super) async fn launch(mut self) -> Result<Finished, Error> {
        self.perform(ACTIONS_INLINE);
        if self.run.outcome.is_some() {
            self.append(None).await?;
            return Ok(Finished::now(self.run));
        }
        let handle = Handle::new(self.shared.ties(self.id));
        let finished = handle.finished();
        Arc::clone(&self.shared).drive(self, handle);
        Ok(finished)
    }

    /// Drives the run until it ends, sleeps, or the engine closes.
    pub(super) async fn drive(mut self, handle: Arc<Handle>) {
        let shared = Arc::clone(&self.shared);
        match self.work(&handle).await {
            Ok(Rest::Finished) => shared.finish(self.id, &handle, self.run),
            Ok(Rest::Asleep) => {}
            Ok(Rest::Closing) => shared.leave(self.id, &handle, closing_down()),
            Err(error) => shared.give_up(self.id, &handle, error),
        }
    }

    async fn work(&mut self, handle: &Arc<Handle>) -> Result<Rest, Error> {
        let mut closing = self.shared.closing.subscribe();
        loop {
            while self.perform(ACTIONS_PER_TURN) {
                if self.entries.len() >= ENTRIES_PER_APPEND {
                    self.commit(handle, None).await?;
                }
                tokio::task::yield_now().await;
            }
            if self.refill() {
                continue;
            }
            // What is asked of the run, and a moment that has come before anything started, during a
            // pause of the process, decide what starts at all.
            if self.run.outcome.is_none() && (self.obey(handle) || self.fire_timers()) {
                continue;
            }
            let is_closing = *closing.borrow_and_update();
            if is_closing {
                self.starting.clear();
                self.waiting.clear();
                self.items_starting.clear();
            }
            for index in 0..self.starting.len() {
                let (node, attempt) = (self.starting[index].node, self.starting[index].number);
                self.record(Fact::NodeStarted { node, attempt });
            }
            // What is not started because of the end of the process must go on at the next start.
            // A run that is the first to hear of the runs within it stays for a while.
            let rests = !is_closing && self.is_at_rest() && self.children.is_empty();
            let wake_at = if rests { self.wake_at() } else { None };
            self.commit(handle, wake_at).await?;
            self.cancel_abandoned();
            if let Some(error) = self.trouble.take() {
                return Err(error);
            }
            if self.run.outcome.is_some() {
                self.let_go().await?;
                return Ok(Rest::Finished);
            }
            self.begin_items();
            let bound = self.shared.settings.run_budget;
            for attempt in self.starting.drain(..) {
                self.attempts.push(attempt.make(&handle.ties, account(&self.run, &bound)));
            }
            if is_closing && self.attempts.is_empty() && self.births.is_empty() {
                return Ok(Rest::Closing);
            }
            let may_sleep = rests && self.is_woken_by_store();
            if may_sleep && self.shared.sleep(self.id, handle) {
                return Ok(Rest::Asleep);
            }
            handle.set_rests(self.is_at_rest());
            let is_idle = self.wait(handle, may_sleep, &mut closing).await;
            handle.set_rests(false);
            if is_idle && self.fall_asleep(handle).await? {
                return Ok(Rest::Asleep);
            }
        }
    }

    /// Whether nothing is under way that this process has in its hands, other runs apart.
    fn is_at_rest(&self) -> bool {
        self.starting.is_empty()
            && self.attempts.is_empty()
            && self.items_starting.is_empty()
            && self.births.is_empty()
    }

    /// Leaves memory, if nothing happens here that keeps the run: its moments and the ends of the runs of
    /// its items wake it.
    async fn fall_asleep(&mut self, handle: &Handle) -> Result<bool, Error> {
        let Some(wake_at) = self.wake_at().filter(|_| self.is_at_rest()) else { return Ok(false) };
        if !self.is_woken_by_store() {
            let awaits = self.children.values().copied().collect();
            let sleep = Sleep { run: self.id, batch: self.batch, wake_at, awaits };
            if !self.shared.store.sleep(sleep).await? {
                return Ok(false);
            }
            self.stored_wake = Some(wake_at);
        }
        Ok(self.shared.sleep(self.id, handle))
    }

    /// Ends what still belongs to a run that has ended.
    async fn let_go(&mut self) -> Result<(), Error> {
        // What waits for room does not begin.
        self.unwanted.send_modify(|unwanted| unwanted.all = true);
        while let Some(begun) = self.births.next().await {
            self.item_begun(begun);
        }
        self.cancel_abandoned();
        match self.run.outcome {
            Some(Outcome::Completed) => Ok(()),
            _ => self.cancel_children().await,
        }
    }

    /// Lets nodes that wait for a place have those that are free; answers whether there were any.
    fn refill(&mut self) -> bool {
        let taken = self.starting.len() + self.attempts.len();
        let free = EFFECTS_PER_RUN.saturating_sub(taken).min(self.waiting.len());
        let next = self.waiting.drain(..free).rev();
        self.actions.extend(next.map(|(node, attempt)| Action::Start { node, attempt }));
        free > 0
    }

    /// Waits for whatever comes first, and records results; timers and commands are recorded in the
    /// next turn. A run that may sleep is done waiting when nobody watches it any more. Answers whether
    /// nothing came for a while.
    async fn wait(
        &mut self,
        handle: &Handle,
        may_sleep: bool,
        closing: &mut watch::Receiver<bool>,
    ) -> bool {
        let mut is_idle = false;
        let may_leave = self.is_at_rest() && !may_sleep;
        let now = self.now();
        let until = |at: u64| Instant::now() + Duration::from_millis(at.saturating_sub(now));
        let alarm = self.timers.first().map(|(at, _)| until(*at));
        let sleep = async {
            match alarm {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(ended) = self.attempts.next(), if !self.attempts.is_empty() => self.ended(ended),
            Some(begun) = self.births.next(), if !self.births.is_empty() => self.item_begun(begun),
            () = tokio::time::sleep(SLEEP_IN_MEMORY), if may_leave => is_idle = true,
            () = sleep => {}
            () = handle.wake.notified() => {}
            () = handle.progress.closed(), if may_sleep => {}
            _ = closing.changed() => {}
        }
        // Whatever else has come by now shares the next commit.
        while let Some(Some(ended)) = futures_util::FutureExt::now_or_never(self.attempts.next()) {
            self.ended(ended);
        }
        while let Some(Some(begun)) = futures_util::FutureExt::now_or_never(self.births.next()) {
            self.item_begun(begun);
        }
        is_idle
    }

    /// Records what is asked of the run, before anything new begins; answers whether there was something.
    fn obey(&mut self, handle: &Handle) -> bool {
        let mut asked = false;
        while let Some(command) = handle.next_command() {
            asked = true;
            match command {
                Command::Cancel { reason } => self.record(Fact::CancelRequested { reason }),
                Command::ItemEnded { node, item, ending } => {
                    let attempt = self.run.nodes[node as usize].attempts;
                    self.item_ended(Place { node, attempt, item }, ending);
                }
                Command::Decide { decision, reply } => self.decide(&decision, reply),
            }
        }
        asked
    }

    /// Ends the wait of a node as somebody has decided, who hears of it when that is durable.
    fn decide(&mut self, decision: &Decision, reply: oneshot::Sender<Result<(), Error>>) {
        match decided(&self.run, decision) {
            Ok(fact) => {
                self.record(fact);
                self.deciders.push(reply);
            }
            // Whoever asked may have gone.
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// The time of day. Where it was set, the moments that are waited for here are moved with it.
    fn now(&mut self) -> u64 {
        let (now, step) = self.clock.read();
        if step != 0 {
            let moved = |(at, timer): (u64, Timer)| (at.saturating_add_signed(step), timer);
            self.timers = std::mem::take(&mut self.timers).into_iter().map(moved).collect();
        }
        now
    }

    /// Records the moments that have come; answers whether there were any.
    fn fire_timers(&mut self) -> bool {
        let now = self.now();
        let before = self.entries.len();
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let fact = self.run.due(timer);
            self.record(fact);
        }
        self.entries.len() > before
    }

    /// When the run has to be woken, if that is far enough away to leave memory until then.
    fn wake_at(&mut self) -> Option<u64> {
        let now = self.now();
        let Some((at, _)) = self.timers.first() else {
            let waits = !self.children.is_empty() || self.run.scheduler.has_suspended_nodes();
            return waits.then_some(NEVER);
        };
        let sleep = Duration::from_millis(at.saturating_sub(now));
        (sleep > SLEEP_IN_MEMORY).then_some(*at)
    }

    /// Whether the store knows when to wake the run.
    fn is_woken_by_store(&mut self) -> bool {
        self.wake_at().is_some_and(|at| self.stored_wake == Some(at))
    }

    /// Makes everything durable that has been applied, and says so.
    async fn commit(&mut self, handle: &Handle, wake_at: Option<u64>) -> Result<(), Error> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.append(wake_at).await?;
        let durable = self.first_seq;
        handle.progress.send_modify(|progress| progress.durable = durable);
        for decider in self.deciders.drain(..) {
            // Whoever asked may have gone.
            let _ = decider.send(Ok(()));
        }
        Ok(())
    }

    async fn append(&mut self, wake_at: Option<u64>) -> Result<(), Error> {
        let entries = std::mem::take(&mut self.entries);
        let count = entries.len() as u32;
        let told = self.shared.outputs.is_some().then(|| entries.clone());
        let finished = self.finished_row();
        let status = finished.as_ref().map(|finished| finished.status);
        let append = Append {
            run: self.id,
            batch: self.batch,
            first_seq: self.first_seq,
            entries,
            new_run: self.new_run.take(),
            wake_at,
            finished,
        };
        self.shared.store.append(append).await?;
        if let Some(status) = status {
            self.shared.meters.count_run(&self.run, status);
        }
        self.stored_wake = wake_at;
        self.batch += 1;
        self.first_seq += count;
        self.shared.published(self.id, &self.run, told.as_deref().unwrap_or_default());
        Ok(())
    }

    fn finished_row(&self) -> Option<FinishedRow> {
        let (status, error) = match self.run.outcome.as_ref()? {
            Outcome::Completed => (Status::Completed, None),
            Outcome::Failed { failure, .. } => (Status::Failed, Some(failure.code)),
            Outcome::Cancelled { .. } => (Status::Cancelled, None),
        };
        let at = self.run.finished_at.unwrap_or_else(now_ms);
        let has_parts = has_bodies(&self.run.program.plan);
        Some(FinishedRow { status, at, error, nodes: tally(&self.run), has_parts })
    }
}

/// Why a run is no longer driven.
enum Rest {
    Finished,
    Asleep,
    Closing,
}

/// Who pays for what the run does now, within a bound for every run.
fn account(run: &Run, bound: &Budget) -> Account {
    let budget = run.program.plan.budget.and(bound);
    Account { start: run.start.clone(), spent: run.spent, budget }
}

/// The end of the wait of a node as somebody has decided, or why that cannot be.
pub(super) fn decided(run: &Run, decision: &Decision) -> Result<Fact, Error> {
    let Decision { node: id, attempt, choice, data } = decision;
    let program = &run.program;
    let Some(node) = program.by_id.get(id).copied() else {
        return Err(Error::new(Code::NotFound, format!("The run has no node {id}")));
    };
    let attempts = run.nodes[node as usize].attempts;
    let waits = program.plan.nodes[node as usize].kind == wait::KIND
        && run.status(node) == NodeStatus::Suspended
        && attempt.is_none_or(|attempt| attempt == attempts);
    if !waits {
        let text = format!("Node {id} does not wait for a decision");
        return Err(Error::new(Code::Conflict, text));
    }
    let config = &program.plan.nodes[node as usize].config;
    let ending = wait::decided(config, choice.as_deref(), data);
    let ending = ending.map_err(|problem| Error::new(Code::RequestInvalid, problem))?;
    Ok(Fact::ended(node, attempts, ending))
}

/// Whether runs of a plan begin others.
fn has_bodies(plan: &Plan) -> bool {
    plan.nodes.iter().any(|node| node.body.is_some() || node.kind == subworkflow::KIND)
}

/// Whether a run is a part of one that has ended.
async fn is_orphan(shared: &Shared, start: Option<&Start>) -> Result<bool, Error> {
    let parent = start.and_then(|start| start.parent.as_ref());
    let Some(parent) = parent.and_then(|parent| parent.run.parse().ok()) else {
        return Ok(false);
    };
    let row = shared.store.run(parent).await?;
    Ok(row.is_none_or(|row| row.status != Status::Running))
}

/// What the nodes of a run of a stored workflow count for, by type; nothing for runs within others, which
/// count as a node of theirs.
fn tally(run: &Run) -> Vec<NodeTally> {
    let program = &run.program;
    let is_counted = program.plan.dialect == Dialect::Graph
        && run.start.as_ref().is_some_and(|start| start.parent.is_none());
    let mut kinds = BTreeMap::<&str, NodeTally>::new();
    for index in program.visible().filter(|_| is_counted) {
        let (node, record) = (&program.plan.nodes[index as usize], &run.nodes[index as usize]);
        let ended = matches!(run.status(index), NodeStatus::Completed | NodeStatus::Failed);
        let Some((from, to)) = record.started_at.zip(record.settled_at).filter(|_| ended) else {
            continue;
        };
        let kind = node.metadata.get("type").and_then(|kind| kind.as_str()).unwrap_or(&node.kind);
        let tally = kinds
            .entry(kind)
            .or_insert_with(|| NodeTally { kind: kind.to_owned(), ..NodeTally::default() });
        tally.count += 1;
        tally.failures += u64::from(run.status(index) == NodeStatus::Failed);
        tally.durations.record(to.saturating_sub(from));
    }
    kinds.into_values().collect()
}
