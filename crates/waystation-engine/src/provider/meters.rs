//! What calls of models count: how many, how long, how many tokens, what they cost.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use metrics::{counter, gauge, histogram};
use tokio::time::Instant;
use waystation_core::error::Failure;
use waystation_core::usage::Usage;

use crate::limits::MODELS_COUNTED;

/// Requests name models as they like: a longer name is not told apart.
const NAME_BYTES_MAX: usize = 128;

/// Counts calls, with a bound on how many models it tells apart.
#[derive(Default)]
pub(super) struct Meters {
    models: Mutex<HashSet<String>>,
}

/// A call under way; one that is dropped counts as abandoned.
pub(super) struct Call {
    provider: String,
    model: String,
    began: Instant,
    outcome: &'static str,
}

impl Meters {
    pub(super) fn begin(&self, provider: &str, model: &str) -> Call {
        let (provider, model) = (provider_label(provider), self.model_label(model));
        Call { provider, model, began: Instant::now(), outcome: "abandoned" }
    }

    fn model_label(&self, model: &str) -> String {
        let mut known = self.models.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = model.len() <= NAME_BYTES_MAX && known.len() < MODELS_COUNTED;
        if known.contains(model) || fits && known.insert(model.to_owned()) {
            return model.to_owned();
        }
        "other".to_owned()
    }
}

/// Addresses that requests name are as many as there are requests.
fn provider_label(provider: &str) -> String {
    if provider.contains("://") { "url".to_owned() } else { provider.to_owned() }
}

impl Call {
    /// How long it has taken.
    pub(super) fn latency_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    /// Counts its end.
    pub(super) fn ended(mut self, outcome: Result<&Usage, &Failure>) {
        let usage = match outcome {
            Ok(usage) => usage,
            Err(failure) => return self.outcome = failure.code.as_str(),
        };
        self.outcome = "completed";
        let tokens = [("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)];
        for (kind, tokens) in tokens {
            let (provider, model) = (self.provider.clone(), self.model.clone());
            let labels = [("provider", provider), ("model", model), ("kind", kind.to_owned())];
            counter!("waystation_llm_tokens_total", &labels).increment(tokens);
        }
        // A sum of money is no whole number, and counters are.
        let provider = self.provider.clone();
        gauge!("waystation_llm_cost_usd", "provider" => provider).increment(usage.usd());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let (provider, model) =
            (std::mem::take(&mut self.provider), std::mem::take(&mut self.model));
        histogram!("waystation_llm_seconds", "provider" => provider.clone())
            .record(self.began.elapsed());
        let labels =
            [("provider", provider), ("model", model), ("outcome", self.outcome.to_owned())];
        counter!("waystation_llm_calls_total", &labels).increment(1);
    }
}

/// Counts an answer that took no call.
pub(super) fn count_cached(provider: &str) {
    counter!("waystation_llm_cached_total", "provider" => provider_label(provider)).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_of_models_is_told_apart() {
        let meters = Meters::default();
        let names: Vec<String> = (0..MODELS_COUNTED + 9).map(|n| format!("m{n}")).collect();
        let labels: HashSet<String> = names.iter().map(|name| meters.model_label(name)).collect();
        assert_eq!(labels.len(), MODELS_COUNTED + 1);
        assert_eq!(meters.model_label("m0"), "m0");
        assert_eq!(Meters::default().model_label(&"m".repeat(NAME_BYTES_MAX + 1)), "other");
        assert_eq!(provider_label("https://me:key@host/v1"), "url");
    }
}
