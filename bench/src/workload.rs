//! What the engine is asked to run: three steps, each of which uses what the former ones gave.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::client::RUN_NUMBER;

/// The steps of a run.
pub(crate) const STEPS: usize = 3;

/// A run of steps that only compute.
pub(crate) fn pure() -> String {
    let first =
        json!({ "order": "{{original_input.order}}", "total": "{{original_input.amount}}" });
    let second = json!({
        "order": "{{first.order}}",
        "line": "Order {{first.order}} for {{original_input.customer}}",
    });
    let result = json!({ "summary": "{{second.line}}: {{first.total}}" });
    let steps = json!([
        set("first", &first, &[]),
        set("second", &second, &["first"]),
        set("result", &result, &["first", "second"]),
    ]);
    payload("bench-pure", &steps)
}

/// A run of steps that call a service one after another.
pub(crate) fn http(service: SocketAddr) -> String {
    let url = format!("http://{service}/");
    let steps = json!([
        call("first", &url, &json!({ "order": "{{original_input.order}}" }), &[]),
        call("second", &url, &json!({ "value": "{{first.value}}" }), &["first"]),
        call("result", &url, &json!({ "value": "{{second.value}}" }), &["second"]),
    ]);
    payload("bench-http", &steps)
}

fn set(name: &str, value: &Value, dependencies: &[&str]) -> Value {
    json!({
        "step_name": name,
        "usid": format!("step-{name}"),
        "type": "set",
        "value": value,
        "dependencies": dependencies,
        "outputs": [name],
    })
}

fn call(name: &str, url: &str, mapping: &Value, dependencies: &[&str]) -> Value {
    json!({
        "step_name": name,
        "usid": format!("step-{name}"),
        "service_url": url,
        "method": "POST",
        "input_prep_config": { "type": "json", "mapping": mapping },
        "dependencies": dependencies,
        "outputs": [name],
    })
}

fn payload(workflow: &str, steps: &Value) -> String {
    let input = json!({ "order": RUN_NUMBER, "customer": "Ada Lovelace", "amount": 1250 });
    json!({ "workflow_id": workflow, "original_input": input, "STEPS_CONFIG": steps }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_holds_the_run_number_once_and_all_steps() {
        for payload in [pure(), http(([127, 0, 0, 1], 80).into())] {
            assert_eq!(payload.matches(RUN_NUMBER).count(), 1, "{payload}");
            let value: Value = serde_json::from_str(&payload).unwrap();
            assert_eq!(value["STEPS_CONFIG"].as_array().unwrap().len(), STEPS);
        }
    }
}
