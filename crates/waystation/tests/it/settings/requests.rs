//! Settings of the types that call services.

use serde_json::{Value, json};

use super::effort;
use super::row::{Row, Table, row, table};

pub(super) fn tables() -> Vec<Table> {
    // A webhook is the same request but for its usual method.
    let usual =
        |method: &str| row("method", json!({ "method": "PUT" })).on(json!({ "method": method }));
    ["http", "webhook"]
        .map(|kind| {
            let mut rows =
                vec![usual("GET"), usual("POST"), row("method", json!({ "method": "PATCH" }))];
            rows.extend(rows_of_requests("url"));
            rows.extend(rows_of_answers());
            let at = |path: &str| json!({ "url": format!("http://service.test{path}") });
            rows.extend(effort::rows(&at("/silent"), &at("/busy")));
            table(kind, &json!({ "url": "http://service.test/here" }), rows)
        })
        .into()
}

/// What a request is made of.
pub(super) fn rows_of_requests(address: &'static str) -> Vec<Row> {
    let mut rows = vec![
        row(address, json!({ (address): "http://service.test/there" })),
        row("headers", json!({ "headers": { "x-colour": "blue" } })),
        row("params", json!({ "params": { "page": 2, "tag": ["a", "b"] } })),
        row("body", json!({ "body": { "order": 17 } })).on(json!({ "method": "POST" })),
    ];
    rows.extend(rows_of_auth());
    rows
}

fn rows_of_auth() -> Vec<Row> {
    let auth = |auth: Value| json!({ "auth": auth });
    let basic = || auth(json!({ "type": "basic", "username": "ada", "password": "one" }));
    let bearer = || auth(json!({ "type": "bearer", "token": "one" }));
    let key = || auth(json!({ "type": "api_key", "key": "one" }));
    vec![
        row("auth", basic()),
        // Each type has settings of its own: with those of another it is refused.
        row("auth.type", auth(json!({ "type": "bearer" })))
            .on(auth(json!({ "type": "basic", "token": "one" }))),
        row("auth.type", auth(json!({ "type": "api_key" })))
            .on(auth(json!({ "type": "bearer", "key": "one" }))),
        row("auth.username", auth(json!({ "username": "grace" }))).on(basic()),
        row("auth.password", auth(json!({ "password": "two" }))).on(basic()),
        row("auth.token", auth(json!({ "token": "two" }))).on(bearer()),
        row("auth.header", auth(json!({ "header": "x-token" }))).on(key()),
        row("auth.query", auth(json!({ "query": "token" }))).on(key()),
        row("auth.key", auth(json!({ "key": "two" }))).on(key()),
        row("auth.value", auth(json!({ "value": "two" })))
            .on(auth(json!({ "type": "api_key", "value": "one" }))),
    ]
}

fn rows_of_answers() -> Vec<Row> {
    let at = |path: &str| json!({ "url": format!("http://service.test{path}") });
    vec![
        row("response_limit", json!({ "response_limit": 100 })).on(at("/long")),
        row("expected_status", json!({ "expected_status": "2xx" }))
            .on(json!({ "url": "http://service.test/created", "expected_status": 200 })),
        row("follow_redirects", json!({ "follow_redirects": false }))
            .on(json!({ "url": "http://service.test/moved", "expected_status": "2xx, 302" })),
    ]
}
