//! The progress of a run in a terminal: a line for each running step, a mark for each that has ended.

use std::collections::HashMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::answer::Answer;
use super::summary::used;
use super::terminal::{duration, is_watched, plain_value, say, style};

/// Letters of an error that fit beside a spinner.
const SPINNER_CHARS: usize = 50;
/// Letters of an instruction that name its step.
const NAME_CHARS: usize = 60;
/// Letters of a result that are shown when its step has ended.
const GLIMPSE_CHARS: usize = 100;
/// How often a spinner turns.
const TICK: Duration = Duration::from_millis(100);

/// What has been shown of a run.
pub(super) struct Progress {
    bars: MultiProgress,
    steps: HashMap<String, Shown>,
    /// What models are saying, by step, also of those that are not shown yet.
    answers: HashMap<String, Answer>,
    is_watched: bool,
}

struct Shown {
    state: State,
    bar: Option<ProgressBar>,
}

/// What decides how a step is shown.
#[derive(PartialEq)]
struct State {
    status: String,
    attempts: u64,
    waiting: String,
}

impl State {
    fn of(step: &Value) -> State {
        State {
            status: text(step, "status").to_owned(),
            attempts: step["attempts"].as_u64().unwrap_or(0),
            waiting: text(step, "waiting").to_owned(),
        }
    }
}

impl Progress {
    pub(super) fn new() -> Progress {
        let is_watched = is_watched();
        let target =
            if is_watched { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Progress {
            bars: MultiProgress::with_draw_target(target),
            steps: HashMap::new(),
            answers: HashMap::new(),
            is_watched,
        }
    }

    /// Shows what is new in the steps of a run.
    pub(super) fn update(&mut self, steps: &Value) {
        let steps = plain_value(steps);
        let mut steps: Vec<&Value> = steps.as_array().into_iter().flatten().collect();
        // A chain's steps in the order in which they ran.
        steps.sort_by_key(|step| step["step_number"].as_u64().unwrap_or(u64::MAX));
        for step in steps {
            let usid = text(step, "usid");
            let state = State::of(step);
            if self.steps.get(usid).is_some_and(|shown| shown.state == state) {
                continue;
            }
            let bar = self.steps.remove(usid).and_then(|shown| shown.bar);
            let bar = self.show(step, &state, bar);
            self.steps.insert(usid.to_owned(), Shown { state, bar });
        }
    }

    /// Shows a piece of an answer that a step's model is giving.
    pub(super) fn tell(&mut self, usid: &str, attempt: u32, piece: &str) {
        let answer = self.answers.entry(usid.to_owned()).or_default();
        answer.push(attempt, piece);
        if let Some(Shown { bar: Some(bar), .. }) = self.steps.get(usid) {
            bar.set_message(answer.tail(width()));
        }
    }

    fn show(&self, step: &Value, state: &State, bar: Option<ProgressBar>) -> Option<ProgressBar> {
        let name = name(step);
        match &*state.status {
            "running" | "retrying" => {
                let bar = bar.unwrap_or_else(|| self.spinner());
                bar.set_prefix(running(step, &name, state));
                if let Some(answer) = self.answers.get(text(step, "usid")) {
                    bar.set_message(answer.tail(width()));
                }
                return Some(bar);
            }
            "completed" | "failed" | "aborted" | "cancelled" => {
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
                self.line(&ended(step, &name, state));
            }
            _ => {}
        }
        None
    }

    fn spinner(&self) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new_spinner());
        if let Ok(style) =
            ProgressStyle::with_template("{spinner:.cyan} {prefix} {elapsed:.dim}{msg}")
        {
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

/// What a step is called: a chain's by its place and its instruction.
pub(super) fn name(step: &Value) -> String {
    let Some(number) = step["step_number"].as_u64() else {
        return text(step, "step_name").to_owned();
    };
    let instruction = text(step, "instruction").lines().next().unwrap_or_default();
    format!("{number} {}", cut(instruction, NAME_CHARS))
}

fn cut(text: &str, chars: usize) -> String {
    let mut cut: String = text.chars().take(chars).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// Letters that fit below a spinner.
fn width() -> usize {
    usize::from(console::Term::stderr().size().1).saturating_sub(4).max(20)
}

fn running(step: &Value, name: &str, state: &State) -> String {
    // A spinner has one line.
    let error: String = text(step, "error").chars().take(SPINNER_CHARS).collect();
    let more = match (&*state.status, state.attempts) {
        _ if !state.waiting.is_empty() => state.waiting.clone(),
        ("retrying", _) => format!("waits to try again: {error}"),
        (_, 2..) => format!("attempt {}", state.attempts),
        _ => return name.to_owned(),
    };
    format!("{name}  {}", style(&more).yellow())
}

fn ended(step: &Value, name: &str, state: &State) -> String {
    let mut facts = vec![step["execution_time"].as_f64().map(duration).unwrap_or_default()];
    if state.attempts > 1 {
        facts[0] += &format!(" after {} attempts", state.attempts);
    }
    facts.extend(used(&step["usage"]));
    let tail = style(&facts.join(", ")).dim().to_string();
    match &*state.status {
        "completed" => format!("{} {name}  {tail}{}", style("✓").green(), glimpse(step)),
        "failed" => {
            let error = text(step, "error");
            let hint =
                step["hint"].as_str().map(|hint| format!("\n  {} {hint}", style("hint:").cyan()));
            format!("{} {name}  {tail}\n  {error}{}", style("✗").red(), hint.unwrap_or_default())
        }
        "aborted" => {
            let reason = format!("aborted: {}", text(step, "reason"));
            format!("{} {name}  {}", style("-").dim(), style(&reason).dim())
        }
        _ => format!("{} {name}  {}", style("-").dim(), style("cancelled").dim()),
    }
}

/// How the result of a chain's step begins.
fn glimpse(step: &Value) -> String {
    let Some(result) = step["output"]["text"].as_str() else { return String::new() };
    // Indented JSON says little in its first line.
    let start: String = result.chars().take(4 * GLIMPSE_CHARS).collect();
    let words: Vec<&str> = start.split_whitespace().collect();
    let first = cut(&words.join(" "), GLIMPSE_CHARS);
    format!("\n  {}", style(&first).dim())
}
