//! The cases in `testdata/pipeline`.

use serde_json::Value;

use super::world::{Answers, Observed, execute};
use crate::dialect::golden::{Golden, check_journal};
use crate::dialect::pipeline::reply;

const GOLDEN: Golden<Answers, Observed> = Golden {
    folder: "pipeline",
    expected: &["reply.json", "webhooks.json", "requests.json", "log.json", "plan.json"],
    optional: &["plan.json"],
    execute,
    content,
    unused: |observed| observed.unused.clone(),
};

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
    GOLDEN.check();
}

#[test]
fn no_file_is_forgotten() {
    GOLDEN.check_nothing_is_forgotten();
}

#[test]
fn a_journal_alone_tells_the_whole_run() {
    for (case, observed) in GOLDEN.cases() {
        let Some(run) = &observed.run else { continue };
        check_journal(&case, (run, &observed.entries), |run| reply::render(run, "same"));
    }
}

#[test]
fn a_run_says_the_same_every_time() {
    for (case, first) in GOLDEN.cases() {
        let second = GOLDEN.observe(&case);
        assert_eq!(first.entries, second.entries, "{}", case.display());
        let texts = |observed: &Observed| {
            (observed.reply.to_string(), serde_json::to_string(&observed.notifications).unwrap())
        };
        assert_eq!(texts(&first), texts(&second), "{}", case.display());
    }
}
