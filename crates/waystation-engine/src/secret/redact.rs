//! Takes the values of secrets, however they are spelled, out of what leaves the process.
//!
//! A text is searched as it stands and once more for each decoding that changes it (JSON escapes,
//! percent-encoding with `+` as itself or as a space), so that no encoder's choice of what to escape
//! hides a value, and for decodings of those: an answer often is JSON with JSON in its strings. Base64 is found at each of its three alignments, which covers a value within a
//! larger text, such as `Basic` credentials.

mod decode;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use memchr::memmem::Finder;
use serde_json::{Map, Value};

use super::Secret;

/// What stands where a secret stood.
pub const REDACTED: &str = "[redacted]";

/// A shorter secret is redacted only where it is the whole text: one to three letters occur in any
/// text by chance, and an output full of holes would both be useless and give the letters away.
const LENGTH_MIN: usize = 4;

/// Knows the secrets that one node was given.
#[derive(Default)]
pub struct Redactor {
    needles: Vec<Needle>,
    /// Secrets and their spellings that count only as a whole text.
    short: BTreeSet<String>,
    /// No shorter text can hold a needle.
    length_min: usize,
    /// Whether a number can spell one of the secrets.
    numeric: bool,
}

/// A text to look for, and how far a match reaches around it.
struct Needle {
    finder: Finder<'static>,
    /// Whether the letters next to a match, before and after, carry bits of the secret too.
    shares: (bool, bool),
    base64: bool,
}

impl Redactor {
    /// A redactor of these secrets.
    pub fn new<'a>(secrets: impl IntoIterator<Item = &'a Secret>) -> Redactor {
        let mut redactor = Redactor::default();
        let mut seen = BTreeSet::new();
        for secret in secrets {
            let value = secret.expose();
            // Clients trim: a value with a line break at its end travels without it.
            for value in [value, value.trim()] {
                if !value.is_empty() && seen.insert(value) {
                    redactor.add(value);
                }
            }
        }
        redactor.length_min = redactor.needles.iter().map(Needle::len).min().unwrap_or(usize::MAX);
        redactor
    }

    fn add(&mut self, value: &str) {
        self.numeric |= value.parse::<f64>().is_ok();
        if value.len() < LENGTH_MIN {
            self.short.extend([value.to_owned(), STANDARD.encode(value), URL_SAFE.encode(value)]);
        } else {
            self.needles.push(Needle::plain(value));
            self.needles.extend(Needle::base64(value));
        }
    }

    /// Whether there is nothing to look for.
    pub fn is_empty(&self) -> bool {
        self.needles.is_empty() && self.short.is_empty()
    }

    /// The text without secrets: owned if and only if there were some. Overlapping finds become one hole.
    pub fn redact_text<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_short_secret(text) {
            return Cow::Owned(REDACTED.to_owned());
        }
        let holes = self.find(text);
        if holes.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut redacted = String::with_capacity(text.len());
        let mut rest_from = 0;
        for hole in holes {
            redacted.push_str(&text[rest_from..hole.start]);
            redacted.push_str(REDACTED);
            rest_from = hole.end;
        }
        redacted.push_str(&text[rest_from..]);
        Cow::Owned(redacted)
    }

    /// Redacts every text in a value: strings, the keys of objects, and numbers that spell a secret.
    /// Of keys that become alike the last one stays.
    pub fn redact_value(&self, value: &mut Value) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(redacted) = self.redact_text(text) {
                    *text = redacted;
                }
            }
            Value::Number(number) if self.numeric => {
                let text = number.to_string();
                if let Cow::Owned(redacted) = self.redact_text(&text) {
                    *value = Value::String(redacted);
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.redact_value(item)),
            Value::Object(fields) => self.redact_fields(fields),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn redact_fields(&self, fields: &mut Map<String, Value>) {
        fields.values_mut().for_each(|value| self.redact_value(value));
        if fields.keys().all(|key| self.redact_text(key) == key.as_str()) {
            return;
        }
        let redact = |(key, value): (String, Value)| (self.redact_text(&key).into_owned(), value);
        *fields = std::mem::take(fields).into_iter().map(redact).collect();
    }

    fn is_short_secret(&self, text: &str) -> bool {
        if self.short.is_empty() {
            return false;
        }
        let mut is_one = self.short.contains(text);
        decode::each_view(text, &mut |view| {
            is_one |= std::str::from_utf8(&view.bytes).is_ok_and(|text| self.short.contains(text));
        });
        is_one
    }

    /// Where secrets stand: in order, none touching the next but by its ends.
    fn find(&self, text: &str) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        if text.len() < self.length_min {
            return found;
        }
        self.find_in(text.as_bytes(), |range| found.push(range));
        decode::each_view(text, &mut |view| {
            self.find_in(&view.bytes, |range| found.push(view.origin(range)));
        });
        found.sort_by_key(|range| (range.start, range.end));
        found.dedup_by(|next, hole| {
            let overlap = next.start < hole.end;
            if overlap {
                hole.end = hole.end.max(next.end);
            }
            overlap
        });
        found
    }

    fn find_in(&self, text: &[u8], mut found: impl FnMut(Range<usize>)) {
        for needle in &self.needles {
            for at in needle.finder.find_iter(text) {
                found(needle.reach(text, at));
            }
        }
    }
}

impl Needle {
    fn plain(value: &str) -> Needle {
        let finder = Finder::new(value.as_bytes()).into_owned();
        Needle { finder, shares: (false, false), base64: false }
    }

    /// The letters that a value gives in base64 whatever surrounds it, for each place it can have
    /// among the groups of three bytes.
    fn base64(value: &str) -> Vec<Needle> {
        let mut spellings = BTreeSet::new();
        for before in 0..3 {
            let bytes = [&[0; 2][..before], value.as_bytes()].concat();
            let whole_letters = bytes.len() * 8 / 6;
            // So many letters hold bits of the bytes before.
            let foreign = (before * 8).div_ceil(6);
            let shares = (foreign > 0, !bytes.len().is_multiple_of(3));
            for text in [STANDARD.encode(&bytes), URL_SAFE.encode(&bytes)] {
                spellings.insert((text[foreign..whole_letters].to_owned(), shares));
            }
        }
        let needle = |(text, shares): (String, _)| {
            let finder = Finder::new(text.as_bytes()).into_owned();
            Needle { finder, shares, base64: true }
        };
        spellings.into_iter().map(needle).collect()
    }

    fn len(&self) -> usize {
        self.finder.needle().len()
    }

    /// A match and what belongs to it: the neighbours that share bits, and the padding.
    fn reach(&self, text: &[u8], at: usize) -> Range<usize> {
        let (mut start, mut end) = (at, at + self.len());
        if !self.base64 {
            return start..end;
        }
        let is_letter = |at: usize| {
            text.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(byte))
        };
        if self.shares.0 && start > 0 && is_letter(start - 1) {
            start -= 1;
        }
        if self.shares.1 && is_letter(end) {
            end += 1;
        }
        while text.get(end) == Some(&b'=') {
            end += 1;
        }
        start..end
    }
}

#[cfg(test)]
mod tests;
