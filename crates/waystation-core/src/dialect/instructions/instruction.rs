//! One instruction of a chain: its fields read and checked.

use serde_json::{Map, Value};

use super::super::definition::{Findings, is_deeper};
use super::compile::Known;
use super::condition::{self, Condition};
use super::fields::{Fields, as_whole, did_you_mean, listed};
use super::model::Model;
use super::options::{self, Choice};
use super::template::{DEPTH, literal_value, text};
use crate::error::nearest;

/// The types, as definitions write them.
const KINDS: [&str; 5] = ["instruction", "endpoint", "thread", "router", "agent"];

/// An instruction as its author wrote it.
#[derive(Debug)]
pub(super) struct Instruction {
    pub(super) model: Model,
    pub(super) work: Work,
    pub(super) condition: Option<Condition>,
    /// What it is called in lists of steps.
    pub(super) shown: String,
}

/// What it does.
#[derive(Debug)]
pub(super) enum Work {
    Plain { prompt: String, system_prompt: Option<String>, schema: Option<Value> },
    Endpoint { settings: Map<String, Value> },
    Thread(Thread),
    Router(Router),
    Agent(Agent),
}

/// Gathers the results of steps.
#[derive(Debug)]
pub(super) struct Thread {
    /// Ordinals of execution.
    pub(super) steps: Vec<u64>,
    pub(super) output_format: &'static str,
    /// What a model is asked about the results, where one decides whether they are complete.
    pub(super) check: Option<String>,
}

/// Calls the endpoint that a model chooses.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) question: String,
    pub(super) description: String,
    pub(super) options: Vec<Choice>,
    pub(super) default: Option<String>,
    pub(super) patience: Map<String, Value>,
}

/// Calls a tool, or answers by itself.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) question: String,
    pub(super) description: String,
    pub(super) tools: Vec<Choice>,
    pub(super) fallback: &'static str,
    pub(super) prompt: Option<String>,
    pub(super) patience: Map<String, Value>,
}

/// Reads instruction number `index` of `count`, from 0.
pub(super) fn read(
    value: Value,
    (index, count): (usize, usize),
    known: &Known<'_>,
    findings: &mut Findings,
) -> Option<Instruction> {
    let owner = format!("Instruction {index}: ");
    let fields = match value {
        Value::String(text) => Map::from_iter([("instruction".to_owned(), text.into())]),
        Value::Object(fields) => fields,
        _ => {
            findings.errors.push(format!("{owner}must be a string or an object"));
            return None;
        }
    };
    let is_deep = fields.values().any(|field| is_deeper(field, DEPTH - 1));
    let mut fields = Fields::new(fields, owner, count, findings);
    if is_deep {
        return fields.problem(&format!("Fields may be nested {DEPTH} levels deep at most"));
    }
    let kind = kind(&mut fields)?;
    let model = Model::read(&mut fields, known);
    let (work, shown) = work(kind, &mut fields).unzip();
    let condition = condition::read(&mut fields, index, count);
    fields.finish();
    Some(Instruction { model, work: work?, condition, shown: shown? })
}

fn kind(fields: &mut Fields<'_>) -> Option<&'static str> {
    let Some(kind) = fields.take("type") else { return Some(KINDS[0]) };
    let word = kind.as_str().unwrap_or_default();
    if let Some(known) = KINDS.iter().find(|known| **known == word) {
        return Some(known);
    }
    let near = nearest(word, KINDS.into_iter());
    let kinds = listed(&KINDS.map(String::from));
    let kind = kind.as_str().map_or_else(|| kind.to_string(), str::to_owned);
    let hint = did_you_mean(&near);
    fields.problem(&format!("Unknown type: {kind}{hint}; the types are {kinds}"))
}

/// What an instruction does, and what it is called.
fn work(kind: &str, fields: &mut Fields<'_>) -> Option<(Work, String)> {
    match kind {
        "endpoint" => endpoint(fields),
        "thread" => thread(fields),
        "router" => router(fields),
        "agent" => agent(fields),
        _ => plain(fields),
    }
}

fn plain(fields: &mut Fields<'_>) -> Option<(Work, String)> {
    let shown = fields.required_text("instruction");
    let prompt = shown.clone().map(|prompt| text("instruction", prompt, fields));
    let system_prompt =
        fields.text("system_prompt").map(|prompt| text("system_prompt", prompt, fields));
    let schema = fields.object("schema").map(|schema| literal_value(schema.into()));
    fields.pass_over("description");
    Some((Work::Plain { prompt: prompt?, system_prompt, schema }, shown?))
}

fn endpoint(fields: &mut Fields<'_>) -> Option<(Work, String)> {
    let settings = options::endpoint(fields);
    let patience = options::patience(fields);
    let description = fields.text("description");
    let mut settings = settings?;
    let part = |name: &str| settings.get(name).and_then(Value::as_str).unwrap_or_default();
    let shown = description.unwrap_or_else(|| format!("{} {}", part("method"), part("api_url")));
    settings.extend(patience);
    Some((Work::Endpoint { settings }, shown))
}

fn thread(fields: &mut Fields<'_>) -> Option<(Work, String)> {
    let steps = collected(fields);
    let formats = [("json", "json"), ("markdown", "markdown"), ("numbered", "numbered")];
    let output_format = fields.required_choice("outputFormat", &formats);
    let check = fields.object("completionCheck").and_then(|inner| {
        let mut inner = fields.inside("completionCheck", inner);
        let check = check(&mut inner);
        inner.finish();
        check
    });
    let description = fields.text("description");
    let (steps, output_format) = (steps?, output_format?);
    let shown = description.unwrap_or_else(|| {
        let steps: Vec<String> = steps.iter().map(ToString::to_string).collect();
        format!("Collect the results of steps {}", steps.join(", "))
    });
    Some((Work::Thread(Thread { steps, output_format, check }), shown))
}

/// What a model is to decide; nothing where the results speak for themselves.
fn check(fields: &mut Fields<'_>) -> Option<String> {
    let modes = [("deterministic", false), ("llm", true)];
    let asks = fields.choice("mode", &modes) == Some(true);
    let expression = fields.text("expression");
    if !asks {
        if expression.is_some() {
            let name = fields.name_of("expression");
            fields.warning(&format!("Field {name} has no effect in mode deterministic"));
        }
        return None;
    }
    let expression = expression.unwrap_or_else(|| "every step has a result".into());
    Some(text("expression", expression, fields))
}

fn collected(fields: &mut Fields<'_>) -> Option<Vec<u64>> {
    let Some(value) = fields.take("collectFromSteps") else {
        return fields.missing("collectFromSteps");
    };
    let ordinal = |value: &Value| as_whole(value).filter(|ordinal| *ordinal > 0);
    let steps: Option<Vec<u64>> =
        value.as_array().and_then(|items| items.iter().map(ordinal).collect());
    match steps {
        Some(steps) if !steps.is_empty() => Some(steps),
        _ => fields.must("collectFromSteps", "a non-empty array of whole numbers from 1"),
    }
}

fn router(fields: &mut Fields<'_>) -> Option<(Work, String)> {
    let shown = fields.required_text("description");
    let description = shown.clone().map(|shown| text("description", shown, fields));
    let question = fields.required_text("evaluationPrompt");
    let question = question.map(|prompt| text("evaluationPrompt", prompt, fields));
    let options = options::read("options", fields);
    let default = fields.text("defaultOption");
    if let (Some(default), Some(options)) = (&default, &options)
        && !options.iter().any(|option| option.id == *default)
    {
        let near = nearest(default, options.iter().map(|option| option.id.as_str()));
        let hint = did_you_mean(&near);
        fields.problem::<()>(&format!("Unknown defaultOption: {default}{hint}"));
    }
    let patience = options::patience(fields);
    let (question, description, options) = (question?, description?, options?);
    Some((Work::Router(Router { question, description, options, default, patience }), shown?))
}

fn agent(fields: &mut Fields<'_>) -> Option<(Work, String)> {
    let shown = fields.required_text("description");
    let description = shown.clone().map(|shown| text("description", shown, fields));
    let question = fields.required_text("decisionPrompt");
    let question = question.map(|prompt| text("decisionPrompt", prompt, fields));
    let tools = options::read("availableTools", fields);
    let fallbacks = [("llm", "llm"), ("skip", "skip")];
    let fallback = fields.required_choice("fallbackBehavior", &fallbacks);
    let prompt = fields.text("llmFallbackPrompt");
    let prompt = prompt.map(|prompt| text("llmFallbackPrompt", prompt, fields));
    let patience = options::patience(fields);
    let (question, description) = (question?, description?);
    let (tools, fallback) = (tools?, fallback?);
    Some((Work::Agent(Agent { question, description, tools, fallback, prompt, patience }), shown?))
}
