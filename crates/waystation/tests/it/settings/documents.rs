//! What a workflow's document says beside the settings of its nodes.

use serde_json::{Value, json};

use super::row::{Row, Table, row, table};
use super::schema::DOCUMENT;
use super::stage::CLOSED_PORT;
use crate::support::graph::{flow, gives, node};

pub(super) fn tables() -> Vec<Table> {
    let mut rows = rows_of_nodes();
    rows.extend(rows_of_edges());
    rows.extend(rows_of_runs());
    rows.extend([
        row("name", json!({ "name": "Another name" })),
        row("description", json!({ "description": "What it is for" })),
        row("status", json!({ "status": "draft" })).on(json!({ "status": "active" })),
        row("variables", json!({ "variables": { "colour": "blue" } }))
            .on(first_and(json!({ "output": "{{colour ?? 'no colour'}}" }))),
        row("triggers", json!({ "triggers": [{ "type": "webhook", "path": "orders" }] })),
    ]);
    vec![table(DOCUMENT, &flow(&both(gives("first", "1"), json!({})), &["first -> node"]), rows)]
}

/// Two nodes, and the end that is looked at.
fn both(first: Value, end: Value) -> [Value; 3] {
    [first, gives("second", "2"), node("node", "end", end)]
}

fn first_and(end: Value) -> Value {
    json!({ "nodes": both(gives("first", "1"), end) })
}

fn rows_of_nodes() -> Vec<Row> {
    let with = |first: Value| json!({ "nodes": both(first, json!({})) });
    let called = |field: &str| {
        let mut first = gives("first", "1");
        first[field] = "Primus".into();
        let end = json!({ "output": "{{outputs.Primus ?? 'nobody'}}" });
        (json!({ "nodes": both(first, end.clone()) }), first_and(end))
    };
    let (named, unnamed) = called("name");
    let (labelled, unlabelled) = called("label");
    vec![
        row("nodes", first_and(json!({ "output": "the end" }))),
        row("nodes[].id", with(gives("one", "1"))).on(json!({ "edges": [] })),
        row("nodes[].type", with(node("first", "merge", json!({})))).on(with(node(
            "first",
            "start",
            json!({}),
        ))),
        row("nodes[].config", with(gives("first", "3"))),
        row("nodes[].name", named).on(unnamed),
        row("nodes[].label", labelled).on(unlabelled),
    ]
}

fn rows_of_edges() -> Vec<Row> {
    let edge = |edge: Value| json!({ "edges": [edge] });
    let says = |field: &str, text: &str| {
        let mut one = json!({ "source": "first", "target": "node" });
        one[field] = text.into();
        edge(one)
    };
    let from = |from: &str, to: &str| edge(json!({ "from": from, "to": to }));
    vec![
        row("edges", json!({ "edges": [] })),
        row("edges[].source", edge(json!({ "source": "second", "target": "node" }))),
        row("edges[].target", edge(json!({ "source": "first", "target": "second" }))),
        row("edges[].from", from("second", "node")).on(from("first", "node")),
        row("edges[].to", from("first", "second")).on(from("first", "node")),
        row("edges[].condition", says("condition", "input.number > 10"))
            .on(says("condition", "input.number > 1")),
        row("edges[].label", says("label", "error")).on(says("label", "then")),
        row("edges[].sourceHandle", says("sourceHandle", "error")).on(says("sourceHandle", "then")),
    ]
}

fn rows_of_runs() -> Vec<Row> {
    let runs = |settings: Value| json!({ "settings": settings });
    let first = |first: Value| json!({ "nodes": both(first, json!({})) });
    let silent = || {
        let config = json!({ "url": "http://service.test/silent" });
        first(node("first", "http", config))
    };
    let fails = || first(gives("first", "{{1 / (input.number - 3)}}"));
    let asks = |id: &str| {
        let config =
            json!({ "prompt": format!("Ask {id}"), "model": "fake", "provider": "openrouter" });
        node(id, "llm", config)
    };
    // A receiver that is not there, so that what it is told, and when, does not matter.
    let closed = format!("http://127.0.0.1:{CLOSED_PORT}/");
    let tells = |url: &str| runs(json!({ "notifications": { "webhook_url": url } }));
    let spends = || json!({ "nodes": [asks("first"), asks("node")] });
    vec![
        row("settings", runs(json!({ "on_error": "continue" }))).on(fails()),
        row("settings.timeout", runs(json!({ "timeout": 0.2 })))
            .on(silent())
            .on(runs(json!({ "timeout": 0.1 }))),
        row("settings.on_error", runs(json!({ "on_error": "continue" })))
            .on(fails())
            .on(runs(json!({ "on_error": "stop" }))),
        row("settings.budget_usd", runs(json!({ "budget_usd": 0.000_001 })))
            .on(spends())
            .on(runs(json!({ "budget_usd": 1 }))),
        row("settings.budget_tokens", runs(json!({ "budget_tokens": 1 })))
            .on(spends())
            .on(runs(json!({ "budget_tokens": 10_000 }))),
        row("settings.notifications.webhook_url", tells(&closed)).on(tells("")),
    ]
}
