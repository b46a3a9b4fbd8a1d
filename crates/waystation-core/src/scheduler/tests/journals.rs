//! Journals as they were once written, kept as files and replayed for ever.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::entry::Entry;
use crate::plan::{NodeIndex, Plan};
use crate::program::Program;
use crate::run::Run;

/// Every file of the folder; one that is missing here or there fails the test.
const JOURNALS: [&str; 7] = [
    "branch-and-merge",
    "cancelled-during-backoff",
    "continue-after-failure",
    "deadline",
    "queue-with-branches",
    "resumed-after-crash",
    "stop-on-failure",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Journal {
    /// What the run went through, for readers.
    about: String,
    plan: Plan,
    entries: Vec<Entry>,
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    /// By node id.
    statuses: serde_json::Map<String, Value>,
    /// As `RunFinished` spells it; null for a run that has not ended.
    outcome: Value,
    /// What a process has to do that takes the run up here.
    resumed: Vec<String>,
}

fn folder() -> PathBuf {
    Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../testdata/journals")
}

#[test]
fn the_folder_holds_exactly_the_known_journals() {
    let files = std::fs::read_dir(folder()).expect("testdata/journals is there");
    let mut names: Vec<String> = files
        .map(|file| file.expect("it can be listed").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    assert_eq!(names, JOURNALS.map(|name| format!("{name}.json")));
}

#[test]
fn every_recorded_journal_folds_to_what_it_once_meant() {
    for name in JOURNALS {
        let text = std::fs::read_to_string(folder().join(format!("{name}.json")));
        let journal: Journal = serde_json::from_str(&text.expect("it can be read"))
            .unwrap_or_else(|error| panic!("{name} is no longer readable: {error}"));
        check(name, journal);
    }
}

fn check(name: &str, journal: Journal) {
    let Journal { about, plan, entries, expected } = journal;
    let program = Arc::new(Program::load(plan, "hash").expect("the plan still compiles"));
    let run = Run::replay(Arc::clone(&program), &entries);
    let nodes = program.plan.nodes.iter().enumerate();
    let status = |node: usize| format!("{:?}", run.status(node as NodeIndex)).to_lowercase();
    let statuses = nodes.map(|(index, node)| (node.id.clone(), status(index).into())).collect();
    assert_eq!(expected.statuses, statuses, "{name}: {about}");
    let outcome = serde_json::to_value(&run.outcome).expect("an outcome serializes");
    assert_eq!(outcome, expected.outcome, "{name}: {about}");
    let resumed = run.scheduler.resume(program.rules());
    assert_eq!(super::spelled(&resumed), expected.resumed.join(", "), "{name}: {about}");
}
