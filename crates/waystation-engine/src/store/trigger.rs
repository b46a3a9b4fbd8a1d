//! What starts a stored workflow by itself: schedules and hooks.

use std::collections::HashSet;

use async_trait::async_trait;
use serde_json::Value;
use waystation_core::error::{Code, Error};

use super::{Result, StoreError};
use crate::id::WorkflowId;

/// What makes a trigger fire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerKind {
    /// Its moment comes.
    Schedule,
    /// Somebody calls its path.
    Hook,
}

/// A trigger as a definition says it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTrigger {
    /// Unique within its workflow.
    pub id: String,
    /// What makes it fire.
    pub kind: TriggerKind,
    /// Its settings, given back as they stand.
    pub settings: Value,
    /// Where a hook is called; unique over all workflows.
    pub path: Option<String>,
    /// Whether it fires.
    pub enabled: bool,
    /// The next moment of a schedule, in Unix milliseconds.
    pub next_at: Option<u64>,
}

/// A trigger and what it has done.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerRow {
    /// Whose.
    pub workflow: WorkflowId,
    /// Unique within its workflow.
    pub id: String,
    /// What makes it fire.
    pub kind: TriggerKind,
    /// Its settings.
    pub settings: Value,
    /// Where a hook is called.
    pub path: Option<String>,
    /// Whether it fires.
    pub enabled: bool,
    /// The next moment of a schedule, in Unix milliseconds.
    pub next_at: Option<u64>,
    /// When it started a run last, in Unix milliseconds.
    pub last_at: Option<u64>,
    /// How many runs it has started.
    pub fired: u64,
}

impl TriggerRow {
    /// A trigger of a new version, with what it keeps of the one before. A moment that a disabled one
    /// was left with is not kept: it has passed, or its author has chosen another.
    pub(super) fn following(
        workflow: WorkflowId,
        new: &NewTrigger,
        before: &[TriggerRow],
    ) -> TriggerRow {
        let NewTrigger { id, kind, settings, path, enabled, next_at } = new.clone();
        let old = before.iter().find(|old| old.id == id && old.kind == kind);
        let kept = old.filter(|old| old.enabled && old.settings == settings);
        TriggerRow {
            workflow,
            next_at: kept.map_or(next_at, |old| old.next_at),
            last_at: old.and_then(|old| old.last_at),
            fired: old.map_or(0, |old| old.fired),
            id,
            kind,
            settings,
            path,
            enabled,
        }
    }
}

/// Refuses two triggers with one id; answers with a path that two hooks have, if there is one.
pub(super) fn doubled_path(triggers: &[NewTrigger]) -> Result<Option<String>> {
    let (mut ids, mut paths) = (HashSet::new(), HashSet::new());
    if let Some(doubled) = triggers.iter().find(|trigger| !ids.insert(&trigger.id)) {
        let message = format!("two triggers have the id \"{}\"", doubled.id);
        let error = Error::new(Code::Conflict, message.clone());
        return Err(StoreError { error, detail: message });
    }
    let mut all = triggers.iter().filter_map(|trigger| trigger.path.as_ref());
    Ok(all.find(|path| !paths.insert(*path)).cloned())
}

/// The triggers of stored workflows. They come with the workflow's definition.
#[async_trait]
pub trait TriggerStore: Send + Sync {
    /// All triggers, or those of one workflow, by workflow and id.
    async fn triggers(&self, workflow: Option<&WorkflowId>) -> Result<Vec<TriggerRow>>;
    /// The hook with a path.
    async fn hook(&self, path: &str) -> Result<Option<TriggerRow>>;
    /// Enabled schedules whose moment has come, the earliest first.
    async fn schedules_due(&self, now: u64, limit: usize) -> Result<Vec<TriggerRow>>;
    /// The moment of the next enabled schedule.
    async fn next_schedule(&self) -> Result<Option<u64>>;
    /// Enables or disables a trigger, with its next moment; answers whether there is one.
    async fn set_trigger(
        &self,
        workflow: &WorkflowId,
        id: &str,
        enabled: bool,
        next_at: Option<u64>,
    ) -> Result<bool>;
    /// Leaves out a moment of a schedule. Answers whether it was still at that moment; if not, nothing
    /// is changed.
    async fn skip_occurrence(
        &self,
        workflow: &WorkflowId,
        id: &str,
        occurrence: u64,
        next_at: Option<u64>,
    ) -> Result<bool>;
}
