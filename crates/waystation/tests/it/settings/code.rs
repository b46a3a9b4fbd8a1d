//! Settings of `code`.

use serde_json::{Value, json};

use super::effort;
use super::row::{Table, row, table};

pub(super) fn tables() -> Vec<Table> {
    let code = |code: &str| json!({ "code": code });
    let python = code("def process(n):\n    return [n, 'Python']");
    let endless = || code("function process() { for (;;); }");
    // Some 80 megabytes.
    let large = code("function process() { return new Array(10000000).fill('x').length; }");
    let mut rows = vec![
        row("language", json!({ "language": "python" })).on(python),
        row("code", code("function process({ n }) { return n * 2; }")),
        row("input_mapping", json!({ "input_mapping": { "n": "{{input.word}}" } })),
        row("memory_mb", json!({ "memory_mb": 512 })).on(large).on(json!({ "memory_mb": 32 })),
    ];
    // It computes only: what may pass is a timeout.
    let mut slow: Value = endless();
    slow["timeout"] = json!(0.1);
    rows.extend(effort::rows(&endless(), &slow));
    let base = json!({
        "language": "javascript", "code": "function process({ n }) { return n + 1; }",
        "input_mapping": { "n": "{{input.number}}" },
    });
    vec![table("code", &base, rows)]
}
