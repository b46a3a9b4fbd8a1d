//! The runs of a node's items: begun, taken up again after a crash, cancelled with what they belong to.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::FutureExt;
use serde_json::{Map, Value};
use tokio::sync::watch;
use waystation_core::entry::{Body, BodySource, Data, Ending, Fact, Parent, Start};
use waystation_core::error::{Code, Error, Failure};
use waystation_core::extract::bytes_about;
use waystation_core::plan::NodeIndex;

use super::super::handle::Command;
use super::super::plans::{Definition, source_key};
use super::super::shared::{Shared, Stored};
use super::{Live, has_bodies};
use crate::id::RunId;
use crate::limits::RUN_DEPTH;
use crate::store::{ChildPlace, Status};

/// Why runs end that belong to one that has ended.
pub(in crate::driver) const ABANDONED: &str = "the run that it is a part of has ended";

/// An item of a node of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) struct Place {
    pub(in crate::driver) node: NodeIndex,
    pub(in crate::driver) attempt: u32,
    pub(in crate::driver) item: u32,
}

/// Items whose runs are not to begin any more.
#[derive(Default)]
pub(super) struct Unwanted {
    /// All of the run's.
    pub(super) all: bool,
    /// Those of these nodes.
    nodes: BTreeSet<NodeIndex>,
}

impl Unwanted {
    fn has(&self, node: NodeIndex) -> bool {
        self.all || self.nodes.contains(&node)
    }
}

/// The run of an item, as far as it has come when it is begun or found.
pub(super) struct Begun {
    place: Place,
    child: Result<Child, Error>,
}

enum Child {
    UnderWay(RunId),
    Ended(Ending),
    /// It was not wanted any more when its turn came.
    Unbegun,
}

impl Live {
    /// Notes that an item is to begin, once everything before it is durable. What an earlier try of the
    /// run has done is not done again.
    pub(super) fn start_item(&mut self, place: Place) {
        if !self.run.scheduler.awaits_item(place.node, place.item) {
            return;
        }
        match self.reused(place) {
            Some(ending) => self.item_ended(place, ending),
            None => self.items_starting.push(place),
        }
    }

    fn reused(&self, Place { node, item, .. }: Place) -> Option<Ending> {
        let index = item as usize;
        let before = self.reuse.get(node as usize)?.body.as_deref()?;
        let now = self.run.nodes[node as usize].body.as_deref()?;
        let ending = before.endings.get(index)?.clone()?;
        let is_same = before.items().get(index) == now.items().get(index)
            && before.body.outer == now.body.outer;
        (is_same && matches!(ending, Ending::Completed { .. })).then_some(ending)
    }

    /// Begins the items whose turn has come.
    pub(super) fn begin_items(&mut self) {
        for place in std::mem::take(&mut self.items_starting) {
            let Some(birth) = self.birth(place) else { continue };
            let shared = Arc::clone(&self.shared);
            let is_repeated = self.is_recovered;
            let unwanted = self.unwanted.subscribe();
            let begun = async move {
                let child = birth.child(&shared, is_repeated, unwanted).await;
                Begun { place, child }
            };
            self.births.push(begun.boxed());
        }
    }

    fn birth(&self, place: Place) -> Option<Birth> {
        let start = self.run.start.clone()?;
        let body = &self.run.nodes[place.node as usize].body.as_deref()?;
        let value = body.items().get(place.item as usize)?.clone();
        let program = &self.run.program;
        let depth = start.parent.as_ref().map_or(0, |parent| parent.depth) + 1;
        let run = self.id_text.clone();
        Some(Birth {
            parent: Parent { run, node: place.node, item: place.item, depth },
            of: self.id,
            start,
            body: body.body.clone(),
            value,
            plan: Arc::clone(program),
        })
    }

    /// Takes note of an item's run.
    pub(super) fn item_begun(&mut self, Begun { place, child }: Begun) {
        let is_awaited = self.run.scheduler.awaits_item(place.node, place.item);
        match child {
            Ok(Child::UnderWay(id)) if is_awaited => {
                self.children.insert((place.node, place.item), id);
            }
            Ok(Child::UnderWay(id)) => self.abandoned.push(id),
            Ok(Child::Ended(ending)) => self.item_ended(place, ending),
            Ok(Child::Unbegun) => {}
            // The run stops here, and is tried again as a whole.
            Err(error) if matches!(error.code, Code::Store | Code::ShuttingDown) => {
                self.trouble = Some(error);
            }
            Err(error) => self.item_ended(place, Ending::Failed(error.into())),
        }
    }

    /// Records the end of an item, as far as there is room for its result.
    pub(super) fn item_ended(&mut self, Place { node, attempt, item }: Place, ending: Ending) {
        self.children.remove(&(node, item));
        let ending = match ending {
            Ending::Completed { output, port } => {
                let bytes = output.value().map_or(0, |value| bytes_about(value));
                match self.take_room(bytes) {
                    Ok(()) => Ending::Completed { output, port },
                    Err(failure) => Ending::Failed(failure),
                }
            }
            failed => failed,
        };
        self.record(Fact::ItemEnded { node, attempt, item, ending });
    }

    /// Records how a node with a body ends.
    pub(super) fn gather(&mut self, node: NodeIndex, attempt: u32) {
        if let Some(fact) = self.run.gathered(node, attempt) {
            self.record(fact);
        }
    }

    /// Items of a node are wanted, whatever became of those of an earlier attempt.
    pub(super) fn want_items(&mut self, node: NodeIndex) {
        self.unwanted.send_if_modified(|unwanted| unwanted.nodes.remove(&node));
    }

    /// Lets go of the items of a node: their runs are cancelled when that is durable.
    pub(super) fn abandon(&mut self, node: NodeIndex) {
        self.items_starting.retain(|place| place.node != node);
        self.unwanted.send_modify(|unwanted| {
            unwanted.nodes.insert(node);
        });
        let items = (node, 0)..=(node, u32::MAX);
        let ids: Vec<_> = self.children.range(items).map(|(item, id)| (*item, *id)).collect();
        for (item, id) in ids {
            self.children.remove(&item);
            self.abandoned.push(id);
        }
    }

    /// Cancels the runs that nobody awaits any more.
    pub(super) fn cancel_abandoned(&mut self) {
        for id in self.abandoned.drain(..) {
            self.shared.abandon(id, ABANDONED);
        }
    }

    /// Cancels whatever still belongs to a run that has ended, which a crash may have kept from it.
    pub(super) async fn cancel_children(&mut self) -> Result<(), Error> {
        if !has_bodies(&self.run.program.plan) {
            return Ok(());
        }
        for child in self.shared.store.children(self.id).await? {
            if child.status == Status::Running {
                self.shared.abandon(child.run, ABANDONED);
            }
        }
        Ok(())
    }
}

/// What it takes to begin the run of an item.
struct Birth {
    parent: Parent,
    of: RunId,
    start: Arc<Start>,
    body: Body,
    value: Value,
    plan: Arc<waystation_core::program::Program>,
}

impl Birth {
    /// Begins the run, or finds it where it began before.
    async fn child(
        self,
        shared: &Arc<Shared>,
        is_repeated: bool,
        mut unwanted: watch::Receiver<Unwanted>,
    ) -> Result<Child, Error> {
        let (of, node, item) = (self.of, self.parent.node, self.parent.item);
        if is_repeated && let Some(child) = find(shared, (of, node, item)).await? {
            return Ok(child);
        }
        if self.parent.depth > RUN_DEPTH {
            let text = format!("runs may be {RUN_DEPTH} deep within one another at most");
            return Err(Error::new(Code::LimitExceeded, text));
        }
        let (definition, start) = self.prepare(shared).await?;
        let depth = start.parent.as_ref().map_or(0, |parent| parent.depth);
        let room = tokio::select! {
            biased;
            _ = unwanted.wait_for(|unwanted| unwanted.has(node)) => return Ok(Child::Unbegun),
            room = shared.room_at(depth) => room,
        };
        let mut live = Live::begin(shared, &definition, start, Vec::new(), Vec::new());
        live.room = room;
        live.be_child(of, node, item);
        let id = live.id();
        match live.launch().await {
            Ok(finished) => Ok(match finished.now_ended().and_then(|run| run.ending()) {
                Some(ending) => Child::Ended(ending),
                None => Child::UnderWay(id),
            }),
            // It began before, in a process that did not live to hear of it.
            Err(error) if error.code == Code::Conflict => {
                find(shared, (of, node, item)).await?.ok_or(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn prepare(self, shared: &Arc<Shared>) -> Result<(Arc<Definition>, Start), Error> {
        let Birth { parent, start, body, value, plan, .. } = self;
        let begin = Start { parent: Some(parent.clone()), ..Start::default() };
        match &body.source {
            BodySource::Node => {
                let definition = body_of(shared, &plan, parent.node)?;
                let plan = definition.program.hash.to_string();
                let (workflow, namespace) = (start.workflow.clone(), start.namespace.clone());
                let (input, version) = (start.input.clone(), start.version);
                let item = Some(names_of_item(&body, &parent, value));
                let outer = Some(body.outer);
                let begin =
                    Start { plan, workflow, namespace, input, version, item, outer, ..begin };
                Ok((definition, begin))
            }
            BodySource::Workflow { id, version } => {
                let stored = shared.library.stored(&shared.plans, id, *version).await?;
                let Stored { definition, version, name } = stored;
                let plan = definition.program.hash.to_string();
                let (workflow, namespace) = (id.clone(), start.namespace.clone());
                let (input, version) = (Data::from(value), Some(version));
                let begin = Start { plan, workflow, namespace, name, input, version, ..begin };
                Ok((definition, begin))
            }
        }
    }
}

/// The definition of a node's own plan, compiled once.
fn body_of(
    shared: &Shared,
    program: &waystation_core::program::Program,
    node: NodeIndex,
) -> Result<Arc<Definition>, Error> {
    let source = source_key(&["body", &program.hash, &node.to_string()]);
    shared.plans.define(source, || {
        let body = program.plan.nodes[node as usize].body.as_deref().cloned();
        let missing = || Error::new(Code::Internal, "the node has no body");
        Ok((body.ok_or_else(missing)?, Vec::new()))
    })
}

/// What the run of an item sees of its item.
fn names_of_item(body: &Body, parent: &Parent, item: Value) -> Data {
    let names = [(body.item_name.clone(), item), ("index".into(), parent.item.into())];
    Value::Object(Map::from_iter(names)).into()
}

/// The run of an item, if it began before.
async fn find(
    shared: &Arc<Shared>,
    (of, node, item): (RunId, NodeIndex, u32),
) -> Result<Option<Child>, Error> {
    let Some(row) = shared.store.child(ChildPlace { parent: of, node, item }).await? else {
        return Ok(None);
    };
    if row.status == Status::Running {
        return Ok(Some(Child::UnderWay(row.run)));
    }
    let lost = || Failure::fatal(Code::Internal, "the run of the item is gone");
    let run = shared.replay(row.run).await?;
    Ok(Some(Child::Ended(run.ending().unwrap_or_else(|| Ending::Failed(lost())))))
}

impl Shared {
    /// Asks a run to end, whether it is in memory or asleep.
    fn abandon(self: &Arc<Self>, id: RunId, reason: &str) {
        drop(self.ensure_asked(id, Some(Command::Cancel { reason: reason.into() })));
    }
}
