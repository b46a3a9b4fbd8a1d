//! What happened to an instance, line by line, without a word of prompts and answers.

use serde_json::{Value, json};

use super::errors;
use super::steps::Step;
use crate::entry::{Level, Outcome};
use crate::plan::NodeIndex;
use crate::run::{LogLine, Run};
use crate::time::{rfc3339, seconds_between};

struct Line {
    at: u64,
    level: Level,
    message: String,
    step: Option<usize>,
    data: Option<Value>,
}

/// All lines, ordered by time; at one moment, in the order in which things happen.
pub(super) fn lines(run: &Run, steps: &[Step<'_>], waiting: &[(NodeIndex, String)]) -> Value {
    let mut lines = vec![started(run)];
    lines.extend(run.log.iter().filter(|line| line.node.is_none()).map(|line| logged(line, None)));
    for step in steps {
        push_step(run, step, &mut lines);
    }
    lines.sort_by_key(|line| line.at);
    let latest = lines.last().map_or(run.started_at, |line| line.at);
    lines.extend(waiting.iter().map(|(node, reason)| waits(steps, *node, reason, latest)));
    lines.extend(ended(run));
    lines.iter().map(render).collect()
}

fn render(line: &Line) -> Value {
    let mut value = json!({
        "level": line.level, "message": line.message, "timestamp": rfc3339(line.at),
    });
    if let Some(step) = line.step {
        value["stepNumber"] = step.into();
    }
    if let Some(data) = &line.data {
        value["data"] = data.clone();
    }
    value
}

fn info(at: u64, message: impl Into<String>, step: Option<usize>, data: Option<Value>) -> Line {
    Line { at, level: Level::Info, message: message.into(), step, data }
}

fn started(run: &Run) -> Line {
    let count = run.program.visible().count();
    info(run.started_at, "Workflow started", None, Some(json!({ "instructions": count })))
}

fn logged(line: &LogLine, step: Option<usize>) -> Line {
    Line { at: line.at, level: line.level, message: line.message.clone(), step, data: None }
}

fn push_step(run: &Run, step: &Step<'_>, lines: &mut Vec<Line>) {
    let Some(started_at) = step.started_at() else { return };
    let number = Some(step.number);
    let kind = step.definition().metadata.get("type");
    let data = json!({ "stepIndex": step.index, "type": kind });
    lines.push(info(started_at, format!("Step {} started", step.number), number, Some(data)));
    let is_own =
        |line: &&LogLine| line.node.is_some_and(|node| step.item.nodes().any(|n| n == node));
    lines.extend(run.log.iter().filter(is_own).map(|line| logged(line, number)));
    if let Some(at) = step.record().settled_at.filter(|_| step.record().output.is_some()) {
        let data = json!({ "duration": seconds_between(started_at, at) });
        lines.push(info(at, format!("Step {} completed", step.number), number, Some(data)));
    }
    if let Some((holds, at)) = step.verdict() {
        lines.push(info(at, format!("The condition is {holds}"), number, Some(next(step, holds))));
    }
    if let (Some((node, failure)), Some(at)) = (step.failure(), run.finished_at) {
        let message = errors::node_error(run, node, failure);
        let data = Some(json!({ "errorType": errors::error_type(run, node) }));
        lines.push(Line { at, level: Level::Error, message, step: number, data });
    }
}

/// What a verdict leads to.
fn next(step: &Step<'_>, holds: bool) -> Value {
    let targets = if holds { &step.item.if_true } else { &step.item.if_false };
    match targets.is_empty() {
        true => json!({ "queued": [step.index + 1] }),
        false => json!({ "queued": targets }),
    }
}

fn waits(steps: &[Step<'_>], node: NodeIndex, reason: &str, at: u64) -> Line {
    let step = steps.iter().find(|step| step.item.nodes().any(|own| own == node));
    info(at, reason, step.map(|step| step.number), None)
}

fn ended(run: &Run) -> Option<Line> {
    let at = run.finished_at?;
    let (level, message) = match run.outcome.as_ref()? {
        Outcome::Completed => (Level::Info, "Workflow completed".to_owned()),
        Outcome::Failed { .. } => (Level::Error, "Workflow failed".to_owned()),
        Outcome::Cancelled { reason } => (Level::Warning, format!("Workflow terminated: {reason}")),
    };
    let data = json!({ "duration": seconds_between(run.started_at, at) });
    Some(Line { at, level, message, step: None, data: Some(data) })
}
