//! `delay`: waits, then gives what leads to it. The wait is a row in the store.

use chrono::DateTime;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::entry::Ending;
use waystation_core::error::Failure;

use super::complaint::is_template;
use super::control::upstream;
use super::model::settings::{invalid, read};
use super::spec::{Category, Spec, schema_of};
use super::{PureCall, Wait};
use crate::id::now_ms;
use crate::limits::WAIT_MS_MAX;

/// What is said of a text that is no moment.
const NO_MOMENT: &str = "is a moment such as 2026-01-31T12:00:00Z, with its offset";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// How long to wait, in seconds.
    #[serde(default = "one_second")]
    #[schemars(range(min = 0, max = 316_224_000))]
    delay_seconds: f64,
    /// The moment until which to wait, in RFC 3339, instead of `delay_seconds`. One in the past is no
    /// wait.
    until: Option<String>,
}

fn one_second() -> f64 {
    1.0
}

/// What definitions know about it.
pub(super) fn spec() -> Spec {
    Spec {
        name: "delay",
        title: "Delay",
        description: "Waits before the workflow goes on. A restart of the server does not start the \
            wait over, and a waiting run takes next to no memory.\n\nGives what the node before it \
            gave.",
        category: Category::Flow,
        schema: schema_of::<Settings>,
        example: || json!({ "delay_seconds": 0.2 }),
        effort: None,
        lower,
    }
}

/// A moment that is said as it is can be read when the definition is saved.
fn lower(config: Map<String, Value>) -> Result<Lowered, Problems> {
    let moment = config.get("until").filter(|moment| !is_template(moment));
    match moment.and_then(Value::as_str) {
        Some(moment) if DateTime::parse_from_rfc3339(moment.trim()).is_err() => {
            Err(vec![format!("until: {NO_MOMENT}")])
        }
        _ => Ok(Lowered::new("delay", config.into())),
    }
}

/// Waits, and gives what leads here.
pub(super) fn delay(call: &mut PureCall<'_>) -> Result<Wait, Failure> {
    let settings: Settings = read("delay", std::mem::take(&mut call.config))?;
    let for_ms = match &settings.until {
        Some(moment) => until(moment)?,
        None => milliseconds(settings.delay_seconds)?,
    };
    let then = Ending::Completed { output: upstream(call).into(), port: None };
    Ok(Wait { for_ms: Some(for_ms), then })
}

fn until(moment: &str) -> Result<u64, Failure> {
    let parsed = DateTime::parse_from_rfc3339(moment.trim());
    let parsed = parsed.map_err(|_| invalid("delay", &format!("`until` {NO_MOMENT}")))?;
    let at = u64::try_from(parsed.timestamp_millis()).unwrap_or(0);
    within(at.saturating_sub(now_ms()))
}

fn milliseconds(seconds: f64) -> Result<u64, Failure> {
    if seconds.is_nan() || seconds < 0.0 {
        return Err(invalid("delay", "`delay_seconds` must not be negative"));
    }
    // What is not zero does not become it; casting bounds what is too large.
    within((seconds * 1_000.0).ceil() as u64)
}

fn within(ms: u64) -> Result<u64, Failure> {
    if ms > WAIT_MS_MAX {
        let days = WAIT_MS_MAX / 86_400_000;
        return Err(invalid("delay", &format!("a wait lasts {days} days at most")));
    }
    Ok(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::control::testing::call;
    use crate::node::model::testing::{lowered, problems};

    fn wait(config: Value) -> Result<Wait, String> {
        call(config, &[("a", json!({ "n": 1 }))], delay).map_err(|failure| failure.message)
    }

    #[test]
    fn it_waits_so_long_and_gives_what_leads_to_it() {
        let then = Ending::Completed { output: json!({ "n": 1 }).into(), port: None };
        for (config, for_ms) in [
            (json!({}), 1_000),
            (json!({ "delay_seconds": 5 }), 5_000),
            (json!({ "delay_seconds": 0 }), 0),
            (json!({ "delay_seconds": 0.0001 }), 1),
            (json!({ "delay_seconds": "0.2" }), 200),
            (json!({ "until": "2001-02-03T04:05:06Z" }), 0),
        ] {
            let expected = Wait { for_ms: Some(for_ms), then: then.clone() };
            assert_eq!(wait(config), Ok(expected));
        }
    }

    #[test]
    fn a_moment_is_read_when_it_is_saved() {
        let refused = problems(spec, &json!({ "until": "tomorrow" }));
        insta::assert_snapshot!(refused, @"until: is a moment such as 2026-01-31T12:00:00Z, with its offset");
        for until in ["2026-01-31T12:00:00Z", " 2026-01-31T12:00:00+01:00", "{{input.until}}"] {
            let config = json!({ "until": until });
            assert_eq!(lowered(spec(), &config).expect(until).config, config);
        }
    }

    #[test]
    fn what_is_no_wait_is_refused() {
        for (config, expected) in [
            (json!({ "delay_seconds": -1 }), "`delay_seconds` must not be negative"),
            (json!({ "delay_seconds": 1e15 }), "a wait lasts 3660 days at most"),
            (json!({ "delay_seconds": "soon" }), "invalid type: string \"soon\", expected f64"),
            (
                json!({ "until": "tomorrow" }),
                "`until` is a moment such as 2026-01-31T12:00:00Z, \
              with its offset",
            ),
            (json!({ "until": "9999-01-01T00:00:00Z" }), "a wait lasts 3660 days at most"),
        ] {
            assert_eq!(wait(config), Err(format!("delay settings: {expected}")));
        }
    }
}
