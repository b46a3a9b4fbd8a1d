//! An instance's steps in order of execution, each with what its nodes tell.

use serde_json::{Value, json};

use super::errors;
use super::status::usage;
use crate::entry::Outcome;
use crate::error::Failure;
use crate::plan::{Node, NodeIndex, QueueItem, Shape};
use crate::run::{NodeRecord, Run};
use crate::time::{rfc3339, seconds_between};
use crate::usage::Usage;

/// An instruction that has begun.
pub(super) struct Step<'r> {
    pub(super) run: &'r Run,
    /// Its place in the order of execution, from 1.
    pub(super) number: usize,
    /// Its place in the definition.
    pub(super) index: u32,
    pub(super) item: &'r QueueItem,
}

impl<'r> Step<'r> {
    pub(super) fn all(run: &'r Run) -> impl Iterator<Item = Step<'r>> {
        let items: &[QueueItem] = match &run.program.plan.shape {
            Shape::Queue { items } => items,
            Shape::Graph { .. } => &[],
        };
        let begun = run.scheduler.begun().iter().enumerate();
        begun.filter_map(move |(place, index)| {
            Some(Step { run, number: place + 1, index: *index, item: items.get(*index as usize)? })
        })
    }

    pub(super) fn record(&self) -> &'r NodeRecord {
        &self.run.nodes[self.item.node as usize]
    }

    pub(super) fn definition(&self) -> &'r Node {
        &self.run.program.plan.nodes[self.item.node as usize]
    }

    /// When its first node began, in Unix milliseconds.
    pub(super) fn started_at(&self) -> Option<u64> {
        self.item.nodes().filter_map(|node| self.run.nodes[node as usize].started_at).min()
    }

    /// What the condition has found, and when.
    pub(super) fn verdict(&self) -> Option<(bool, u64)> {
        let record = &self.run.nodes[self.item.condition? as usize];
        record.output.as_ref()?;
        Some((record.port.as_deref() == Some("true"), record.settled_at?))
    }

    /// The failure that ended the run, where it is one of this step's nodes.
    pub(super) fn failure(&self) -> Option<(NodeIndex, &'r Failure)> {
        match &self.run.outcome {
            Some(Outcome::Failed { node: Some(node), failure }) => {
                self.item.nodes().any(|own| own == *node).then_some((*node, failure))
            }
            _ => None,
        }
    }

    fn spent(&self) -> Usage {
        let mut sum = Usage::default();
        let records = self.item.nodes().map(|node| &self.run.nodes[node as usize]);
        records.filter_map(|record| record.spent.as_deref()).for_each(|spent| sum.add(spent));
        sum
    }

    /// The step as callers see it: once it has a result, or has failed.
    pub(super) fn render(&self) -> Option<Value> {
        let (record, failure) = (self.record(), self.failure());
        if record.output.is_none() && failure.is_none() {
            return None;
        }
        let ended = record.settled_at.or(self.run.finished_at).unwrap_or(self.run.started_at);
        let mut step = json!({
            "stepNumber": self.number,
            "stepIndex": self.index,
            "instruction": self.definition().metadata.get("instruction"),
            "type": self.definition().metadata.get("type"),
            "result": self.run.item_result(self.index),
            "processedAt": rfc3339(ended),
            "duration": seconds_between(self.started_at().unwrap_or(ended), ended),
            "conditionEvaluated": self.verdict().is_some(),
        });
        match self.verdict() {
            Some((holds, _)) => {
                step["conditionResult"] = holds.into();
                step["branchTaken"] = if holds { "true" } else { "false" }.into();
            }
            None if self.item.condition.is_none() => step["branchTaken"] = "sequential".into(),
            None => {}
        }
        if let Some((node, failure)) = failure {
            step["error"] = errors::node_error(self.run, node, failure).into();
            step["errorType"] = errors::error_type(self.run, node).into();
        }
        let spent = self.spent();
        if !spent.is_nothing() {
            step["usage"] = usage(&spent);
        }
        Some(step)
    }
}
