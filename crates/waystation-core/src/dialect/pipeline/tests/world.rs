//! The world of a pipeline: HTTP services that answer by script, no surprises.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::dialect::pipeline::notify::Notifier;
use crate::dialect::pipeline::{Request, compile, reply};
use crate::dialect::world::{Deed, EXECUTION_ID, Services, Story, Task, live};
use crate::entry::{Entry, Start};
use crate::error::Failure;
use crate::extract::{Body, by_name, named_outputs};
use crate::limits::NODES_PER_PLAN;
use crate::plan::Plan;
use crate::run::Run;
use crate::usage::Usage;

/// What a service answers to one attempt.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    /// How long it takes.
    #[serde(default)]
    after_ms: u64,
    json: Option<Value>,
    text: Option<String>,
    failure: Option<Failure>,
}

impl Answer {
    fn outcome(self, outputs: &[String]) -> Result<Value, Failure> {
        let body = match (self.failure, self.json) {
            (Some(failure), _) => return Err(failure),
            (None, Some(json)) => Body::Json(json),
            (None, None) => Body::parse(self.text.unwrap_or_default()),
        };
        named_outputs(outputs, body).map(Into::into)
    }
}

/// The answers of each step's service, by usid, attempt after attempt.
pub(super) type Answers = HashMap<String, VecDeque<Answer>>;

/// All that can be seen of a run.
pub(super) struct Observed {
    pub(super) reply: Value,
    pub(super) run: Option<Run>,
    pub(super) entries: Vec<Entry>,
    /// What services were asked, and when.
    pub(super) requests: Vec<Value>,
    pub(super) notifications: Vec<Value>,
    pub(super) log: Vec<String>,
    /// Answers that nobody asked for.
    pub(super) unused: Vec<String>,
}

impl Observed {
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.run.as_ref().map(|run| &run.program.plan)
    }
}

/// Runs a request's body to its end.
pub(super) fn execute(body: &str, answers: Answers) -> Observed {
    let request = Request::parse(body).expect("the body can be taken apart");
    let compiled = match compile(request.steps, request.settings, NODES_PER_PLAN) {
        Ok(compiled) => compiled,
        Err(errors) => return refused(&errors),
    };
    let start = Start {
        plan: "hash".into(),
        workflow: request.workflow_id,
        namespace: request.namespace,
        name: request.workflow_name,
        input: request.input.into(),
        ..Start::default()
    };
    observed(live(compiled.plan, start, compiled.warnings, Web { answers, requests: Vec::new() }))
}

fn refused(errors: &[String]) -> Observed {
    Observed {
        reply: reply::invalid(errors),
        run: None,
        entries: Vec::new(),
        requests: Vec::new(),
        notifications: Vec::new(),
        log: Vec::new(),
        unused: Vec::new(),
    }
}

/// The services of all steps.
struct Web {
    answers: Answers,
    requests: Vec<Value>,
}

impl Services for Web {
    fn perform(&mut self, mut task: Task<'_>) -> Deed {
        let outputs = &task.node.outputs;
        match task.node.kind.as_str() {
            "merge" => Deed::Pure(Ok((Value::Null, None))),
            "set" => {
                let output = by_name(outputs, &task.config["value"].take());
                Deed::Pure(output.map(|output| (output.into(), None)))
            }
            "http" => self.send(&task),
            other => panic!("no node type is called {other}"),
        }
    }
}

impl Web {
    fn send(&mut self, task: &Task<'_>) -> Deed {
        let Task { node, attempt, config, at_ms, .. } = task;
        self.requests.push(json!({
            "at_ms": at_ms, "usid": node.id, "attempt": attempt, "settings": config,
        }));
        let answer = self.answers.get_mut(&node.id).and_then(VecDeque::pop_front);
        let answer = answer.or_else(|| echo(config));
        let answer = answer.unwrap_or_else(|| panic!("{}: no answer is left", node.id));
        let after_ms = answer.after_ms;
        let ending = answer.outcome(&node.outputs).map(|output| (output, None));
        Deed::Effect { after_ms, ending, spent: Usage::default() }
    }
}

fn observed(story: Story<Web>) -> Observed {
    let Story { run, entries, services } = story;
    let program = &run.program;
    let mut notifier = Notifier::new(Arc::clone(program), EXECUTION_ID);
    let told = program.plan.webhook_url.is_some();
    let heard = entries.iter().filter(|_| told).flat_map(|entry| notifier.fold(entry)).collect();
    let line = |line: &crate::run::LogLine| {
        let node = line.node.map(|node| program.plan.nodes[node as usize].name.as_str());
        format!("{}: {}", node.unwrap_or("-"), line.message)
    };
    let left = services.answers.iter().filter(|(_, answers)| !answers.is_empty());
    Observed {
        reply: reply::render(&run, EXECUTION_ID),
        notifications: heard,
        log: run.log.iter().map(line).collect(),
        unused: left.map(|(usid, _)| usid.clone()).collect(),
        requests: services.requests,
        run: Some(run),
        entries,
    }
}

/// What the server's own `/echo` answers; nothing for other addresses.
fn echo(config: &Value) -> Option<Answer> {
    let url = config["url"].as_str()?;
    let query = url.strip_prefix("/echo")?;
    let mut args: Map<String, Value> = query
        .trim_start_matches('?')
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let delay = args.get("delay_ms").and_then(Value::as_str).map(str::parse);
    let after_ms = delay.map_or(0, |delay| delay.expect("delay_ms is a number"));
    if args.get("only").is_some_and(|only| only == "json") {
        return Some(Answer { after_ms, json: Some(config["body"].clone()), ..Answer::default() });
    }
    args.extend(config["params"].as_object().cloned().unwrap_or_default());
    let json = json!({
        "args": args,
        "headers": config["headers"],
        "json": config["body"],
        "method": config["method"],
        "url": url,
    });
    Some(Answer { after_ms, json: Some(json), ..Answer::default() })
}
