//! What lasts of stored workflows: definitions with their versions, triggers, idempotency keys.

use std::sync::Arc;

use serde_json::Value;

use crate::id::{RunId, WorkflowId};
use crate::store::Status;

/// A workflow in one version.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowRow {
    /// Its id.
    pub id: WorkflowId,
    /// Which version, from 1.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// Its state, in the word of its format.
    pub status: String,
    /// When its first version was saved, in Unix milliseconds.
    pub created: u64,
    /// When this version was saved, in Unix milliseconds.
    pub updated: u64,
    /// The definition as it was given.
    pub definition: Arc<Value>,
}

/// A workflow's line in lists: of its present version.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowLine {
    /// Its id.
    pub id: WorkflowId,
    /// The present version.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// Its state.
    pub status: String,
    /// What it is for.
    pub description: Option<String>,
    /// Unix milliseconds.
    pub created: u64,
    /// Unix milliseconds.
    pub updated: u64,
}

/// A version's line in the list of versions.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionLine {
    /// Its number.
    pub version: u32,
    /// What the workflow was called then.
    pub name: String,
    /// Unix milliseconds.
    pub created: u64,
}

/// A new version of a workflow, or a new workflow.
#[derive(Clone, Debug)]
pub struct WorkflowChange {
    /// Whose.
    pub id: WorkflowId,
    /// What people call it.
    pub name: String,
    /// Its state.
    pub status: String,
    /// What it is for.
    pub description: Option<String>,
    /// The definition.
    pub definition: Value,
    /// Unix milliseconds.
    pub at: u64,
    /// What has to be there.
    pub expected: Expected,
    /// Its triggers, in place of those that it had.
    pub triggers: Vec<NewTrigger>,
}

/// What has to be there for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Absent,
    /// The workflow, in whatever version.
    Any,
    /// The workflow in this version.
    Version(u32),
}

/// What came of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Done {
        /// The new version.
        version: u32,
    },
    /// There is no such workflow.
    Missing,
    /// There is one already.
    Exists,
    /// It has another version than expected.
    Stale {
        /// The present one.
        present: u32,
    },
    /// A hook's path belongs to another workflow.
    PathTaken {
        /// Which.
        path: String,
    },
}

/// Which workflows to list, those that changed last first.
#[derive(Clone, Debug, Default)]
pub struct WorkflowFilter {
    /// Only in this state.
    pub status: Option<String>,
    /// Only those with this text in their name or description, in whatever case.
    pub text: Option<String>,
    /// How many to pass over.
    pub offset: usize,
    /// How many at the most.
    pub limit: usize,
}

/// What a trigger waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerKind {
    /// Moments.
    Schedule,
    /// Calls.
    Hook,
}

/// A trigger as a definition has it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewTrigger {
    /// Unique within the workflow.
    pub id: String,
    /// What it waits for.
    pub kind: TriggerKind,
    /// All else that the definition says.
    pub settings: Value,
    /// Of a hook: its address, unique over all workflows.
    pub path: Option<String>,
    /// Whether it does anything.
    pub enabled: bool,
    /// Of a schedule: the next moment, in Unix milliseconds.
    pub next_at: Option<u64>,
}

/// A trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct TriggerRow {
    /// Whose.
    pub workflow: WorkflowId,
    /// Unique within the workflow.
    pub id: String,
    /// What it waits for.
    pub kind: TriggerKind,
    /// All else that the definition says.
    pub settings: Value,
    /// Of a hook: its address.
    pub path: Option<String>,
    /// Whether it does anything.
    pub enabled: bool,
    /// Of a schedule: the next moment, in Unix milliseconds.
    pub next_at: Option<u64>,
    /// When it last began a run, in Unix milliseconds.
    pub last_at: Option<u64>,
    /// How many runs it has begun.
    pub fired: u64,
}

/// What tells a call from its repetition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The key.
    pub key: String,
    /// Of the whole call: the same key with another one is a mistake.
    pub fingerprint: [u8; 32],
    /// Until when the key counts, in Unix milliseconds.
    pub expires: u64,
}

/// The trigger that begins a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// Whose.
    pub workflow: WorkflowId,
    /// Its id.
    pub trigger: String,
    /// Of a schedule: the moment that it fires for. It fires once for each.
    pub occurrence: Option<u64>,
    /// Of a schedule: the moment after that.
    pub next_at: Option<u64>,
    /// Now, in Unix milliseconds.
    pub at: u64,
}

/// A run that belongs to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChildRow {
    /// Its id.
    pub run: RunId,
    /// The node of the other run.
    pub node: u32,
    /// The item of that node.
    pub item: u32,
    /// Where it stands.
    pub status: Status,
}
