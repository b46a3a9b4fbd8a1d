//! How graphs run: which ways they take, where branches meet, what is done with each item of a list.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Barrier;

use crate::support::eventually;
use crate::support::graph::{
    begin, calls, ended, error, execute, flow, gives, graph, node, nodes_that_are, output, replace,
    result, run, save, signal, state, until,
};
use crate::support::server::Server;
use crate::support::target::{Target, reply};

/// Two branches of two nodes each, of which a condition takes one, and which meet again.
fn diamond() -> Value {
    let nodes = [
        node("start", "start", json!({})),
        node("fork", "conditional", json!({ "condition": "{{input.value}} > 10" })),
        gives("high", "high"),
        gives("higher", "{{high.output}}er"),
        gives("low", "low"),
        gives("lower", "{{low.output}}er"),
        node("meet", "merge", json!({ "combine": "first" })),
        node("end", "end", json!({})),
    ];
    let edges = [
        "start -> fork",
        "fork -> high: true",
        "high -> higher",
        "higher -> meet",
        "fork -> low: false",
        "low -> lower",
        "lower -> meet",
        "meet -> end",
    ];
    flow(&nodes, &edges)
}

#[tokio::test]
async fn the_branch_that_is_not_taken_is_dead_to_where_branches_meet() {
    let server = Server::start().await;
    let workflow = save(&server, &diamond()).await;
    for (value, expected, skipped) in [
        (json!(11), "higher", ["low", "lower"]),
        (json!(10), "lower", ["high", "higher"]),
        (json!("11"), "higher", ["low", "lower"]),
    ] {
        let job = execute(&server, &workflow, &json!({ "value": value })).await;
        assert_eq!(result(&job), &json!(expected), "{value}");
        assert_eq!(nodes_that_are(&job, "skipped"), skipped);
        assert_eq!(nodes_that_are(&job, "completed").len(), 6);
    }
    let job = execute(&server, &workflow, &json!({ "value": [1] })).await;
    assert!(error(&job).starts_with("Node fork failed: the condition: "), "{}", error(&job));
    assert!(nodes_that_are(&job, "completed").iter().all(|node| *node == "start"));
}

#[tokio::test]
async fn named_nodes_are_the_ways_of_a_condition() {
    let server = Server::start().await;
    let condition = json!({
        "condition": "{{input.value}} > 10", "true_edge": "success", "false_edge": "failure",
    });
    let nodes = [
        node("fork", "conditional", condition),
        gives("success", "more"),
        gives("failure", "less"),
    ];
    let workflow = save(&server, &flow(&nodes, &[])).await;
    for (value, expected) in [(11, "more"), (9, "less")] {
        let job = execute(&server, &workflow, &json!({ "value": value })).await;
        assert_eq!(result(&job), &json!(expected));
    }
}

#[tokio::test]
async fn a_merge_goes_on_with_as_many_as_it_wants() {
    let target = Target::start(async |_, _| reply(200, "{}")).await;
    let server = Server::start().await;
    for (mode, expected) in [
        (json!({ "mode": "any" }), json!({ "a": "A" })),
        (json!({ "mode": "first", "count": 2, "combine": "array" }), json!(["A", "B"])),
    ] {
        let nodes = [
            gives("a", "A"),
            gives("b", "B"),
            node("slow", "wait", json!({})),
            node("meet", "merge", mode),
            calls("after", &target.url("/after")),
            node("end", "end", json!({ "output": "{{meet.output}}" })),
        ];
        let edges = ["a -> meet", "b -> meet", "slow -> meet", "meet -> after", "after -> end"];
        let workflow = save(&server, &flow(&nodes, &edges)).await;
        let job = begin(&server, &workflow, &json!({})).await;
        let seen = until(&server, &job, "end", "completed").await;
        assert_eq!((output(&seen, "end"), state(&seen, "slow")), (&expected, "waiting"));
        signal(&server, &job, "slow", &json!({ "choice": "approved" })).await;
        assert_eq!(result(&ended(&server, &job).await), &expected);
    }
    assert_eq!(target.count("/after"), 2, "what comes late leads no further");
}

#[tokio::test]
async fn a_merge_of_all_waits_for_the_last_one() {
    let server = Server::start().await;
    let nodes =
        [gives("a", "A"), node("slow", "wait", json!({})), node("meet", "merge", json!({}))];
    let workflow = save(&server, &flow(&nodes, &["a -> meet", "slow -> meet"])).await;
    let job = begin(&server, &workflow, &json!({})).await;
    let seen = until(&server, &job, "slow", "waiting").await;
    assert_eq!((state(&seen, "a"), state(&seen, "meet")), ("completed", "pending"));
    signal(&server, &job, "slow", &json!({ "choice": "approved", "data": 7 })).await;
    let expected = json!({ "a": "A", "slow": { "choice": "approved", "data": 7 } });
    assert_eq!(result(&ended(&server, &job).await), &expected);
}

#[tokio::test]
async fn an_edge_for_errors_is_followed_when_its_node_fails() {
    let target = Target::start(async |request, _| match request.path.as_str() {
        "/fails" => reply(400, "no"),
        _ => reply(200, "{}"),
    });
    let target = target.await;
    let server = Server::start().await;
    for (path, expected, skipped) in [("/fails", "mended", "well"), ("/works", "fine", "mend")] {
        let nodes =
            [calls("call", &target.url(path)), gives("well", "fine"), gives("mend", "mended")];
        let definition = flow(&nodes, &["call -> well", "call -> mend: error"]);
        let job = run(&server, &definition, &json!({})).await;
        assert_eq!(
            (result(&job), nodes_that_are(&job, "skipped")),
            (&json!(expected), vec![skipped])
        );
    }
}

#[tokio::test]
async fn an_edge_may_have_a_condition_of_its_own() {
    let server = Server::start().await;
    let mut definition =
        flow(&[gives("a", "{{input.n}}"), gives("big", "big"), gives("even", "even")], &[]);
    definition["edges"] = json!([
        { "source": "a", "target": "big", "condition": "a.output > 10" },
        { "source": "a", "target": "even", "condition": "{{input.n}} % 2 == 0" },
    ]);
    let workflow = save(&server, &definition).await;
    for (n, expected) in [
        (12, json!({ "big": "big", "even": "even" })),
        (11, json!("big")),
        (2, json!("even")),
        (1, Value::Null),
    ] {
        let job = execute(&server, &workflow, &json!({ "n": n })).await;
        assert_eq!(result(&job), &expected, "{n}");
        assert_eq!(job["node_results"].as_object().unwrap().len(), 3, "judges are not shown");
    }
}

#[tokio::test]
async fn a_node_gets_the_results_whose_edges_were_followed() {
    let server = Server::start().await;
    let nodes = [
        node("fork", "conditional", json!({ "condition": "input.n > 10" })),
        gives("low", "low"),
        node("meet", "merge", json!({})),
    ];
    let edges = ["fork -> meet: true", "fork -> low: false", "low -> meet"];
    let workflow = save(&server, &flow(&nodes, &edges)).await;
    for (n, expected) in [(11, json!({ "fork": true })), (10, json!({ "low": "low" }))] {
        let job = execute(&server, &workflow, &json!({ "n": n })).await;
        assert_eq!(result(&job), &expected);
    }
    let mut definition =
        flow(&[gives("a", "A"), gives("b", "B"), node("meet", "merge", json!({}))], &[]);
    definition["edges"] = json!([
        { "source": "a", "target": "meet", "condition": "input.n > 10" },
        { "source": "b", "target": "meet", "condition": "input.n > 1" },
    ]);
    let workflow = save(&server, &definition).await;
    for (n, expected) in [(11, json!({ "a": "A", "b": "B" })), (10, json!({ "b": "B" }))] {
        let job = execute(&server, &workflow, &json!({ "n": n })).await;
        assert_eq!(result(&job), &expected, "what judges an edge gives nothing itself");
    }
}

#[tokio::test]
async fn a_switch_leaves_by_the_first_case_that_fits() {
    let server = Server::start().await;
    let cases = json!([
        { "equals": "a", "port": "letter" },
        { "when": "value starts_with 'b'", "port": "word" },
    ]);
    let nodes = [
        node("switch", "switch", json!({ "value": "{{input.kind}}", "cases": cases })),
        gives("one", "1"),
        gives("two", "2"),
        gives("other", "3"),
    ];
    let edges = ["switch -> one: letter", "switch -> two: word", "switch -> other: default"];
    let workflow = save(&server, &flow(&nodes, &edges)).await;
    for (kind, expected) in [("a", "1"), ("boat", "2"), ("c", "3")] {
        let job = execute(&server, &workflow, &json!({ "kind": kind })).await;
        assert_eq!(result(&job), &json!(expected), "{kind}");
        assert_eq!(nodes_that_are(&job, "skipped").len(), 2);
    }
}

/// A node that does something with each item of `input.items`.
fn each(body: Value, more: Value) -> Value {
    let mut config = json!({ "items": "{{input.items}}" });
    config["body"] = body;
    if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    node("each", "foreach", config)
}

#[tokio::test]
async fn items_are_under_way_together_up_to_the_bound_and_results_are_in_order() {
    let together = Arc::new(Barrier::new(3));
    let target = Target::start(move |request, _| {
        let together = Arc::clone(&together);
        async move {
            together.wait().await;
            reply(200, json!({ "path": request.path }).to_string())
        }
    });
    let target = target.await;
    let server = Server::start().await;
    let url = target.url("/{{item}}");
    let body = graph(
        &[calls("call", &url), gives("path", "{{call.output.path}}@{{index}}")],
        &["call -> path"],
    );
    let definition = flow(&[each(body, json!({ "concurrency": 3 }))], &[]);
    let items = ["c", "a", "d", "b", "f", "e"];
    let job = run(&server, &definition, &json!({ "items": items })).await;
    assert_eq!(result(&job), &json!(["/c@0", "/a@1", "/d@2", "/b@3", "/f@4", "/e@5"]));
    assert_eq!(target.most_under_way(), 3);
    assert_eq!(target.received().len(), items.len());
}

#[tokio::test]
async fn a_list_within_a_list_sees_both_items_and_the_nodes_around() {
    let server = Server::start().await;
    let cell =
        gives("cell", "{{parent.item.name}}{{item}}@{{parent.index}}.{{index}}{{mark.output}}");
    let inner =
        node("inner", "foreach", json!({ "items": "{{item.cells}}", "body": graph(&[cell], &[]) }));
    let nodes = [gives("mark", "!"), each(graph(&[inner], &[]), json!({}))];
    let rows = json!([{ "name": "a", "cells": [1, 2] }, { "name": "b", "cells": [3] }]);
    let job = run(&server, &flow(&nodes, &["mark -> each"]), &json!({ "items": rows })).await;
    assert_eq!(result(&job), &json!([["a1@0.0!", "a2@0.1!"], ["b3@1.0!"]]));
}

#[tokio::test]
async fn a_failed_item_does_what_the_node_says() {
    let server = Server::start().await;
    let with = |on_error: &str| {
        let body = graph(&[gives("divide", "{{ 6 / item }}")], &[]);
        flow(&[each(body, json!({ "on_error": on_error }))], &[])
    };
    let items = json!({ "items": [1, 0, 3] });
    let why = "divide: template: nothing can be divided by zero (bytes 3..11)";
    let job = run(&server, &with("stop"), &items).await;
    assert_eq!(error(&job), format!("Node each failed: Item 1: {why}"));
    let job = run(&server, &with("continue"), &items).await;
    assert_eq!(result(&job), &json!([6, null, 2]));
    let job = run(&server, &with("collect"), &items).await;
    let told = json!({ "error": { "code": "expression_failed", "message": why } });
    assert_eq!(result(&job), &json!([6, told, 2]));
}

/// A workflow that adds something to `input.n`.
fn adding(number: u32) -> Value {
    flow(&[node("end", "end", json!({ "output": format!("{{{{input.n + {number}}}}}") }))], &[])
}

#[tokio::test]
async fn a_workflow_runs_within_another_in_the_version_that_is_said() {
    let server = Server::start().await;
    let inner = save(&server, &adding(1)).await;
    replace(&server, &inner, &adding(100)).await;
    let within = |mut config: Value| {
        config["workflow_id"] = inner.as_str().into();
        flow(
            &[node("sub", "subworkflow", config), gives("after", "{{sub.output}}!")],
            &["sub -> after"],
        )
    };
    let newest = within(json!({ "input": { "n": 1 } }));
    assert_eq!(result(&run(&server, &newest, &json!({})).await), &json!("101!"));
    let first = within(json!({ "input": { "n": 1 }, "version": 1 }));
    assert_eq!(result(&run(&server, &first, &json!({})).await), &json!("2!"));
    let failing = within(json!({ "input": { "m": 1 } }));
    let why = "Node sub failed: end: `input.n` does not exist (in `output`, bytes 2..9)";
    assert_eq!(error(&run(&server, &failing, &json!({})).await), why);
    // Runs within others are theirs, and stand in no list.
    assert_eq!(server.get(&format!("/api/v1/jobs?workflow_id={inner}")).await.1["total"], 0);
}

#[tokio::test]
async fn a_workflow_within_itself_comes_to_an_end() {
    let server = Server::start().await;
    let workflow = save(&server, &adding(1)).await;
    let again = node("again", "subworkflow", json!({ "workflow_id": workflow, "input": {} }));
    replace(&server, &workflow, &flow(&[again], &[])).await;
    let job = execute(&server, &workflow, &json!({})).await;
    let error = error(&job);
    assert!(error.ends_with("runs may be 32 deep within one another at most"), "{error}");
}

#[tokio::test]
async fn a_workflow_that_is_not_there_cannot_run_within_another() {
    let server = Server::start().await;
    let unknown = "0123456789abcdef01234567";
    let sub = node("sub", "subworkflow", json!({ "workflow_id": unknown }));
    let job = run(&server, &flow(&[sub], &[]), &json!({})).await;
    assert_eq!(error(&job), format!("Node sub failed: Workflow with ID {unknown} not found"));
}

#[tokio::test]
async fn a_delay_passes_on_what_came_before_it() {
    let server = Server::start().await;
    let nodes =
        [gives("a", "{{input.list}}"), node("wait", "delay", json!({ "delay_seconds": 0.2 }))];
    let job = run(&server, &flow(&nodes, &["a -> wait"]), &json!({ "list": [1, 2] })).await;
    assert_eq!(result(&job), &json!([1, 2]));
    let lasted = job["node_results"]["wait"]["duration_ms"].as_u64().unwrap();
    assert!(lasted >= 200, "{lasted}");
}

#[tokio::test]
async fn the_result_is_that_of_the_ends_or_of_what_leads_nowhere() {
    let server = Server::start().await;
    let end = |id: &str, value: u32| node(id, "end", json!({ "output": value }));
    let (a, b, c) = (gives("a", "A"), gives("b", "B"), gives("c", "C"));
    for (nodes, edges, expected) in [
        (vec![a.clone(), end("one", 1), b.clone()], vec!["a -> one", "a -> b"], json!(1)),
        (vec![end("one", 1), end("two", 2)], vec![], json!({ "one": 1, "two": 2 })),
        (vec![a.clone(), b.clone()], vec!["a -> b"], json!("B")),
        (vec![a, b, c], vec!["a -> b", "a -> c"], json!({ "b": "B", "c": "C" })),
    ] {
        let job = run(&server, &flow(&nodes, &edges), &json!({})).await;
        assert_eq!(result(&job), &expected);
    }
}

#[tokio::test]
async fn a_run_ends_when_its_time_is_over() {
    let target = Target::start(async |_, _| std::future::pending().await).await;
    let server = Server::start().await;
    let mut definition = flow(
        &[
            calls("call", &target.url("/")),
            node("wait", "delay", json!({ "delay_seconds": 3_600 })),
        ],
        &[],
    );
    definition["settings"] = json!({ "timeout": 0.5 });
    let job = run(&server, &definition, &json!({})).await;
    assert_eq!(error(&job), "The workflow timed out after 0.5 seconds");
    assert_eq!(nodes_that_are(&job, "cancelled"), ["call", "wait"]);
    eventually("the call is given up", async || (target.dropped() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_failed_node_stops_the_run_or_only_what_follows_from_it() {
    let server = Server::start().await;
    let with = |on_error: &str| {
        let nodes = [
            gives("bad", "{{ 1 / input.zero }}"),
            gives("after", "never"),
            node("wait", "delay", json!({ "delay_seconds": 0.2 })),
            gives("other", "done"),
        ];
        let mut definition = flow(&nodes, &["bad -> after", "wait -> other"]);
        definition["settings"] = json!({ "on_error": on_error });
        definition
    };
    let input = json!({ "zero": 0 });
    let job = run(&server, &with("continue"), &input).await;
    assert_eq!((result(&job), state(&job, "bad")), (&json!("done"), "failed"));
    assert_eq!(nodes_that_are(&job, "skipped"), ["after"]);
    let job = run(&server, &with("stop"), &input).await;
    let why = "Node bad failed: template: nothing can be divided by zero (bytes 3..17)";
    assert_eq!((error(&job), state(&job, "wait")), (why, "cancelled"));
    assert_eq!(nodes_that_are(&job, "completed").len(), 0);
}

#[tokio::test]
async fn jq_works_on_what_leads_to_it() {
    let server = Server::start().await;
    let jq = json!({ "transform_type": "jq", "expression": ".a + 1" });
    let nodes = [node("start", "start", json!({})), node("jq", "transformer", jq)];
    let job = run(&server, &flow(&nodes, &["start -> jq"]), &json!({ "a": 1 })).await;
    assert_eq!(result(&job), &json!(2), "{job:#}");
}
