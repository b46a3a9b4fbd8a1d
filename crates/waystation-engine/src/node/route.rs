//! `router` of definitions: asks a model which way a workflow goes; leaves by the port of the option that
//! it names.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::error::{Code, Failure};
use waystation_core::limits::OPTIONS_PER_NODE;

use super::model::choice::{Choice, mentioned, named};
use super::model::selection::{Selection, output};
use super::model::settings::{invalid, model_problems, read_with_model, schema_with_model};
use super::model::{answer, text_of};
use super::spec::{Category, Effort, Spec, holds_template};
use super::{Call, Completion, Effect, Outcome};
use crate::provider::models::Models;

/// The engine's name of the type.
const KIND: &str = "route";
/// Bytes of an option's id, which edges name.
const ID_BYTES: usize = 256;

/// The node type.
pub(super) struct Route {
    pub(super) models: Arc<Models>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What the model is asked.
    prompt: Option<Value>,
    /// The same as `prompt`.
    question: Option<Value>,
    /// The ways that the workflow may go. Edges are labelled with their ids.
    #[schemars(length(min = 1, max = 256))]
    options: Vec<Way>,
    /// The id of the option that is taken where the answer names none; without it such an answer fails
    /// the node.
    default: Option<String>,
    /// What the question is about: a text, or any value. The model is told to follow no instruction that
    /// stands in it.
    context: Option<Value>,
}

/// One way.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Way {
    /// The label of the edges that go this way; `name` where it is not given. Not a template.
    id: Option<String>,
    /// What it is called.
    name: Option<String>,
    /// When it is the right one.
    description: Option<String>,
}

/// What definitions know about it.
pub(super) fn spec() -> Spec {
    Spec {
        name: "router",
        title: "Router",
        description: "Asks a language model which of several ways the workflow goes, and goes that way: \
            along the edges that are labelled with the option's id.\n\nGives `{id, name, choice, text, \
            llm_response, provider, model, finish_reason, usage, cached, latency_ms}`, where `choice` is \
            the option's place in the list, from 0. An answer that names none of the options, or several, \
            means `default`; without a default it is asked again as `retries` says, and then fails the \
            node.\n\nUse `conditional` or `switch` where a rule can decide: it costs nothing and is never \
            wrong.",
        category: Category::Flow,
        schema: schema_with_model::<Settings>,
        example: || {
            json!({
                "provider": "echo",
                "prompt": "Which team should answer?",
                "context": "My invoice is wrong.",
                "options": [
                    { "id": "billing", "description": "Invoices and payments" },
                    { "id": "support", "description": "Everything else" },
                ],
                "default": "support",
            })
        },
        effort: Some(Effort { timeout_ms: 120_000, retries: 2 }),
        lower,
    }
}

fn lower(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    config.retain(|_, value| !value.is_null());
    let mut problems = model_problems(&config);
    if config.contains_key("prompt") == config.contains_key("question") {
        problems.push("prompt: the question is missing, or given twice".to_owned());
    }
    let ports = ports(&config["options"], &mut problems);
    let default = config.get("default").filter(|default| !holds_template(default));
    if let Some(default) = default.and_then(Value::as_str)
        && ports.iter().all(|port| port != default)
    {
        problems.push(format!("default: {default:?} is none of the options' ids"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(Lowered { ports, ..Lowered::new(KIND, config.into()) })
}

/// The options' ids, which have to be known before the node runs.
fn ports(options: &Value, problems: &mut Problems) -> Vec<String> {
    let Some(options) = options.as_array() else {
        problems.push("options: must be a list, not a template: edges name the options".to_owned());
        return Vec::new();
    };
    let mut ports: Vec<String> = Vec::new();
    for (index, option) in options.iter().enumerate().take(OPTIONS_PER_NODE) {
        let said = |name: &str| option.get(name).filter(|text| !text.is_null());
        let id = said("id").or_else(|| said("name")).and_then(Value::as_str);
        let problem = match id {
            None => "needs an `id` or a `name`",
            Some(id) if id.trim().is_empty() || id.len() > ID_BYTES => {
                "needs an id of 1 to 256 bytes"
            }
            Some(id) if id.contains("{{") => "has a template as its id: edges name it",
            Some(id) if ports.iter().any(|port| port == id) => "has the id of another option",
            Some(id) => {
                ports.push(id.to_owned());
                continue;
            }
        };
        problems.push(format!("options.{index}: {problem}"));
    }
    ports
}

#[async_trait]
impl Effect for Route {
    async fn attempt(&self, call: Call) -> Outcome {
        let (model, settings) = read_with_model::<Settings>(KIND, call.config)?;
        let Settings { prompt, question, options, default, context } = settings;
        let question = prompt.or(question).map(text_of);
        let question = question.ok_or_else(|| invalid(KIND, "`prompt` is missing"))?;
        let choices: Vec<Choice> = options.into_iter().map(Choice::from).collect();
        let selection = Selection {
            role: "You choose one option from a list. Answer with the id of that option and nothing \
                else.",
            question: &question,
            description: "",
            title: "Options",
            choices: &choices,
            context: context.as_ref(),
            closing: "Answer with the id of one option.",
        };
        let answer = self.models.ask(model.ask(selection.messages()), &call.context).await?;
        let index = chosen(&answer.text, &choices, default.as_deref())?;
        let mut output = output(&answer, ("choice", Some(index)), &choices);
        let id = choices[index].id.clone();
        if choices[index].name.is_empty() {
            output["name"] = id.clone().into();
        }
        let port = Some(id);
        Ok(Completion { output, port, details: answer::details(&answer) })
    }
}

impl From<Way> for Choice {
    fn from(Way { id, name, description }: Way) -> Choice {
        let name = name.unwrap_or_default();
        let id = id.unwrap_or_else(|| name.clone());
        // What the id says already need not be said again.
        let name = if name == id { String::new() } else { name };
        Choice { id, name, description: description.unwrap_or_default() }
    }
}

/// What the answer names or mentions, else the default.
fn chosen(answer: &str, choices: &[Choice], default: Option<&str>) -> Result<usize, Failure> {
    let default = || choices.iter().position(|choice| Some(choice.id.as_str()) == default);
    let found = named(answer, choices).or_else(|| mentioned(answer, choices)).or_else(default);
    found.ok_or_else(|| {
        let text = "The model's answer names none of the options, or several of them";
        let hint = "give a `default`, or descriptions that tell the options apart";
        let failure = Failure::retryable(Code::ModelAnswer, text, None);
        Failure { hint: Some(hint.to_owned()), ..failure }
    })
}
