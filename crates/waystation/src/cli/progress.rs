//! The progress of a run in a terminal: a line for each running step, a mark for each that has ended.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::terminal::{duration, is_watched, plain_value, say, style};

/// Letters of an error that fit beside a spinner.
const SPINNER_CHARS: usize = 50;
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// What has been shown of a run.
pub(super) struct Progress {
    bars: MultiProgress,
    steps: HashMap<String, Shown>,
    is_watched: bool,
}

struct Shown {
    status: String,
    attempts: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Progress {
        let is_watched = is_watched();
        let target =
            if is_watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Progress {
            bars: MultiProgress::with_draw_target(target),
            steps: HashMap::new(),
            is_watched,
        }
    }

    /// Shows what is new in the steps of a run.
    pub(super) fn update(&mut self, steps: &Value) {
        let steps = plain_value(steps);
        for step in steps.as_array().into_iter().flatten() {
            let (usid, status) = (text(step, "usid"), text(step, "status"));
            let attempts = step["attempts"].as_u64().unwrap_or(0);
            let known = self.steps.get(usid);
            if known.is_some_and(|shown| shown.status == status && shown.attempts == attempts) {
                continue;
            }
            let bar = self.steps.remove(usid).and_then(|shown| shown.bar);
            let bar = self.show(step, status, attempts, bar);
            let status = status.to_owned();
            self.steps.insert(usid.to_owned(), Shown { status, attempts, bar });
        }
    }

    fn show(
        &self,
        step: &Value,
        status: &str,
        attempts: u64,
        bar: Option<ProgressBar>,
    ) -> Option<ProgressBar> {
        let name = text(step, "step_name");
        match status {
            "running" | "retrying" => {
                let bar = bar.unwrap_or_else(|| self.spinner());
                bar.set_message(running(step, name, status, attempts));
                return Some(bar);
            }
            "completed" | "failed" | "aborted" | "cancelled" => {
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                self.line(&ended(step, name, status, attempts));
            }
            _ => {}
        }
        None
    }

    fn spinner(&self) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(TICK);
        bar
    }

    fn line(&self, line: &str) {
        match self.is_watched {
            // Above the spinners, which stay where they are.
            true => drop(self.bars.println(line)),
            false => say(line),
        }
    }
}

fn text<'a>(step: &'a Value, field: &str) -> &'a str {
    step[field].as_str().unwrap_or_default()
}

fn running(step: &Value, name: &str, status: &str, attempts: u64) -> String {
    // A spinner has one line.
    let error: String = text(step, "error").chars().take(SPINNER_CHARS).collect();
    match (status, attempts) {
        ("retrying", _) => {
            format!("{name}  {}", style(&format!("waits to try again: {error}")).yellow())
        }
        (_, 2..) => format!("{name}  {}", style(&format!("attempt {attempts}")).yellow()),
        _ => name.to_owned(),
    }
}

fn ended(step: &Value, name: &str, status: &str, attempts: u64) -> String {
    let seconds = step["execution_time"].as_f64().map(duration).unwrap_or_default();
    let tries = if attempts > 1 { format!(" after {attempts} attempts") } else { String::new() };
    match status {
        "completed" => {
            let tail = format!("{seconds}{tries}");
            format!("{} {name}  {}", style("✓").green(), style(&tail).dim())
        }
        "failed" => {
            let error = text(step, "error");
            let hint =
                step["hint"].as_str().map(|hint| format!("\n  {} {hint}", style("hint:").cyan()));
            let tail = style(&format!("{seconds}{tries}")).dim().to_string();
            format!("{} {name}  {tail}\n  {error}{}", style("✗").red(), hint.unwrap_or_default())
        }
        "aborted" => {
            let reason = format!("aborted: {}", text(step, "reason"));
            format!("{} {name}  {}", style("-").dim(), style(&reason).dim())
        }
        _ => format!("{} {name}  {}", style("-").dim(), style("cancelled").dim()),
    }
}
