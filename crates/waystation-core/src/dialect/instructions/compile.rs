//! An instruction chain into a plan.

use serde_json::{Map, Value, json};

use super::super::definition::Findings;
use super::super::definition::secret_name;
use super::condition::{Condition, Judgement};
use super::fields::Fields;
use super::instruction::{self, Agent, Instruction, Router, Thread, Work};
use super::model::Model;
use super::options::Choice;
use super::request::Request;
use super::template::literal;
use crate::error::Code;
use crate::limits::{COLLECTED_STEPS, FINDINGS};
use crate::plan::{
    Dialect, Join, Missing, Need, Node, NodeIndex, OnFailure, PLAN_FORMAT, Plan, QueueItem, Retry,
    Shape,
};
use crate::program::Program;

/// What the result of the step before stands for.
const PREVIOUS: &str = "{{ previous | string }}";

/// How a step is repeated, and how long an attempt may take.
const STEP: (Retry, u64) = (Retry { attempts: 4, delay_ms: 1_000 }, 300_000);
/// The same for conditions.
const CONDITION: (Retry, u64) = (Retry { attempts: 3, delay_ms: 1_000 }, 120_000);

/// What a definition may refer to, and how large it may be.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The names of the providers.
    pub providers: &'a [String],
    /// Instructions of one chain.
    pub instructions_max: usize,
}

/// A plan, and what its author should know about it.
#[derive(Debug)]
pub struct Compiled {
    /// The plan.
    pub plan: Plan,
    /// What has no effect or is taken another way than it may be meant, in words.
    pub warnings: Vec<String>,
}

/// Compiles the instructions of a request. The error lists all problems.
pub fn compile(request: &Request, known: &Known<'_>) -> Result<Compiled, Vec<String>> {
    let (errors, warnings) = (request.errors.clone(), request.warnings.clone());
    let mut findings = Findings { errors, warnings };
    let definition = request.definition.clone();
    let mut fields = Fields::new(definition, String::new(), 0, &mut findings);
    let model = Model::read(&mut fields, known);
    let items = items(&mut fields, known.instructions_max);
    let count = items.len();
    let read = |(index, item)| instruction::read(item, (index, count), known, &mut findings);
    let instructions: Vec<Option<Instruction>> = items.into_iter().enumerate().map(read).collect();
    check_threads(&instructions, &mut findings);
    findings.errors.truncate(FINDINGS);
    findings.warnings.truncate(FINDINGS);
    if !findings.errors.is_empty() {
        return Err(findings.errors);
    }
    let plan = plan(request, instructions.into_iter().flatten(), &model);
    Ok(Compiled { plan: loadable(plan)?, warnings: findings.warnings })
}

/// Each text is a template for itself, but a node's texts together may be more than a node may have.
fn loadable(plan: Plan) -> Result<Plan, Vec<String>> {
    let program = Program::load(plan, "").map_err(|problems| {
        let text = |problem: &crate::program::NodeProblem| problem.problem.to_string();
        problems.iter().map(text).collect::<Vec<String>>()
    })?;
    Ok(program.plan)
}

fn items(fields: &mut Fields<'_>, most: usize) -> Vec<Value> {
    let items = fields.list("instructions").unwrap_or_default();
    if items.len() > most {
        let text = format!(
            "There are {} instructions; at most {most} are allowed (WAYSTATION_MAX_STEPS)",
            items.len()
        );
        fields.problem::<()>(&text);
        return Vec::new();
    }
    items
}

/// What threads collect is written out in the plan, so all of it together is bounded.
fn check_threads(instructions: &[Option<Instruction>], findings: &mut Findings) {
    let mut total = 0;
    for (index, instruction) in instructions.iter().enumerate() {
        let Some(Instruction { work: Work::Thread(thread), .. }) = instruction else { continue };
        total += thread.steps.len();
        let count = instructions.len();
        if let Some(step) = thread.steps.iter().find(|ordinal| **ordinal > count as u64) {
            let text = super::condition::beyond("collectFromSteps", *step, count);
            findings.warnings.push(format!("Instruction {index}: {text}"));
        }
    }
    if total > COLLECTED_STEPS {
        let text = format!("Threads may collect {COLLECTED_STEPS} steps together, not {total}");
        findings.errors.push(text);
    }
}

fn plan(request: &Request, instructions: impl Iterator<Item = Instruction>, model: &Model) -> Plan {
    let mut builder = Builder { nodes: Vec::new(), items: Vec::new() };
    for instruction in instructions {
        builder.add(instruction, model);
    }
    Plan {
        format: PLAN_FORMAT,
        dialect: Dialect::Instructions,
        shape: Shape::Queue { items: builder.items },
        nodes: builder.nodes,
        results: Vec::new(),
        variables: Map::new(),
        missing: Missing::Verbatim,
        on_failure: OnFailure::Stop,
        deadline_ms: None,
        webhook_url: None,
        budget: request.budget,
    }
}

struct Builder {
    nodes: Vec<Node>,
    items: Vec<QueueItem>,
}

impl Builder {
    /// Adds an instruction: what prepares it, itself, and its condition.
    fn add(&mut self, instruction: Instruction, request: &Model) {
        let Instruction { model, work, condition, shown } = instruction;
        let index = self.items.len();
        let model = model.or(request);
        let metadata = metadata(&shown, &work);
        let (preparation, kind, config) = match work {
            Work::Plain { prompt, system_prompt, schema } => {
                (None, "llm", plain(&model, &prompt, system_prompt, schema))
            }
            Work::Endpoint { settings } => (None, "endpoint", settings),
            Work::Thread(thread) => thread_settings(index, &model, thread),
            Work::Router(router) => router_settings(index, &model, router),
            Work::Agent(agent) => agent_settings(index, &model, agent),
        };
        let before = preparation.map(|(stage, kind, config)| {
            self.node(hidden(format!("{index}:{stage}"), kind, config, STEP))
        });
        let mut main = hidden(index.to_string(), kind, config, STEP);
        (main.hidden, main.metadata) = (false, metadata);
        let node = self.node(main);
        let (mut if_true, mut if_false) = (Vec::new(), Vec::new());
        let condition = condition.map(|mut condition| {
            if_true = std::mem::take(&mut condition.if_true);
            if_false = std::mem::take(&mut condition.if_false);
            self.node(condition_node(index, &model, condition))
        });
        let before = before.into_iter().collect();
        self.items.push(QueueItem { before, node, condition, if_true, if_false });
    }

    fn node(&mut self, node: Node) -> NodeIndex {
        self.nodes.push(node);
        (self.nodes.len() - 1) as NodeIndex
    }
}

/// A node of a plan's mechanics.
fn hidden(
    id: String,
    kind: &str,
    config: Map<String, Value>,
    (retry, timeout_ms): (Retry, u64),
) -> Node {
    let key = config.get("api_key").and_then(Value::as_str).and_then(secret_name);
    let needs = key.map(|name| Need {
        setting: "api_key".into(),
        code: Code::SecretUnknown,
        message: format!("No secret is named {name}"),
    });
    Node {
        name: format!("instruction {id}"),
        id,
        kind: kind.into(),
        config: config.into(),
        condition: None,
        needs: needs.into_iter().collect(),
        literal: Vec::new(),
        body: None,
        outputs: Vec::new(),
        join: Join::Every,
        selections: Vec::new(),
        retry,
        timeout_ms,
        hidden: true,
        metadata: Map::new(),
    }
}

fn metadata(shown: &str, work: &Work) -> Map<String, Value> {
    let kind = match work {
        Work::Plain { .. } => "instruction",
        Work::Endpoint { .. } => "endpoint",
        Work::Thread(_) => "thread",
        Work::Router(_) => "router",
        Work::Agent(_) => "agent",
    };
    let fields = [("instruction", shown), ("type", kind)];
    fields.into_iter().map(|(name, text)| (name.to_owned(), text.into())).collect()
}

/// The stage that prepares an instruction: its name, its type, its settings.
type Preparation = Option<(&'static str, &'static str, Map<String, Value>)>;

/// An instruction's node: what prepares it, its type, its settings.
type Settings = (Preparation, &'static str, Map<String, Value>);

fn with<const N: usize>(
    mut settings: Map<String, Value>,
    more: [(&str, Value); N],
) -> Map<String, Value> {
    settings.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    settings
}

fn plain(
    model: &Model,
    prompt: &str,
    system_prompt: Option<String>,
    schema: Option<Value>,
) -> Map<String, Value> {
    let mut settings =
        with(model.config(), [("prompt", format!("{prompt}\n\n{{{{ previous }}}}").into())]);
    settings.extend(system_prompt.map(|prompt| ("system_prompt".into(), prompt.into())));
    settings.extend(schema.map(|schema| ("schema".into(), schema)));
    settings
}

fn thread_settings(index: usize, model: &Model, thread: Thread) -> Settings {
    let Thread { steps, output_format, check } = thread;
    let entry = |step: &u64| {
        json!({
            "step": step,
            "instruction": format!("{{{{ steps.{step}.instruction | default(null) }}}}"),
            "result": format!("{{{{ steps.{step}.result | default(null) }}}}"),
        })
    };
    let collected: Value = steps.iter().map(entry).collect();
    let settings = [("collected", collected), ("output_format", output_format.into())];
    let mut settings = with(Map::new(), settings);
    let Some(expression) = check else { return (None, "thread", settings) };
    let told = |step: &u64| {
        format!("Step {step}: {{{{ steps.{step}.result | default(\"(no result)\") }}}}")
    };
    let results: Vec<String> = steps.iter().map(told).collect();
    let asked = [("expression", expression.into()), ("result", results.join("\n\n").into())];
    let asked = with(model.for_verdicts().config(), asked);
    settings
        .insert("complete".into(), format!("{{{{ outputs[\"{index}:check\"].holds }}}}").into());
    (Some(("check", "judge", asked)), "thread", settings)
}

/// The output of the stage that chose.
fn decision(index: usize, stage: &str) -> Value {
    format!("{{{{ outputs[\"{index}:{stage}\"] }}}}").into()
}

fn router_settings(index: usize, model: &Model, router: Router) -> Settings {
    let Router { question, description, options, default, patience } = router;
    let asked = [
        ("question", question.into()),
        ("description", description.into()),
        ("options", options.iter().map(Choice::told).collect()),
        ("context", PREVIOUS.into()),
    ];
    let mut asked = with(model.config(), asked);
    asked.extend(default.map(|id| ("default".into(), literal(&id).into())));
    let options = options.iter().map(Choice::called).collect();
    let settings = [("decision", decision(index, "choose")), ("options", options)];
    (Some(("choose", "choose", asked)), "router", with(patience, settings))
}

fn agent_settings(index: usize, model: &Model, agent: Agent) -> Settings {
    let Agent { question, description, tools, fallback, prompt, patience } = agent;
    let prompt = prompt.unwrap_or_else(|| description.clone());
    let asked = [
        ("question", question.into()),
        ("description", description.into()),
        ("tools", tools.iter().map(Choice::told).collect()),
        ("context", PREVIOUS.into()),
    ];
    let asked = with(model.config(), asked);
    let settings = [
        ("decision", decision(index, "decide")),
        ("tools", tools.iter().map(Choice::called).collect()),
        ("fallback", fallback.into()),
        ("prompt", prompt.into()),
        ("context", PREVIOUS.into()),
    ];
    let mut settings = with(model.config(), settings);
    settings.extend(patience);
    (Some(("decide", "decide", asked)), "agent", settings)
}

fn condition_node(index: usize, model: &Model, condition: Condition) -> Node {
    let result = match condition.after {
        Some(step) => format!("{{{{ steps.{step}.result | default(null) }}}}"),
        None => "{{ previous }}".into(),
    };
    let (kind, settings, expression) = match condition.judgement {
        Judgement::Model(expression) => {
            let settings = [("expression", expression.into())];
            ("judge", with(model.for_verdicts().config(), settings), None)
        }
        Judgement::Expression(expression) => ("condition", Map::new(), Some(expression)),
    };
    let settings = with(settings, [("result", result.into())]);
    let mut node = hidden(format!("{index}:condition"), kind, settings, CONDITION);
    node.condition = expression;
    node.needs.extend(condition.after.map(|step| Need {
        setting: "result".into(),
        code: Code::DefinitionInvalid,
        message: format!("Condition refers to step {step}, which has not run"),
    }));
    node
}
