//! The states of an instance, moment by moment.

use serde_json::{Map, Value, json};

use super::world::{Answer, Answers, compiled, execute};
use crate::dialect::instructions::reply;
use crate::dialect::world::EXECUTION_ID;
use crate::entry::{Entry, Fact, Outcome, Start};
use crate::error::{Code, Failure};
use crate::program::Program;
use crate::run::Run;

const REQUEST: &str = r#"{ "context": "c", "instructions": ["one", "two"] }"#;

fn entry(at: u64, fact: Fact) -> Entry {
    Entry { at, fact }
}

fn started() -> Fact {
    let (request, _) = compiled(REQUEST).unwrap();
    Fact::RunStarted(Box::new(Start {
        plan: "hash".into(),
        workflow: request.workflow_id.clone(),
        namespace: request.namespace.clone(),
        input: request.input().into(),
        ..Start::default()
    }))
}

/// The run after these facts, one second apart.
fn run(facts: Vec<Fact>) -> Run {
    let (_, compiled) = compiled(REQUEST).unwrap();
    let program = Program::load(compiled.plan, "hash").unwrap();
    let entries: Vec<Entry> =
        facts.into_iter().zip(1..).map(|(fact, second)| entry(second * 1_000, fact)).collect();
    Run::replay(program.into(), &entries)
}

fn begun(node: u32) -> Fact {
    Fact::NodeStarted { node, attempt: 1 }
}

fn state(facts: Vec<Fact>, waiting: &[(u32, String)]) -> Value {
    reply::status(&run(facts), waiting)["status"].clone()
}

#[test]
fn each_state_has_its_word() {
    let busy = Failure::retryable(Code::Transport, "connection reset", None);
    let failed = Fact::NodeFailed { node: 0, attempt: 1, failure: busy, jitter: 0 };
    let ended = |outcome: Outcome| Fact::RunFinished { outcome };
    let asked = || Fact::CancelRequested { reason: "enough".into() };
    let cancelled = || ended(Outcome::Cancelled { reason: "enough".into() });
    assert_eq!(reply::status(&run(vec![]), &[]), json!({ "status": "queued" }));
    assert_eq!(state(vec![started()], &[]), "queued");
    assert_eq!(state(vec![started(), begun(0)], &[]), "running");
    let reason = [(0, "waits for a place among the nodes under way".to_owned())];
    assert_eq!(state(vec![started(), begun(0)], &reason), "waiting");
    assert_eq!(state(vec![started(), begun(0), failed], &[]), "waiting");
    assert_eq!(state(vec![started(), begun(0), asked()], &[]), "running");
    assert_eq!(state(vec![started(), begun(0), asked(), cancelled()], &[]), "terminated");
}

#[test]
fn a_terminated_instance_keeps_its_steps_and_says_why() {
    let done = Fact::NodeCompleted {
        node: 0,
        attempt: 1,
        output: json!({ "text": "r" }).into(),
        port: None,
        details: Map::new(),
    };
    let asked = Fact::CancelRequested { reason: "enough".into() };
    let outcome = Outcome::Cancelled { reason: "enough".into() };
    let run = run(vec![started(), begun(0), done, asked, Fact::RunFinished { outcome }]);
    let status = reply::status(&run, &[]);
    assert_eq!(status["error"], "Run cancelled: enough");
    assert_eq!(status["output"]["steps"].as_array().unwrap().len(), 1);
    assert_eq!(status["output"]["errors"], json!([]));
    assert_eq!(status["output"]["finalizedAt"], "1970-01-01T00:00:05.000Z");
    assert_eq!(reply::final_text(&run), Some("r"));
}

#[test]
fn what_an_attempt_waits_for_is_the_last_line_of_the_log() {
    let run = run(vec![started(), begun(0)]);
    let status = reply::status(&run, &[(0, "waits for openai: 2 calls before it".into())]);
    let last = status["output"]["logs"].as_array().unwrap().last().unwrap();
    insta::assert_snapshot!(last, @r#"{"level":"info","message":"waits for openai: 2 calls before it","timestamp":"1970-01-01T00:00:02.000Z","stepNumber":1}"#);
}

#[test]
fn logs_are_ordered_by_time_and_hold_no_word_of_prompts_and_answers() {
    let body = json!({ "context": "CONTEXT", "instructions": [
        { "instruction": "PROMPT {{ missing }}", "condition": { "expression": "EXPRESSION" } },
        "PROMPT",
    ]});
    let answers = Answers::from([
        ("0".into(), [Answer::text("ANSWER")].into()),
        ("0:condition".into(), [Answer::holds(true)].into()),
        ("1".into(), [Answer::failure(Failure::fatal(Code::Transport, "refused"))].into()),
    ]);
    let story = execute(&body.to_string(), answers).unwrap();
    let status = reply::status(&story.run, &[]);
    let logs = status["output"]["logs"].as_array().unwrap();
    let times: Vec<&str> = logs.iter().map(|line| line["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted());
    let text = status["output"]["logs"].to_string();
    for word in ["CONTEXT", "PROMPT", "EXPRESSION", "ANSWER"] {
        assert!(!text.contains(word), "{text}");
    }
    let messages: Vec<&str> = logs.iter().map(|line| line["message"].as_str().unwrap()).collect();
    insta::assert_snapshot!(messages.join("\n"), @"
    Workflow started
    Step 1 started
    `missing` does not exist; the placeholder stays as it is written (in `prompt`, bytes 10..17)
    Step 1 completed
    The condition is true
    Step 2 started
    refused
    Workflow failed
    ");
}

#[test]
fn replies_to_requests() {
    insta::assert_snapshot!(reply::created(EXECUTION_ID), @r#"{"instanceId":"execution-1","status":{"status":"queued"},"message":"Workflow started successfully"}"#);
    insta::assert_snapshot!(reply::batch(&["a".into(), "b".into()]), @r#"{"count":2,"instances":[{"instanceId":"a","status":{"status":"queued"}},{"instanceId":"b","status":{"status":"queued"}}],"message":"Successfully created 2 workflow instance(s)"}"#);
}

#[test]
fn the_example_in_the_usage_document_is_a_right_request() {
    let example = reply::usage_document()["example"].to_string();
    let (_, compiled) = compiled(&example).expect("a right request");
    assert_eq!(compiled.warnings, [""; 0]);
}
