//! What a source answers: rows as objects, up to a number and a size, and how values become JSON.

use serde_json::{Map, Number, Value, json};
use waystation_core::error::{Code, Failure};

use super::SourceType;
use crate::limits::SOURCE_BYTES;

/// Significant digits that a double gives back as they were.
const EXACT_DIGITS: usize = 15;

/// The rows so far.
pub(super) struct Answer {
    source: SourceType,
    limit: usize,
    bytes: usize,
    /// The names of a row's fields; empty where rows have no common ones.
    pub(super) columns: Vec<String>,
    rows: Vec<Value>,
    is_truncated: bool,
    /// How many rows a write has changed.
    pub(super) affected: Option<u64>,
}

impl Answer {
    /// Takes as many rows as this.
    pub(super) fn new(source: SourceType, limit: usize) -> Answer {
        let (columns, rows) = (Vec::new(), Vec::new());
        Answer { source, limit, bytes: 0, columns, rows, is_truncated: false, affected: None }
    }

    /// Names the columns; one that has the name of an earlier one gets a number.
    pub(super) fn name_columns<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        for name in names {
            let mut unique = name.to_owned();
            let mut number = 2;
            while self.columns.contains(&unique) {
                unique = format!("{name}_{number}");
                number += 1;
            }
            self.columns.push(unique);
        }
    }

    /// Whether there is a further row than may be taken: then this says so, and no more is read.
    pub(super) fn is_full(&mut self) -> bool {
        self.is_truncated |= self.rows.len() >= self.limit;
        self.is_truncated
    }

    /// Takes a row that is an object.
    pub(super) fn push(&mut self, row: Value) -> Result<(), Failure> {
        self.bytes = self.bytes.saturating_add(size(&row));
        if self.bytes > SOURCE_BYTES {
            let title = self.source.title();
            let text = format!("The rows of {title} take more than {SOURCE_BYTES} bytes");
            let hint = "ask for fewer rows or columns".to_owned();
            return Err(Failure { hint: Some(hint), ..Failure::fatal(Code::LimitExceeded, text) });
        }
        self.rows.push(row);
        Ok(())
    }

    /// Takes a row of values in the order of the columns.
    pub(super) fn push_values(&mut self, values: Vec<Value>) -> Result<(), Failure> {
        let row: Map<String, Value> = self.columns.iter().cloned().zip(values).collect();
        self.push(Value::Object(row))
    }

    /// Puts a value in the place of the one that a row has had.
    pub(super) fn replace(&mut self, row: usize, column: &str, value: Value) {
        if let Some(place) = self.rows.get_mut(row).and_then(|row| row.get_mut(column)) {
            *place = value;
        }
    }

    /// The most rows that are taken.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// How many rows there are so far.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The node's result.
    pub(super) fn output(self) -> Map<String, Value> {
        let mut output = Map::new();
        output.insert("count".to_owned(), json!(self.rows.len()));
        output.insert("rows".to_owned(), Value::Array(self.rows));
        output.insert("truncated".to_owned(), json!(self.is_truncated));
        if !self.columns.is_empty() {
            output.insert("columns".to_owned(), json!(self.columns));
        }
        if let Some(affected) = self.affected {
            output.insert("affected".to_owned(), json!(affected));
        }
        output
    }
}

/// The bytes that a value takes as JSON, roughly.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 12,
        Value::String(text) => text.len() + 3,
        Value::Array(items) => 2 + items.iter().map(size).sum::<usize>(),
        Value::Object(fields) => {
            2 + fields.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>()
        }
    }
}

/// A decimal number: as a JSON number where that keeps every digit, else as text.
pub(super) fn decimal(text: &str) -> Value {
    if let Ok(whole) = text.parse::<i64>() {
        return json!(whole);
    }
    let digits = text.trim_start_matches(['-', '0', '.']).bytes().filter(u8::is_ascii_digit);
    let is_exact = digits.count() <= EXACT_DIGITS;
    let number = text.parse::<f64>().ok().filter(|_| is_exact).and_then(Number::from_f64);
    number.map_or_else(|| text.into(), Value::Number)
}

/// A floating-point number; what JSON has no number for is text.
pub(super) fn float(number: f64) -> Value {
    Number::from_f64(number).map_or_else(
        || match number {
            _ if number.is_nan() => "NaN".into(),
            _ if number > 0.0 => "Infinity".into(),
            _ => "-Infinity".into(),
        },
        Value::Number,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_one_name_are_told_apart() {
        let mut answer = Answer::new(SourceType::Sqlite, 1);
        answer.name_columns(["id", "id", "id_2", "id"]);
        assert_eq!(answer.columns, ["id", "id_2", "id_2_2", "id_3"]);
    }

    #[test]
    fn rows_end_at_the_limit_and_that_is_said() {
        let mut answer = Answer::new(SourceType::Sqlite, 2);
        for number in 0..2 {
            assert!(!answer.is_full());
            answer.push(json!({ "n": number })).unwrap();
        }
        assert!(answer.is_full());
        let output = Value::Object(answer.output());
        assert_eq!(
            output,
            json!({ "count": 2, "rows": [{ "n": 0 }, { "n": 1 }], "truncated": true })
        );
    }

    #[test]
    fn rows_that_take_too_much_fail() {
        let mut answer = Answer::new(SourceType::Sqlite, 100);
        let row = json!({ "text": "x".repeat(SOURCE_BYTES / 2) });
        answer.push(row.clone()).unwrap();
        assert_eq!(answer.push(row).unwrap_err().code, Code::LimitExceeded);
    }

    #[test]
    fn decimals_keep_every_digit() {
        for (text, expected) in [
            ("0", json!(0)),
            ("-12", json!(-12)),
            ("9223372036854775807", json!(i64::MAX)),
            ("9223372036854775808", json!("9223372036854775808")),
            ("19.99", json!(19.99)),
            ("-0.000123456789012345", json!(-0.000123456789012345)),
            ("0.1234567890123456", json!("0.1234567890123456")),
            ("NaN", json!("NaN")),
        ] {
            assert_eq!(decimal(text), expected, "{text}");
        }
        assert_eq!(decimal("19.90").to_string(), "19.9");
    }
}
