//! What must hold for every run that has ended, crashed or not.

use super::driver::Disk;
use super::reference;
use super::world::{Last, World};
use crate::entry::{Fact, Outcome};
use crate::error::Code;
use crate::limits::INTERRUPTIONS_PER_NODE;
use crate::plan::{NodeIndex, OnFailure, Plan, Shape};
use crate::run::Run;
use crate::scheduler::NodeStatus;

pub(super) fn check(plan: &Plan, world: &World, disk: &Disk, run: &Run) {
    check_journal(plan, disk);
    check_ledger(disk);
    check_outcome(plan, world, run);
    check_reasons(run);
}

/// Where every node stands.
pub(super) fn statuses(run: &Run) -> Vec<NodeStatus> {
    (0..run.nodes.len()).map(|node| run.status(node as NodeIndex)).collect()
}

/// One end, at the end; and nothing about a node after its result.
fn check_journal(plan: &Plan, disk: &Disk) {
    let finished = |fact: &Fact| matches!(fact, Fact::RunFinished { .. });
    let ends = disk.journal.iter().filter(|entry| finished(&entry.fact)).count();
    let last = disk.journal.last().is_some_and(|entry| finished(&entry.fact));
    assert!(last && ends == 1, "the journal must end with its only RunFinished");
    let mut settled = vec![false; plan.nodes.len()];
    for entry in &disk.journal {
        let (node, result) = match &entry.fact {
            Fact::NodeStarted { node, .. } => (*node, false),
            Fact::NodeCompleted { node, .. } | Fact::NodeSkipped { node, .. } => (*node, true),
            Fact::NodeFailed { node, attempt, failure, .. } => {
                let attempts = plan.nodes[*node as usize].retry.attempts;
                let fatal = failure.class == crate::error::Class::Fatal;
                (*node, fatal || *attempt >= attempts)
            }
            _ => continue,
        };
        assert!(!settled[node as usize], "{entry:?} comes after the node's result");
        settled[node as usize] = result;
    }
}

/// Without a crash no attempt is made twice; with crashes the number of repetitions is bounded.
fn check_ledger(disk: &Disk) {
    for effect in &disk.ledger {
        let same = disk
            .ledger
            .iter()
            .filter(|other| (other.node, other.attempt) == (effect.node, effect.attempt));
        let most = (disk.crashes + 1).min(INTERRUPTIONS_PER_NODE as usize);
        assert!(same.count() <= most, "attempt {effect:?} is made more than {most} times");
    }
}

/// The statuses follow from how the nodes came out, by the reference's reading of the rules.
fn check_outcome(plan: &Plan, world: &World, run: &Run) {
    let interrupted = |node: NodeIndex| {
        let failure = run.nodes[node as usize].failure.as_deref();
        failure.is_some_and(|failure| failure.code == Code::Interrupted)
    };
    let last = |node: NodeIndex| match interrupted(node) {
        true => Last::Failed,
        false => world.last(plan, node),
    };
    let expected = reference::statuses(plan, &last);
    let actual = statuses(run);
    for (node, (actual, expected)) in actual.iter().zip(&expected).enumerate() {
        let consistent =
            !actual.is_settled() || *actual == NodeStatus::Cancelled || actual == expected;
        assert!(consistent, "node {node} is {actual:?}, must be {expected:?}");
    }
    if let Shape::Queue { .. } = plan.shape {
        let ran = |node: &usize| run.nodes[*node].settled_at.is_some();
        let unexpected = (0..actual.len()).filter(ran).find(|node| !expected[*node].is_settled());
        assert_eq!(unexpected, None, "a node off the queue's path ran");
    }
    match run.outcome.as_ref() {
        Some(Outcome::Completed) => assert_eq!(actual, expected, "the run's end is not the whole"),
        Some(Outcome::Failed { node: Some(node), .. }) => {
            assert_eq!(plan.on_failure, OnFailure::Stop);
            let failed = |status: &&NodeStatus| **status == NodeStatus::Failed;
            assert_eq!(actual[*node as usize], NodeStatus::Failed);
            assert_eq!(actual.iter().filter(failed).count(), 1, "the first failure stops");
        }
        Some(Outcome::Failed { node: None, .. }) => assert!(plan.deadline_ms.is_some()),
        Some(Outcome::Cancelled { .. }) => assert!(world.cancel_at.is_some()),
        None => panic!("the run has no outcome"),
    }
    let stopped_early = plan.deadline_ms.is_some() || world.cancel_at.is_some();
    if !stopped_early {
        let fails = plan.on_failure == OnFailure::Stop && expected.contains(&NodeStatus::Failed);
        assert_eq!(fails, run.outcome != Some(Outcome::Completed), "the outcome is wrong");
    }
    assert!(
        actual.iter().all(|status| !matches!(
            status,
            NodeStatus::Ready | NodeStatus::Skipping | NodeStatus::Running | NodeStatus::Backoff
        )),
        "something is still under way"
    );
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
