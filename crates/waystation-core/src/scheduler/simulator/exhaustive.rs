//! Every graph of up to four nodes with every join, every way to come out, and every interleaving.

use super::plans::{EFFECT, edge, node, plan};
use super::reference;
use super::world::Last;
use serde_json::Map;

use crate::entry::{Entry, Fact, Outcome};
use crate::error::{Code, Failure};
use crate::plan::{Join, NodeIndex, OnFailure, Plan, Shape, When};
use crate::scheduler::{Action, NodeStatus, Rules, Scheduler, Topology};

const JOINS: [Join; 4] = [Join::Every, Join::All, Join::First(1), Join::First(2)];

#[test]
fn every_small_graph_ends_as_the_reference_says_under_every_interleaving() {
    let mut ends = 0;
    for on_failure in [OnFailure::Continue, OnFailure::Stop] {
        for nodes in 0..=3 {
            ends += plans(nodes, &[When::Completed, When::Settled], on_failure);
        }
        ends += plans(4, &[When::Completed], on_failure);
    }
    assert!(ends > 100_000, "only {ends} runs were tried");
}

/// Explores every acyclic graph whose edges lead from a lower to a higher node, which is every one up
/// to the numbering, with every combination of edges and of joins; answers how many runs ended.
fn plans(count: usize, kinds: &[When], on_failure: OnFailure) -> usize {
    let count = count as NodeIndex;
    let pairs = (0..count).flat_map(|to| (0..to).map(move |from| (from, to)));
    let mut graphs = vec![Vec::new()];
    for (from, to) in pairs {
        let kinds = kinds.iter().map(|when| vec![edge(from, to, when.clone())]);
        graphs = with_every(&graphs, &kinds.chain([Vec::new()]).collect::<Vec<_>>());
    }
    let mut ends = 0;
    for edges in graphs {
        let mut joins = vec![Vec::new()];
        for to in 0..count {
            // A node that waits for nothing runs, whatever its join.
            let waits = edges.iter().any(|edge| edge.to == to);
            let choices = if waits { &JOINS[..] } else { &JOINS[..1] };
            joins = with_every(&joins, &choices.iter().map(|join| vec![*join]).collect::<Vec<_>>());
        }
        for joins in joins {
            let mut nodes: Vec<_> = (0..count).map(|at| node(format!("n{at}"), EFFECT)).collect();
            nodes.iter_mut().zip(joins).for_each(|(node, join)| node.join = join);
            ends += explore(&plan(Shape::Graph { edges: edges.clone() }, nodes, on_failure));
        }
    }
    ends
}

/// Every list with every choice appended.
fn with_every<T: Clone>(lists: &[Vec<T>], choices: &[Vec<T>]) -> Vec<Vec<T>> {
    let extended = |list: &Vec<T>| -> Vec<Vec<T>> {
        choices.iter().map(|choice| [list.as_slice(), choice].concat()).collect()
    };
    lists.iter().flat_map(extended).collect()
}

/// One run under way, and the nodes that may end next.
#[derive(Clone)]
struct Moment {
    scheduler: Scheduler,
    underway: Vec<NodeIndex>,
}

struct Explorer<'a> {
    rules: Rules<'a>,
    /// Which nodes fail, a bit each.
    failing: u32,
    expected: Vec<NodeStatus>,
    ends: usize,
}

fn explore(plan: &Plan) -> usize {
    let topology = Topology::new(plan);
    let rules = Rules { plan, topology: &topology };
    let mut ends = 0;
    for failing in 0..1 << plan.nodes.len() {
        let fails = |node: NodeIndex| failing >> node & 1 == 1;
        let last = |node| if fails(node) { Last::Failed } else { Last::Completed(None) };
        let expected = reference::statuses(plan, &last);
        let mut explorer = Explorer { rules, failing, expected, ends: 0 };
        let mut first = Moment { scheduler: Scheduler::new(rules), underway: Vec::new() };
        let start = Fact::RunStarted(Box::new(super::driver::start()));
        if !explorer.record(&mut first, start) {
            explorer.branch(&first);
        }
        ends += explorer.ends;
    }
    ends
}

impl Explorer<'_> {
    fn branch(&mut self, moment: &Moment) {
        assert!(!moment.underway.is_empty(), "nothing is under way and the run has not ended");
        for place in 0..moment.underway.len() {
            let mut next = moment.clone();
            let node = next.underway.swap_remove(place);
            let fact = self.result(node);
            if !self.record(&mut next, fact) {
                self.branch(&next);
            }
        }
    }

    fn result(&self, node: NodeIndex) -> Fact {
        if self.failing >> node & 1 == 1 {
            let failure = Failure::fatal(Code::HttpStatus, "it refuses");
            return Fact::NodeFailed { node, attempt: 1, failure, jitter: 0 };
        }
        let output = serde_json::Value::Null.into();
        Fact::NodeCompleted { node, attempt: 1, output, port: None, details: Map::new() }
    }

    /// Applies a fact and everything that follows at once; answers whether the run has ended.
    fn record(&mut self, moment: &mut Moment, fact: Fact) -> bool {
        let mut actions = Vec::new();
        let changed = moment.scheduler.apply(self.rules, &Entry { at: 1, fact }, &mut actions);
        assert!(changed, "a fact that was asked for is ignored");
        for action in actions {
            match action {
                Action::Start { node, attempt } => {
                    assert_eq!(attempt, 1);
                    assert!(!moment.underway.contains(&node), "started twice");
                    moment.underway.push(node);
                }
                Action::Skip { node, reason } => {
                    if self.record(moment, Fact::NodeSkipped { node, reason }) {
                        return true;
                    }
                }
                Action::Cancel { node } => moment.underway.retain(|underway| *underway != node),
                Action::Finish { outcome } => {
                    self.check(moment, &outcome);
                    return true;
                }
                Action::StartItem { .. } | Action::Gather { .. } => panic!("no node has a body"),
                Action::SetTimer { .. } => panic!("nothing here waits for a timer"),
            }
        }
        false
    }

    fn check(&mut self, moment: &Moment, outcome: &Outcome) {
        self.ends += 1;
        assert!(moment.underway.is_empty(), "the run ends with something under way");
        let nodes = 0..self.expected.len() as NodeIndex;
        let actual: Vec<NodeStatus> = nodes.map(|node| moment.scheduler.status(node)).collect();
        let fails = self.expected.contains(&NodeStatus::Failed);
        if self.rules.plan.on_failure == OnFailure::Continue || !fails {
            assert_eq!(actual, self.expected, "{:?}", self.rules.plan);
            return assert_eq!(*outcome, Outcome::Completed);
        }
        let Outcome::Failed { node: Some(node), .. } = outcome else {
            panic!("a run with a failed node ends as {outcome:?}");
        };
        assert_eq!(actual[*node as usize], NodeStatus::Failed);
    }
}
