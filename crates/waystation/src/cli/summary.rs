//! What `waystation run` says at the end of a run.

use serde_json::{Value, json};

use super::terminal::{self, duration, style};

/// The reply of a run's format, for programs.
pub(super) fn reply(detail: &Value) -> Value {
    if !is_chain(detail) {
        return detail["result"].clone();
    }
    json!({
        "instanceId": detail["execution_id"],
        "status": detail["result"],
        "usage": detail["usage"],
    })
}

fn is_chain(detail: &Value) -> bool {
    detail["dialect"] == "instructions"
}

fn is_workflow(detail: &Value) -> bool {
    detail["dialect"] == "graph"
}

/// How the run ended, what it took, and its result.
pub(super) fn print(detail: &Value) {
    let detail = &terminal::plain_value(detail);
    head(detail);
    fault(detail);
    log(detail);
    webhook(&detail["webhook"]);
    result(detail);
}

fn head(detail: &Value) {
    let is_pipeline = !is_chain(detail) && !is_workflow(detail);
    let teller = if is_pipeline { &detail["result"] } else { detail };
    let time = duration(teller["execution_time"].as_f64().unwrap_or(0.0));
    let id = detail["execution_id"].as_str().unwrap_or_default();
    let counts = match is_pipeline {
        true => counts(&detail["result"]),
        false if is_chain(detail) => chain_counts(detail),
        false => workflow_counts(detail),
    };
    let head = match detail["status"].as_str() {
        Some("completed") => style("Completed").green().bold(),
        Some("cancelled") => style("Cancelled").yellow().bold(),
        _ => style("Failed").red().bold(),
    };
    let id = style(&format!("run {id}")).dim().to_string();
    terminal::say(&format!("{head} in {time}: {}  {id}", counts.join(", ")));
}

fn counts(reply: &Value) -> Vec<String> {
    let counts = [
        ("completed", "steps_completed"),
        ("failed", "steps_failed"),
        ("aborted", "steps_aborted"),
    ];
    let count = |name: &str| reply[name].as_u64().filter(|count| *count > 0);
    counts.iter().filter_map(|(word, field)| Some(format!("{} {word}", count(field)?))).collect()
}

fn workflow_counts(detail: &Value) -> Vec<String> {
    let steps = detail["steps"].as_array().map(Vec::as_slice).unwrap_or_default();
    let count = |status: &str| steps.iter().filter(|step| step["status"] == status).count();
    let words = [("completed", "completed"), ("failed", "failed"), ("aborted", "skipped")];
    let counts = words.into_iter().map(|(status, word)| (count(status), word));
    let mut told: Vec<String> = counts
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{count} {word}"))
        .collect();
    told.extend(used(&detail["usage"]));
    told
}

fn chain_counts(detail: &Value) -> Vec<String> {
    let steps = detail["result"]["output"]["steps"].as_array().map_or(0, Vec::len) as u64;
    let mut counts = vec![counted(steps, "step", "steps")];
    counts.extend(used(&detail["usage"]));
    counts
}

/// Tokens, cost and answers from the cache, where there are any.
pub(super) fn used(usage: &Value) -> Vec<String> {
    let count = |field: &str| usage[field].as_u64().filter(|count| *count > 0);
    let tokens = count("total_tokens").map(|tokens| counted(tokens, "token", "tokens"));
    let cost = usage["cost_usd"].as_f64().filter(|cost| *cost > 0.0);
    let cost = cost.map(|cost| format!("${cost:.6}"));
    let cached = count("cached").map(|cached| counted(cached, "cache hit", "cache hits"));
    [tokens, cost, cached].into_iter().flatten().collect()
}

fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// The error, unless a failed step has said it already.
fn fault(detail: &Value) {
    let result = &detail["result"];
    let steps = detail["steps"].as_array().into_iter().flatten();
    let is_told = steps.into_iter().any(|step| step["status"] == "failed");
    if let Some(error) = result["error"].as_str().filter(|_| !is_told) {
        terminal::say(&format!("{} {error}", style("error:").red().bold()));
    }
}

fn log(detail: &Value) {
    let lines = detail["log"].as_array().into_iter().flatten();
    for line in lines.filter(|line| line["level"] == "warning") {
        let step = line["step_name"].as_str().map(|name| format!("{name}: ")).unwrap_or_default();
        let message = line["message"].as_str().unwrap_or_default();
        terminal::say(&format!("{} {step}{message}", style("warning:").yellow().bold()));
    }
}

/// Says what a receiver has not taken.
fn webhook(webhook: &Value) {
    let after = match webhook["state"].as_str() {
        Some("dead") => "it is not told more",
        Some("retrying") => "the next `waystation serve` on this data tells it the rest",
        _ => return,
    };
    let error = webhook["error"].as_str().unwrap_or_default();
    let mark = style("warning:").yellow().bold();
    terminal::say(&format!("{mark} the webhook's receiver did not take all: {error}; {after}"));
}

/// The result of a pipeline or a workflow is a value; a chain's is the text of its last step.
fn result(detail: &Value) {
    if is_workflow(detail) {
        if detail["status"] == "completed" {
            terminal::print_json(&detail["result"]["result"]);
        }
        return;
    }
    if !is_chain(detail) {
        if let Some(result) = detail["result"].get("final_result") {
            terminal::print_json(result);
        }
        return;
    }
    if let Some(text) = chain_result(&detail["result"]).filter(|_| detail["status"] == "completed")
    {
        terminal::print(text);
    }
}

/// The result of the last step of a chain's status.
pub(super) fn chain_result(status: &Value) -> Option<&str> {
    status["output"]["steps"].as_array()?.last()?["result"].as_str()
}
