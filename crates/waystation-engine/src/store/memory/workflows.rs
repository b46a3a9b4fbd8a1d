//! Stored workflows and their triggers in memory.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;

use super::MemoryStore;
use crate::id::WorkflowId;
use crate::store::trigger::doubled_path;
use crate::store::workflow::searchable;
use crate::store::{
    Changed, DefinitionStore, Fired, Result, TriggerKind, TriggerRow, TriggerStore, VersionLine,
    WorkflowChange, WorkflowFilter, WorkflowLine, WorkflowRow, not_firing,
};

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Workflows {
    workflows: BTreeMap<WorkflowId, Workflow>,
    triggers: BTreeMap<(WorkflowId, String), TriggerRow>,
}

#[derive(Debug)]
struct Workflow {
    description: Option<String>,
    /// By version from 1, the present one last.
    versions: Vec<WorkflowRow>,
}

impl Workflows {
    /// Refuses a run whose trigger is not where the run says it is.
    pub(super) fn check(&self, fired: &Fired) -> Result<()> {
        let trigger = self.triggers.get(&(fired.workflow, fired.trigger.clone()));
        let is_there = trigger.is_some_and(|trigger| {
            fired.occurrence.is_none() || trigger.enabled && trigger.next_at == fired.occurrence
        });
        if is_there { Ok(()) } else { Err(not_firing(fired)) }
    }

    /// Notes that a trigger has started a run.
    pub(super) fn fire(&mut self, fired: &Fired, at: u64) {
        let place = (fired.workflow, fired.trigger.clone());
        let Some(trigger) = self.triggers.get_mut(&place) else { return };
        trigger.fired += 1;
        trigger.last_at = Some(at);
        if fired.occurrence.is_some() {
            trigger.next_at = fired.next_at;
        }
    }

    fn change(&mut self, change: WorkflowChange) -> Changed {
        let WorkflowChange { id, name, status, description, definition, at, expected, triggers } =
            change;
        let known = self.workflows.get(&id);
        let version = match expected.next(known.map(|known| known.versions.len() as u32)) {
            Ok(version) => version,
            Err(refused) => return refused,
        };
        let others = self.triggers.values().filter(|other| other.workflow != id);
        let taken: HashSet<&String> = others.filter_map(|other| other.path.as_ref()).collect();
        let mut paths = triggers.iter().filter_map(|new| new.path.as_ref());
        if let Some(path) = paths.find(|path| taken.contains(path)) {
            return Changed::PathTaken { path: path.clone() };
        }
        let created = known.map_or(at, |known| known.versions[0].created);
        let definition = Arc::new(definition);
        let row = WorkflowRow { id, version, name, status, created, updated: at, definition };
        let fresh = || Workflow { description: None, versions: Vec::new() };
        let workflow = self.workflows.entry(id).or_insert_with(fresh);
        workflow.description = description;
        workflow.versions.push(row);
        let before = self.of(&id);
        self.triggers.retain(|(of, _), _| *of != id);
        let after = triggers.iter().map(|new| TriggerRow::following(id, new, &before));
        self.triggers.extend(after.map(|row| ((id, row.id.clone()), row)));
        Changed::Done { version }
    }

    fn of(&self, id: &WorkflowId) -> Vec<TriggerRow> {
        self.triggers.values().filter(|trigger| trigger.workflow == *id).cloned().collect()
    }

    /// Enabled schedules that have a next moment, by that moment.
    fn scheduled(&self) -> Vec<(u64, &TriggerRow)> {
        let enabled = self
            .triggers
            .values()
            .filter(|trigger| trigger.enabled && trigger.kind == TriggerKind::Schedule);
        let mut all: Vec<_> =
            enabled.filter_map(|trigger| Some((trigger.next_at?, trigger))).collect();
        all.sort_by_key(|(at, _)| *at);
        all
    }
}

impl Workflow {
    fn line(&self) -> Option<WorkflowLine> {
        let WorkflowRow { id, version, name, status, created, updated, .. } =
            self.versions.last()?.clone();
        let description = self.description.clone();
        Some(WorkflowLine { id, version, name, status, description, created, updated })
    }
}

#[async_trait]
impl DefinitionStore for MemoryStore {
    async fn change_workflow(&self, change: WorkflowChange) -> Result<Changed> {
        match doubled_path(&change.triggers)? {
            Some(path) => Ok(Changed::PathTaken { path }),
            None => Ok(self.state().workflows.change(change)),
        }
    }

    async fn workflow(&self, id: &WorkflowId, version: Option<u32>) -> Result<Option<WorkflowRow>> {
        let state = self.state();
        let versions = state.workflows.workflows.get(id).map(|workflow| &workflow.versions);
        let row = versions.and_then(|versions| match version {
            Some(version) => versions.iter().find(|row| row.version == version),
            None => versions.last(),
        });
        Ok(row.cloned())
    }

    async fn workflows(&self, filter: WorkflowFilter) -> Result<(Vec<WorkflowLine>, u64)> {
        let state = self.state();
        let WorkflowFilter { status, text, offset, limit } = filter;
        let text = text.unwrap_or_default().to_lowercase();
        let mut lines: Vec<WorkflowLine> =
            state.workflows.workflows.values().filter_map(Workflow::line).collect();
        lines.retain(|line| {
            status.as_ref().is_none_or(|status| *status == line.status)
                && searchable(&line.name, line.description.as_deref()).contains(&text)
        });
        lines.sort_by_key(|line| (std::cmp::Reverse(line.updated), line.id));
        let total = lines.len() as u64;
        Ok((lines.into_iter().skip(offset).take(limit).collect(), total))
    }

    async fn versions(&self, id: &WorkflowId) -> Result<Vec<VersionLine>> {
        let state = self.state();
        let versions = state.workflows.workflows.get(id).map(|workflow| &workflow.versions);
        let newest_first = versions.into_iter().flatten().rev();
        let line = |row: &WorkflowRow| {
            let (version, name, created) = (row.version, row.name.clone(), row.updated);
            VersionLine { version, name, created }
        };
        Ok(newest_first.map(line).collect())
    }

    async fn remove_workflow(&self, id: &WorkflowId) -> Result<bool> {
        let workflows = &mut self.state().workflows;
        workflows.triggers.retain(|(of, _), _| of != id);
        Ok(workflows.workflows.remove(id).is_some())
    }
}

#[async_trait]
impl TriggerStore for MemoryStore {
    async fn triggers(&self, workflow: Option<&WorkflowId>) -> Result<Vec<TriggerRow>> {
        let workflows = &self.state().workflows;
        Ok(match workflow {
            Some(id) => workflows.of(id),
            None => workflows.triggers.values().cloned().collect(),
        })
    }

    async fn hook(&self, path: &str) -> Result<Option<TriggerRow>> {
        let state = self.state();
        let mut triggers = state.workflows.triggers.values();
        Ok(triggers.find(|trigger| trigger.path.as_deref() == Some(path)).cloned())
    }

    async fn schedules_due(&self, now: u64, limit: usize) -> Result<Vec<TriggerRow>> {
        let state = self.state();
        let due = state.workflows.scheduled().into_iter().take_while(|(at, _)| *at <= now);
        Ok(due.take(limit).map(|(_, trigger)| trigger.clone()).collect())
    }

    async fn next_schedule(&self) -> Result<Option<u64>> {
        Ok(self.state().workflows.scheduled().first().map(|(at, _)| *at))
    }

    async fn set_trigger(
        &self,
        workflow: &WorkflowId,
        id: &str,
        enabled: bool,
        next_at: Option<u64>,
    ) -> Result<bool> {
        let mut state = self.state();
        let trigger = state.workflows.triggers.get_mut(&(*workflow, id.to_owned()));
        Ok(trigger.map(|trigger| (trigger.enabled, trigger.next_at) = (enabled, next_at)).is_some())
    }

    async fn skip_occurrence(
        &self,
        workflow: &WorkflowId,
        id: &str,
        occurrence: u64,
        next_at: Option<u64>,
    ) -> Result<bool> {
        let mut state = self.state();
        let trigger = state.workflows.triggers.get_mut(&(*workflow, id.to_owned()));
        let at_it = trigger.filter(|trigger| trigger.next_at == Some(occurrence));
        Ok(at_it.map(|trigger| trigger.next_at = next_at).is_some())
    }
}
