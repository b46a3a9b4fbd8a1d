//! The rules of instruction chains, one by one: the order in which items run.

use super::*;

fn plain(node: NodeIndex) -> QueueItem {
    QueueItem { before: vec![], node, condition: None, if_true: vec![], if_false: vec![] }
}

/// The item of this node; its condition is the node ten further on.
fn judged(node: NodeIndex, if_true: &[u32], if_false: &[u32]) -> QueueItem {
    let (if_true, if_false) = (if_true.to_vec(), if_false.to_vec());
    QueueItem { before: vec![], node, condition: Some(node + 10), if_true, if_false }
}

/// A rule, a chain, what its conditions answer, and the nodes in the order in which they run.
type Case = (&'static str, Vec<QueueItem>, Option<&'static str>, &'static [NodeIndex]);

/// Runs the items to their end; conditions answer by the given port.
fn order(items: Vec<QueueItem>, port: Option<&str>) -> Vec<NodeIndex> {
    let mut story = Story::new(queue(items, 20, OnFailure::Stop));
    let (mut told, mut order) = (story.start(), Vec::new());
    while let Some(node) = told.strip_prefix("start ") {
        let node: NodeIndex = node.parse().expect("one start at a time");
        order.push(node);
        told = story.tell(done_as(node, 1, port.filter(|_| node >= 10)));
    }
    assert_eq!(told, "finish");
    order
}

#[test]
fn items_run_in_the_order_of_the_contract() {
    let yes = Some("true");
    let no = Some("false");
    let cases: [Case; 14] = [
        ("one after another", vec![plain(0), plain(1), plain(2)], yes, &[0, 1, 2]),
        ("true queues its list", vec![judged(0, &[2], &[1]), plain(1), plain(2)], yes, &[0, 10, 2]),
        ("false queues its list", vec![judged(0, &[2], &[1]), plain(1), plain(2)], no, &[0, 10, 1]),
        ("no answer is false", vec![judged(0, &[2], &[1]), plain(1), plain(2)], None, &[0, 10, 1]),
        (
            "another answer is false",
            vec![judged(0, &[1], &[2]), plain(1), plain(2)],
            Some("TRUE"),
            &[0, 10, 2],
        ),
        (
            "an empty list means the next",
            vec![judged(0, &[], &[2]), plain(1), plain(2)],
            yes,
            &[0, 10, 1, 2],
        ),
        (
            "a list runs first in first out",
            vec![judged(0, &[3, 1], &[]), plain(1), plain(2), plain(3)],
            yes,
            &[0, 10, 3, 1],
        ),
        (
            "a branch target ends its branch",
            vec![judged(0, &[1], &[]), plain(1), plain(2)],
            yes,
            &[0, 10, 1],
        ),
        (
            "a target with a condition goes on by it",
            vec![judged(0, &[1], &[]), judged(1, &[], &[]), plain(2)],
            yes,
            &[0, 10, 1, 11, 2],
        ),
        (
            "a loop runs each item once",
            vec![judged(0, &[1], &[]), judged(1, &[0], &[])],
            yes,
            &[0, 10, 1, 11],
        ),
        (
            "what is queued later runs later",
            vec![judged(0, &[1, 2], &[]), judged(1, &[3], &[]), plain(2), plain(3)],
            yes,
            &[0, 10, 1, 11, 2, 3],
        ),
        ("an item may name itself", vec![judged(0, &[0], &[]), plain(1)], yes, &[0, 10]),
        (
            "what is out of range is passed over",
            vec![judged(0, &[7, 1], &[]), plain(1)],
            yes,
            &[0, 10, 1],
        ),
        ("a target twice runs once", vec![judged(0, &[1, 1], &[]), plain(1)], yes, &[0, 10, 1]),
    ];
    for (rule, items, port, expected) in cases {
        assert_eq!(order(items, port), expected, "{rule}");
    }
}

#[test]
fn a_failed_item_stops_the_chain_or_is_passed_over_without_judgement() {
    let items = || vec![judged(0, &[2], &[2]), plain(1), plain(2)];
    let mut story = Story::new(queue(items(), 20, OnFailure::Stop));
    story.check("start 0", &[(refused(0, 1), "fail by 0: refused")]);
    let mut story = Story::new(queue(items(), 20, OnFailure::Continue));
    let rest = [(refused(0, 1), "start 1"), (done(1), "start 2"), (done(2), "finish")];
    story.check("start 0", &rest);
    let mut story = Story::new(queue(items(), 20, OnFailure::Continue));
    story.check("start 0", &[(done(0), "start 10"), (refused(10, 1), "start 1")]);
}

#[test]
fn what_prepares_an_item_runs_before_it_and_is_resumed_where_it_stood() {
    let item = QueueItem { before: vec![5, 6], ..judged(0, &[], &[]) };
    let mut story = Story::new(queue(vec![item.clone(), plain(1)], 20, OnFailure::Stop));
    let first = [(started(5, 1), ""), (done(5), "start 6"), (started(6, 1), "")];
    story.check("start 5", &first);
    assert_eq!(story.resumed(), "start 6");
    let rest = [(done(6), "start 0"), (done(0), "start 10"), (done_by(10, "true"), "start 1")];
    story.go_on(&rest);
    let mut story = Story::new(queue(vec![item, plain(1)], 20, OnFailure::Continue));
    story.check("start 5", &[(refused(5, 1), "start 1")]);
}

#[test]
fn a_condition_is_resumed_without_its_item() {
    let mut story = Story::new(queue(vec![judged(0, &[], &[])], 20, OnFailure::Stop));
    story.check("start 0", &[(started(0, 1), ""), (done(0), "start 10"), (started(10, 1), "")]);
    assert_eq!(story.resumed(), "start 10");
}
