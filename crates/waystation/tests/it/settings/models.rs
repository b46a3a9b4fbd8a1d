//! Settings of the types that ask models.

use serde_json::{Value, json};

use super::effort;
use super::row::{Row, Table, row, table};
use super::scene::{Scene, after_twin};
use crate::support::graph::gives;

pub(super) fn tables() -> Vec<Table> {
    vec![llm(), ai_processor(), router()]
}

/// What all of them say of the model.
fn rows_of_models() -> Vec<Row> {
    let at =
        |path: &str| json!({ "provider": format!("http://service.test{path}"), "cache": false });
    let mut rows = vec![
        row("provider", json!({ "provider": "openrouter" })),
        row("model", json!({ "model": "another" })),
        row("temperature", json!({ "temperature": 1.5 })).on(json!({ "temperature": 0.5 })),
        row("max_tokens", json!({ "max_tokens": 1 })).on(json!({ "max_tokens": 100 })),
        row("stream", json!({ "stream": true })).on(json!({ "stream": false })),
        row("api_key", json!({ "api_key": "{{secrets.OWN_KEY}}" })),
        row("cache", json!({ "cache": true })).on(json!({ "cache": false })).seen(after_twin()),
    ];
    rows.extend(effort::rows(&at("/silent"), &at("/busy")));
    rows
}

fn llm() -> Table {
    let said = |role: &str, content: &str| {
        let second = json!({ "role": "user", "content": "Go on" });
        json!({ "prompt": null, "messages": [{ "role": role, "content": content }, second] })
    };
    let format = |format: Value| json!({ "response_format": format });
    let schema = |field: &str| {
        let properties = json!({ (field): { "type": "string" } });
        json!({
            "type": "object", "properties": properties, "required": [field], "additionalProperties": false,
        })
    };
    let described = |field: &str| {
        format(json!({ "type": "json_schema", "json_schema": { "schema": schema(field) } }))
    };
    let mut rows = vec![
        row("prompt", json!({ "prompt": "Another question" })),
        row("messages", said("user", "First")).on(said("assistant", "First")),
        row("messages[].role", said("system", "First")).on(said("user", "First")),
        row("messages[].role", said("assistant", "First")).on(said("user", "First")),
        row("messages[].content", said("user", "Second")).on(said("user", "First")),
        row("system_prompt", json!({ "system_prompt": "You are brief" })),
        row("schema", json!({ "schema": schema("category") })),
        row("response_format", format(json!("json"))),
        row("response_format", format(json!("json_object"))).on(format(json!("text"))),
        row("response_format.type", format(json!({ "type": "json_object" })))
            .on(format(json!({ "type": "text" }))),
        // A schema belongs to the third type alone.
        row("response_format.type", described("category"))
            .on(described("category"))
            .on(format(json!({ "type": "text" }))),
        row("response_format.json_schema", described("colour")).on(described("category")),
    ];
    rows.extend(rows_of_models());
    table("llm", &json!({ "prompt": "A question", "model": "fake" }), rows)
}

fn ai_processor() -> Table {
    let mut rows = vec![
        row("prompt", json!({ "prompt": "Another question" })),
        row("system_prompt", json!({ "system_prompt": "You are brief" })),
    ];
    rows.extend(rows_of_models());
    let base =
        json!({ "provider": "openai", "prompt": "A question", "model": "fake", "cache": false });
    table("ai-processor", &base, rows)
}

fn router() -> Table {
    let scene = || {
        let nodes = vec![gives("one", "1"), gives("two", "2"), gives("three", "3")];
        Scene::with(nodes, &["node -> one: one", "node -> two: two"])
    };
    let options = |first: Value| json!({ "options": [first, { "id": "two" }] });
    let mut rows = vec![
        row("prompt", json!({ "prompt": "Which way? [[answer: two]]" })).seen(scene()),
        row("question", json!({ "question": "Which way? [[answer: two]]" }))
            .on(json!({ "prompt": null, "question": "Which way? [[answer: one]]" }))
            .seen(scene()),
        row("options", json!({ "options": [{ "id": "one" }, { "id": "two" }, { "id": "three" }] }))
            .seen(scene()),
        row("options[].id", options(json!({ "id": "first", "name": "one" })))
            .on(options(json!({ "id": "one", "name": "one" }))),
        row("options[].name", options(json!({ "id": "one", "name": "The first" }))),
        row(
            "options[].description",
            options(json!({ "id": "one", "description": "Where all begins" })),
        ),
        row("default", json!({ "default": "two" }))
            .on(json!({ "prompt": "Which way? [[answer: neither]]", "retries": 0 }))
            .seen(scene()),
        row("context", json!({ "context": "It rains" })),
    ];
    rows.extend(rows_of_models());
    let base = json!({
        "prompt": "Which way? [[answer: one]]", "model": "fake",
        "options": [{ "id": "one" }, { "id": "two" }],
    });
    table("router", &base, rows)
}
