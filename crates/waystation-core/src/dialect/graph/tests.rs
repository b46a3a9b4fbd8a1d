//! What definitions compile into, and all that is found wrong with them.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::paths::Paths;
use super::types::{Lowered, NodeTypes, Problems};
use super::{Compiled, compile};
use crate::plan::{Edge, Join, NodeIndex, Plan, Shape, When};

/// The nodes that a definition may have here.
const NODES_MAX: usize = 4_096;

/// `work` takes anything but a setting `bad`; `branch` has two ways out, and may name where they lead;
/// `join` waits for so many.
struct Types;

impl NodeTypes for Types {
    fn names(&self) -> Vec<&str> {
        vec!["start", "work", "branch", "join"]
    }

    fn lower(&self, name: &str, config: &Map<String, Value>) -> Option<Result<Lowered, Problems>> {
        if config.contains_key("bad") {
            return Some(Err(vec!["bad: it is not wanted".into()]));
        }
        let lowered = Lowered::new(name, Value::Object(config.clone()));
        match name {
            "start" | "work" => Some(Ok(lowered)),
            "branch" => {
                let target = |port: &str| {
                    let target = config.get(port)?.as_str()?;
                    Some((port.to_owned(), target.to_owned()))
                };
                let targets = ["true", "false"].into_iter().filter_map(target).collect();
                let ports = vec!["true".into(), "false".into()];
                Some(Ok(Lowered { ports, targets, ..lowered }))
            }
            "join" => {
                let count = config.get("count").and_then(Value::as_u64).unwrap_or(1);
                Some(Ok(Lowered { join: Some(Join::First(count as u32)), ..lowered }))
            }
            _ => None,
        }
    }
}

fn read(source: &Value) -> Result<Compiled, String> {
    compile(source, &Types, NODES_MAX).map_err(|issues| {
        let texts: Vec<String> = issues.iter().map(ToString::to_string).collect();
        texts.join("\n")
    })
}

fn work(id: &str, config: Value) -> Value {
    let mut node = json!({ "id": id, "type": "work" });
    node["config"] = config;
    node
}

fn flow(nodes: Vec<Value>, edges: Value) -> Value {
    let mut flow = json!({ "name": "Flow" });
    flow["nodes"] = nodes.into();
    flow["edges"] = edges;
    flow
}

fn warnings(source: &Value) -> String {
    let compiled = read(source).expect("a definition");
    let texts: Vec<String> = compiled.warnings.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

fn edges(plan: &Plan) -> Vec<String> {
    let Shape::Graph { edges } = &plan.shape else { panic!("a graph") };
    let name = |node: NodeIndex| plan.nodes[node as usize].id.clone();
    let shown = edges.iter().map(|edge| match &edge.when {
        When::Port(port) => format!("{} -{port}-> {}", name(edge.from), name(edge.to)),
        when => format!("{} -{when:?}-> {}", name(edge.from), name(edge.to)),
    });
    shown.collect()
}

#[test]
fn a_mistake_hides_no_other() {
    let source = flow(
        vec![
            work("a", json!({ "bad": 1, "text": "{{outputs.yy}}" })),
            work("b", json!({ "text": "{{ + }}", "more": "{{outputs.zz}}" })),
            work("c", json!({})),
            work("d", json!({})),
            json!({ "id": "j", "type": "join", "config": { "count": 3 } }),
        ],
        json!([
            { "source": "a", "target": "b" },
            { "source": "b", "target": "a" },
            { "source": "c", "target": "d" },
            { "source": "d", "target": "c" },
            { "source": "c", "target": "j", "condition": "x >" },
            { "source": "d", "target": "j", "condition": "outputs.xx > 1" },
            { "source": "d", "target": "j", "label": {} },
            { "source": "d", "from": "c", "target": "j" },
        ]),
    );
    insta::assert_snapshot!(read(&source).unwrap_err());
}

#[test]
fn names_that_clash_are_warned_of() {
    let mut source = flow(
        vec![work("input", json!({})), work("a", json!({})), work("run", json!({}))],
        json!([]),
    );
    source["variables"] = json!([
        { "name": "secrets", "value": 1 }, { "name": "a", "value": 1 }, { "name": "a", "value": 2 },
    ]);
    insta::assert_snapshot!(warnings(&source));
}

#[test]
fn both_spellings_of_an_edge_may_be_there_where_they_agree() {
    let nodes = || vec![work("a", json!({})), work("b", json!({}))];
    for edge in [
        json!({ "source": "a", "target": "b" }),
        json!({ "from": "a", "to": "b", "source": null }),
        json!({ "source": "a", "from": "a", "to": "b" }),
    ] {
        let compiled = read(&flow(nodes(), json!([edge]))).expect("an edge");
        assert_eq!(edges(&compiled.plan), ["a -Completed-> b"], "{edge}");
    }
}

#[test]
fn settings_may_name_nodes_and_edges_where_ports_lead() {
    let branch = |config: Value| json!({ "id": "c", "type": "branch", "config": config });
    let nodes = |config: Value| vec![branch(config), work("t", json!({})), work("f", json!({}))];
    for (config, given, expected) in [
        (json!({ "true": "t", "false": "f" }), json!([]), &["c -true-> t", "c -false-> f"][..]),
        // The same node on both ways.
        (json!({ "true": "t", "false": "t" }), json!([]), &["c -true-> t", "c -false-> t"]),
        // An edge that says nothing of its own is the one that is meant.
        (json!({ "false": "f" }), json!([{ "source": "c", "target": "f" }]), &["c -false-> f"]),
        // One that does is another.
        (
            json!({ "true": "t" }),
            json!([{ "source": "c", "target": "t", "label": "false" }]),
            &["c -false-> t", "c -true-> t"],
        ),
        // An edge, by its label or its id.
        (
            json!({ "true": "yes", "false": "e2" }),
            json!([
                { "source": "c", "target": "t", "label": "yes" },
                { "id": "e2", "source": "c", "target": "f" },
            ]),
            &["c -true-> t", "c -false-> f"],
        ),
    ] {
        let compiled = read(&flow(nodes(config.clone()), given)).expect("a definition");
        assert_eq!(edges(&compiled.plan), expected, "{config}");
        assert_eq!(compiled.warnings, [], "{config}");
    }
    let nowhere = flow(nodes(json!({ "true": "x" })), json!([]));
    assert!(warnings(&nowhere).contains("the branch true ends here at run time"));
}

#[test]
fn events_are_sent_to_an_address_on_the_web() {
    let told = |notifications: Value| {
        let mut source = flow(vec![work("a", json!({}))], json!([]));
        source["settings"] = json!({ "notifications": notifications });
        source
    };
    for (url, expected) in [
        (json!("https://a.test/hook"), Some("https://a.test/hook")),
        (json!(""), None),
        (json!(null), None),
    ] {
        let compiled = read(&told(json!({ "webhook_url": url }))).expect("an address");
        assert_eq!(compiled.plan.webhook_url.as_deref(), expected);
    }
    for url in [json!("ftp://a.test"), json!("/hooks/mine"), json!("http://{{host}}/"), json!(1)] {
        let problems = read(&told(json!({ "webhook_url": url }))).unwrap_err();
        let text = "settings.notifications.webhook_url: must be an http or https URL";
        assert!(problems.starts_with(text), "{problems}");
    }
    let problems = read(&told(json!("https://a.test"))).unwrap_err();
    assert_eq!(problems, "settings.notifications: must be an object");
    let text = warnings(&told(json!({ "email": "a@a.test" })));
    assert_eq!(text, "settings.notifications.email: has no effect: no such setting");
}

/// Every hint compares a name with all others.
#[test]
fn so_many_mistakes_get_a_hint_and_no_more() {
    let node = |index: usize| {
        work(&format!("node {index}"), json!({ "t": format!("{{{{outputs.x{index}}}}}") }))
    };
    let edge = |index: usize| json!({ "source": format!("nodes {index}"), "target": format!("nod {index}") });
    let source = flow((0..2_000).map(node).collect(), (0..2_000).map(edge).collect());
    let problems = read(&source).unwrap_err();
    assert_eq!(problems.matches("did you mean").count(), crate::limits::HINTS);
}

#[test]
fn nothing_is_done_with_too_many_nodes() {
    let nodes = (0..=NODES_MAX).map(|index| work(&index.to_string(), json!({ "bad": 1 })));
    let problems = read(&flow(nodes.collect(), json!([]))).unwrap_err();
    assert_eq!(problems, "nodes: there are more nodes than are allowed (WAYSTATION_MAX_STEPS)");
}

proptest! {
    #[test]
    fn what_leads_where_is_what_edges_reach(
        ends in prop::collection::vec((0u32..80, 0u32..80), 0..200)
    ) {
        let edge = |(from, to)| Edge { from, to, when: When::Completed, label: None };
        let forward = ends.into_iter().filter(|(from, to)| from < to);
        let edges: Vec<Edge> = forward.map(edge).collect();
        let paths = Paths::new(80, &edges);
        for from in 0..80 {
            let reached = paths.reached([from].into_iter());
            for to in (0..80).filter(|to| *to != from) {
                prop_assert_eq!(paths.leads(from, to), reached[to as usize]);
            }
            prop_assert!(!paths.leads(from, from));
        }
    }
}
