//! The engine's driver without its world: the same order of doing things, a clock of its own, and a
//! disk that keeps only what was committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::plans::{BODY, EFFECT, WAIT};
use super::random::Random;
use super::world::World;
use crate::entry::{Body, BodySource, Ending, Entry, Fact, ItemFailure, Start, Timer};
use crate::error::{Code, Failure};
use crate::plan::NodeIndex;
use crate::prepare::{Prepared, prepare};
use crate::program::Program;
use crate::run::Run;
use crate::scheduler::{Action, NodeStatus};
use crate::scope::Outside;

/// More rounds than any random plan can need.
const ROUNDS_MAX: usize = 2_000;

/// What outlives the process: the journal, and what the outside has seen.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) journal: Vec<Entry>,
    pub(super) ledger: Vec<Effect>,
    pub(super) now: u64,
    pub(super) crashes: usize,
}

/// The beginning of an effect, and how much of the journal was durable by then.
#[derive(Clone, Debug)]
pub(super) struct Effect {
    pub(super) node: NodeIndex,
    pub(super) attempt: u32,
    pub(super) durable: usize,
}

struct Underway {
    node: NodeIndex,
    attempt: u32,
    ends_at: u64,
}

#[derive(Clone, Copy, PartialEq)]
struct Item {
    node: NodeIndex,
    attempt: u32,
    item: u32,
}

pub(super) enum Rest {
    Finished(Box<Run>),
    Crashed,
}

pub(super) struct Driver<'a> {
    world: &'a World,
    disk: &'a mut Disk,
    random: Random,
    run: Run,
    /// What the scheduler asked for and is not done, last first.
    actions: Vec<Action>,
    /// Entries that are applied and not durable.
    tail: Vec<Entry>,
    starting: Vec<(NodeIndex, u32)>,
    attempts: Vec<Underway>,
    /// Items that begin as soon as everything before them is durable.
    items_starting: Vec<Item>,
    /// Items under way, and when they end.
    items: Vec<(Item, u64)>,
    timers: BTreeSet<(u64, Timer)>,
    cancel_at: Option<u64>,
    /// How many commits in a hundred meet a crash, half before and half after them.
    crashing: u64,
    /// Whether every entry is checked against the promises of `apply` and `resume`.
    watching: bool,
}

impl<'a> Driver<'a> {
    /// Begins a run, or takes it up where its journal ends.
    pub(super) fn new(
        program: &Arc<Program>,
        world: &'a World,
        disk: &'a mut Disk,
        random: Random,
    ) -> Driver<'a> {
        let run = Run::replay(Arc::clone(program), &disk.journal);
        let requested = |entry: &Entry| matches!(entry.fact, Fact::CancelRequested { .. });
        let cancel_at = world.cancel_at.filter(|_| !disk.journal.iter().any(requested));
        let mut actions = run.scheduler.resume(program.rules());
        actions.reverse();
        Driver {
            world,
            disk,
            random,
            run,
            actions,
            tail: Vec::new(),
            starting: Vec::new(),
            attempts: Vec::new(),
            items_starting: Vec::new(),
            items: Vec::new(),
            timers: BTreeSet::new(),
            cancel_at,
            crashing: 0,
            watching: false,
        }
    }

    pub(super) fn watching(mut self) -> Self {
        self.watching = true;
        self
    }

    pub(super) fn crashing(mut self, chance: u64) -> Self {
        self.crashing = chance;
        self
    }

    pub(super) fn drive(mut self) -> Rest {
        if self.run.next_seq == 0 {
            self.record(Fact::RunStarted(Box::new(start())));
        }
        for _ in 0..ROUNDS_MAX {
            self.perform();
            for index in 0..self.starting.len() {
                let (node, attempt) = self.starting[index];
                self.record(Fact::NodeStarted { node, attempt });
            }
            if !self.commit() {
                return Rest::Crashed;
            }
            if self.run.outcome.is_some() {
                return Rest::Finished(Box::new(self.run));
            }
            if !self.begin_effects() {
                return Rest::Crashed;
            }
            self.wait();
        }
        panic!("the run does not end within {ROUNDS_MAX} rounds");
    }

    /// Performs actions, and those that follow from them.
    fn perform(&mut self) {
        while let Some(action) = self.actions.pop() {
            match action {
                Action::Start { node, attempt } => self.start(node, attempt),
                Action::Skip { node, reason } => self.record(Fact::NodeSkipped { node, reason }),
                Action::SetTimer { timer, at } => {
                    self.timers.insert((at, timer));
                }
                Action::StartItem { node, attempt, item } => {
                    if !self.run.scheduler.awaits_item(node, item) {
                        continue;
                    }
                    self.items_starting.push(Item { node, attempt, item });
                }
                Action::Gather { node, attempt } => self.gather(node, attempt),
                Action::Cancel { node } => {
                    self.items_starting.retain(|item| item.node != node);
                    self.items.retain(|(item, _)| item.node != node);
                    self.starting.retain(|(starting, _)| *starting != node);
                    self.attempts.retain(|attempt| attempt.node != node);
                }
                Action::Finish { outcome } => {
                    self.actions.clear();
                    self.starting.clear();
                    self.attempts.clear();
                    self.items_starting.clear();
                    self.items.clear();
                    self.timers.clear();
                    self.record(Fact::RunFinished { outcome });
                }
            }
        }
    }

    fn start(&mut self, node: NodeIndex, attempt: u32) {
        if !matches!(self.run.status(node), NodeStatus::Ready | NodeStatus::Running) {
            return;
        }
        match prepare(&self.run, "run", node, attempt, self.disk.now, Outside::only(&|_| None)) {
            Prepared::Skip { reason } => self.record(Fact::NodeSkipped { node, reason }),
            Prepared::Fail(failure) => {
                self.record(Fact::NodeFailed { node, attempt, failure, jitter: 0 });
            }
            Prepared::Run { .. } => match &*self.run.program.plan.nodes[node as usize].kind {
                EFFECT => self.starting.push((node, attempt)),
                WAIT => self.suspend(node, attempt),
                BODY => self.begin_body(node, attempt),
                _ => self.ended(node, attempt),
            },
        }
    }

    /// Every other wait has a moment.
    fn suspend(&mut self, node: NodeIndex, attempt: u32) {
        let until = node.is_multiple_of(2).then(|| self.disk.now + self.random.below(900));
        let then = match self.world.attempt(node, attempt) {
            Ok(port) => {
                Ending::Completed { output: Value::Null.into(), port: port.map(Into::into) }
            }
            Err(failure) => Ending::Failed(failure),
        };
        self.record(Fact::NodeSuspended { node, attempt, until, then });
    }

    fn begin_body(&mut self, node: NodeIndex, attempt: u32) {
        let mut random = Random::of(self.world.seed, [6, node.into(), attempt.into()]);
        let items: Vec<Value> = (0..random.pick(&[0, 1, 2, 5, 9])).map(Value::from).collect();
        let policies = [ItemFailure::Stop, ItemFailure::Continue, ItemFailure::Collect];
        let body = Body {
            source: BodySource::Node,
            items: Value::from(items).into(),
            item_name: "item".into(),
            limit: random.pick(&[0, 1, 2, 3, 50]),
            on_failure: random.pick(&policies),
            outer: Value::Null.into(),
        };
        self.record(Fact::BodyStarted { node, attempt, body: Box::new(body) });
    }

    /// The world says how the node comes out, once its items allow it to.
    fn gather(&mut self, node: NodeIndex, attempt: u32) {
        let body = self.run.nodes[node as usize].body.as_deref().expect("a body under way");
        let stopped = body.endings.iter().any(|end| matches!(end, Some(Ending::Failed(_))))
            && body.body.on_failure == ItemFailure::Stop;
        assert!(stopped || body.endings.iter().all(Option::is_some), "gathered too soon");
        assert!(self.run.gathered(node, attempt).is_some());
        self.ended(node, attempt);
    }

    fn item_ended(&mut self, Item { node, attempt, item }: Item) {
        let mut random = Random::of(self.world.seed, [7, node.into(), item.into()]);
        let fails = random.percent(20) && self.world.attempt(node, attempt).is_err();
        let ending = match fails {
            true => Ending::Failed(Failure::fatal(Code::HttpStatus, "the item fails")),
            false => Ending::Completed { output: Value::from(item).into(), port: None },
        };
        self.record(Fact::ItemEnded { node, attempt, item, ending });
    }

    fn ended(&mut self, node: NodeIndex, attempt: u32) {
        let fact = match self.world.attempt(node, attempt) {
            Ok(port) => Fact::NodeCompleted {
                node,
                attempt,
                output: Value::from(node).into(),
                port: port.map(Into::into),
                details: Map::new(),
            },
            Err(failure) => {
                let jitter = self.random.below(1 << 16) as u16;
                Fact::NodeFailed { node, attempt, failure, jitter }
            }
        };
        self.record(fact);
    }

    fn record(&mut self, fact: Fact) {
        let entry = Entry { at: self.disk.now, fact };
        let before = self.actions.len();
        self.run.apply(&entry, &mut self.actions);
        self.actions[before..].reverse();
        if self.watching {
            self.check_repetition(&entry);
            self.check_resumption();
        }
        self.tail.push(entry);
    }

    /// Makes everything durable that has been applied; false when the process dies before or after.
    fn commit(&mut self) -> bool {
        let dies = self.random.percent(self.crashing);
        if dies && self.random.percent(50) {
            return false;
        }
        self.disk.journal.append(&mut self.tail);
        !dies
    }

    /// Lets the effects begin; false when one of them brings the process down.
    fn begin_effects(&mut self) -> bool {
        let mut alive = true;
        for item in std::mem::take(&mut self.items_starting) {
            self.check_item(item);
            let ends_at = self.disk.now + self.random.below(300);
            self.items.push((item, ends_at));
        }
        for (node, attempt) in std::mem::take(&mut self.starting) {
            self.check_output_commit(node, attempt);
            let begun = |effect: &&Effect| effect.node == node && effect.attempt == attempt;
            let before = self.disk.ledger.iter().filter(begun).count();
            alive &= before >= self.world.crashes(node, attempt);
            let durable = self.disk.journal.len();
            self.disk.ledger.push(Effect { node, attempt, durable });
            let ends_at = self.disk.now + self.random.below(400);
            self.attempts.push(Underway { node, attempt, ends_at });
        }
        alive
    }

    /// Lets time pass until something happens, and records it and what else has come by then.
    fn wait(&mut self) {
        let ends = self.attempts.iter().map(|attempt| attempt.ends_at);
        let items = self.items.iter().map(|(_, ends_at)| *ends_at);
        let alarm = self.timers.first().map(|(at, _)| *at);
        let Some(next) = ends.chain(items).chain(alarm).chain(self.cancel_at).min() else {
            return self.signal();
        };
        let late = if self.random.percent(25) { self.random.below(600) } else { 0 };
        self.disk.now = self.disk.now.max(next) + late;
        if self.random.percent(50) {
            self.end_attempts(1);
        } else {
            self.fire_timers();
        }
        self.end_attempts(usize::MAX);
        self.end_items();
        if self.cancel_at.take_if(|at| *at <= self.disk.now).is_some() {
            self.record(Fact::CancelRequested { reason: "enough".into() });
        }
    }

    fn end_attempts(&mut self, most: usize) {
        for _ in 0..most {
            let ended = |attempt: &Underway| attempt.ends_at <= self.disk.now;
            let places = self.attempts.iter().enumerate().filter(|(_, attempt)| ended(attempt));
            let places: Vec<usize> = places.map(|(place, _)| place).collect();
            if places.is_empty() {
                return;
            }
            let Underway { node, attempt, .. } =
                self.attempts.swap_remove(self.random.pick(&places));
            self.ended(node, attempt);
        }
    }

    fn end_items(&mut self) {
        let now = self.disk.now;
        while let Some(place) = self.items.iter().position(|(_, ends_at)| *ends_at <= now) {
            let (item, _) = self.items.swap_remove(place);
            self.item_ended(item);
        }
    }

    /// Somebody ends the waits that have no moment.
    fn signal(&mut self) {
        let nodes = 0..self.run.nodes.len() as NodeIndex;
        let suspended = |node: &NodeIndex| self.run.status(*node) == NodeStatus::Suspended;
        let suspended: Vec<NodeIndex> = nodes.filter(suspended).collect();
        assert!(!suspended.is_empty(), "the run waits for nothing and has not ended");
        for node in suspended {
            self.ended(node, self.run.nodes[node as usize].attempts);
        }
    }

    fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= self.disk.now
        {
            self.timers.pop_first();
            let fact = self.run.due(timer);
            self.record(fact);
        }
    }

    /// An entry once more, and any older result once more, change nothing and ask for nothing.
    fn check_repetition(&mut self, entry: &Entry) {
        let mut actions = Vec::new();
        let mut again = self.run.clone();
        again.apply(entry, &mut actions);
        assert!(actions.is_empty(), "{entry:?} once more asks for {actions:?}");
        assert_same(&again, &self.run, entry);
        let known = self.disk.journal.len() + self.tail.len();
        if known == 0 {
            return;
        }
        let place = self.random.below(known as u64) as usize;
        let Some(old) = self.disk.journal.iter().chain(&self.tail).nth(place) else { return };
        if !matches!(old.fact, Fact::NodeStarted { .. } | Fact::Logged { .. }) {
            again.apply(old, &mut actions);
            assert!(actions.is_empty(), "the old {old:?} asks for {actions:?}");
            assert_same(&again, &self.run, old);
        }
    }

    /// What a process would do that took the run up here is what this one still has to do.
    fn check_resumption(&self) {
        let resumed = self.run.scheduler.resume(self.run.program.rules());
        let outstanding = self.outstanding();
        let same = resumed.len() == outstanding.len()
            && resumed.iter().all(|action| outstanding.contains(action))
            && outstanding.iter().all(|action| resumed.contains(action));
        assert!(same, "outstanding {outstanding:?}, but resumed {resumed:?}");
    }

    fn outstanding(&self) -> Vec<Action> {
        let ending = self.run.scheduler.is_ending();
        let relevant = |action: &&Action| match action {
            Action::Start { node, .. } => self.run.status(*node) == NodeStatus::Ready,
            Action::Skip { node, .. } => self.run.status(*node) == NodeStatus::Skipping && !ending,
            Action::StartItem { node, item, .. } => self.run.scheduler.awaits_item(*node, *item),
            Action::Gather { node, .. } => self.run.status(*node) == NodeStatus::InBody,
            Action::SetTimer { .. } => !ending,
            Action::Cancel { .. } => false,
            Action::Finish { .. } => true,
        };
        let mut all: Vec<Action> = self.actions.iter().filter(relevant).cloned().collect();
        if ending {
            return all;
        }
        let underway = self.attempts.iter().map(|attempt| (attempt.node, attempt.attempt));
        let started = self.starting.iter().copied().chain(underway);
        all.extend(started.map(|(node, attempt)| Action::Start { node, attempt }));
        // What is about to be cancelled is not outstanding.
        let awaited = |item: &&Item| self.run.scheduler.awaits_item(item.node, item.item);
        let items = self.items.iter().map(|(item, _)| item).chain(&self.items_starting);
        let items = items.filter(awaited);
        all.extend(items.map(|Item { node, attempt, item }| Action::StartItem {
            node: *node,
            attempt: *attempt,
            item: *item,
        }));
        all.extend(
            self.timers.iter().map(|(at, timer)| Action::SetTimer { timer: *timer, at: *at }),
        );
        all
    }

    /// Before an item begins, that is durable which led to it, and it has not ended.
    fn check_item(&self, Item { node, attempt, item }: Item) {
        assert!(self.tail.is_empty(), "an item begins before what led to it is durable");
        let begun = |entry: &Entry| {
            matches!(&entry.fact, Fact::BodyStarted { node: of, attempt: at, .. }
                if (*of, *at) == (node, attempt))
        };
        assert!(self.disk.journal.iter().any(begun), "an item begins before its body");
        let ended = |entry: &Entry| {
            matches!(&entry.fact, Fact::ItemEnded { node: of, attempt: at, item: which, .. }
                if (*of, *at, *which) == (node, attempt, item))
        };
        assert!(!self.disk.journal.iter().any(ended), "an item that has ended begins again");
    }

    /// Before an effect its start is durable, and neither a result of its node nor the run's end is.
    fn check_output_commit(&self, node: NodeIndex, attempt: u32) {
        assert!(self.tail.is_empty(), "an effect begins before what led to it is durable");
        let mut announced = false;
        for entry in &self.disk.journal {
            match &entry.fact {
                Fact::NodeStarted { node: of, attempt: at } if *of == node => {
                    announced |= *at == attempt;
                }
                Fact::NodeCompleted { node: of, .. } | Fact::NodeSkipped { node: of, .. } => {
                    assert_ne!(*of, node, "a node that has a result is started again");
                }
                Fact::NodeFailed { node: of, attempt: at, .. } if *of == node => {
                    assert!(*at < attempt, "an attempt that has failed is made again");
                }
                Fact::RunFinished { .. } => panic!("an effect begins after the run's end"),
                _ => {}
            }
        }
        assert!(announced, "an effect begins before its start is durable");
    }
}

fn assert_same(again: &Run, run: &Run, entry: &Entry) {
    let same = again.scheduler == run.scheduler
        && again.nodes == run.nodes
        && again.log == run.log
        && again.outcome == run.outcome
        && again.finished_at == run.finished_at;
    assert!(same, "{entry:?} once more changes the run");
}

pub(super) fn start() -> Start {
    Start {
        plan: "hash".into(),
        workflow: "workflow".into(),
        namespace: "default".into(),
        input: Value::Null.into(),
        ..Start::default()
    }
}
