//! Joins, branches, dead paths and the failure policies of graphs.

use super::*;

fn port(from: NodeIndex, to: NodeIndex, name: &str) -> Edge {
    plans::edge(from, to, When::Port(name.into()))
}

fn after(from: NodeIndex, to: NodeIndex) -> Edge {
    plans::edge(from, to, When::Settled)
}

const EVERY: Join = Join::Every;

#[test]
fn nodes_start_in_listing_order_and_followers_in_edge_order() {
    let edges = vec![needs(2, 3), needs(0, 4), needs(0, 1)];
    let mut story = Story::new(graph(&[EVERY; 5], edges, OnFailure::Continue));
    let rest = [
        (done(0), "start 4, start 1"),
        (done(2), "start 3"),
        (done(4), ""),
        (done(1), ""),
        (done(3), "finish"),
    ];
    story.check("start 0, start 2", &rest);
}

#[test]
fn a_plan_without_nodes_is_done_at_once() {
    Story::new(graph(&[], vec![], OnFailure::Stop)).check("finish", &[]);
    Story::new(queue(vec![], 0, OnFailure::Stop)).check("finish", &[]);
}

/// Nodes 0, 1 and 2 lead to node 3; what follows from each of their ends, in their order.
#[test]
fn joins_count_live_edges() {
    let skip = |name: &str| format!("skip 3: Dependency {name} failed");
    let cases: [(Join, [Fact; 3], [&str; 3]); 10] = [
        (EVERY, [done(0), done(1), done(2)], ["", "", "start 3"]),
        (EVERY, [done(0), refused(1, 1), done(2)], ["", &skip("n1"), ""]),
        (Join::All, [done(0), refused(1, 1), done(2)], ["", "", "start 3"]),
        (Join::All, [refused(2, 1), refused(0, 1), refused(1, 1)], ["", "", &skip("n1")]),
        (Join::First(0), [refused(0, 1), done(1), done(2)], ["", "start 3", ""]),
        (Join::First(1), [done(2), done(1), refused(0, 1)], ["start 3", "", ""]),
        (Join::First(2), [done(2), refused(1, 1), done(0)], ["", "", "start 3"]),
        (Join::First(2), [refused(2, 1), refused(1, 1), done(0)], ["", "", &skip("n1")]),
        (Join::First(3), [done(0), done(1), done(2)], ["", "", "start 3"]),
        (
            Join::First(4),
            [done(0), done(1), done(2)],
            ["", "", "skip 3: More dependencies are required than there are"],
        ),
    ];
    for (join, facts, expected) in cases {
        let edges = vec![needs(0, 3), needs(1, 3), needs(2, 3)];
        let mut story = Story::new(graph(&[EVERY, EVERY, EVERY, join], edges, OnFailure::Continue));
        story.start();
        let told = facts.clone().map(|fact| story.tell(fact));
        assert_eq!(told, expected, "{join:?} {facts:?}");
    }
}

#[test]
fn a_branch_not_taken_is_skipped_to_its_end() {
    let edges =
        vec![port(0, 1, "true"), port(0, 2, "false"), needs(2, 3), needs(1, 4), needs(3, 4)];
    let joins = [EVERY, EVERY, EVERY, EVERY, Join::All];
    let mut story = Story::new(graph(&joins, edges, OnFailure::Continue));
    let rest = [
        (done_by(0, "true"), "start 1, skip 2: n0 took another branch"),
        (skipped(2), "skip 3: Dependency n2 was aborted"),
        (skipped(3), ""),
        (done(1), "start 4"),
        (done(4), "finish"),
    ];
    story.check("start 0", &rest);
    assert_eq!(story.statuses(), "CCSSC");
}

#[test]
fn an_edge_that_only_orders_waits_and_never_kills() {
    for (fact, expected) in
        [(done(0), "start 1"), (refused(0, 1), "start 1"), (skipped(0), "start 1")]
    {
        let mut story = Story::new(graph(&[EVERY; 2], vec![after(0, 1)], OnFailure::Continue));
        story.check("start 0", &[(fact, expected), (done(1), "finish")]);
    }
}

#[test]
fn a_failure_that_does_not_stop_skips_dependents_with_the_reason() {
    let mut labelled = needs(0, 1);
    labelled.label = Some("price".into());
    let edges = vec![labelled, needs(1, 2)];
    let mut plan = graph(&[EVERY; 4], edges, OnFailure::Continue);
    plan.nodes[1].name = "Second".into();
    let mut story = Story::new(plan);
    let rest = [
        (refused(0, 1), "skip 1: Dependency price failed"),
        (skipped(1), "skip 2: Dependency Second was aborted"),
        (skipped(2), ""),
        (done(3), "finish"),
    ];
    story.check("start 0, start 3", &rest);
    assert_eq!(story.statuses(), "FSSC");
}

#[test]
fn a_failure_that_stops_cancels_what_runs_and_finishes() {
    let mut story = Story::new(graph(&[EVERY; 4], vec![needs(0, 3)], OnFailure::Stop));
    let rest = [
        (started(1, 1), ""),
        (refused(0, 1), "cancel 1, cancel 2, fail by 0: refused"),
        (done(1), ""),
        (cancel(), ""),
    ];
    story.check("start 0, start 1, start 2", &rest);
    assert_eq!(story.statuses(), "FAAW");
    assert_eq!(story.resumed(), "fail by 0: refused");
}

#[test]
fn an_owed_skip_is_resumed_with_the_reason_it_had() {
    let edges = vec![port(0, 2, "true"), needs(1, 2)];
    let mut story = Story::new(graph(&[EVERY; 3], edges, OnFailure::Continue));
    let skip = "skip 2: n0 took another branch";
    story.check("start 0, start 1", &[(done_by(0, "false"), skip), (refused(1, 1), "")]);
    assert_eq!(story.resumed(), skip);
    story.go_on(&[(cancel(), "cancelled: enough")]);
    assert_eq!(story.statuses(), "CFA", "a skip that is never recorded is no skip");
}

#[test]
fn a_closed_gate_may_be_found_before_every_attempt() {
    for before in [vec![], vec![started(0, 1)]] {
        let mut story = Story::new(graph(&[EVERY; 2], vec![needs(0, 1)], OnFailure::Continue));
        story.start();
        story.go_on(&before.into_iter().map(|fact| (fact, "")).collect::<Vec<_>>());
        story.go_on(&[(skipped(0), "skip 1: Dependency n0 was aborted"), (skipped(1), "finish")]);
    }
}

/// The largest graph that a definition may have asks for every node once and for nothing else.
#[test]
fn actions_grow_with_nodes_and_not_with_edges() {
    let (count, width) = (4_096_usize, 32_usize);
    let links = |to: usize| {
        let layer = to / width * width;
        (layer.saturating_sub(width)..layer).map(move |from| needs(from as u32, to as u32))
    };
    let edges: Vec<_> = (0..count).flat_map(links).collect();
    assert_eq!(edges.len(), (count - width) * width);
    let mut story = Story::new(graph(&vec![EVERY; count], edges, OnFailure::Continue));
    let mut told = vec![story.start()];
    told.extend((0..count).map(|node| story.tell(done(node as NodeIndex))));
    let actions: usize =
        told.iter().flat_map(|text| text.split(", ")).filter(|text| !text.is_empty()).count();
    assert_eq!(actions, count + 1);
    assert_eq!(told.last().map(String::as_str), Some("finish"));
}
