//! The language, row by row of its specification.

mod bound;
mod condition;
mod message;
mod template;

use serde_json::{Value, json};

use super::{Expression, Problem, Template};
use crate::plan::Missing;

fn nothing(_: &str) -> bool {
    false
}

fn scope() -> Value {
    json!({
        "n": 3,
        "yes": true,
        "nothing": null,
        "name": "Ada",
        "quoted": "x' or '1'=='1",
        "braces": "{{n}}",
        "numeric": "12",
        "false_text": "False",
        "secret": "hunter2",
        "items": [1, "two", {"three": 3}],
        "empty": [],
        "keyed": {"0": "zero", "007": "licence", "my-key": 1, "my key": 2, "a": {"b": [10, 20]}, "null": null},
        "r": {"content": [{"text": "hello"}], "some-key": 5, "some": 9},
        "outputs": {"my-node": "out", "node-1": {"x": 1}},
        "my-node": {"output": {"category": "technical"}},
        "node-1": {"value": 11},
        "status": "active",
        "value": 12,
        "input": {"value": 11, "big": 18_446_744_073_709_551_615_u64, "odd": 9_007_199_254_740_993_u64},
        "result": "an error occurred",
        "größe": "groß",
        "json_text": "{\"a\": [1, 2]}",
    })
}

fn known(name: &str) -> bool {
    ["my-node", "node-1", "1", "n", "value"].contains(&name)
}

fn evaluate(source: &str) -> Result<Value, Problem> {
    let scope = scope();
    let expression = Expression::parse(source, &known)?;
    expression.evaluate(&scope).map(std::borrow::Cow::into_owned)
}

fn render(template: &str, missing: Missing) -> Result<(Value, usize), Problem> {
    let template = Template::compile(&json!(template), &known).map_err(|mut all| all.remove(0))?;
    let rendered = template.render(&scope(), missing)?;
    Ok((rendered.value, rendered.warnings.len()))
}

#[track_caller]
fn check_value(source: &str, expected: &Value) {
    match evaluate(source) {
        Ok(value) => assert_eq!(value, *expected, "{source}"),
        Err(problem) => panic!("{source}: {problem}"),
    }
}

#[track_caller]
fn check_error(source: &str, expected: &str) {
    let problem = evaluate(source).expect_err(source);
    let Problem { start, end, message, .. } = &problem;
    assert_eq!(format!("{start}..{end} {message}"), expected, "{source}");
}

#[track_caller]
fn check_render(template: &str, expected: &Value) {
    for missing in [Missing::Verbatim, Missing::Fail] {
        match render(template, missing) {
            Ok(rendered) => assert_eq!(rendered, (expected.clone(), 0), "{template}"),
            Err(problem) => panic!("{template}: {problem}"),
        }
    }
}
