//! Which statuses are a success for a node.

use std::fmt;
use std::ops::RangeInclusive;

use reqwest::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

/// Ranges of one setting.
const RANGES: usize = 100;

/// A number, a text or a list of such.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum ExpectedStatus {
    /// One status.
    Number(u16),
    /// Statuses, ranges (`200-299`) and classes (`2xx`), separated by commas.
    Text(String),
    /// A list.
    List(Vec<OneStatus>),
}

/// A part of a list.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum OneStatus {
    /// One status.
    Number(u16),
    /// Statuses, ranges and classes, separated by commas.
    Text(String),
}

/// Statuses that are a success.
#[derive(Debug, PartialEq)]
pub(super) struct Statuses(Vec<RangeInclusive<u16>>);

impl Statuses {
    /// What the setting says, or what is wrong with it.
    pub(super) fn read(given: &ExpectedStatus) -> Result<Statuses, String> {
        let mut ranges = Vec::new();
        match given {
            ExpectedStatus::Number(status) => ranges.push(checked(*status..=*status)?),
            ExpectedStatus::Text(text) => read_text(text, &mut ranges)?,
            ExpectedStatus::List(list) => {
                for one in list {
                    match one {
                        OneStatus::Number(status) => ranges.push(checked(*status..=*status)?),
                        OneStatus::Text(text) => read_text(text, &mut ranges)?,
                    }
                }
            }
        }
        match ranges.len() {
            0 => Err("must name a status".to_owned()),
            1..=RANGES => Ok(Statuses(ranges)),
            _ => Err(format!("must have {RANGES} parts at most")),
        }
    }

    /// Whether a status is among them.
    pub(super) fn contains(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match (range.start(), range.end()) {
                (start, end) if start == end => write!(f, "{comma}{start}")?,
                (start, end) => write!(f, "{comma}{start}-{end}")?,
            }
        }
        Ok(())
    }
}

fn read_text(text: &str, ranges: &mut Vec<RangeInclusive<u16>>) -> Result<(), String> {
    for part in text.split(',').map(str::trim).take(RANGES + 1) {
        ranges.push(range(part)?);
    }
    Ok(())
}

fn range(part: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || {
        let shown: String = part.chars().take(30).collect();
        format!("{shown:?} is no status such as 200, 2xx or 200-299")
    };
    let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    if let Some((start, end)) = part.split_once('-') {
        return checked(number(start)?..=number(end)?);
    }
    let class = part.strip_suffix("xx").or_else(|| part.strip_suffix("XX"));
    match class {
        Some(class) => match number(class)? {
            class @ 1..=5 => Ok(class * 100..=class * 100 + 99),
            _ => Err(wrong()),
        },
        None => number(part).and_then(|status| checked(status..=status)),
    }
}

fn checked(range: RangeInclusive<u16>) -> Result<RangeInclusive<u16>, String> {
    let is_within = *range.start() >= 100 && *range.end() <= 599 && !range.is_empty();
    is_within.then_some(range).ok_or_else(|| "statuses are numbers from 100 to 599".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(given: Value) -> Result<String, String> {
        let given: ExpectedStatus = serde_json::from_value(given).map_err(|e| e.to_string())?;
        Statuses::read(&given).map(|statuses| statuses.to_string())
    }

    #[test]
    fn statuses_ranges_and_classes_are_read() {
        for (given, expected) in [
            (json!(404), "404"),
            (json!("201"), "201"),
            (json!("2xx"), "200-299"),
            (json!("2XX, 404"), "200-299, 404"),
            (json!("200 - 204"), "200-204"),
            (json!([200, "3xx", "404,410"]), "200, 300-399, 404, 410"),
        ] {
            assert_eq!(read(given).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_status_is_named() {
        for given in [
            json!(99),
            json!(600),
            json!(70_000),
            json!(-1),
            json!(""),
            json!("2x"),
            json!("9xx"),
            json!("300-200"),
            json!("ok"),
            json!([]),
            json!([[200]]),
            json!({}),
            json!(vec![200; 101]),
        ] {
            assert!(read(given.clone()).is_err(), "{given}");
        }
    }
}
