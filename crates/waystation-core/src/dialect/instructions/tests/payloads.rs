//! The sample chains run as they are shipped.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::world::{Answer, Answers, Script, compiled, execute};
use crate::dialect::instructions::reply;
use crate::dialect::world::Story;

fn run(name: &str, answers: Answers) -> Story<Script> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../payloads");
    let body = fs::read_to_string(folder.join(name)).expect("a payload");
    execute(&body, answers).expect("a right request")
}

/// The sources that stand on the server, and what the nodes that choose make of an echo.
fn server() -> Answers {
    let chosen = json!({ "choice": 0, "id": "news", "name": "News", "llm_response": "both" });
    let choose: Answer = serde_json::from_value(json!({ "output": chosen })).unwrap();
    Answers::from([
        ("2".into(), [Answer::text(r#"{"city":"Hamburg"}"#)].into()),
        ("3:choose".into(), [choose].into()),
        ("3".into(), [Answer::text("{}")].into()),
    ])
}

fn status(story: &Story<Script>) -> Value {
    let status = reply::status(&story.run, &[]);
    assert_eq!(status["status"], "complete", "{status:#}");
    let logs = status["output"]["logs"].as_array().unwrap();
    assert!(logs.iter().all(|line| line["level"] == "info"), "{logs:#?}");
    status
}

#[test]
fn the_first_chain_gives_what_the_guide_shows() {
    let story = run("first-chain.json", Answers::new());
    status(&story);
    let text =
        "Translate it to French\n\nSummarize this text\n\nThe kettle is lovely, but it came late.";
    assert_eq!(reply::final_text(&story.run), Some(text));
}

#[test]
fn the_chain_of_all_kinds_runs_each_of_them() {
    let status = status(&run("instruction-chain.json", server()));
    let steps = status["output"]["steps"].as_array().unwrap();
    let kinds: Vec<&str> = steps.iter().map(|step| step["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["instruction", "instruction", "endpoint", "router", "thread"]);
    assert_eq!(steps[1]["branchTaken"], "true");
}

#[test]
fn every_chain_in_the_guide_is_right() {
    let file =
        Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs/instructions.md");
    let guide = fs::read_to_string(file).expect("the guide");
    let blocks = guide.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let chains: Vec<&str> = blocks.filter(|block| block.contains("\"instructions\"")).collect();
    assert_eq!(chains.len(), 3);
    for chain in chains {
        let (_, compiled) = compiled(chain).unwrap_or_else(|errors| panic!("{errors:?}: {chain}"));
        assert_eq!(compiled.warnings, [""; 0], "{chain}");
    }
}

#[test]
fn the_condition_in_the_guide_branches_as_it_says() {
    let body = json!({ "context": "An error occurred", "provider": "echo", "instructions": [
        { "instruction": "Report", "condition": {
            "mode": "deterministic", "expression": "result contains 'error'",
            "ifTrue": [2], "ifFalse": [1] } },
        "All is well: say so",
        "Explain what to do",
    ]});
    let status = status(&execute(&body.to_string(), Answers::new()).expect("a right request"));
    let steps = status["output"]["steps"].as_array().unwrap();
    let indices: Vec<&Value> = steps.iter().map(|step| &step["stepIndex"]).collect();
    assert_eq!(indices, [0, 2]);
}

#[test]
fn no_payload_is_forgotten() {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../payloads");
    let entries = fs::read_dir(folder).expect("the payloads").map(|entry| entry.unwrap());
    let is_chain = |path: &Path| fs::read_to_string(path).unwrap().contains("\"instructions\"");
    let chains = entries.filter(|entry| is_chain(&entry.path()));
    let mut names: Vec<String> =
        chains.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, ["first-chain.json", "instruction-chain.json"]);
}
