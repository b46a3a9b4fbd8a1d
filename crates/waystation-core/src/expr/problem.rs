//! What is wrong with a template or condition, and where.

use std::fmt;
use std::ops::Range;

/// A mistake in a template or condition, or in what it met when it was evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The config value that holds the text, such as `body.items[2]`; empty if there is none.
    pub key: String,
    /// The first byte concerned, in the text.
    pub start: usize,
    /// The byte after the last one concerned.
    pub end: usize,
    /// A complete sentence for the author.
    pub message: String,
}

impl Problem {
    /// A problem in a text that stands alone.
    pub(super) fn at(place: Range<usize>, message: impl Into<String>) -> Problem {
        let Range { start, end } = place;
        Problem { key: String::new(), start, end, message: message.into() }
    }

    /// The same problem, in the text of a config value.
    #[must_use]
    pub(super) fn in_key(mut self, key: &str) -> Problem {
        self.key = key.to_owned();
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Problem { key, start, end, message } = self;
        match key.is_empty() {
            true => write!(f, "{message} (bytes {start}..{end})"),
            false => write!(f, "{message} (in `{key}`, bytes {start}..{end})"),
        }
    }
}

impl std::error::Error for Problem {}
