//! Settings of `data-source`. Which database gets what is seen where nobody listens: the tests of each
//! kind of source ask real ones.

use serde_json::{Value, json};

use super::effort;
use super::requests::rows_of_requests;
use super::row::{Row, Table, row, table};
use super::stage::CLOSED_PORT;

pub(super) fn tables() -> Vec<Table> {
    let mut rows = rows_of_databases();
    let api = json!({
        "source_type": "api", "endpoint": "http://service.test/list", "connection": null, "query": null,
    });
    let with = |more: &Value| super::leaves::merged(&api, more);
    let writing = with(&json!({ "write": true }));
    rows.extend(rows_of_requests("endpoint").into_iter().map(|row| row.under(writing.clone())));
    rows.push(row("method", json!({ "method": "HEAD" })).on(with(&json!({ "method": "GET" }))));
    rows.push(row("write", json!({ "write": true })).on(with(&json!({ "method": "POST" }))));
    rows.push(row("limit", json!({ "limit": 2 })).on(api.clone()));
    let at = |path: &str| with(&json!({ "endpoint": format!("http://service.test{path}") }));
    rows.extend(effort::rows(&at("/silent"), &at("/busy")));
    let base = json!({
        "source_type": "sqlite", "connection": "shop.db",
        "query": "SELECT name, price FROM goods ORDER BY price",
    });
    vec![table("data-source", &base, rows)]
}

fn rows_of_databases() -> Vec<Row> {
    // Each kind of source refuses what belongs to another, such as its connection strings.
    let kind = |kind: &str, query: Value| {
        let connection = format!("{kind}://127.0.0.1:{CLOSED_PORT}/x");
        let connection = json!({ "connection": connection, "query": query, "retries": 0 });
        let other = if kind == "postgres" { "mysql" } else { "postgres" };
        let patch = json!({ "source_type": kind });
        row("source_type", patch).on(connection).on(json!({ "source_type": other }))
    };
    let mut rows = vec![
        kind("postgres", json!("SELECT 1")),
        kind("mysql", json!("SELECT 1")),
        kind("mongodb", json!({ "collection": "goods", "filter": {} })),
        kind("redis", json!(["GET", "goods"])),
        row("source_type", json!({ "source_type": "sqlite" }))
            .on(json!({ "source_type": "postgres" })),
        row("source_type", json!({ "source_type": "api" })).on(json!({
            "source_type": "postgres", "endpoint": "http://service.test/list", "connection": null,
            "query": null,
        })),
    ];
    rows.extend([
        row("connection", json!({ "connection": "other.db" })),
        row("query", json!({ "query": "SELECT max(price) AS dearest FROM goods" })),
        row("parameters", json!({ "parameters": [7] }))
            .on(json!({ "query": "SELECT name FROM goods WHERE price = ?", "parameters": [2] })),
        row("parameters", json!({ "parameters": { "p": 7 } }))
            .on(json!({ "query": "SELECT name FROM goods WHERE price = :p" })),
        row("limit", json!({ "limit": 1 })),
        row("write", json!({ "write": true }))
            .on(json!({ "query": "DELETE FROM goods WHERE price = 0" })),
    ]);
    rows
}
