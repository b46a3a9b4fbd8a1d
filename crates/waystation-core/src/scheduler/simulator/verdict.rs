//! What must hold for every run that has ended, crashed or not.

use super::driver::Disk;
use super::reference;
use super::world::{Last, World};
use crate::entry::{Fact, Outcome, Timer};
use crate::error::{Class, Code};
use crate::limits::INTERRUPTIONS_PER_NODE;
use crate::plan::{NodeIndex, OnFailure, Plan, Shape};
use crate::run::Run;
use crate::scheduler::NodeStatus;

pub(super) fn check(plan: &Plan, world: &World, disk: &Disk, run: &Run) {
    let interrupted = |node: NodeIndex| {
        let failure = run.nodes[node as usize].failure.as_deref();
        failure.is_some_and(|failure| failure.code == Code::Interrupted)
    };
    let last = |node: NodeIndex| match interrupted(node) {
        true => Last::Failed,
        false => world.last(plan, node),
    };
    check_journal(plan, disk);
    check_waits(plan, disk);
    check_ledger(disk);
    check_interruptions(disk);
    check_statuses(plan, world, run, &reference::statuses(plan, &last));
    check_outcome(plan, world, run);
    check_order(plan, disk, run, &last);
    check_reasons(run);
}

/// Where every node stands.
pub(super) fn statuses(run: &Run) -> Vec<NodeStatus> {
    (0..run.nodes.len()).map(|node| run.status(node as NodeIndex)).collect()
}

/// The node whose result this fact is, if it is one.
fn settled_by(plan: &Plan, fact: &Fact) -> Option<NodeIndex> {
    match fact {
        Fact::NodeCompleted { node, .. } | Fact::NodeSkipped { node, .. } => Some(*node),
        Fact::NodeFailed { node, attempt, failure, .. } => {
            let attempts = plan.nodes[*node as usize].retry.attempts;
            (failure.class == Class::Fatal || *attempt >= attempts).then_some(*node)
        }
        _ => None,
    }
}

/// One end, at the end; and nothing about a node after its result.
fn check_journal(plan: &Plan, disk: &Disk) {
    let finished = |fact: &Fact| matches!(fact, Fact::RunFinished { .. });
    let ends = disk.journal.iter().filter(|entry| finished(&entry.fact)).count();
    let last = disk.journal.last().is_some_and(|entry| finished(&entry.fact));
    assert!(last && ends == 1, "the journal must end with its only RunFinished");
    let mut settled = vec![false; plan.nodes.len()];
    for entry in &disk.journal {
        if let Fact::NodeStarted { node, .. }
        | Fact::NodeSuspended { node, .. }
        | Fact::BodyStarted { node, .. }
        | Fact::ItemEnded { node, .. }
        | Fact::NodeCompleted { node, .. }
        | Fact::NodeSkipped { node, .. }
        | Fact::NodeFailed { node, .. } = entry.fact
        {
            assert!(!settled[node as usize], "{entry:?} comes after the node's result");
        }
        if let Some(node) = settled_by(plan, &entry.fact) {
            settled[node as usize] = true;
        }
    }
}

/// No attempt is due sooner than the policy and the other side ask for.
fn check_waits(plan: &Plan, disk: &Disk) {
    for entry in &disk.journal {
        let Fact::NodeFailed { node, attempt, failure, .. } = &entry.fact else { continue };
        let Class::Retryable { after_ms } = failure.class else { continue };
        let delay_ms = plan.nodes[*node as usize].retry.delay_ms << (attempt - 1);
        let due = Timer::Retry { node: *node, attempt: attempt + 1 };
        let fired = disk
            .journal
            .iter()
            .find(|entry| matches!(entry.fact, Fact::TimerFired { timer } if timer == due));
        let earliest = entry.at + delay_ms.max(after_ms.unwrap_or(0));
        assert!(fired.is_none_or(|fired| fired.at >= earliest), "{due:?} comes too soon");
    }
}

/// Without a crash no attempt is made twice; with crashes the number of repetitions is bounded.
fn check_ledger(disk: &Disk) {
    for effect in &disk.ledger {
        let attempt = (effect.node, effect.attempt);
        let same = disk.ledger.iter().filter(|other| (other.node, other.attempt) == attempt);
        let most = (disk.crashes + 1).min(INTERRUPTIONS_PER_NODE as usize);
        assert!(same.count() <= most, "attempt {effect:?} is made more than {most} times");
    }
}

/// Only an attempt that was cut short often enough is given up.
fn check_interruptions(disk: &Disk) {
    for entry in &disk.journal {
        let Fact::NodeFailed { node, attempt, failure, .. } = &entry.fact else { continue };
        if failure.code == Code::Interrupted {
            let start = Fact::NodeStarted { node: *node, attempt: *attempt };
            let starts = disk.journal.iter().filter(|entry| entry.fact == start).count();
            assert_eq!(starts, INTERRUPTIONS_PER_NODE as usize, "given up too soon: {entry:?}");
        }
    }
}

/// Every node stands where the reference says, unless the run ended before it got there.
fn check_statuses(plan: &Plan, world: &World, run: &Run, expected: &[NodeStatus]) {
    let actual = statuses(run);
    for (node, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        let consistent = match actual {
            NodeStatus::Waiting | NodeStatus::Cancelled => true,
            settled => settled.is_settled() && settled == expected,
        };
        assert!(consistent, "node {node} is {actual:?}, must be {expected:?}");
    }
    let completed = run.outcome == Some(Outcome::Completed);
    if completed {
        assert_eq!(actual, expected, "the run's end is not the whole");
    }
    if plan.deadline_ms.is_none() && world.cancel_at.is_none() {
        let failed = expected.iter().enumerate().filter(|(_, how)| **how == NodeStatus::Failed);
        let uncaught = failed.filter(|(node, _)| !reference::is_caught(plan, *node as NodeIndex));
        let stops = plan.on_failure == OnFailure::Stop && uncaught.count() > 0;
        assert_eq!(completed, !stops, "the outcome is wrong");
    }
}

fn check_outcome(plan: &Plan, world: &World, run: &Run) {
    let failed = |(node, status): &(usize, NodeStatus)| {
        *status == NodeStatus::Failed && !reference::is_caught(plan, *node as NodeIndex)
    };
    let failed = statuses(run).into_iter().enumerate().filter(failed).count();
    match run.outcome.as_ref() {
        Some(Outcome::Completed) => {}
        Some(Outcome::Failed { node: Some(node), .. }) => {
            assert_eq!(plan.on_failure, OnFailure::Stop);
            assert_eq!(run.status(*node), NodeStatus::Failed);
            assert_eq!(failed, 1, "the first failure stops the run");
        }
        Some(Outcome::Failed { node: None, .. }) => assert!(plan.deadline_ms.is_some()),
        Some(Outcome::Cancelled { .. }) => assert!(world.cancel_at.is_some()),
        None => panic!("the run has no outcome"),
    }
}

/// The items of a queue settle in the order of the contract.
fn check_order(plan: &Plan, disk: &Disk, run: &Run, last: &dyn Fn(NodeIndex) -> Last) {
    let Shape::Queue { items } = &plan.shape else { return };
    let results = disk.journal.iter().filter_map(|entry| settled_by(plan, &entry.fact));
    // A result that came when the end was decided is recorded and counts for nothing.
    let counted = |node: &NodeIndex| run.status(*node) != NodeStatus::Cancelled;
    let actual: Vec<NodeIndex> = results.filter(counted).collect();
    let expected = reference::execution_order(plan, items, last);
    assert!(expected.starts_with(&actual), "settled {actual:?}, must settle {expected:?}");
}

/// A skipped node blames an edge that is dead.
fn check_reasons(run: &Run) {
    for (node, record) in run.nodes.iter().enumerate() {
        let Some(reason) = record.skipped.as_deref() else { continue };
        let reasons = reference::reasons(run, node as NodeIndex);
        let known = reasons.iter().any(|known| known == reason)
            || reason == "Selection dependency nothing not found"
            || reasons.is_empty() && reason == "More dependencies are required than there are";
        assert!(known, "node {node} blames {reason:?}, not one of {reasons:?}");
    }
}
