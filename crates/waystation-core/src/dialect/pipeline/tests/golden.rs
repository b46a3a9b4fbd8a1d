//! The cases in `testdata/pipeline`: a request, what the world answers, and all that follows from it.
//!
//! `WAYSTATION_BLESS=1` rewrites the expectations. A plan is only compared where its file exists.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::world::{Answers, Observed, execute};
use crate::dialect::pipeline::reply;
use crate::entry::Entry;
use crate::plan::Plan;
use crate::run::Run;

/// The files that follow from a case's request and answers.
const EXPECTED: [&str; 5] =
    ["reply.json", "webhooks.json", "requests.json", "log.json", "plan.json"];

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/pipeline");
    let entries = fs::read_dir(folder).expect("the folder of cases");
    let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    cases
}

fn observe(case: &Path) -> Observed {
    let request = fs::read_to_string(case.join("request.json")).expect("request.json");
    let answers = fs::read_to_string(case.join("answers.json"));
    let answers: Answers =
        answers.map_or_else(|_| Answers::new(), |text| serde_json::from_str(&text).unwrap());
    execute(&request, answers)
}

/// A file's content, or nothing where the case has none of it.
fn content(name: &str, observed: &Observed) -> Option<Value> {
    let list = |items: &[Value]| (!items.is_empty()).then(|| Value::from(items));
    match name {
        "reply.json" => Some(observed.reply.clone()),
        "webhooks.json" => list(&observed.notifications),
        "requests.json" => list(&observed.requests),
        "log.json" => (!observed.log.is_empty()).then(|| observed.log.clone().into()),
        _ => observed.plan().map(|plan| serde_json::to_value(plan).unwrap()),
    }
}

#[test]
fn every_case_ends_as_expected() {
    let bless = std::env::var_os("WAYSTATION_BLESS").is_some();
    let mut wrong = Vec::new();
    for case in cases() {
        let observed = observe(&case);
        for name in EXPECTED {
            let file = case.join(name);
            let actual = content(name, &observed).filter(|_| name != "plan.json" || file.exists());
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
        let unused = observe(&case).unused;
        assert!(unused.is_empty(), "{}: answers that nobody asks for: {unused:?}", case.display());
    }
}

#[test]
fn a_journal_alone_tells_the_whole_run() {
    for case in cases() {
        let observed = observe(&case);
        let Some(run) = &observed.run else { continue };
        let written = serde_json::to_string(&observed.entries).unwrap();
        let read: Vec<Entry> = serde_json::from_str(&written).unwrap();
        assert_eq!(read, observed.entries, "{}", case.display());
        let again = Run::replay(run.program.clone(), &read);
        let render = |run: &Run| reply::render(run, "same");
        assert_eq!(render(&again), render(run), "{}", case.display());
        let plan = serde_json::to_string(&run.program.plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&plan).unwrap(), run.program.plan);
    }
}

#[test]
fn a_run_says_the_same_every_time() {
    for case in cases() {
        let (first, second) = (observe(&case), observe(&case));
        assert_eq!(first.entries, second.entries, "{}", case.display());
        let texts = |observed: &Observed| {
            (observed.reply.to_string(), serde_json::to_string(&observed.notifications).unwrap())
        };
        assert_eq!(texts(&first), texts(&second), "{}", case.display());
    }
}
