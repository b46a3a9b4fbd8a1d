//! `PIPELINE_SETTINGS`: retries, timeouts and notifications of a pipeline.

use serde_json::{Map, Value};

use super::super::definition::{Findings, is_web_address};
use crate::limits::{ATTEMPTS_PER_NODE, RETRY_DELAY_MS_MAX, TIMEOUT_MS_MAX};

/// The settings with their defaults filled in.
#[derive(Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) max_retries: u32,
    pub(super) retry_delay_ms: u64,
    pub(super) raise_on_error: bool,
    pub(super) step_timeout_ms: u64,
    pub(super) total_timeout_ms: u64,
    pub(super) webhook_url: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_retries: 2,
            retry_delay_ms: 3_000,
            raise_on_error: true,
            step_timeout_ms: 45_000,
            total_timeout_ms: 300_000,
            webhook_url: None,
        }
    }
}

impl Settings {
    pub(super) fn parse(value: &Value, findings: &mut Findings) -> Settings {
        let mut settings = Settings::default();
        let Some(sections) = section(value, "PIPELINE_SETTINGS", findings) else { return settings };
        for (name, value) in sections {
            let path = format!("PIPELINE_SETTINGS.{name}");
            let read = match name.as_str() {
                "error_handling" => Settings::error_handling,
                "timeouts" => Settings::timeouts,
                "notifications" => Settings::notifications,
                _ => {
                    findings.warnings.push(format!("{path} has no effect: no such setting"));
                    continue;
                }
            };
            if let Some(fields) = section(value, &path, findings) {
                read(&mut settings, fields, findings);
            }
        }
        settings
    }

    fn error_handling(&mut self, fields: &Map<String, Value>, findings: &mut Findings) {
        for (name, value) in given(fields) {
            let path = format!("PIPELINE_SETTINGS.error_handling.{name}");
            match name.as_str() {
                "max_retries" => set(&mut self.max_retries, retries(value, &path), findings),
                "retry_delay" => {
                    let delay = milliseconds(value, &path, 0, RETRY_DELAY_MS_MAX);
                    set(&mut self.retry_delay_ms, delay, findings);
                }
                "raise_on_error" => {
                    let flag = value.as_bool().ok_or(format!("{path} must be true or false"));
                    set(&mut self.raise_on_error, flag, findings);
                }
                _ => findings.warnings.push(format!("{path} has no effect: no such setting")),
            }
        }
    }

    fn timeouts(&mut self, fields: &Map<String, Value>, findings: &mut Findings) {
        for (name, value) in given(fields) {
            let path = format!("PIPELINE_SETTINGS.timeouts.{name}");
            let place = match name.as_str() {
                "step_timeout" => &mut self.step_timeout_ms,
                "total_pipeline_timeout" => &mut self.total_timeout_ms,
                _ => {
                    findings.warnings.push(format!("{path} has no effect: no such setting"));
                    continue;
                }
            };
            set(place, timeout(value, &path), findings);
        }
    }

    fn notifications(&mut self, fields: &Map<String, Value>, findings: &mut Findings) {
        for (name, value) in given(fields) {
            let path = format!("PIPELINE_SETTINGS.notifications.{name}");
            match (name.as_str(), value) {
                ("webhook_url", Value::String(url)) if url.is_empty() => {}
                ("webhook_url", Value::String(url))
                    if is_web_address(url) && !url.contains("{{") =>
                {
                    self.webhook_url = Some(url.clone());
                }
                ("webhook_url", _) => {
                    findings.errors.push(format!("{path} must be an http or https URL"));
                }
                _ => findings.warnings.push(format!("{path} has no effect: no such setting")),
            }
        }
    }
}

fn section<'a>(
    value: &'a Value,
    path: &str,
    findings: &mut Findings,
) -> Option<&'a Map<String, Value>> {
    if !value.is_null() && !value.is_object() {
        findings.errors.push(format!("{path} must be an object"));
    }
    value.as_object()
}

/// The settings that have a value: null leaves the default.
fn given(fields: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    fields.iter().filter(|(_, value)| !value.is_null())
}

fn set<T>(place: &mut T, value: Result<T, String>, findings: &mut Findings) {
    match value {
        Ok(value) => *place = value,
        Err(problem) => findings.errors.push(problem),
    }
}

/// How often a failed attempt is repeated.
pub(super) fn retries(value: &Value, path: &str) -> Result<u32, String> {
    let most = ATTEMPTS_PER_NODE - 1;
    let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
    count
        .filter(|count| *count <= most)
        .ok_or(format!("{path} must be a whole number from 0 to {most}"))
}

/// A time limit, in seconds on the wire.
pub(super) fn timeout(value: &Value, path: &str) -> Result<u64, String> {
    milliseconds(value, path, 1, TIMEOUT_MS_MAX)
}

fn milliseconds(value: &Value, path: &str, least: u64, most: u64) -> Result<u64, String> {
    let problem = || {
        let bound = if least > 0 { "above 0 and" } else { "from 0" };
        format!("{path} must be a number of seconds {bound} up to {}", most / 1_000)
    };
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0).ok_or_else(problem)?;
    let exact = seconds * 1_000.0;
    // What is not zero does not become it.
    let rounded = if exact > 0.0 { exact.round().max(1.0) } else { 0.0 };
    if rounded < least as f64 || rounded > most as f64 {
        return Err(problem());
    }
    Ok(rounded as u64)
}
