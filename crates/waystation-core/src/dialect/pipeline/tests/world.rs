//! A world in memory for one run: a virtual clock, services that answer by script, no surprises.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::dialect::pipeline::notify::Notifier;
use crate::dialect::pipeline::{Request, compile, reply};
use crate::entry::{Data, Entry, Fact, Level, Outcome, Start, Timer};
use crate::error::{Code, Failure};
use crate::extract::{Body, by_name, named_outputs};
use crate::limits::NODES_PER_PLAN;
use crate::plan::{NodeIndex, Plan};
use crate::prepare::{Prepared, prepare};
use crate::program::Program;
use crate::run::Run;
use crate::scheduler::{Action, NodeStatus};

/// 2026-01-02 03:04:05 UTC.
const BEGINNING_MS: u64 = 1_767_323_045_000;
const EXECUTION_ID: &str = "execution-1";

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
    let program = Arc::new(Program::load(compiled.plan, "hash").expect("a compiled plan loads"));
    let mut world = World::new(Arc::clone(&program), answers);
    world.record(Fact::RunStarted(Box::new(Start {
        plan: "hash".into(),
        workflow: request.workflow_id,
        namespace: request.namespace,
        name: request.workflow_name,
        input: request.input.into(),
        retry_of: None,
    })));
    for message in compiled.warnings {
        world.record(Fact::Logged { node: None, level: Level::Warning, message });
    }
    world.work();
    world.observed()
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

struct World {
    run: Run,
    now: u64,
    /// What the scheduler asked for and is not done, last first.
    actions: Vec<Action>,
    entries: Vec<Entry>,
    timers: BTreeSet<(u64, Timer)>,
    /// Attempts under way, by the moment of their end and the order of their start.
    attempts: BTreeMap<(u64, usize), Ended>,
    answers: Answers,
    requests: Vec<Value>,
}

struct Ended {
    node: NodeIndex,
    attempt: u32,
    outcome: Result<Value, Failure>,
}

impl World {
    fn new(program: Arc<Program>, answers: Answers) -> World {
        World {
            run: Run::new(program),
            now: BEGINNING_MS,
            actions: Vec::new(),
            entries: Vec::new(),
            timers: BTreeSet::new(),
            attempts: BTreeMap::new(),
            answers,
            requests: Vec::new(),
        }
    }

    /// Does what is to be done, then lets time pass to whatever comes next, until the run has ended.
    fn work(&mut self) {
        loop {
            while let Some(action) = self.actions.pop() {
                self.perform(action);
            }
            if self.run.outcome.is_some() {
                return;
            }
            let ends = self.attempts.first_key_value().map(|(key, _)| key.0);
            let alarm = self.timers.first().map(|(at, _)| *at);
            match (ends, alarm) {
                (Some(ends), alarm) if alarm.is_none_or(|alarm| ends <= alarm) => self.end_first(),
                (_, Some(_)) => self.fire_first(),
                _ => panic!("the run waits for nothing"),
            }
        }
    }

    fn end_first(&mut self) {
        let Some(((at, _), ended)) = self.attempts.pop_first() else { return };
        self.now = at;
        self.ended(ended);
    }

    fn fire_first(&mut self) {
        let Some((at, timer)) = self.timers.pop_first() else { return };
        self.now = at;
        self.record(Fact::TimerFired { timer });
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { node, attempt } => self.start(node, attempt),
            Action::Skip { node, reason } => self.record(Fact::NodeSkipped { node, reason }),
            Action::SetTimer { timer, at } => drop(self.timers.insert((at, timer))),
            Action::Cancel { node } => self.attempts.retain(|_, ended| ended.node != node),
            Action::Finish { outcome } => self.finish(outcome),
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        assert!(self.attempts.is_empty(), "everything under way was cancelled");
        self.actions.clear();
        self.record(Fact::RunFinished { outcome });
    }

    fn record(&mut self, fact: Fact) {
        let entry = Entry { at: self.now, fact };
        let before = self.actions.len();
        assert!(self.run.apply(&entry, &mut self.actions), "{entry:?} changes nothing");
        self.actions[before..].reverse();
        self.entries.push(entry);
    }

    fn start(&mut self, node: NodeIndex, attempt: u32) {
        if self.run.status(node) != NodeStatus::Ready {
            return;
        }
        let no_secrets = |_: &str| None;
        match prepare(&self.run, EXECUTION_ID, node, attempt, self.now, &no_secrets) {
            Prepared::Skip { reason } => self.record(Fact::NodeSkipped { node, reason }),
            Prepared::Fail(failure) => {
                self.ended(Ended { node, attempt, outcome: Err(failure) });
            }
            Prepared::Run { config, warnings, .. } => {
                for message in warnings {
                    self.record(Fact::Logged { node: Some(node), level: Level::Warning, message });
                }
                self.dispatch(node, attempt, config);
            }
        }
    }

    fn dispatch(&mut self, node: NodeIndex, attempt: u32, mut config: Value) {
        let definition = &self.run.program.plan.nodes[node as usize];
        let outcome = match definition.kind.as_str() {
            "merge" => Ok(Value::Null),
            "set" => {
                let value = config["value"].take();
                by_name(&definition.outputs, &value).map(Into::into)
            }
            "http" => return self.send(node, attempt, &config),
            other => panic!("no node type is called {other}"),
        };
        self.ended(Ended { node, attempt, outcome });
    }

    fn send(&mut self, node: NodeIndex, attempt: u32, config: &Value) {
        let program = Arc::clone(&self.run.program);
        let definition = &program.plan.nodes[node as usize];
        self.requests.push(json!({
            "at_ms": self.now - BEGINNING_MS,
            "usid": definition.id,
            "attempt": attempt,
            "settings": config,
        }));
        self.record(Fact::NodeStarted { node, attempt });
        let answer = self.answers.get_mut(&definition.id).and_then(VecDeque::pop_front);
        let answer = answer.or_else(|| echo(config));
        let answer = answer.unwrap_or_else(|| panic!("{}: no answer is left", definition.id));
        let ends = self.now + answer.after_ms.min(definition.timeout_ms);
        let outcome = match answer.after_ms < definition.timeout_ms {
            true => answer.outcome(&definition.outputs),
            false => Err(timed_out(definition.timeout_ms)),
        };
        self.attempts.insert((ends, self.requests.len()), Ended { node, attempt, outcome });
    }

    fn ended(&mut self, ended: Ended) {
        let Ended { node, attempt, outcome } = ended;
        self.record(match outcome {
            Ok(output) => {
                Fact::NodeCompleted { node, attempt, output: Data::from(output), port: None }
            }
            Err(failure) => Fact::NodeFailed { node, attempt, failure, jitter: 0 },
        });
    }

    fn observed(self) -> Observed {
        let Run { program, log, .. } = &self.run;
        let mut notifier = Notifier::new(Arc::clone(program), EXECUTION_ID);
        let told = program.plan.webhook_url.is_some();
        let heard = self.entries.iter().filter(|_| told).flat_map(|entry| notifier.fold(entry));
        let line = |line: &crate::run::LogLine| {
            let node = line.node.map(|node| program.plan.nodes[node as usize].name.as_str());
            format!("{}: {}", node.unwrap_or("-"), line.message)
        };
        let left = self.answers.iter().filter(|(_, answers)| !answers.is_empty());
        Observed {
            reply: reply::render(&self.run, EXECUTION_ID),
            notifications: heard.collect(),
            log: log.iter().map(line).collect(),
            unused: left.map(|(usid, _)| usid.clone()).collect(),
            entries: self.entries,
            requests: self.requests,
            run: Some(self.run),
        }
    }
}

fn timed_out(timeout_ms: u64) -> Failure {
    let text = format!("Timeout after {} seconds", timeout_ms as f64 / 1_000.0);
    Failure::retryable(Code::Timeout, text, None)
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
