//! What one evaluation, or all those of one node together, may still copy and look at.

use std::borrow::Cow;
use std::cell::Cell;
use std::io;

use serde_json::Value;

use crate::limits::{CONFIG_DEPTH, EXPRESSION_OUTPUT_BYTES, EXPRESSION_WORK_BYTES};

/// What a value counts for beside its text.
const VALUE_BYTES: usize = 32;
/// What evaluating one part of an expression counts for, beside what it does to values: about what it
/// takes, in bytes that could be looked at instead.
const PART_BYTES: usize = 64;

const TOO_LARGE: &str = "the result would be too large";
const TOO_MUCH_WORK: &str = "this takes too much work on values this large";
const TOO_DEEP: &str = "the value is nested too deeply";

/// Counts down while evaluations go on: [`EXPRESSION_OUTPUT_BYTES`] that are copied or produced, and
/// [`EXPRESSION_WORK_BYTES`] that are looked at.
#[derive(Debug)]
pub struct Budget {
    output: Cell<usize>,
    work: Cell<usize>,
    refused: Cell<bool>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new()
    }
}

impl Budget {
    /// What one evaluation may take.
    pub fn new() -> Budget {
        Budget {
            output: Cell::new(EXPRESSION_OUTPUT_BYTES),
            work: Cell::new(EXPRESSION_WORK_BYTES),
            refused: Cell::new(false),
        }
    }

    /// Whether something was refused because it would have taken more than there was left.
    pub fn is_used_up(&self) -> bool {
        self.refused.get()
    }

    /// Pays for bytes that are about to be produced.
    pub fn produce(&self, bytes: usize) -> Result<(), String> {
        self.pay(&self.output, bytes, TOO_LARGE)
    }

    /// Pays for values that are about to be produced, beside their text.
    pub(super) fn produce_values(&self, count: usize) -> Result<(), String> {
        self.produce(count.saturating_mul(VALUE_BYTES))
    }

    /// Pays for bytes that are about to be looked at.
    pub(super) fn work(&self, bytes: usize) -> Result<(), String> {
        self.pay(&self.work, bytes, TOO_MUCH_WORK)
    }

    /// Pays for evaluating the parts of an expression, or as much work on something else.
    pub fn work_on_parts(&self, count: usize) -> Result<(), String> {
        self.work(count.saturating_mul(PART_BYTES))
    }

    fn pay(&self, left: &Cell<usize>, bytes: usize, refusal: &str) -> Result<(), String> {
        let Some(rest) = left.get().checked_sub(bytes) else {
            self.refused.set(true);
            return Err(refusal.to_owned());
        };
        left.set(rest);
        Ok(())
    }

    /// Pays for looking at the outermost level of a value.
    pub(super) fn glance(&self, value: &Value) -> Result<(), String> {
        self.work(match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.len(),
            Value::Object(fields) => fields.len(),
            _ => 1,
        })
    }

    /// Pays for looking at all of a value, and refuses one that is too deep to walk.
    pub(super) fn examine(&self, value: &Value) -> Result<(), String> {
        weigh(value, CONFIG_DEPTH, &|bytes| self.work(bytes))
    }

    /// A copy that will stand `depth` levels deep in a result.
    pub fn copy(&self, value: Cow<'_, Value>, depth: usize) -> Result<Value, String> {
        weigh(&value, CONFIG_DEPTH.saturating_sub(depth), &|bytes| self.produce(bytes))?;
        Ok(value.into_owned())
    }

    /// Appends a value as it is rendered inside text.
    pub(super) fn push_text(&self, text: &mut String, value: &Value) -> Result<(), String> {
        let part = self.text(value)?;
        self.produce(part.len())?;
        text.push_str(&part);
        Ok(())
    }

    /// A value as text: strings as they are, all else as compact JSON.
    pub(super) fn text<'v>(&self, value: &'v Value) -> Result<Cow<'v, str>, String> {
        match value {
            Value::String(text) => Ok(Cow::Borrowed(text)),
            _ => self.json(value).map(Cow::Owned),
        }
    }

    /// A value as compact JSON.
    pub(super) fn json(&self, value: &Value) -> Result<String, String> {
        self.examine(value)?;
        let mut writer = Metered { written: Vec::new(), budget: self };
        serde_json::to_writer(&mut writer, value).map_err(|_| TOO_LARGE.to_owned())?;
        String::from_utf8(writer.written).map_err(|_| TOO_LARGE.to_owned())
    }
}

fn weigh(
    value: &Value,
    depth: usize,
    pay: &dyn Fn(usize) -> Result<(), String>,
) -> Result<(), String> {
    pay(VALUE_BYTES)?;
    let below = || depth.checked_sub(1).ok_or_else(|| TOO_DEEP.to_owned());
    match value {
        Value::String(text) => pay(text.len()),
        Value::Array(items) => {
            let below = below()?;
            items.iter().try_for_each(|item| weigh(item, below, pay))
        }
        Value::Object(fields) => {
            let below = below()?;
            fields.iter().try_for_each(|(key, field)| {
                pay(key.len())?;
                weigh(field, below, pay)
            })
        }
        _ => Ok(()),
    }
}

/// Pays for every byte before it is written.
struct Metered<'b> {
    written: Vec<u8>,
    budget: &'b Budget,
}

impl io::Write for Metered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.budget.produce(bytes.len()).map_err(io::Error::other)?;
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
