//! What calls of models use and cost, in whole numbers, so that sums are exact.

use serde::{Deserialize, Serialize};

use crate::plan::Budget;

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Calls that reached a model.
    #[serde(default)]
    pub calls: u32,
    /// Answers that came from the cache instead.
    #[serde(default)]
    pub cached: u32,
    /// Tokens sent, of calls and of cached answers alike.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens received, of calls and of cached answers alike.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Tokens that were paid for, or would have been at a price.
    #[serde(default)]
    pub paid_tokens: u64,
    /// Billionths of a US dollar; nothing for cached answers and models without a known price.
    #[serde(default)]
    pub nano_usd: u64,
}

impl Usage {
    /// Tokens sent and received.
    pub fn total_tokens(&self) -> u64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    /// US dollars.
    pub fn usd(&self) -> f64 {
        self.nano_usd as f64 / 1e9
    }

    /// Whether there was nothing to count.
    pub fn is_nothing(&self) -> bool {
        *self == Usage::default()
    }

    /// Adds what else was used.
    pub fn add(&mut self, other: &Usage) {
        self.calls = self.calls.saturating_add(other.calls);
        self.cached = self.cached.saturating_add(other.cached);
        self.prompt_tokens = self.prompt_tokens.saturating_add(other.prompt_tokens);
        self.completion_tokens = self.completion_tokens.saturating_add(other.completion_tokens);
        self.paid_tokens = self.paid_tokens.saturating_add(other.paid_tokens);
        self.nano_usd = self.nano_usd.saturating_add(other.nano_usd);
    }

    /// Which bound of a budget this has reached, in words.
    pub fn reaches(&self, budget: &Budget) -> Option<String> {
        if let Some(tokens) = budget.tokens.filter(|most| self.paid_tokens >= *most) {
            return Some(format!("{} of {tokens} tokens", self.paid_tokens));
        }
        let most = budget.nano_usd.filter(|most| self.nano_usd >= *most)?;
        Some(format!("{:.6} of {:.6} US dollars", self.usd(), most as f64 / 1e9))
    }
}
