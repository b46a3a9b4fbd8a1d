//! An answer while it is put together, and the words that providers share for its parts.

use serde::Deserialize;
use serde_json::Value;

use super::{Finish, Question, Reply};

/// What has come of an answer so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The text.
    pub(super) text: String,
    /// The model, by the provider's word.
    pub(super) model: Option<String>,
    /// Why it ended, once it has.
    pub(super) finish: Option<Finish>,
    /// What it took.
    pub(super) spent: Spent,
}

/// The provider's count, under either family's names.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Spent {
    #[serde(alias = "input_tokens")]
    pub(super) prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    pub(super) completion_tokens: Option<u64>,
    /// Tokens sent that are counted apart, for they were written to the provider's cache.
    cache_creation_input_tokens: Option<u64>,
    /// Likewise, for they were read from it.
    cache_read_input_tokens: Option<u64>,
    /// US dollars.
    cost: Option<f64>,
}

impl Spent {
    /// Takes over what a later event says.
    pub(super) fn update(&mut self, later: &Spent) {
        let take = |old: &mut Option<u64>, new: Option<u64>| *old = new.or(*old);
        take(&mut self.prompt_tokens, later.prompt_tokens);
        take(&mut self.completion_tokens, later.completion_tokens);
        take(&mut self.cache_creation_input_tokens, later.cache_creation_input_tokens);
        take(&mut self.cache_read_input_tokens, later.cache_read_input_tokens);
        self.cost = later.cost.or(self.cost);
    }

    fn sent(&self) -> Option<u64> {
        let cached = [self.cache_creation_input_tokens, self.cache_read_input_tokens];
        let cached: u64 = cached.into_iter().flatten().sum();
        self.prompt_tokens.map(|tokens| tokens.saturating_add(cached))
    }

    /// Billionths of a dollar, rounded up; the tiny bit less undoes what binary fractions add.
    fn nano_usd(&self) -> Option<u64> {
        let nano_usd = self.cost.filter(|cost| *cost >= 0.0)? * 1e9;
        Some((nano_usd - 1e-3).ceil().max(0.0) as u64)
    }
}

impl Draft {
    /// The answer to the question. Tokens that the provider did not count are estimated.
    pub(super) fn finish(self, question: &Question) -> Reply {
        let asked = || question.messages.iter().map(|message| estimate(&message.text)).sum();
        let (sent, nano_usd) = (self.spent.sent(), self.spent.nano_usd());
        let received = self.spent.completion_tokens.unwrap_or_else(|| estimate(&self.text));
        Reply {
            model: self.model.unwrap_or_else(|| question.model.clone()),
            finish: self.finish.unwrap_or(Finish::Other),
            prompt_tokens: sent.unwrap_or_else(asked),
            completion_tokens: received,
            nano_usd,
            text: self.text,
        }
    }
}

/// Roughly how many tokens a text has: one for each four bytes begun.
pub(super) fn estimate(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

/// Why an answer ended, under the names that providers use.
pub(super) fn finish_of(reason: &str) -> Finish {
    match reason.to_ascii_lowercase().as_str() {
        "stop" | "end_turn" | "stop_sequence" | "eos" | "complete" => Finish::Stop,
        "length" | "max_tokens" | "model_context_window_exceeded" => Finish::Length,
        "content_filter" | "refusal" | "safety" => Finish::Filtered,
        _ => Finish::Other,
    }
}

/// A text that is given as such, as a list of parts, or as null.
pub(super) fn text_of(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Null => Some(String::new()),
        Value::Array(parts) => {
            let text = |part: &Value| part.as_str().or(part["text"].as_str()).map(str::to_owned);
            Some(parts.iter().filter_map(text).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn costs_are_rounded_up_but_not_by_binary_fractions() {
        for (cost, expected) in [
            (json!(0.0001), Some(100_000)),
            (json!(0.000_000_000_1), Some(1)),
            (json!(0), Some(0)),
            (json!(-1), None),
            (json!(null), None),
        ] {
            let spent: Spent = serde_json::from_value(json!({"cost": cost})).expect("a count");
            assert_eq!(spent.nano_usd(), expected, "{cost}");
        }
    }

    #[test]
    fn texts_come_in_several_forms() {
        let cases = [
            (json!("a"), Some("a")),
            (json!(null), Some("")),
            (
                json!([{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "x"}, "b"]),
                Some("ab"),
            ),
            (json!(1), None),
        ];
        for (content, expected) in cases {
            assert_eq!(text_of(&content).as_deref(), expected, "{content}");
        }
    }
}
