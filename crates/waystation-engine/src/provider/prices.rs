//! What tokens cost: a table of well-known models, and an operator's own prices before it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};
use waystation_core::error::{Code, Error, nearest};

/// US dollars per million tokens, sent and received, as of 2026-02-15. Prices for long contexts, cached
/// or batched tokens are not in it; an operator's own prices go before it.
const TABLE: &[(&str, f64, f64)] = &[
    ("gpt-5.2-pro", 21.0, 168.0),
    ("gpt-5.2", 1.75, 14.0),
    ("gpt-5.1", 1.25, 10.0),
    ("gpt-5-pro", 15.0, 120.0),
    ("gpt-5", 1.25, 10.0),
    ("gpt-5-chat", 1.25, 10.0),
    ("gpt-5-codex", 1.25, 10.0),
    ("gpt-5-mini", 0.25, 2.0),
    ("gpt-5-nano", 0.05, 0.40),
    ("gpt-4.1", 2.0, 8.0),
    ("gpt-4.1-mini", 0.40, 1.60),
    ("gpt-4.1-nano", 0.10, 0.40),
    ("gpt-4o", 2.50, 10.0),
    ("gpt-4o-mini", 0.15, 0.60),
    ("gpt-4-turbo", 10.0, 30.0),
    ("gpt-4", 30.0, 60.0),
    ("gpt-3.5-turbo", 0.50, 1.50),
    ("o1", 15.0, 60.0),
    ("o1-pro", 150.0, 600.0),
    ("o3", 2.0, 8.0),
    ("o3-pro", 20.0, 80.0),
    ("o3-mini", 1.10, 4.40),
    ("o4-mini", 1.10, 4.40),
    ("claude-opus-4-6", 5.0, 25.0),
    ("claude-opus-4-5", 5.0, 25.0),
    ("claude-opus-4-1", 15.0, 75.0),
    ("claude-opus-4-0", 15.0, 75.0),
    ("claude-opus-4", 15.0, 75.0),
    ("claude-sonnet-4-6", 3.0, 15.0),
    ("claude-sonnet-4-5", 3.0, 15.0),
    ("claude-sonnet-4-0", 3.0, 15.0),
    ("claude-sonnet-4", 3.0, 15.0),
    ("claude-3-7-sonnet", 3.0, 15.0),
    ("claude-haiku-4-5", 1.0, 5.0),
    ("claude-3-5-haiku", 0.80, 4.0),
    ("claude-3-haiku", 0.25, 1.25),
    ("gemini-3-pro", 2.0, 12.0),
    ("gemini-3-flash", 0.50, 3.0),
    ("gemini-2.5-pro", 1.25, 10.0),
    ("gemini-2.5-flash", 0.30, 2.50),
    ("gemini-2.5-flash-lite", 0.10, 0.40),
    ("gemini-2.0-flash", 0.10, 0.40),
    ("gemini-2.0-flash-lite", 0.075, 0.30),
];

/// Providers whose models run on the operator's own machines, or are none.
const FREE: [&str; 2] = ["ollama", "echo"];
/// No price is higher, so that no cost overflows.
const USD_MAX: f64 = 1e6;
const NANO: f64 = 1e9;
const MILLION: u128 = 1_000_000;

/// What one model's tokens cost, in billionths of a US dollar per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Price {
    sent: u64,
    received: u64,
}

/// The prices of models.
#[derive(Clone, Debug)]
pub struct Prices {
    /// Sorted by name.
    list: BTreeMap<String, Price>,
}

impl Default for Prices {
    fn default() -> Prices {
        let price = |&(name, sent, received): &(&str, f64, f64)| {
            (name.to_owned(), Price { sent: nano(sent), received: nano(received) })
        };
        Prices { list: TABLE.iter().map(price).collect() }
    }
}

impl Prices {
    /// The table with the prices of a file before it.
    pub fn read(path: &Path) -> Result<Prices, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| invalid(&format!("{} cannot be read: {error}", path.display())))?;
        Prices::parse(&text)
    }

    /// The table with other prices before it: `{"gpt-5-nano": {"input": 0.05, "output": 0.4}}`, in
    /// US dollars per million tokens.
    pub fn parse(text: &str) -> Result<Prices, Error> {
        let models: Map<String, Value> =
            serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
        let mut prices = Prices::default();
        for (model, value) in models {
            let price = Price::read(&model, &value)?;
            prices.list.insert(model, price);
        }
        Ok(prices)
    }

    /// What a call cost, in billionths of a US dollar, rounded up; nothing where the price is not
    /// known. A model is known by its name, with or without a vendor before it and a date after it.
    pub fn nano_usd(&self, provider: &str, model: &str, sent: u64, received: u64) -> Option<u64> {
        if FREE.contains(&provider) {
            return Some(0);
        }
        let price = self.price(model)?;
        let amount = |tokens: u64, price: u64| u128::from(tokens) * u128::from(price);
        let nano = amount(sent, price.sent).saturating_add(amount(received, price.received));
        Some(u64::try_from(nano.div_ceil(MILLION)).unwrap_or(u64::MAX))
    }

    fn price(&self, model: &str) -> Option<Price> {
        let bare = model.rsplit('/').next().unwrap_or(model);
        self.without_date(model).or_else(|| self.without_date(bare))
    }

    /// The price under a name, or under the longest beginning of it that only a date or the like
    /// follows: `gpt-5-pro` is not `gpt-5`.
    fn without_date(&self, model: &str) -> Option<Price> {
        let ends = model.match_indices(['-', '@']).rev();
        let dated = ends.filter(|(at, _)| is_date(&model[at + 1..])).map(|(at, _)| &model[..at]);
        std::iter::once(model).chain(dated).find_map(|name| self.list.get(name).copied())
    }
}

impl Price {
    fn read(model: &str, value: &Value) -> Result<Price, Error> {
        const FIELDS: [&str; 2] = ["input", "output"];
        let form =
            || invalid(&format!("{model}: give {{\"input\": dollars, \"output\": dollars}}"));
        let fields = value.as_object().ok_or_else(form)?;
        if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
            let error = invalid(&format!("{model}: there is no field {unknown:?}"));
            return Err(match nearest(unknown, FIELDS.into_iter()).first() {
                Some(near) => error.with_hint(format!("did you mean {near}?")),
                None => error.with_hint("the fields are input and output"),
            });
        }
        let dollars = |name: &str| {
            let dollars = fields.get(name).and_then(Value::as_f64);
            dollars.filter(|dollars| (0.0..=USD_MAX).contains(dollars)).map(nano).ok_or_else(form)
        };
        Ok(Price { sent: dollars("input")?, received: dollars("output")? })
    }
}

fn nano(dollars: f64) -> u64 {
    (dollars * NANO).round() as u64
}

/// What vendors put after a model's name to say which of its editions: a date, a number of three
/// digits or more, `latest`, a preview.
fn is_date(suffix: &str) -> bool {
    let digits = suffix.bytes().filter(u8::is_ascii_digit).count();
    let is_number = suffix.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    (is_number && digits >= 3) || suffix == "latest" || suffix.starts_with("preview")
}

fn invalid(problem: &str) -> Error {
    Error::new(Code::SettingInvalid, format!("WAYSTATION_MODEL_PRICES: {problem}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_known_by_name_vendor_and_date() {
        let prices = Prices::default();
        let million = |model: &str| prices.nano_usd("openai", model, 1_000_000, 0);
        for (model, expected) in [
            ("gpt-5-nano", Some(50_000_000)),
            ("gpt-5-nano-2025-08-07", Some(50_000_000)),
            ("openai/gpt-5-nano", Some(50_000_000)),
            ("models/gemini-2.5-flash-preview-09-2025", Some(300_000_000)),
            ("gemini-2.0-flash-001", Some(100_000_000)),
            ("claude-haiku-4-5-20251001", Some(1_000_000_000)),
            ("claude-haiku-4-5@20251001", Some(1_000_000_000)),
            ("claude-opus-4-20250514", Some(15_000_000_000)),
            ("claude-opus-4-9", None),
            ("gpt-5-chat-latest", Some(1_250_000_000)),
            ("gpt-5-ultra", None),
            ("gpt-5-", None),
            ("", None),
        ] {
            assert_eq!(million(model), expected, "{model}");
        }
    }

    #[test]
    fn costs_are_whole_and_rounded_up() {
        let prices = Prices::parse(r#"{"cheap": {"input": 0.0001, "output": 0}}"#).expect("prices");
        for (provider, model, sent, received, expected) in [
            ("openai", "gpt-5-nano", 1, 1, Some(450)),
            ("openai", "gpt-5-nano", 0, 0, Some(0)),
            ("openai", "cheap", 1, 0, Some(1)),
            ("openai", "cheap", 10_001, 5, Some(1_001)),
            ("openai", "unknown", 1, 1, None),
            ("ollama", "unknown", 1, 1, Some(0)),
            ("echo", "echo", 1, 1, Some(0)),
            ("openai", "gpt-5-nano", u64::MAX, u64::MAX, Some(u64::MAX)),
        ] {
            let found = prices.nano_usd(provider, model, sent, received);
            assert_eq!(found, expected, "{model} {sent} {received}");
        }
    }

    #[test]
    fn a_file_goes_before_the_table_and_is_read_closely() {
        let prices = Prices::parse(r#"{"gpt-5-nano": {"input": 1, "output": 2}}"#).expect("prices");
        assert_eq!(prices.nano_usd("openai", "gpt-5-nano", 1, 1), Some(3_000));
        assert_eq!(prices.nano_usd("openai", "gpt-4.1-nano", 1, 0), Some(100));
        for (text, message, hint) in [
            ("[]", "invalid type: sequence, expected a map at line 1 column 0", None),
            (r#"{"a": 1}"#, r#"a: give {"input": dollars, "output": dollars}"#, None),
            (r#"{"a": {"input": 1}}"#, r#"a: give {"input": dollars, "output": dollars}"#, None),
            (
                r#"{"a": {"input": -1, "output": 1}}"#,
                r#"a: give {"input": dollars, "output": dollars}"#,
                None,
            ),
            (
                r#"{"a": {"inptu": 1, "output": 1}}"#,
                r#"a: there is no field "inptu""#,
                Some("did you mean input?"),
            ),
        ] {
            let error = Prices::parse(text).expect_err(text);
            assert_eq!(error.message, format!("WAYSTATION_MODEL_PRICES: {message}"), "{text}");
            assert_eq!(error.hint(), hint, "{text}");
        }
    }
}
