//! Answers that are JSON and follow a schema: asked for, mended where that is plain, and asked for once
//! more with what was wrong.
//!
//! - `schema`: which schemas are taken, and whether a value follows one
//! - `bounds`: how large a schema may be, and the work of checking by it
//! - `reading`: from a model's text to a value
//! - `lenient`: JSON as models misspell it

mod bounds;
mod lenient;
mod reading;
mod schema;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use waystation_core::error::{Code, Failure};

use self::reading::Reading;
use self::schema::{Schema, Violations};
use super::models::{Answer, Ask, Models};
use super::{Finish, Message, Role};
use crate::node::AttemptContext;
pub use schema::check_schema;

/// Letters of an unusable answer that a failure quotes.
const QUOTED_LETTERS: usize = 200;
/// Bytes of an unusable answer that the model is shown again.
const REPEATED_BYTES: usize = 64 << 10;
const LENGTH_HINT: &str = "raise max_tokens, or ask for less";

/// An answer that follows the schema.
#[derive(Clone, Debug, PartialEq)]
pub struct Structured {
    /// What the answer says.
    pub value: Value,
    /// The last answer, with the use and the time of all rounds, cached only if all were.
    pub answer: Answer,
    /// How often the model was asked.
    pub rounds: u32,
    /// Whether the answer's text had to be mended to be read.
    pub repaired: bool,
}

/// Asks a model for JSON that follows a schema. An answer that does not is sent back once.
pub async fn ask(
    models: &Models,
    mut ask: Ask,
    schema: &Value,
    context: &AttemptContext,
) -> Result<Structured, Failure> {
    let compiled = Schema::new(schema);
    let compiled = compiled
        .map_err(|problem| Failure::fatal(Code::DefinitionInvalid, format!("schema: {problem}")))?;
    let compiled = Arc::new(compiled);
    tell_schema(&mut ask.messages, schema);
    ask.schema = Some(schema.clone());
    let first = models.ask(ask.clone(), context).await?;
    let problem = match examine(&first, &compiled).await? {
        Ok(reading) => return Ok(structured(reading, first, 1)),
        Err(problem) => problem,
    };
    ask.messages.extend(feedback(&first, &problem));
    // A cached answer would be as useless on the node's next attempt.
    ask.cache = false;
    let second = models.ask(ask, context).await?;
    match examine(&second, &compiled).await? {
        Ok(reading) => Ok(structured(reading, both(&first, second), 2)),
        Err(problem) => Err(problem.into_failure(&second)),
    }
}

/// The object or list that the whole of an answer spells out, a code fence around it aside; nothing
/// where it says anything else.
pub fn json_in(text: &str) -> Option<Value> {
    reading::whole(text).map(|reading| reading.value)
}

fn structured(reading: Reading, answer: Answer, rounds: u32) -> Structured {
    Structured { value: reading.value, answer, rounds, repaired: reading.is_repaired }
}

fn both(first: &Answer, mut second: Answer) -> Answer {
    second.usage.add(&first.usage);
    second.latency_ms = second.latency_ms.saturating_add(first.latency_ms);
    second.cached &= first.cached;
    second
}

/// Why an answer cannot be used.
enum Problem {
    /// It ends early, and nobody knows what would have followed.
    Cut(Finish),
    /// It cannot be read.
    Unreadable(String),
    /// It does not follow the schema.
    Violates(Violations),
}

/// Reads an answer and checks it, off the threads that serve everybody.
async fn examine(
    answer: &Answer,
    schema: &Arc<Schema>,
) -> Result<Result<Reading, Problem>, Failure> {
    let (text, finish, schema) = (answer.text.clone(), answer.finish, Arc::clone(schema));
    let check = tokio::task::spawn_blocking(move || read_and_check(&text, finish, &schema));
    let fault = |_| Failure::fatal(Code::NodePanicked, "checking an answer hit a fault");
    check.await.map_err(fault)
}

fn read_and_check(text: &str, finish: Finish, schema: &Schema) -> Result<Reading, Problem> {
    let reading = match finish {
        Finish::Length | Finish::Filtered => reading::whole(text).ok_or(Problem::Cut(finish))?,
        Finish::Stop | Finish::Other => reading::read(text).map_err(Problem::Unreadable)?,
    };
    schema.check(&reading.value).map_err(Problem::Violates)?;
    Ok(reading)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Cut(Finish::Filtered) => f.write_str("was cut short by the provider's filter"),
            Problem::Cut(_) => f.write_str("was cut off at its greatest length"),
            Problem::Unreadable(why) => write!(f, "is no JSON document: {why}"),
            Problem::Violates(violations) => write!(f, "does not follow the schema: {violations}"),
        }
    }
}

impl Problem {
    fn into_failure(self, answer: &Answer) -> Failure {
        let text = format!("The model's answer {self}");
        match self {
            Problem::Cut(finish) => {
                let hint = (finish == Finish::Length).then(|| LENGTH_HINT.to_owned());
                Failure { hint, ..Failure::fatal(Code::ModelAnswer, text) }
            }
            Problem::Unreadable(_) if !answer.text.trim().is_empty() => {
                let begins: String = answer.text.chars().take(QUOTED_LETTERS).collect();
                let text = format!("{text}; it begins {begins:?}");
                Failure::retryable(Code::ModelAnswer, text, None)
            }
            Problem::Unreadable(_) | Problem::Violates(_) => {
                Failure::retryable(Code::ModelAnswer, text, None)
            }
        }
    }
}

/// Says the schema in words too: not every provider can be told it otherwise.
fn tell_schema(messages: &mut Vec<Message>, schema: &Value) {
    let text = format!(
        "Answer with one JSON document that follows this JSON Schema, and nothing else: no \
         explanation, no code fence.\n{schema}"
    );
    match messages.first_mut() {
        Some(Message { role: Role::System, text: said }) => {
            said.push_str("\n\n");
            said.push_str(&text);
        }
        _ => messages.insert(0, Message { role: Role::System, text }),
    }
}

/// The answer as the model's own words, and what is wrong with it.
fn feedback(answer: &Answer, problem: &Problem) -> Vec<Message> {
    let wish = match problem {
        Problem::Cut(_) => {
            "Answer again with the whole JSON document, as short as the schema allows"
        }
        _ => "Answer again with the corrected JSON document that follows the schema",
    };
    let text = format!("Your answer {problem}. {wish}, and nothing else.");
    let repeated = &answer.text[..answer.text.floor_char_boundary(REPEATED_BYTES)];
    let said = Message { role: Role::Assistant, text: repeated.to_owned() };
    // Providers refuse messages without text.
    let said = Some(said).filter(|said| !said.text.trim().is_empty());
    said.into_iter().chain([Message { role: Role::User, text }]).collect()
}

#[cfg(test)]
mod tests;
