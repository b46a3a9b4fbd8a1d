//! What runs and nodes count: how many ended how, and how long they took.

use std::collections::HashMap;

use metrics::{Counter, Histogram, counter, histogram};
use waystation_core::entry::Fact;
use waystation_core::plan::NodeIndex;
use waystation_core::run::Run;
use waystation_core::scheduler::NodeStatus;
use waystation_core::time::seconds_between;

use crate::store::Status;

/// Meters that are looked up once. They belong to the recorder that was there when they were made.
pub(super) struct Meters {
    runs: [(Counter, Histogram); 3],
    nodes: HashMap<&'static str, NodeMeters>,
    skipped: Counter,
}

struct NodeMeters {
    completed: Counter,
    failed: Counter,
    retried: Counter,
    seconds: Histogram,
}

impl Meters {
    pub(super) fn new(types: impl Iterator<Item = &'static str>) -> Meters {
        let run = |status: Status| {
            let status = status.as_str();
            let ended = counter!("waystation_runs_total", "status" => status);
            (ended, histogram!("waystation_run_seconds", "status" => status))
        };
        let node =
            |status, name| counter!("waystation_nodes_total", "type" => name, "status" => status);
        let of_type = |name: &'static str| NodeMeters {
            completed: node("completed", name),
            failed: node("failed", name),
            retried: counter!("waystation_node_retries_total", "type" => name),
            seconds: histogram!("waystation_node_seconds", "type" => name),
        };
        Meters {
            runs: [Status::Completed, Status::Failed, Status::Cancelled].map(run),
            nodes: types.map(|name| (name, of_type(name))).collect(),
            skipped: counter!("waystation_nodes_total", "type" => "any", "status" => "skipped"),
        }
    }

    /// Counts what a fact, just applied, has brought about.
    pub(super) fn count(&self, run: &Run, fact: &Fact) {
        match fact {
            Fact::NodeCompleted { node, .. } | Fact::NodeFailed { node, .. } => {
                self.count_node(run, *node);
            }
            Fact::NodeSkipped { .. } => self.skipped.increment(1),
            _ => {}
        }
    }

    fn count_node(&self, run: &Run, node: NodeIndex) {
        let kind = run.program.plan.nodes[node as usize].kind.as_str();
        let Some(meters) = self.nodes.get(kind) else { return };
        match run.status(node) {
            NodeStatus::Completed => meters.completed.increment(1),
            NodeStatus::Failed => meters.failed.increment(1),
            _ => return meters.retried.increment(1),
        }
        let record = &run.nodes[node as usize];
        if let (Some(from), Some(to)) = (record.started_at, record.settled_at) {
            meters.seconds.record(seconds_between(from, to));
        }
    }

    /// Counts a run whose end is durable.
    pub(super) fn count_run(&self, run: &Run, status: Status) {
        let index = match status {
            Status::Completed => 0,
            Status::Failed => 1,
            Status::Running | Status::Cancelled => 2,
        };
        let (ended, seconds) = &self.runs[index];
        ended.increment(1);
        seconds.record(seconds_between(run.started_at, run.finished_at.unwrap_or(run.started_at)));
    }
}
