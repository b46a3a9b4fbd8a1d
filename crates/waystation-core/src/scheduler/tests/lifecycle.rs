//! Retries, stale facts, cancellation, deadlines and interruptions.

use super::*;
use crate::limits::{INTERRUPTIONS_PER_NODE, LOG_LINES_PER_RUN};
use crate::plan::Retry;
use crate::prepare::{Prepared, prepare};
use crate::scope::Outside;

/// A node that is tried three times, and one after it.
fn patient(on_failure: OnFailure) -> Plan {
    let mut plan = graph(&[Join::Every; 2], vec![needs(0, 1)], on_failure);
    plan.nodes[0].retry = Retry { attempts: 3, delay_ms: 100 };
    plan
}

#[test]
fn attempts_wait_longer_each_time_and_as_long_as_the_other_side_asks() {
    let mut story = Story::new(patient(OnFailure::Stop));
    let rest = [
        (started(0, 1), ""),
        (lost(0, 1, None), "retry 0 as 2 at 1100"),
        (due(0, 2), "start 0 again as 2"),
        (lost(0, 2, Some(5_000)), "retry 0 as 3 at 6000"),
        (due(0, 3), "start 0 again as 3"),
        (lost(0, 3, None), "fail by 0: lost"),
    ];
    story.check("start 0", &rest);
    assert_eq!(story.statuses(), "FW");
    assert_eq!(story.run.nodes[0].attempts, 3);
}

#[test]
fn the_second_attempt_may_succeed_and_a_fatal_failure_ends_them() {
    let mut story = Story::new(patient(OnFailure::Stop));
    let rest = [
        (lost(0, 1, None), "retry 0 as 2 at 1100"),
        (due(0, 2), "start 0 again as 2"),
        (done_as(0, 2, None), "start 1"),
    ];
    story.check("start 0", &rest);
    Story::new(patient(OnFailure::Stop)).check("start 0", &[(refused(0, 1), "fail by 0: refused")]);
}

#[test]
fn stale_repeated_and_impossible_facts_change_nothing() {
    let mut story = Story::new(patient(OnFailure::Continue));
    story.check("start 0", &[(started(0, 1), ""), (lost(0, 1, None), "retry 0 as 2 at 1100")]);
    let ignored = [
        started(0, 1),
        started(0, 2),
        done(0),
        done_as(0, 2, None),
        refused(0, 1),
        lost(0, 1, None),
        skipped(0),
        due(0, 1),
        due(0, 3),
        due(1, 1),
        due(99, 1),
        done(1),
        skipped(1),
        done(99),
        skipped(99),
        started(99, 1),
        refused(99, 1),
        deadline(),
        Fact::RunFinished { outcome: Outcome::Completed },
    ];
    let before = story.run.scheduler.clone();
    for fact in ignored {
        assert_eq!(story.tell(fact.clone()), "", "{fact:?}");
        assert_eq!(story.run.scheduler, before, "{fact:?}");
    }
    story.go_on(&[
        (due(0, 2), "start 0 again as 2"),
        (done(0), ""),
        (done_as(0, 2, None), "start 1"),
        (done_as(0, 2, None), ""),
        (done(1), "finish"),
        (Fact::RunFinished { outcome: Outcome::Completed }, ""),
        (cancel(), ""),
    ]);
    story.now += 1;
    story.go_on(&[(Fact::RunFinished { outcome: Outcome::Completed }, "")]);
    assert!(story.run.scheduler.is_ended());
    assert_eq!(story.run.finished_at, Some(1_000), "the first end counts");
    assert_eq!(story.resumed(), "");
}

#[test]
fn before_its_start_a_run_does_nothing() {
    let mut story = Story::new(patient(OnFailure::Stop));
    let end = Fact::RunFinished { outcome: Outcome::Completed };
    story.go_on(&[(cancel(), ""), (done(0), ""), (deadline(), ""), (end, "")]);
    assert_eq!(story.resumed(), "");
    assert_eq!(story.run.outcome, None);
    assert_eq!(story.start(), "start 0");
}

#[test]
fn a_cancellation_ends_waits_and_attempts() {
    let cases = [
        (vec![], "cancel 0, cancelled: enough"),
        (vec![started(0, 1)], "cancel 0, cancelled: enough"),
        (vec![lost(0, 1, None)], "cancelled: enough"),
    ];
    for (before, expected) in cases {
        let mut story = Story::new(patient(OnFailure::Stop));
        story.start();
        before.into_iter().for_each(|fact| drop(story.tell(fact)));
        story.go_on(&[(cancel(), expected), (cancel(), ""), (due(0, 2), "")]);
        assert_eq!(story.statuses(), "AW");
        assert_eq!(story.resumed(), "cancelled: enough");
    }
}

#[test]
fn the_deadline_counts_from_the_start_and_ends_the_run() {
    let mut plan = patient(OnFailure::Continue);
    plan.deadline_ms = Some(2_500);
    let mut story = Story::new(plan);
    let timed_out = "Pipeline timed out after 2.5 seconds";
    story.check("deadline at 3500, start 0", &[]);
    story.now = 2_000;
    story.go_on(&[(lost(0, 1, None), "retry 0 as 2 at 2100")]);
    assert_eq!(story.resumed(), "deadline at 3500, retry 0 as 2 at 2100");
    story.go_on(&[(due(0, 2), "start 0 again as 2")]);
    story.go_on(&[(deadline(), &format!("cancel 0, fail: {timed_out}")), (deadline(), "")]);
    assert_eq!(story.statuses(), "AW");
}

#[test]
fn an_attempt_that_crashes_cut_short_is_made_again_until_it_is_worn_out() {
    let mut story = Story::new(patient(OnFailure::Continue));
    story.check("start 0", &[]);
    let prepared =
        |story: &Story| prepare(&story.run, "run", 0, 1, story.now, Outside::only(&|_| None));
    for _ in 0..INTERRUPTIONS_PER_NODE {
        assert!(matches!(prepared(&story), Prepared::Run { .. }));
        story.now += 1;
        story.go_on(&[(started(0, 1), ""), (started(0, 1), "")]);
        assert_eq!(story.resumed(), "start 0");
    }
    let Prepared::Fail(failure) = prepared(&story) else { panic!("it would be made once more") };
    assert_eq!(failure.message, "the attempt was cut short 10 times");
    let fact = Fact::NodeFailed { node: 0, attempt: 1, failure, jitter: 0 };
    story.go_on(&[(fact, "skip 1: Dependency n0 failed"), (skipped(1), "finish")]);
}

#[test]
fn every_attempt_may_be_cut_short_as_often() {
    let mut story = Story::new(patient(OnFailure::Continue));
    story.start();
    for _ in 1..INTERRUPTIONS_PER_NODE {
        story.now += 1;
        story.tell(started(0, 1));
    }
    story.tell(lost(0, 1, None));
    story.tell(due(0, 2));
    story.tell(started(0, 2));
    assert!(!story.run.scheduler.is_worn_out(0));
}

#[test]
fn the_log_is_bounded_says_so_and_keeps_a_repeated_line_once() {
    let mut story = Story::new(patient(OnFailure::Stop));
    story.start();
    let line = |number: u32| Fact::Logged {
        node: None,
        level: crate::entry::Level::Info,
        message: number.to_string(),
    };
    for number in 0..LOG_LINES_PER_RUN * 2 {
        story.go_on(&[(line(number), ""), (line(number), "")]);
    }
    let log = &story.run.log;
    assert_eq!(log.len(), LOG_LINES_PER_RUN as usize);
    assert_eq!(log[log.len() - 2].message, (LOG_LINES_PER_RUN - 2).to_string());
    assert_eq!(log[log.len() - 1].message, "The log is full: further lines are dropped");
}
