//! The sample payloads run as they are shipped.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::world::{Answers, Observed, execute};

/// What each payload gives.
fn expected() -> Vec<(&'static str, Value)> {
    vec![
        (
            "llm-answer.json",
            json!({
                "review": "The kettle is lovely, but it came late.",
                "sentiment": "mixed",
                "letter": "Thank you for telling us about product and delivery. \
                    We are glad that you like it, and sorry that it came late.",
            }),
        ),
        ("parallel-dag.json", json!({ "shop": "south", "item": "a kettle", "saved": 3 })),
        ("selection.json", json!("Dear customer. Billing has read: My invoice of May is wrong")),
        ("sequential-steps.json", json!("3 boxes of tea: 15 in all, 3 of it tax")),
        (
            "simple-echo.json",
            json!({
                "args": {}, "headers": null, "json": { "message": "Hello, Ada!" },
                "method": "POST", "url": "/echo",
            }),
        ),
    ]
}

fn run(name: &str) -> Observed {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../payloads");
    let body = fs::read_to_string(folder.join(name)).expect("a payload");
    execute(&body, Answers::new())
}

#[test]
fn every_payload_gives_its_result_without_a_warning() {
    for (name, result) in expected() {
        let observed = run(name);
        assert_eq!(observed.reply["success"], true, "{name}: {:#}", observed.reply);
        assert_eq!(observed.reply["final_result"], result, "{name}");
        assert_eq!(observed.reply.get("warnings"), None, "{name}");
        assert_eq!(observed.log, Vec::<String>::new(), "{name}");
    }
}

#[test]
fn no_payload_is_forgotten() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../payloads");
    let entries = fs::read_dir(folder).expect("the payloads").map(|entry| entry.unwrap());
    let is_pipeline = |path: &Path| fs::read_to_string(path).unwrap().contains("\"STEPS_CONFIG\"");
    let pipelines = entries.filter(|entry| is_pipeline(&entry.path()));
    let mut names: Vec<String> =
        pipelines.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    let known: Vec<&str> = expected().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, known);
}

/// When each step's service was asked, in milliseconds from the start.
fn times(observed: &Observed) -> Vec<(&str, u64)> {
    let time = |request| -> Option<(&str, u64)> {
        let request: &Value = request;
        Some((request["usid"].as_str()?, request["at_ms"].as_u64()?))
    };
    observed.requests.iter().filter_map(time).collect()
}

#[test]
fn payloads_overlap_and_wait_as_they_say() {
    let parallel = run("parallel-dag.json");
    assert_eq!(times(&parallel), [("dag-step-1", 0), ("dag-step-2", 0), ("dag-step-3", 300)]);
    let sequential = run("sequential-steps.json");
    let order: Vec<&str> = times(&sequential).into_iter().map(|(usid, _)| usid).collect();
    assert_eq!(order, ["seq-step-1", "seq-step-2", "seq-step-3"]);
    assert_eq!(run("selection.json").reply["steps_aborted"], 1);
}
