//! Pipelines to run: steps that call the ledger, pure steps, selections, notifications.

use serde_json::{Value, json};

use crate::random::Random;

/// A step that calls the ledger. Its output is called by its usid and `_out`.
pub(crate) fn call(url: &str, usid: &str, dependencies: &[&str]) -> Value {
    let outputs: Vec<String> = dependencies.iter().map(|name| format!("{name}_out")).collect();
    let before = match outputs.first() {
        Some(name) if !name.starts_with("selection_") => format!("{{{{{name}}}}}"),
        _ => String::new(),
    };
    let output = format!("{usid}_out");
    json!({
        "step_name": usid.to_uppercase(),
        "usid": usid,
        "service_url": format!("{url}/call"),
        "method": "POST",
        "input_prep_config": { "mapping": {
            "run": "{{run.id}}", "step": usid, "output": output, "before": before,
        }},
        "outputs": [output],
        "dependencies": outputs,
    })
}

/// A step that calls nothing: it makes its output of that of the step before it.
fn set(usid: &str, dependency: Option<&str>) -> Value {
    let output = format!("{usid}_out");
    let value = dependency.map_or_else(|| "begun".into(), |name| format!("{{{{{name}_out}}}}+"));
    let dependencies: Vec<String> = dependency.iter().map(|name| format!("{name}_out")).collect();
    json!({
        "step_name": usid.to_uppercase(), "usid": usid, "type": "set",
        "value": { output.as_str(): value }, "outputs": [output], "dependencies": dependencies,
    })
}

/// A request to run steps.
pub(crate) fn request(steps: &[Value], webhook_url: Option<&str>) -> Value {
    json!({
        "workflow_id": "crash",
        "original_input": "crash",
        "STEPS_CONFIG": steps,
        "PIPELINE_SETTINGS": {
            "error_handling": { "max_retries": 3, "retry_delay": 0.05 },
            "notifications": { "webhook_url": webhook_url },
        },
    })
}

/// Some pipeline.
pub(crate) fn any(url: &str, random: &mut Random) -> Value {
    let steps = match random.below(10) {
        0..=4 => chain(url, random),
        5..=7 => fan(url, random),
        _ => selection(url, random),
    };
    let webhook_url = random.percent(25).then(|| format!("{url}/hook"));
    request(&steps, webhook_url.as_deref())
}

/// One to five steps, one after another.
fn chain(url: &str, random: &mut Random) -> Vec<Value> {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let length = 1 + random.below(5) as usize;
    let mut previous = None;
    let mut steps = Vec::new();
    for name in &NAMES[..length] {
        steps.push(match random.percent(30) {
            true => set(name, previous),
            false => call(url, name, previous.as_slice()),
        });
        previous = Some(name);
    }
    steps
}

/// Two or three steps beside each other, and one that joins them.
fn fan(url: &str, random: &mut Random) -> Vec<Value> {
    let branches: &[&str] = if random.percent(50) { &["left", "right"] } else { &["x", "y", "z"] };
    let mut steps = vec![set("root", None)];
    steps.extend(branches.iter().map(|usid| call(url, usid, &["root"])));
    steps.push(call(url, "join", branches));
    steps
}

/// A list of steps, of which some run.
fn selection(url: &str, random: &mut Random) -> Vec<Value> {
    let chosen = if random.percent(50) { json!(["p"]) } else { json!(["p", "q"]) };
    let gate = json!({
        "step_name": "GATE", "usid": "gate", "type": "set", "outputs": ["selection_out"],
        "value": { "selection_out": chosen },
    });
    let gated = |usid| call(url, usid, &["selection"]);
    vec![gate, gated("p"), gated("q"), call(url, "after_q", &["q"])]
}
