//! Sums over runs of stored workflows, by day: how many, how they ended, how long they took. A child
//! run is part of its parent's and is not counted by itself.

use std::collections::BTreeMap;

use async_trait::async_trait;
use waystation_core::usage::Usage;

use super::{Histogram, Result, Status};

/// Runs, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunTally {
    /// Those that began.
    pub started: u64,
    /// Those that ended well.
    pub completed: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that somebody ended.
    pub cancelled: u64,
    /// How long those took that ended, in whatever way.
    pub durations: Histogram,
}

impl RunTally {
    /// Adds what another one counted.
    pub fn add(&mut self, other: &RunTally) {
        self.started += other.started;
        self.completed += other.completed;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.durations.merge(&other.durations);
    }

    /// Counts the end of a run.
    pub(super) fn end(&mut self, status: Status, duration_ms: u64) {
        match status {
            Status::Running => return,
            Status::Completed => self.completed += 1,
            Status::Failed => self.failed += 1,
            Status::Cancelled => self.cancelled += 1,
        }
        self.durations.record(duration_ms);
    }
}

/// What the nodes of one kind did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeTally {
    /// The node type.
    pub kind: String,
    /// How many ran, whatever came of it.
    pub count: u64,
    /// How many of them failed for good.
    pub failures: u64,
    /// How long each took, from its first attempt to its end.
    pub durations: Histogram,
}

impl NodeTally {
    /// Adds what another one counted.
    pub fn add(&mut self, other: &NodeTally) {
        self.count += other.count;
        self.failures += other.failures;
        self.durations.merge(&other.durations);
    }
}

/// Which sums to look at.
#[derive(Clone, Debug)]
pub struct TallyFilter {
    /// From this day on, counted from 1970, UTC.
    pub from_day: u64,
    /// To this day, which is part of it.
    pub to_day: u64,
    /// Only of this workflow.
    pub workflow: Option<String>,
}

/// The sums of some days. A run began on one day and may have ended on another.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tallies {
    /// All runs.
    pub total: RunTally,
    /// By day, counted from 1970, UTC; days without runs are left out.
    pub days: Vec<(u64, RunTally)>,
    /// By workflow.
    pub workflows: Vec<(String, RunTally)>,
    /// By kind of node.
    pub nodes: Vec<NodeTally>,
    /// What the runs used of models, child runs included.
    pub spent: Usage,
}

impl Tallies {
    /// Sums up what is kept by day, workflow and kind.
    pub(super) fn gather(
        runs: impl IntoIterator<Item = ((u64, String), RunTally)>,
        nodes: impl IntoIterator<Item = NodeTally>,
        spent: Usage,
    ) -> Tallies {
        let mut total = RunTally::default();
        let mut days = BTreeMap::<u64, RunTally>::new();
        let mut workflows = BTreeMap::<String, RunTally>::new();
        for ((day, workflow), tally) in runs {
            total.add(&tally);
            days.entry(day).or_default().add(&tally);
            workflows.entry(workflow).or_default().add(&tally);
        }
        let mut kinds = BTreeMap::<String, NodeTally>::new();
        for tally in nodes {
            let fresh = || NodeTally { kind: tally.kind.clone(), ..NodeTally::default() };
            kinds.entry(tally.kind.clone()).or_insert_with(fresh).add(&tally);
        }
        let days = days.into_iter().collect();
        let workflows = workflows.into_iter().collect();
        Tallies { total, days, workflows, nodes: kinds.into_values().collect(), spent }
    }
}

/// Sums over runs of stored workflows.
#[async_trait]
pub trait TallyStore: Send + Sync {
    /// The sums of some days.
    async fn tallies(&self, filter: TallyFilter) -> Result<Tallies>;
}
