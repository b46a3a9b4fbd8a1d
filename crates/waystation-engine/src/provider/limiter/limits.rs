//! Bounds on the calls of each provider, as an operator writes them:
//! `openai concurrency=8 requests=500 tokens=200000; ollama concurrency=1`.

use std::collections::BTreeMap;
use std::fmt;

use waystation_core::error::{Code, Error, nearest};

use crate::limits::LLM_CALLS_PER_KEY;

const WORDS: [&str; 3] = ["concurrency", "requests", "tokens"];
/// No bound means anything beyond it.
const MOST: u64 = 1_000_000_000_000;

/// What each key of a provider takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls under way at once.
    pub concurrency: usize,
    /// Calls a minute.
    pub requests: Option<u64>,
    /// Tokens a minute, sent and received.
    pub tokens: Option<u64>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { concurrency: LLM_CALLS_PER_KEY, requests: None, tokens: None }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "concurrency={}", self.concurrency)?;
        let bounds = [("requests", self.requests), ("tokens", self.tokens)];
        for (word, bound) in bounds {
            if let Some(bound) = bound {
                write!(f, " {word}={bound}")?;
            }
        }
        Ok(())
    }
}

/// The bounds of all providers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelLimits(BTreeMap<String, Limits>);

impl ModelLimits {
    /// Reads bounds of several providers, with a semicolon between them.
    pub fn parse(text: &str) -> Result<ModelLimits, Error> {
        let mut all = BTreeMap::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, words) = part.split_once(char::is_whitespace).unwrap_or((part, ""));
            if all.insert(name.to_owned(), parse_limits(name, words)?).is_some() {
                return Err(invalid(format!("names {name} twice")));
            }
        }
        Ok(ModelLimits(all))
    }

    /// The bounds of one provider.
    pub fn of(&self, provider: &str) -> Limits {
        self.0.get(provider).copied().unwrap_or_default()
    }

    /// The providers that are named, to check that there are such.
    pub fn providers(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

fn parse_limits(name: &str, words: &str) -> Result<Limits, Error> {
    let mut limits = Limits::default();
    if words.is_empty() || name.contains('=') {
        return Err(invalid(format!("says nothing about {name}")));
    }
    for word in words.split_whitespace() {
        let (word, value) = word.split_once('=').unwrap_or((word, ""));
        let number = value.parse().ok().filter(|number| (1..=MOST).contains(number));
        let number = || {
            number.ok_or_else(|| {
                invalid(format!("gives {name} {word}={value}, which is no number from 1 to {MOST}"))
            })
        };
        match word {
            "concurrency" => limits.concurrency = number()? as usize,
            "requests" => limits.requests = Some(number()?),
            "tokens" => limits.tokens = Some(number()?),
            _ => return Err(unknown(name, word)),
        }
    }
    Ok(limits)
}

fn unknown(name: &str, word: &str) -> Error {
    let error = invalid(format!("gives {name} {word:?}"));
    match nearest(word, WORDS.into_iter()).first() {
        Some(near) => error.with_hint(format!("did you mean {near}?")),
        None => error,
    }
}

fn invalid(what: impl fmt::Display) -> Error {
    Error::new(Code::SettingInvalid, format!("WAYSTATION_MODEL_LIMITS {what}"))
        .with_hint("openai concurrency=8 requests=500 tokens=200000; ollama concurrency=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_and_shown() {
        let text = " openai concurrency=8 requests=500  tokens=200000 ;ollama concurrency=1; ";
        let limits = ModelLimits::parse(text).unwrap();
        assert_eq!(limits.of("openai").to_string(), "concurrency=8 requests=500 tokens=200000");
        assert_eq!(limits.of("ollama").to_string(), "concurrency=1");
        assert_eq!(limits.of("other"), Limits::default());
        assert_eq!(limits.providers().collect::<Vec<_>>(), ["ollama", "openai"]);
        assert_eq!(ModelLimits::parse("").unwrap(), ModelLimits::default());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("openai", "says nothing about openai"),
            ("concurrency=8 requests=5", "says nothing about concurrency=8"),
            ("a tokens=1; a tokens=2", "names a twice"),
            ("a tokens=0", "gives a tokens=0, which is no number from 1 to 1000000000000"),
            ("a tokens=-1", "gives a tokens=-1, which is no number from 1 to 1000000000000"),
            ("a tokens", "gives a tokens=, which is no number from 1 to 1000000000000"),
            ("a request=5", "gives a \"request\""),
        ] {
            let error = ModelLimits::parse(text).unwrap_err();
            assert_eq!(error.message, format!("WAYSTATION_MODEL_LIMITS {expected}"));
            assert!(error.hint().is_some());
        }
        let error = ModelLimits::parse("a request=5").unwrap_err();
        assert_eq!(error.hint(), Some("did you mean requests?"));
    }
}
