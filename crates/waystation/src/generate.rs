//! A workflow out of a description, by a model that is told the node types and what is wrong with its
//! answers.

use std::time::Duration;

use serde_json::{Value, json};
use waystation_core::dialect::graph::issue::Issue;
use waystation_core::error::{Class, Code, Error, Failure};
use waystation_engine::node::AttemptContext;
use waystation_engine::provider::models::Ask;
use waystation_engine::provider::structured;
use waystation_engine::provider::{Message, Role};

use crate::app::App;
use crate::workflows::{self, Refusal};

/// How often a model may answer before it is given up.
const ROUNDS: usize = 3;
/// Pauses before a call that failed is made again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// The longest pause, whatever the provider asks for.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Problems of one answer that the model is told.
const PROBLEMS: usize = 30;
/// Tokens that an answer may have.
const ANSWER_TOKENS: u32 = 8_192;
/// Letters of a description; a longer one is refused.
const PROMPT_LETTERS: usize = 20_000;

/// What somebody wants.
#[derive(Debug, Default)]
pub struct Wish {
    /// In their words.
    pub prompt: String,
    /// Whom to ask; the default provider unless said.
    pub provider: Option<String>,
    /// Which model; the provider's default unless said.
    pub model: Option<String>,
}

/// What a model made of it.
pub struct Generated {
    /// The definition, which can be saved and run as it stands.
    pub workflow: Value,
    /// What it does.
    pub summary: String,
    /// Why it is made so.
    pub reasoning: String,
    /// What is probably not meant so.
    pub warnings: Vec<Issue>,
    /// How often the model answered.
    pub rounds: usize,
}

/// Why there is no workflow.
#[derive(Debug)]
pub enum Unmade {
    /// The last answer still has problems.
    Invalid {
        /// The answer's definition.
        workflow: Value,
        /// All that is wrong with it.
        issues: Vec<Issue>,
    },
    /// Anything else.
    Error(Error),
}

impl From<Failure> for Unmade {
    fn from(failure: Failure) -> Unmade {
        let Failure { code, message, hint, .. } = failure;
        Unmade::Error(Error { code, message, hint })
    }
}

/// Asks a model for a workflow until one passes the checks that saving it makes.
pub async fn generate(app: &App, wish: &Wish) -> Result<Generated, Unmade> {
    let prompt = wish.prompt.trim();
    if prompt.is_empty() || prompt.chars().count() > PROMPT_LETTERS {
        let text = format!("prompt: describe the workflow in 1 to {PROMPT_LETTERS} letters");
        return Err(Unmade::Error(Error::new(Code::RequestInvalid, text)));
    }
    let mut messages = vec![said(Role::System, instructions(app)), said(Role::User, prompt.into())];
    let context = AttemptContext::alone();
    let mut rounds = 0;
    loop {
        rounds += 1;
        let answer = match patiently(app, wish, &messages, &context).await {
            Ok(answer) => answer,
            Err(failure) if failure.code == Code::ModelAnswer && rounds < ROUNDS => {
                messages.push(said(Role::User, feedback(&[failure.message])));
                continue;
            }
            Err(failure) => return Err(failure.into()),
        };
        let mut value = answer.value;
        let workflow = value["workflow"].take();
        let problems: Vec<String> = match workflows::check(app, &workflow) {
            // What is probably not meant so is worth another try.
            Ok(compiled) if rounds < ROUNDS && !compiled.warnings.is_empty() => {
                compiled.warnings.iter().map(ToString::to_string).collect()
            }
            Ok(compiled) => {
                let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
                let (summary, reasoning) = (text("summary"), text("reasoning"));
                let unset = workflows::unset_secrets(app, &compiled);
                let warnings = compiled.warnings.into_iter().chain(unset).collect();
                return Ok(Generated { workflow, summary, reasoning, warnings, rounds });
            }
            Err(Refusal::Invalid(issues)) if rounds >= ROUNDS => {
                return Err(Unmade::Invalid { workflow, issues });
            }
            Err(Refusal::Invalid(issues)) => issues.iter().map(ToString::to_string).collect(),
            Err(Refusal::Error(error)) => return Err(Unmade::Error(error)),
            Err(Refusal::Stale { .. }) => Vec::new(),
        };
        messages.push(said(Role::Assistant, answer.answer.text));
        messages.push(said(Role::User, feedback(&problems)));
    }
}

/// Asks, and again where the failure is one that passes.
async fn patiently(
    app: &App,
    wish: &Wish,
    messages: &[Message],
    context: &AttemptContext,
) -> Result<structured::Structured, Failure> {
    for pause in PAUSES {
        match structured::ask(&app.models, ask(wish, messages), &schema(), context).await {
            Err(Failure { class: Class::Retryable { after_ms }, code, .. })
                if code != Code::ModelAnswer =>
            {
                let asked = after_ms.map_or(pause, Duration::from_millis);
                tokio::time::sleep(asked.clamp(pause, PAUSE_MAX)).await;
            }
            answer => return answer,
        }
    }
    structured::ask(&app.models, ask(wish, messages), &schema(), context).await
}

fn said(role: Role, text: String) -> Message {
    Message { role, text }
}

fn ask(wish: &Wish, messages: &[Message]) -> Ask {
    Ask {
        provider: wish.provider.clone(),
        model: wish.model.clone(),
        messages: messages.to_vec(),
        temperature: Some(0.2),
        max_tokens: Some(ANSWER_TOKENS),
        ..Ask::default()
    }
}

fn schema() -> Value {
    json!({
        "type": "object",
        "required": ["workflow", "summary", "reasoning"],
        "properties": {
            "workflow": {
                "type": "object",
                "required": ["name", "nodes", "edges"],
                "properties": {
                    "name": { "type": "string" },
                    "description": { "type": "string" },
                    "nodes": { "type": "array", "items": { "type": "object" } },
                    "edges": { "type": "array", "items": { "type": "object" } },
                },
            },
            "summary": { "type": "string" },
            "reasoning": { "type": "string" },
        },
    })
}

/// What a model has to know: the format, and every node type with the schema of its settings.
fn instructions(app: &App) -> String {
    let types = app.engine.catalog().types().iter().map(|known| {
        json!({
            "type": known.spec.name,
            "description": known.spec.description,
            "config": known.schema,
            "example_config": (known.spec.example)(),
        })
        .to_string()
    });
    let types: Vec<String> = types.collect();
    format!("{FORMAT}\n\nThe node types, one a line:\n{}", types.join("\n"))
}

const FORMAT: &str = "\
You design workflows for a workflow engine. Answer with one JSON object {workflow, summary, reasoning}: the \
definition, what it does in a sentence or two, and why it is made so.

A definition is {name, description, nodes, edges}. A node is {id, type, config}; ids are short words with \
underscores. An edge is {source, target}, with \"label\" where it leaves a node by one of its ways out \
(\"true\" or \"false\" of a condition, a case of a switch, a choice of a wait), and with the label \"error\" \
where it is followed when its node fails. Edges never lead in a circle. Begin with one node of the type start \
and finish with nodes of the type end; every other node lies on a way between them.

Texts in a config may hold templates: {{input.NAME}} is what the run is given, {{outputs.NODE_ID}} what an \
earlier node gave, {{outputs.NODE_ID.FIELD}} a field of it, {{secrets.NAME}} a secret. A template that names \
something that is not there fails its node; {{input.note | default(\"none\")}} stands in for what may be \
missing. Conditions are expressions without braces or with them: outputs.classify.category == 'technical'. \
Never write keys, passwords or made-up addresses into a config: use {{secrets.NAME}} and {{input.NAME}}. Use \
only the node types below, with only the settings that their schemas have.";

fn feedback(problems: &[String]) -> String {
    let problems: Vec<String> =
        problems.iter().take(PROBLEMS).map(|problem| format!("- {problem}")).collect();
    format!(
        "There are problems:\n{}\n\nAnswer with the whole JSON object again, mended.",
        problems.join("\n")
    )
}
