//! Golden cases of all formats: folders with a request, what the world answers, and all that follows.
//!
//! `WAYSTATION_BLESS=1` rewrites the expectations.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::entry::Entry;
use crate::plan::Plan;
use crate::run::Run;

/// The files that a case may be made of.
const INPUTS: [&str; 2] = ["request.json", "answers.json"];

/// The cases of one format.
pub(super) struct Golden<A, O> {
    /// Their folder in `testdata`.
    pub(super) folder: &'static str,
    /// The files that follow from a case's request and answers.
    pub(super) expected: &'static [&'static str],
    /// Those of them that are only compared where they exist.
    pub(super) optional: &'static [&'static str],
    /// Runs a request in a world that answers so.
    pub(super) execute: fn(&str, A) -> O,
    /// A file's content, or nothing where the case has none of it.
    pub(super) content: fn(&str, &O) -> Option<Value>,
    /// Answers that nobody asked for.
    pub(super) unused: fn(&O) -> Vec<String>,
}

impl<A: DeserializeOwned + Default, O> Golden<A, O> {
    /// All cases, each with what comes of it.
    pub(super) fn cases(&self) -> impl Iterator<Item = (PathBuf, O)> {
        let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("../../testdata")
            .join(self.folder);
        let entries = fs::read_dir(folder).expect("the folder of cases");
        let mut cases: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        cases.sort();
        cases.into_iter().map(|case| (case.clone(), self.observe(&case)))
    }

    pub(super) fn observe(&self, case: &Path) -> O {
        let request = fs::read_to_string(case.join("request.json")).expect("request.json");
        let answers = fs::read_to_string(case.join("answers.json"));
        let answers =
            answers.map_or_else(|_| A::default(), |text| serde_json::from_str(&text).unwrap());
        (self.execute)(&request, answers)
    }

    /// Compares every file with what comes of its case, or rewrites it.
    pub(super) fn check(&self) {
        let bless = std::env::var_os("WAYSTATION_BLESS").is_some();
        let mut wrong = Vec::new();
        for (case, outcome) in self.cases() {
            for name in self.expected {
                let file = case.join(name);
                let is_wanted = !self.optional.contains(name) || file.exists();
                let actual = (self.content)(name, &outcome).filter(|_| is_wanted);
                if bless {
                    rewrite(&file, actual.as_ref());
                } else if read(&file) != actual {
                    let actual = actual.unwrap_or_default();
                    wrong.push(format!("{}: {actual:#}", file.display()));
                }
            }
        }
        assert!(wrong.is_empty(), "not as expected:\n{}", wrong.join("\n"));
    }

    /// Every file of every case is read by somebody, and so is every answer.
    pub(super) fn check_nothing_is_forgotten(&self) {
        for (case, outcome) in self.cases() {
            for entry in fs::read_dir(&case).expect("a case is a folder") {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let known = INPUTS.contains(&&*name) || self.expected.contains(&&*name);
                assert!(known, "{}: nothing reads {name}", case.display());
            }
            let unused = (self.unused)(&outcome);
            assert!(unused.is_empty(), "{}: nobody asks for {unused:?}", case.display());
        }
    }
}

/// A journal and a plan, written and read again, tell the whole run.
pub(super) fn check_journal(
    case: &Path,
    (run, entries): (&Run, &[Entry]),
    render: impl Fn(&Run) -> Value,
) {
    let written = serde_json::to_string(entries).unwrap();
    let read: Vec<Entry> = serde_json::from_str(&written).unwrap();
    assert_eq!(read, entries, "{}", case.display());
    let plan = serde_json::to_string(&run.program.plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&plan).unwrap(), run.program.plan);
    let again = Run::replay(run.program.clone(), &read);
    assert_eq!(render(&again), render(run), "{}", case.display());
}

fn read(file: &Path) -> Option<Value> {
    let text = fs::read_to_string(file).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

fn rewrite(file: &Path, content: Option<&Value>) {
    match content {
        Some(content) => fs::write(file, format!("{content:#}\n")).unwrap(),
        None => drop(fs::remove_file(file)),
    }
}
