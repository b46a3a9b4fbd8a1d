//! A question about a list of choices: how a model is asked, and what is kept of its answer.

use serde_json::{Value, json};

use super::choice::{Choice, list};
use super::prompt::{DATA_RULE, conversation, data};
use super::{answer, text_of};
use crate::provider::Message;
use crate::provider::models::Answer;

/// The question.
pub(in crate::node) struct Selection<'a> {
    /// What the model is told to be, and how to answer.
    pub(in crate::node) role: &'a str,
    pub(in crate::node) question: &'a str,
    pub(in crate::node) description: &'a str,
    /// What stands above the list.
    pub(in crate::node) title: &'a str,
    pub(in crate::node) choices: &'a [Choice],
    /// What the choice is about, if there is more to say. It is data.
    pub(in crate::node) context: Option<&'a Value>,
    /// What the prompt ends with.
    pub(in crate::node) closing: &'a str,
}

impl Selection<'_> {
    pub(in crate::node) fn messages(&self) -> Vec<Message> {
        let Selection { role, question, description, title, choices, context, closing } = self;
        let purpose = match description.is_empty() {
            true => String::new(),
            false => format!("\n\nPurpose: {description}"),
        };
        let context = context.map_or_else(String::new, |context| {
            format!("Context:\n{}\n\n", data(&text_of(context.clone())))
        });
        let list = list(choices);
        let user = format!("{question}{purpose}\n\n{title}:\n{list}\n{context}{closing}");
        conversation(format!("{role} {DATA_RULE}"), user)
    }
}

/// The answer's fields, the index of what was chosen under its own name, and what it is.
pub(in crate::node) fn output(
    answer: &Answer,
    (name, index): (&str, Option<usize>),
    choices: &[Choice],
) -> Value {
    let chosen = index.and_then(|index| choices.get(index));
    let mut output = answer::fields(answer);
    output.insert(name.into(), json!(index));
    output.insert("id".into(), json!(chosen.map(|choice| &choice.id)));
    output.insert("name".into(), json!(chosen.map(|choice| &choice.name)));
    output.insert("llm_response".into(), json!(answer.text));
    Value::Object(output)
}
