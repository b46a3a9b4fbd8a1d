//! The world of an instruction chain: models and endpoints that answer by script.

use std::collections::{HashMap, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::dialect::instructions::{Compiled, Known, Request, compile};
use crate::dialect::world::{Deed, Ending, Services, Story, Task, live};
use crate::entry::Start;
use crate::error::{Code, Failure};
use crate::usage::Usage;

/// What a model or an endpoint answers to one attempt.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// How long it takes.
    #[serde(default)]
    after_ms: u64,
    text: Option<String>,
    /// What stands beside the text.
    #[serde(default)]
    output: Value,
    failure: Option<Failure>,
    #[serde(default)]
    spent: Usage,
}

impl Answer {
    pub(super) fn text(text: &str) -> Answer {
        Answer { text: Some(text.into()), ..Answer::default() }
    }

    pub(super) fn holds(holds: bool) -> Answer {
        let text = Some(if holds { "true" } else { "false" }.into());
        Answer { text, output: json!({ "holds": holds }), ..Answer::default() }
    }

    pub(super) fn failure(failure: Failure) -> Answer {
        Answer { failure: Some(failure), ..Answer::default() }
    }

    fn ending(self) -> Ending {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let mut output = self.output;
        output["text"] = self.text.unwrap_or_default().into();
        let port = output["holds"].as_bool().map(|holds| holds.to_string());
        Ok((output, port))
    }
}

/// The answers to each node, by its id, attempt after attempt.
pub(super) type Answers = HashMap<String, VecDeque<Answer>>;

/// Answers to the attempts, and keeps what they asked.
pub(super) struct Script {
    pub(super) answers: Answers,
    pub(super) requests: Vec<Value>,
}

impl Services for Script {
    fn perform(&mut self, task: Task<'_>) -> Deed {
        match task.node.kind.as_str() {
            "condition" => {
                let holds = task.holds.expect("its condition is evaluated");
                Deed::Pure(Ok((holds.into(), Some(holds.to_string()))))
            }
            "thread" => Deed::Pure(self.collect(&task)),
            _ => self.ask(&task),
        }
    }
}

impl Script {
    fn keep(&mut self, task: &Task<'_>) {
        let Task { node, attempt, config, at_ms, .. } = task;
        self.requests.push(json!({
            "at_ms": at_ms, "node": node.id, "type": node.kind, "attempt": attempt,
            "settings": config,
        }));
    }

    fn ask(&mut self, task: &Task<'_>) -> Deed {
        self.keep(task);
        let id = &task.node.id;
        let answer = self.answers.get_mut(id).and_then(VecDeque::pop_front);
        let answer = answer.or_else(|| echo(&task.config));
        let answer = answer.unwrap_or_else(|| panic!("{id}: no answer is left"));
        let (after_ms, spent) = (answer.after_ms, answer.spent);
        Deed::Effect { after_ms, spent, ending: answer.ending() }
    }

    /// What matters of a thread here: whether anything is missing.
    fn collect(&mut self, task: &Task<'_>) -> Ending {
        self.keep(task);
        let entries = task.config["collected"].as_array().expect("a list");
        let missing = entries.iter().filter(|entry| entry["result"].is_null());
        let missing: Vec<String> = missing.map(|entry| entry["step"].to_string()).collect();
        if !missing.is_empty() && task.config["complete"] != true {
            let text =
                format!("Thread incomplete: missing results from steps {}", missing.join(", "));
            return Err(Failure::fatal(Code::ThreadIncomplete, text));
        }
        Ok((json!({ "text": task.config["collected"].to_string() }), None))
    }
}

/// What the built-in provider answers to a step; nothing for other providers.
fn echo(config: &Value) -> Option<Answer> {
    let prompt = config["prompt"].as_str().filter(|_| config["provider"] == "echo");
    prompt.map(Answer::text)
}

/// The providers that the tests know.
pub(super) fn providers() -> Vec<String> {
    ["anthropic", "echo", "openai", "openrouter"].map(String::from).into()
}

/// Compiles a request's body.
pub(super) fn compiled(body: &str) -> Result<(Request, Compiled), Vec<String>> {
    let request = Request::parse(body)?;
    let known = Known { providers: &providers(), instructions_max: 100 };
    let compiled = compile(&request, &known)?;
    Ok((request, compiled))
}

/// Runs a request's body to its end.
pub(super) fn execute(body: &str, answers: Answers) -> Result<Story<Script>, Vec<String>> {
    let (request, compiled) = compiled(body)?;
    let start = Start {
        plan: "hash".into(),
        workflow: request.workflow_id.clone(),
        namespace: request.namespace.clone(),
        name: request.workflow_name.clone(),
        input: request.input().into(),
        ..Start::default()
    };
    let script = Script { answers, requests: Vec::new() };
    Ok(live(compiled.plan, start, compiled.warnings, script))
}
