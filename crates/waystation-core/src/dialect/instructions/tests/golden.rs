//! The cases in `testdata/instructions`.

use serde_json::Value;

use super::world::{Answers, Script, execute};
use crate::dialect::golden::{Golden, check_journal};
use crate::dialect::instructions::reply;
use crate::dialect::world::Story;
use crate::run::Run;

type Outcome = Result<Story<Script>, Vec<String>>;

const GOLDEN: Golden<Answers, Outcome> = Golden {
    folder: "instructions",
    expected: &[
        "status.json",
        "progress.json",
        "requests.json",
        "errors.json",
        "plan.json",
        "middle.json",
    ],
    optional: &["plan.json", "middle.json"],
    execute,
    content,
    unused,
};

/// The run as it was after so many entries.
fn at(story: &Story<Script>, entries: usize) -> Run {
    Run::replay(story.run.program.clone(), &story.entries[..entries])
}

/// What somebody sees who looks after each entry: the state, and how many steps have a result.
fn progress(story: &Story<Script>) -> Value {
    let mut seen: Vec<Value> = Vec::new();
    for entries in 1..=story.entries.len() {
        let status = reply::status(&at(story, entries), &[]);
        let steps = status["output"]["steps"].as_array().expect("steps").len();
        let state = status["status"].as_str().expect("a state");
        let line = Value::from(format!("{state} {steps}"));
        if seen.last() != Some(&line) {
            seen.push(line);
        }
    }
    seen.into()
}

fn content(name: &str, outcome: &Outcome) -> Option<Value> {
    let story = match outcome {
        Ok(story) => story,
        Err(errors) => return (name == "errors.json").then(|| errors.clone().into()),
    };
    match name {
        "status.json" => Some(reply::status(&story.run, &[])),
        "progress.json" => Some(progress(story)),
        "requests.json" => Some(story.services.requests.clone().into()),
        "plan.json" => Some(serde_json::to_value(&story.run.program.plan).unwrap()),
        "middle.json" => Some(reply::status(&at(story, story.entries.len() / 2), &[])),
        _ => None,
    }
}

fn unused(outcome: &Outcome) -> Vec<String> {
    let Ok(story) = outcome else { return Vec::new() };
    let left = story.services.answers.iter().filter(|(_, answers)| !answers.is_empty());
    left.map(|(id, _)| id.clone()).collect()
}

#[test]
fn every_case_ends_as_expected() {
    GOLDEN.check();
}

#[test]
fn no_file_is_forgotten() {
    GOLDEN.check_nothing_is_forgotten();
}

#[test]
fn a_journal_alone_tells_the_whole_run() {
    for (case, outcome) in GOLDEN.cases() {
        let Ok(story) = outcome else { continue };
        check_journal(&case, (&story.run, &story.entries), |run| reply::status(run, &[]));
    }
}

#[test]
fn a_run_says_the_same_every_time() {
    for (case, outcome) in GOLDEN.cases() {
        let entries = |outcome: Outcome| outcome.map(|story| story.entries);
        assert_eq!(entries(GOLDEN.observe(&case)), entries(outcome), "{}", case.display());
    }
}
