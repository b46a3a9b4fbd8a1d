//! Stored workflows: their definitions, one for each version.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{NewTrigger, Result};
use crate::id::WorkflowId;

/// The namespace of the runs of stored workflows.
pub const WORKFLOWS: &str = "workflows";

/// One version of a workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowRow {
    /// The workflow's id.
    pub id: WorkflowId,
    /// Which version, counted from 1.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// Its author's word for where it stands.
    pub status: String,
    /// When the workflow was created, in Unix milliseconds.
    pub created: u64,
    /// When this version was, in Unix milliseconds.
    pub updated: u64,
    /// The definition as it was stored.
    pub definition: Arc<Value>,
}

/// A workflow's line in lists, by its present version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkflowLine {
    /// Its id.
    pub id: WorkflowId,
    /// The present version.
    pub version: u32,
    /// What people call it.
    pub name: String,
    /// Its author's word for where it stands.
    pub status: String,
    /// What it is for.
    pub description: Option<String>,
    /// Unix milliseconds.
    pub created: u64,
    /// Unix milliseconds.
    pub updated: u64,
}

/// One of a workflow's versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionLine {
    /// Which one.
    pub version: u32,
    /// What the workflow was called in it.
    pub name: String,
    /// Unix milliseconds.
    pub created: u64,
}

/// A new version of a workflow, with the triggers that replace those of the version before.
#[derive(Clone, Debug)]
pub struct WorkflowChange {
    /// Whose.
    pub id: WorkflowId,
    /// What people call it.
    pub name: String,
    /// Its author's word for where it stands.
    pub status: String,
    /// What it is for.
    pub description: Option<String>,
    /// The definition, which is given back as it stands.
    pub definition: Value,
    /// Unix milliseconds.
    pub at: u64,
    /// What must be there for the change to be made.
    pub expected: Expected,
    /// Its triggers, by ids that differ.
    pub triggers: Vec<NewTrigger>,
}

/// What must be there for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: the workflow is created.
    Absent,
    /// Any version: it is replaced.
    Any,
    /// This version and no other.
    Version(u32),
}

impl Expected {
    /// The number that a new version gets beside the present one, or why it gets none.
    pub(super) fn next(self, present: Option<u32>) -> std::result::Result<u32, Changed> {
        match (self, present) {
            (Expected::Absent, None) => Ok(1),
            (Expected::Absent, Some(_)) => Err(Changed::Exists),
            (Expected::Any | Expected::Version(_), None) => Err(Changed::Missing),
            (Expected::Version(expected), Some(present)) if expected != present => {
                Err(Changed::Stale { present })
            }
            (Expected::Any | Expected::Version(_), Some(present)) => Ok(present + 1),
        }
    }
}

/// What came of a change. All but the first change nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Done {
        /// The number of the new version.
        version: u32,
    },
    /// There is no such workflow.
    Missing,
    /// There is one already.
    Exists,
    /// Somebody else has changed it.
    Stale {
        /// The version that is there.
        present: u32,
    },
    /// A hook's path belongs to another hook.
    PathTaken {
        /// Which one.
        path: String,
    },
}

/// Which workflows to list, by their present versions: those updated last come first, then by id.
#[derive(Clone, Debug, Default)]
pub struct WorkflowFilter {
    /// Only with this status.
    pub status: Option<String>,
    /// Only with this text in the name or the description, in capitals or not.
    pub text: Option<String>,
    /// How many of them to pass over.
    pub offset: usize,
    /// How many at the most.
    pub limit: usize,
}

/// What a filter's text is looked for in: the name and the description in small letters.
pub(super) fn searchable(name: &str, description: Option<&str>) -> String {
    format!("{name}\n{}", description.unwrap_or_default()).to_lowercase()
}

/// Stored workflows.
#[async_trait]
pub trait DefinitionStore: Send + Sync {
    /// Adds a version and replaces the triggers, together or not at all. A trigger that keeps its id
    /// and kind keeps what it has done, and if its settings are the same also its next moment. Refuses
    /// with `Conflict` triggers of one id.
    async fn change_workflow(&self, change: WorkflowChange) -> Result<Changed>;
    /// A version of a workflow, or the present one.
    async fn workflow(&self, id: &WorkflowId, version: Option<u32>) -> Result<Option<WorkflowRow>>;
    /// One page of workflows, and how many there are on all pages.
    async fn workflows(&self, filter: WorkflowFilter) -> Result<(Vec<WorkflowLine>, u64)>;
    /// A workflow's versions, newest first.
    async fn versions(&self, id: &WorkflowId) -> Result<Vec<VersionLine>>;
    /// Removes a workflow with its versions and triggers; its runs stay. Answers whether there was one.
    async fn remove_workflow(&self, id: &WorkflowId) -> Result<bool>;
}
