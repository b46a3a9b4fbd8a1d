//! An answer as the fields of a node's result.

use serde_json::{Map, Value, json};
use waystation_core::error::{Code, Failure};

use crate::provider::Finish;
use crate::provider::models::Answer;

/// The fields that the results of all node types that ask a model have.
pub(in crate::node) fn fields(answer: &Answer) -> Map<String, Value> {
    let usage = json!({
        "prompt_tokens": answer.usage.prompt_tokens,
        "completion_tokens": answer.usage.completion_tokens,
        "total_tokens": answer.usage.total_tokens(),
        "cost_usd": answer.usage.usd(),
    });
    let fields = [
        ("text", json!(answer.text)),
        ("provider", json!(answer.provider)),
        ("model", json!(answer.model)),
        ("finish_reason", json!(finish_reason(answer.finish))),
        ("usage", usage),
        ("cached", json!(answer.cached)),
        ("latency_ms", json!(answer.latency_ms)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What is worth knowing about an answer beside what it says.
pub(in crate::node) fn details(answer: &Answer) -> Map<String, Value> {
    let mut details = fields(answer);
    details.shift_remove("text");
    details
}

/// Refuses an answer without text. Another attempt may get one, unless the question itself is why.
pub(in crate::node) fn require_text(answer: &Answer) -> Result<(), Failure> {
    if !answer.text.trim().is_empty() {
        return Ok(());
    }
    let why = match answer.finish {
        Finish::Length => ": it reached its greatest length before it had any text",
        Finish::Filtered => ": the provider withheld it",
        Finish::Stop | Finish::Other => "",
    };
    let text = format!("The model's answer is empty{why}");
    let mut failure = match answer.finish {
        Finish::Length | Finish::Filtered => Failure::fatal(Code::ModelAnswer, text),
        Finish::Stop | Finish::Other => Failure::retryable(Code::ModelAnswer, text, None),
    };
    failure.hint = (answer.finish == Finish::Length).then(|| "raise max_tokens".to_owned());
    Err(failure)
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Filtered => "filtered",
        Finish::Other => "other",
    }
}
