//! The cases in `testdata/instructions`: a request, what the world answers, and all that follows.
//!
//! `WAYSTATION_BLESS=1` rewrites the expectations. A plan and a status in the middle are only compared
//! where their files exist.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::world::{Answers, Script, execute};
use crate::dialect::instructions::reply;
use crate::dialect::world::Story;
use crate::entry::Entry;
use crate::plan::Plan;
use crate::run::Run;

/// The files that follow from a case's request and answers.
const EXPECTED: [&str; 6] =
    ["status.json", "progress.json", "requests.json", "errors.json", "plan.json", "middle.json"];
/// Those that are only compared where they exist.
const OPTIONAL: [&str; 2] = ["plan.json", "middle.json"];

type Outcome = Result<Story<Script>, Vec<String>>;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/instructions");
    let entries = fs::read_dir(folder).expect("the folder of cases");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn observe(case: &Path) -> Outcome {
    let request = fs::read_to_string(case.join("request.json")).expect("request.json");
    let answers = fs::read_to_string(case.join("answers.json"));
    let answers: Answers =
        answers.map_or_else(|_| Answers::new(), |text| serde_json::from_str(&text).unwrap());
    execute(&request, answers)
}

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

/// A file's content, or nothing where the case has none of it.
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

#[test]
fn every_case_ends_as_expected() {
    let bless = std::env::var_os("WAYSTATION_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let outcome = observe(&case);
        for name in EXPECTED {
            let file = case.join(name);
            let is_wanted = !OPTIONAL.contains(&name) || file.exists();
            let actual = content(name, &outcome).filter(|_| is_wanted);
            match (bless, actual) {
                (true, Some(actual)) => {
                    let text = serde_json::to_string_pretty(&actual).unwrap();
                    fs::write(&file, text + "\n").unwrap();
                }
                (true, None) => drop(fs::remove_file(&file)),
                (false, actual) => {
                    let text = fs::read_to_string(&file).ok();
                    let expected: Option<Value> = text.map(|t| serde_json::from_str(&t).unwrap());
                    if expected != actual {
                        let actual = actual.unwrap_or_default();
                        wrong.push(format!("{}: {actual:#}", file.display()));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
}

#[test]
fn no_file_is_forgotten() {
    for case in cases() {
        let inputs = ["request.json", "answers.json"];
        for entry in fs::read_dir(&case).expect("a case is a folder") {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let known = inputs.contains(&&*name) || EXPECTED.contains(&&*name);
            assert!(known, "{}: nothing reads {name}", case.display());
        }
        let Ok(story) = observe(&case) else { continue };
        let mut left = story.services.answers.iter().filter(|(_, answers)| !answers.is_empty());
        let unused = left.next().map(|(id, _)| id);
        assert_eq!(unused, None, "{}: answers that nobody asks for", case.display());
    }
}

#[test]
fn a_journal_alone_tells_the_whole_run() {
    for case in cases() {
        let Ok(story) = observe(&case) else { continue };
        let written = serde_json::to_string(&story.entries).unwrap();
        let read: Vec<Entry> = serde_json::from_str(&written).unwrap();
        assert_eq!(read, story.entries, "{}", case.display());
        let plan = serde_json::to_string(&story.run.program.plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&plan).unwrap(), story.run.program.plan);
        let again = Run::replay(story.run.program.clone(), &read);
        assert_eq!(reply::status(&again, &[]), reply::status(&story.run, &[]));
        assert_eq!(observe(&case).expect("as before").entries, story.entries, "{}", case.display());
    }
}
