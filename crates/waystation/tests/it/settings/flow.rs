//! Settings of the types that lead a workflow.

use serde_json::{Value, json};

use super::row::{Table, row, table};
use super::scene::{Event, Scene, after, until};
use super::stage::{OTHER_WORKFLOW, WORKFLOW};
use crate::support::graph::{calls, gives, graph, node};

pub(super) fn tables() -> Vec<Table> {
    vec![
        table("end", &json!({}), vec![row("output", json!({ "output": "{{input.word}}" }))]),
        conditional(),
        table(
            "condition",
            &json!({ "condition": "input.number > 1" }),
            vec![row("condition", json!({ "condition": "input.number > 10" })).seen(labelled())],
        ),
        switch(),
        merge(),
        foreach(),
        subworkflow(),
        delay(),
        wait(),
    ]
}

fn ways() -> Vec<Value> {
    vec![gives("yes", "yes"), gives("no", "no")]
}

/// Before nodes for both ways, to which edges lead.
fn labelled() -> Scene {
    Scene::with(ways(), &["node -> yes: true", "node -> no: false"])
}

fn conditional() -> Table {
    let rows = vec![
        row("condition", json!({ "condition": "input.number > 10" })).seen(labelled()),
        // To the nodes that are no way out nothing leads: they run whatever the condition is.
        row("true_edge", json!({ "true_edge": "yes" }))
            .on(json!({ "condition": "input.number > 10" }))
            .seen(Scene::with(ways(), &[])),
        row("false_edge", json!({ "false_edge": "no" })).seen(Scene::with(ways(), &[])),
    ];
    table("conditional", &json!({ "condition": "input.number > 1" }), rows)
}

fn switch() -> Table {
    let scene = || {
        let nodes = vec![gives("one", "1"), gives("two", "2"), gives("other", "3")];
        Scene::with(nodes, &["node -> one: one", "node -> two: two", "node -> other: default"])
    };
    // Edges lead to both ports, whatever the first case says.
    let others =
        [json!({ "equals": "no", "port": "one" }), json!({ "equals": "no", "port": "two" })];
    let case = |case: Value| json!({ "cases": [case, others[0], others[1]] });
    let one = case(json!({ "equals": 3, "port": "one" }));
    let when = |condition: &str| case(json!({ "when": condition, "port": "one" }));
    let rows = vec![
        row("value", json!({ "value": "{{input.word}}" })).on(one.clone()).seen(scene()),
        row("cases", case(json!({ "equals": 3, "port": "two" }))).on(one.clone()).seen(scene()),
        row("cases[].equals", case(json!({ "equals": 4, "port": "one" })))
            .on(one.clone())
            .seen(scene()),
        row("cases[].port", case(json!({ "equals": 3, "port": "two" }))).on(one).seen(scene()),
        row("cases[].when", when("value > 10")).on(when("value > 1")).seen(scene()),
    ];
    table("switch", &json!({ "value": "{{input.number}}" }), rows)
}

/// Two branches of which the second has not arrived before somebody decides.
fn late_branch() -> Scene {
    let nodes = vec![gives("early", "A"), node("late", "wait", json!({}))];
    Scene::with(nodes, &["early -> late", "early -> node", "late -> node"])
        .during(Event::Decision("late"))
}

fn merge() -> Table {
    let both = || Scene::with(vec![gives("a", "A"), gives("b", "B")], &["a -> node", "b -> node"]);
    let rows = vec![
        row("mode", json!({ "mode": "any" })).on(json!({ "mode": "all" })).seen(late_branch()),
        row("mode", json!({ "mode": "first" }))
            .on(json!({ "mode": "any", "count": 1 }))
            .seen(late_branch()),
        row("count", json!({ "count": 2 }))
            .on(json!({ "mode": "first", "count": 1 }))
            .seen(late_branch()),
        row("combine", json!({ "combine": "array" }))
            .on(json!({ "combine": "object" }))
            .seen(both()),
        row("combine", json!({ "combine": "first" })).seen(both()),
    ];
    table("merge", &json!({}), rows)
}

fn foreach() -> Table {
    let body = |nodes: &[Value], edges: &[&str]| json!({ "body": graph(nodes, edges) });
    let plus = || gives("plus", "{{item + 1}}");
    let divides = || body(&[gives("divide", "{{6 / (item - 2)}}")], &[]);
    let held = || body(&[calls("call", "http://service.test/gate")], &[]);
    let rows = vec![
        row("items", json!({ "items": [5] })),
        row("body", body(&[gives("same", "{{item}}")], &[])),
        row("body.nodes", body(&[gives("plus", "{{item + 2}}")], &[])),
        row("body.edges", body(&[plus(), gives("end", "the end")], &["plus -> end"]))
            .on(body(&[plus(), gives("end", "the end")], &[])),
        row("concurrency", json!({ "concurrency": 3 }))
            .on(held())
            .on(json!({ "concurrency": 1, "items": [1, 2, 3, 4, 5] }))
            .seen(Scene::alone().during(Event::Hold)),
        row("on_error", json!({ "on_error": "continue" }))
            .on(divides())
            .on(json!({ "on_error": "stop" })),
        row("on_error", json!({ "on_error": "collect" })).on(divides()),
        row("item_name", json!({ "item_name": "thing" }))
            .on(body(&[gives("all", "{{item ?? 'no item'}}, {{thing ?? 'no thing'}}")], &[])),
    ];
    let mut base = body(&[plus()], &[]);
    base["items"] = json!("{{input.list}}");
    table("foreach", &base, rows)
}

fn subworkflow() -> Table {
    let rows = vec![
        row("workflow_id", json!({ "workflow_id": OTHER_WORKFLOW })),
        row("version", json!({ "version": 1 })),
        row("input", json!({ "input": { "its": "own" } })),
    ];
    table("subworkflow", &json!({ "workflow_id": WORKFLOW }), rows)
}

fn delay() -> Table {
    let rows = vec![
        row("delay_seconds", json!({ "delay_seconds": 3_600 })).seen(until("waiting")),
        row("until", json!({ "until": "2033-05-18T03:33:20Z" })).seen(until("waiting")),
    ];
    table("delay", &json!({ "delay_seconds": 900 }), rows)
}

fn wait() -> Table {
    // What whoever decides sees, and which ways there are.
    let shown = || after(gives("link", "{{links.node}}")).during(Event::Until("waiting"));
    let rows = vec![
        row("message", json!({ "message": "Refund it?" })).seen(shown()),
        row("choices", json!({ "choices": ["refund", "voucher"] })).seen(shown()),
        row("timeout", json!({ "timeout": 3_600 })).seen(until("waiting")),
        row("on_timeout", json!({ "on_timeout": "fail" }))
            .on(json!({ "timeout": 0.001, "on_timeout": "branch" })),
    ];
    table("wait", &json!({}), rows)
}
