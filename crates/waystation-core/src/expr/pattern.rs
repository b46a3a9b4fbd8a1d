//! Regular expressions with bounded size and linear time.

use regex::{Regex, RegexBuilder};

use super::budget::Budget;
use crate::limits::EXPRESSION_BYTES;

/// The sizes that a compiled pattern is tried at. The first that holds it says what searching with it
/// costs at worst: a byte of text may visit every state.
const SIZES: [usize; 3] = [32 << 10, 128 << 10, 512 << 10];
/// What compiling counts for, times the size: about what it takes, in bytes that could be looked at
/// instead.
const COMPILE_WORK: usize = 4;

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// The most memory that its program takes.
    pub(super) bytes: usize,
}

impl Pattern {
    /// Compiles a pattern; the message never quotes it.
    pub(super) fn new(source: &str) -> Result<Pattern, String> {
        if source.len() > EXPRESSION_BYTES {
            return Err("the pattern is too long".to_owned());
        }
        for bytes in SIZES {
            match build(source, bytes) {
                Ok(regex) => return Ok(Pattern { regex, bytes }),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return Err(reason(&error)),
            }
        }
        Err("the pattern is too large; use smaller repetitions".to_owned())
    }

    /// Compiles a pattern that came with the data.
    pub(super) fn dynamic(source: &str, budget: &Budget) -> Result<Pattern, String> {
        let [least, ..] = SIZES;
        budget.work(COMPILE_WORK * least)?;
        let pattern = Pattern::new(source)?;
        budget.work(COMPILE_WORK * (pattern.bytes - least))?;
        Ok(pattern)
    }

    /// Whether it is found anywhere in a text.
    pub(super) fn is_found(&self, text: &str, budget: &Budget) -> Result<bool, String> {
        budget.work(text.len().saturating_mul(self.bytes >> 10))?;
        Ok(self.regex.is_match(text))
    }
}

fn build(source: &str, bytes: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(source).size_limit(bytes).dfa_size_limit(512 << 10).nest_limit(50).build()
}

/// The last line says what is wrong; those before it quote the pattern.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let last = last.trim().trim_start_matches("error: ");
    format!("this is no valid regular expression: {last}")
}
