//! What is wrong with a definition, in words: each text exactly, all of them at once.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::dialect::pipeline::{Request, compile, reply};
use crate::limits::NODES_PER_PLAN;

/// The problems of a definition.
fn problems(steps: &Value, settings: &Value) -> Vec<String> {
    let (steps, settings) = (steps.to_string(), settings.to_string());
    compile(Some(&steps), Some(&settings), NODES_PER_PLAN).map_or_else(|errors| errors, |_| vec![])
}

fn check(steps: &Value, expected: &[&str]) {
    assert_eq!(problems(steps, &json!({})), expected, "{steps}");
}

/// A step that is right, but for the given fields; a null takes a field away.
fn step(changes: Value) -> Value {
    let mut step = json!({
        "step_name": "ask", "usid": "a", "service_url": "https://x.test", "method": "POST",
        "outputs": ["o"],
    });
    let Value::Object(changes) = changes else { return step };
    for (name, value) in changes {
        step[name] = value;
    }
    step
}

/// A right step with these names.
fn named(name: &str, usid: &str, output: &str, dependencies: &[&str]) -> Value {
    step(json!({
        "step_name": name, "usid": usid, "outputs": [output], "dependencies": dependencies,
    }))
}

#[test]
fn steps_that_are_no_list_of_steps() {
    assert_eq!(compile(None, None, 9).unwrap_err(), ["Missing STEPS_CONFIG"]);
    check(&Value::Null, &["Missing STEPS_CONFIG"]);
    for value in [json!([]), json!({}), json!(""), json!("[]"), json!(0), json!(true)] {
        check(&value, &["STEPS_CONFIG must be a non-empty array"]);
    }
    for item in [json!(null), json!([]), json!("step"), json!(1)] {
        check(&json!([item]), &["Step 1 (unknown): must be an object"]);
    }
}

#[test]
fn each_required_field() {
    for field in ["step_name", "usid", "service_url", "method", "outputs"] {
        let name = if field == "step_name" { "unknown" } else { "ask" };
        let missing = format!("Step 1 ({name}): Missing required field: {field}");
        let mut without = step(Value::Null);
        without.as_object_mut().unwrap().remove(field);
        check(&json!([without]), &[&missing]);
        check(&json!([step(json!({ field: null }))]), &[&missing]);
        if !matches!(field, "outputs" | "method") {
            check(&json!([step(json!({ field: "" }))]), &[&missing]);
        }
    }
    let all = [
        "Step 1 (unknown): Missing required field: step_name",
        "Step 1 (unknown): Missing required field: usid",
        "Step 1 (unknown): Missing required field: service_url",
        "Step 1 (unknown): Missing required field: method",
        "Step 1 (unknown): Missing required field: outputs",
    ];
    check(&json!([{}]), &all);
    check(
        &json!([{ "type": "set", "step_name": "s", "usid": "a", "outputs": ["o"] }]),
        &["Step 1 (s): Missing required field: value"],
    );
}

#[test]
fn each_field_of_a_step_with_a_wrong_value() {
    let seconds = "Field timeout must be a number of seconds above 0 and up to 604800";
    let count = "Field max_retries must be a whole number from 0 to 100";
    let cases = [
        (json!({ "usid": 7 }), "Field usid must be a string"),
        (json!({ "service_url": ["x"] }), "Field service_url must be a string"),
        (json!({ "method": "FETCH" }), "Invalid HTTP method: FETCH"),
        (json!({ "method": "" }), "Invalid HTTP method: "),
        (json!({ "method": "OPTIONS" }), "Invalid HTTP method: OPTIONS"),
        (json!({ "method": 5 }), "Invalid HTTP method: 5"),
        (json!({ "method": { "a": 1 } }), r#"Invalid HTTP method: {"a":1}"#),
        (json!({ "outputs": [] }), "Outputs must be a non-empty array"),
        (json!({ "outputs": "o" }), "Outputs must be a non-empty array"),
        (json!({ "outputs": { "o": 1 } }), "Outputs must be a non-empty array"),
        (json!({ "outputs": ["o", 1] }), "Outputs must be non-empty strings"),
        (json!({ "outputs": [null] }), "Outputs must be non-empty strings"),
        (json!({ "outputs": [""] }), "Outputs must be non-empty strings"),
        (json!({ "dependencies": "o" }), "Field dependencies must be an array of strings"),
        (json!({ "dependencies": [1] }), "Field dependencies must be an array of strings"),
        (json!({ "labels": { "a": "b" } }), "Field labels must be an array of strings"),
        (json!({ "headers": ["a"] }), "Field headers must be an object"),
        (json!({ "headers": { "X": null } }), "Header X must be a string"),
        (json!({ "headers": { "X": ["a"] } }), "Header X must be a string"),
        (json!({ "headers": { "a b": "x" } }), "Invalid header name: \"a b\""),
        (json!({ "headers": { "X": "a\nb" } }), "Invalid header value: X has control characters"),
        (json!({ "input_prep_config": "json" }), "Field input_prep_config must be an object"),
        (
            json!({ "input_prep_config": { "type": "xml" } }),
            r#"input_prep_config.type must be "json", not "xml""#,
        ),
        (
            json!({ "method": "GET", "body_template": [1] }),
            "The mapping must be an object: GET sends it as query parameters",
        ),
        (
            json!({ "method": "head", "input_prep_config": { "mapping": 7 } }),
            "The mapping must be an object: HEAD sends it as query parameters",
        ),
        (json!({ "timeout": "45" }), seconds),
        (json!({ "timeout": 0 }), seconds),
        (json!({ "timeout": -1 }), seconds),
        (json!({ "timeout": 604_801 }), seconds),
        (json!({ "timeout": 1e300 }), seconds),
        (json!({ "max_retries": "2" }), count),
        (json!({ "max_retries": -1 }), count),
        (json!({ "max_retries": 1.5 }), count),
        (json!({ "max_retries": 101 }), count),
        (json!({ "type": 1 }), "Field type must be a string"),
        (json!({ "type": "ftp" }), "Unknown type: ftp; the types are http and set"),
        (json!({ "dependencies": [""] }), "Unknown dependency: "),
        (
            json!({ "body_template": "{{" }),
            "this `{{` is never closed with `}}` (in `body`, bytes 0..2)",
        ),
    ];
    for (changes, expected) in cases {
        check(&json!([step(changes)]), &[&format!("Step 1 (ask): {expected}")]);
    }
    check(
        &json!([step(json!({ "step_name": 5 }))]),
        &["Step 1 (unknown): Field step_name must be a string"],
    );
}

#[test]
fn addresses_that_lead_nowhere() {
    let urls = [
        "ftp://x.test",
        "file:///etc/passwd",
        "x.test/path",
        "http://",
        "http:///path",
        "https://?q",
        "//x.test/",
        "/\\x.test/",
    ];
    for url in urls {
        let text = format!(
            "Step 1 (ask): Invalid service_url: {url}; \
             an http or https URL is expected, or a path on this server"
        );
        check(&json!([step(json!({ "service_url": url }))]), &[&text]);
    }
}

#[test]
fn each_field_of_the_settings_with_a_wrong_value() {
    let cases = [
        (json!([]), " must be an object"),
        (json!("x"), " must be an object"),
        (json!({ "error_handling": 1 }), ".error_handling must be an object"),
        (json!({ "timeouts": [] }), ".timeouts must be an object"),
        (json!({ "notifications": "x" }), ".notifications must be an object"),
        (
            json!({ "error_handling": { "max_retries": true } }),
            ".error_handling.max_retries must be a whole number from 0 to 100",
        ),
        (
            json!({ "error_handling": { "retry_delay": -0.1 } }),
            ".error_handling.retry_delay must be a number of seconds from 0 up to 86400",
        ),
        (
            json!({ "error_handling": { "retry_delay": 86_401 } }),
            ".error_handling.retry_delay must be a number of seconds from 0 up to 86400",
        ),
        (
            json!({ "error_handling": { "raise_on_error": "no" } }),
            ".error_handling.raise_on_error must be true or false",
        ),
        (
            json!({ "timeouts": { "step_timeout": 0 } }),
            ".timeouts.step_timeout must be a number of seconds above 0 and up to 604800",
        ),
        (
            json!({ "timeouts": { "total_pipeline_timeout": "5m" } }),
            ".timeouts.total_pipeline_timeout must be a number of seconds above 0 and up to 604800",
        ),
        (
            json!({ "notifications": { "webhook_url": "mailto:x" } }),
            ".notifications.webhook_url must be an http or https URL",
        ),
        (
            json!({ "notifications": { "webhook_url": 1 } }),
            ".notifications.webhook_url must be an http or https URL",
        ),
    ];
    for (settings, expected) in cases {
        let found = problems(&json!([step(Value::Null)]), &settings);
        assert_eq!(found, [format!("PIPELINE_SETTINGS{expected}")], "{settings}");
    }
}

#[test]
fn nulls_and_odd_spellings_that_are_right() {
    let steps = [
        step(json!({ "method": "get", "service_url": "HTTPS://x.test" })),
        step(json!({ "service_url": "/echo?delay_ms=1" })),
        step(json!({ "service_url": "{{input_data.base}}/path" })),
        step(json!({ "timeout": 0.0001, "max_retries": 100 })),
        step(json!({ "headers": null, "dependencies": null, "timeout": null, "type": null })),
        step(json!({ "method": "GET", "body_template": " {{input_data}}" })),
        step(json!({ "headers": { "a": 1, "b": true, "c": "{{x}}" } })),
        json!({ "type": "set", "step_name": "s", "usid": "a", "outputs": ["o"], "value": null }),
    ];
    for step in steps {
        check(&json!([step]), &[]);
    }
    let settings = json!({
        "error_handling": { "max_retries": null, "retry_delay": 0, "raise_on_error": null },
        "timeouts": { "step_timeout": null }, "notifications": { "webhook_url": null },
        "anything": "else",
    });
    assert_eq!(problems(&json!([step(Value::Null)]), &settings), Vec::<String>::new());
    assert_eq!(problems(&json!([step(Value::Null)]), &Value::Null), Vec::<String>::new());
}

#[test]
fn seconds_become_milliseconds_without_drift() {
    for (seconds, milliseconds) in
        [(0.07, 70), (1.1, 1_100), (2.3, 2_300), (4.35, 4_350), (0.0001, 1), (45.0, 45_000)]
    {
        let steps = json!([step(json!({ "timeout": seconds }))]).to_string();
        let plan = compile(Some(&steps), None, 9).unwrap().plan;
        assert_eq!(plan.nodes[0].timeout_ms, milliseconds, "{seconds}");
    }
}

#[test]
fn names_that_are_given_twice() {
    let twice = json!([
        named("one", "a", "x", &[]),
        named("two", "a", "y", &[]),
        named("three", "a", "z", &[]),
        named("four", "b", "x", &[]),
        named("one", "b", "w", &[]),
    ]);
    check(&twice, &["Duplicate USID: a", "Duplicate USID: b"]);
}

#[test]
fn dependencies_on_nothing() {
    let steps = json!([
        named("fetch", "a", "document", &[]),
        named("sum up", "b", "summary", &["documnet", "original_input", "input_data", "xyz"]),
    ]);
    check(
        &steps,
        &[
            "Step 2 (sum up): Unknown dependency: documnet (did you mean document?)",
            "Step 2 (sum up): Unknown dependency: xyz",
        ],
    );
}

#[test]
fn a_broken_step_keeps_its_names_and_its_number() {
    let steps = json!([
        step(json!({ "step_name": "broken", "usid": "a", "outputs": ["x"], "method": "FETCH" })),
        named("fine", "b", "y", &["x", "a", "broken"]),
        named("typo", "c", "z", &["q"]),
    ]);
    check(
        &steps,
        &["Step 1 (broken): Invalid HTTP method: FETCH", "Step 3 (typo): Unknown dependency: q"],
    );
}

#[test]
fn cycles_of_any_length() {
    let cycle = |path: &str| format!("Cycle detected in workflow dependencies: {path}");
    check(&json!([named("a", "1", "x", &["x"])]), &[&cycle("a -> a")]);
    check(&json!([named("a", "1", "x", &["a"])]), &[&cycle("a -> a")]);
    let two = [named("a", "1", "x", &["b"]), named("b", "2", "y", &["a"])];
    check(&json!(two), &[&cycle("a -> b -> a")]);
    let gate = [
        named("a", "1", "selection_a", &["selection_b"]),
        named("b", "2", "selection_b", &["selection_a"]),
    ];
    check(&json!(gate), &[&cycle("a -> b -> a")]);

    let count = 4_000;
    let link = |n: usize| {
        let before = format!("o{}", (n + count - 1) % count);
        named(&format!("s{n}"), &format!("u{n}"), &format!("o{n}"), &[&before])
    };
    let ring: Vec<Value> = (0..count).map(link).collect();
    let mut path = String::new();
    for n in 0..count {
        let _ = write!(path, "s{n} -> ");
    }
    check(&json!(ring), &[&cycle(&(path + "s0"))]);
}

#[test]
fn more_steps_than_allowed() {
    let steps: Vec<Value> = (0..5_000).map(|n| named("s", &format!("u{n}"), "o", &[])).collect();
    let text = "STEPS_CONFIG has 5000 steps; at most 4096 are allowed (WAYSTATION_MAX_STEPS)";
    check(&json!(steps), &[text]);
    check(&json!(steps[..4_096]), &[]);
}

#[test]
fn more_connections_than_allowed() {
    let makers = (0..1_500).map(|n| named("m", &format!("m{n}"), "all", &[]));
    let users = (0..1_500).map(|n| named("u", &format!("u{n}"), &format!("o{n}"), &["all"]));
    let steps: Vec<Value> = makers.chain(users).collect();
    let text = "STEPS_CONFIG has more than 1000000 connections between steps";
    check(&json!(steps), &[text]);
}

#[test]
fn templates_that_do_not_parse() {
    let broken = step(json!({
        "service_url": "https://x.test/{{ }}",
        "headers": { "X-Key": "{{a b}}" },
        "input_prep_config": { "mapping": { "list": [1, "ok {{ok}} {{ 1 + }}"], "fine": "{{x}}" } },
    }));
    insta::assert_snapshot!(problems(&json!([broken]), &json!({})).join("\n"), @r"
    Step 1 (ask): a value is missing here (in `url`, bytes 18..18)
    Step 1 (ask): the expression should end here, or an operator is missing (in `headers.X-Key`, bytes 4..5)
    Step 1 (ask): a value is missing here (in `body.list[1]`, bytes 17..17)
    ");
}

#[test]
fn everything_at_once_in_one_reply() {
    let steps = json!([
        { "usid": "a", "service_url": "https://x.test", "method": "GO", "outputs": [] },
        named("two", "a", "y", &["five"]),
    ]);
    let found = problems(&steps, &json!({ "timeouts": 5 }));
    let reply = reply::invalid(&found);
    insta::assert_snapshot!(format!("{reply:#}"), @r#"
    {
      "success": false,
      "error": "Payload validation failed:\nPIPELINE_SETTINGS.timeouts must be an object\nDuplicate USID: a\nStep 1 (unknown): Missing required field: step_name\nStep 1 (unknown): Invalid HTTP method: GO\nStep 1 (unknown): Outputs must be a non-empty array\nStep 2 (two): Unknown dependency: five",
      "validation_errors": [
        "PIPELINE_SETTINGS.timeouts must be an object",
        "Duplicate USID: a",
        "Step 1 (unknown): Missing required field: step_name",
        "Step 1 (unknown): Invalid HTTP method: GO",
        "Step 1 (unknown): Outputs must be a non-empty array",
        "Step 2 (two): Unknown dependency: five"
      ]
    }
    "#);
}

/// Lists inside one another.
fn nested(levels: usize) -> String {
    "[".repeat(levels) + &"]".repeat(levels)
}

#[test]
fn nesting_beyond_reason_is_named() {
    let deep = nested(200);
    let body = format!(r#"{{"original_input": {deep}, "extra": {deep}, "input_data": {deep}}}"#);
    let text = Request::parse(&body).unwrap_err().message;
    for field in ["original_input", "extra", "input_data"] {
        assert!(text.contains(&format!("Field {field}: recursion limit exceeded")), "{text}");
    }
    let found = compile(Some(&deep), Some(&deep), 9).unwrap_err();
    assert_eq!(found.len(), 2);
    assert!(found[0].starts_with("PIPELINE_SETTINGS: recursion limit exceeded"), "{found:?}");
    assert!(found[1].starts_with("STEPS_CONFIG: recursion limit exceeded"), "{found:?}");

    let field = |levels| serde_json::from_str::<Value>(&nested(levels)).unwrap();
    check(&json!([step(json!({ "body_template": field(99) }))]), &[]);
    check(&json!([step(json!({ "note": field(99) }))]), &[]);
    let text = "Step 1 (ask): Fields may be nested 100 levels deep at most";
    check(&json!([step(json!({ "body_template": field(100) }))]), &[text]);
    check(&json!([step(json!({ "note": field(100) }))]), &[text]);
}

#[test]
fn bodies_that_are_no_request() {
    let message = |body: &str| Request::parse(body).unwrap_err().message;
    let cases = [
        ("", "The body is empty; a JSON object is expected"),
        ("  ", "The body is empty; a JSON object is expected"),
        ("[1]", "The body must be a JSON object, but it is an array"),
        ("\"x\"", "The body must be a JSON object, but it is a string"),
        ("12", "The body must be a JSON object, but it is no object"),
        (r#"{"namespace": []}"#, "Field namespace must be a string"),
        (r#"{"workflow_name": true}"#, "Field workflow_name must be a string"),
        (
            r#"{"workflow_id": {}, "input_data": 5}"#,
            "Field workflow_id must be a string; Field input_data must be an object",
        ),
    ];
    for (body, expected) in cases {
        assert_eq!(message(body), expected, "{body}");
    }
    assert!(message("{\"a\":").starts_with("The body is not valid JSON: EOF"), "no position");
    let long = format!(r#"{{"namespace": "{}"}}"#, "n".repeat(257));
    assert_eq!(message(&long), "Field namespace is longer than 256 bytes");
    assert_eq!(message(&nested(200)), "The body must be a JSON object, but it is an array");
}

#[test]
fn a_request_is_taken_apart() {
    let body = r#"{"z": 1, "workflow_id": 7, "namespace": "", "a": null, "input_data": null,
                   "STEPS_CONFIG": null, "PIPELINE_SETTINGS": {}, "b": {"y": 1, "x": 2}}"#;
    let request = Request::parse(body).unwrap();
    assert_eq!((&*request.workflow_id, &*request.namespace), ("7", "default"));
    assert_eq!((request.steps, request.settings), (None, Some("{}")));
    let input = r#"{"original_input":null,"input_data":{},"a":null,"b":{"y":1,"x":2},"z":1}"#;
    assert_eq!(request.input.to_string(), input);
}
