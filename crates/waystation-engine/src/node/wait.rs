//! `wait`: until somebody decides, by a call or by a signed link, or too much time has passed.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::entry::Ending;
use waystation_core::error::{Code, Failure};

use super::model::settings::{invalid, read};
use super::spec::{Category, Spec, schema_of};
use super::{PureCall, Wait};
use crate::limits::WAIT_MS_MAX;

/// The engine's name of the type.
pub const KIND: &str = "wait";
/// The port by which a wait leaves that nobody has ended.
const TIMEOUT: &str = "timeout";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What whoever decides is shown.
    #[serde(default)]
    #[expect(dead_code, reason = "whoever decides reads it in the plan")]
    message: Value,
    /// What may be chosen; each is a way out of the node.
    #[serde(default = "choices")]
    #[schemars(length(min = 1, max = 20))]
    #[expect(dead_code, reason = "the ways out are known before the node runs")]
    choices: Vec<String>,
    /// How long to wait, in seconds; for ever where nothing is said.
    #[schemars(range(min = 0.001, max = 316_224_000))]
    timeout: Option<f64>,
    /// What happens when the time is over: the way out `timeout`, or a failure.
    #[serde(default)]
    on_timeout: OnTimeout,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "lowercase")]
enum OnTimeout {
    #[default]
    Branch,
    Fail,
}

fn choices() -> Vec<String> {
    ["approved", "rejected"].map(String::from).into()
}

/// What definitions know about it.
pub(super) fn spec() -> Spec {
    Spec {
        name: "wait",
        title: "Wait for a decision",
        description: "Waits until somebody decides: by `POST /api/v1/jobs/{id}/nodes/{node}/signal` \
            with `{\"choice\": \"approved\", \"data\": ...}`, or by a signed link, which an e-mail or \
            a message before this node may carry as `{{links.<id of the wait node>}}`. A waiting run \
            takes next to no memory, and survives restarts.\n\nLeaves by the choice; an edge without a \
            label follows the first one, and one labelled `timeout` is followed when the time is over. \
            Gives `{choice, data}`.",
        category: Category::Flow,
        schema: schema_of::<Settings>,
        example: || json!({ "message": "Refund the order?", "timeout": 86_400 }),
        effort: None,
        lower,
    }
}

fn lower(config: serde_json::Map<String, Value>) -> Result<Lowered, Problems> {
    let config = Value::Object(config);
    let mut ports = choices_of(&config);
    if ports.iter().any(|port| port.contains("{{")) {
        return Err(vec!["choices: must be known before the workflow runs: no templates".into()]);
    }
    if ports.iter().any(|port| port == TIMEOUT || port == "error") {
        return Err(vec!["choices: `timeout` and `error` are ways out of their own".into()]);
    }
    ports.push(TIMEOUT.into());
    Ok(Lowered { ports, ..Lowered::new(KIND, config) })
}

/// Waits for a decision.
pub(super) fn wait(call: &mut PureCall<'_>) -> Result<Wait, Failure> {
    let settings: Settings = read("wait", std::mem::take(&mut call.config))?;
    let Some(seconds) = settings.timeout else {
        return Ok(Wait { for_ms: None, then: Ending::Failed(late(0.0)) });
    };
    let for_ms = (seconds * 1_000.0).ceil();
    if !(for_ms >= 1.0 && for_ms <= WAIT_MS_MAX as f64) {
        return Err(invalid("wait", "`timeout` must be above 0 and up to ten years"));
    }
    let then = match settings.on_timeout {
        OnTimeout::Fail => Ending::Failed(late(seconds)),
        OnTimeout::Branch => {
            let output = json!({ "choice": TIMEOUT, "data": null }).into();
            Ending::Completed { output, port: Some(TIMEOUT.into()) }
        }
    };
    Ok(Wait { for_ms: Some(for_ms as u64), then })
}

fn late(seconds: f64) -> Failure {
    Failure::fatal(Code::Timeout, format!("Nobody decided within {seconds} seconds"))
}

/// What may be chosen, by a node's settings as the plan has them.
pub fn choices_of(config: &Value) -> Vec<String> {
    match config.get("choices").and_then(Value::as_array) {
        Some(choices) => choices.iter().filter_map(Value::as_str).map(String::from).collect(),
        None => choices(),
    }
}

/// How a decision ends a wait, whose settings are as the plan has them.
pub fn decided(config: &Value, choice: Option<&str>, data: &Value) -> Result<Ending, String> {
    let known = choices_of(config);
    let choice = match (choice, known.as_slice()) {
        (Some(choice), _) => known.iter().find(|known| *known == choice),
        (None, [only]) => Some(only),
        // Nobody approves by saying nothing.
        (None, _) => None,
    };
    let Some(choice) = choice else {
        return Err(format!("the choices are {}", known.join(", ")));
    };
    let output = json!({ "choice": choice, "data": data }).into();
    Ok(Ending::Completed { output, port: Some(choice.clone()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::control::testing::call;

    fn ending(port: &str) -> Ending {
        let output = json!({ "choice": port, "data": null }).into();
        Ending::Completed { output, port: Some(port.into()) }
    }

    #[test]
    fn the_time_decides_where_nobody_does() {
        let wait = |config| call(config, &[], wait).map_err(|failure| failure.message);
        assert_eq!(wait(json!({})).unwrap().for_ms, None);
        let branch = wait(json!({ "timeout": 1.5 })).unwrap();
        assert_eq!(branch, Wait { for_ms: Some(1_500), then: ending("timeout") });
        let fail = wait(json!({ "timeout": 2, "on_timeout": "fail" })).unwrap();
        assert_eq!(fail.then, Ending::Failed(late(2.0)));
        assert!(wait(json!({ "timeout": 0 })).is_err());
    }

    #[test]
    fn a_decision_is_one_of_the_choices() {
        let own = json!({ "choices": ["now", "later"] });
        let approved = decided(&json!({}), Some("approved"), &Value::Null);
        assert_eq!(approved, Ok(ending("approved")));
        assert!(decided(&json!({}), None, &Value::Null).is_err());
        let only = json!({ "choices": ["go"] });
        assert_eq!(decided(&only, None, &Value::Null), Ok(ending("go")));
        assert_eq!(decided(&own, Some("later"), &Value::Null), Ok(ending("later")));
        assert_eq!(
            decided(&own, Some("never"), &Value::Null),
            Err("the choices are now, later".into())
        );
    }

    #[test]
    fn choices_are_ways_out() {
        let ports =
            |config: Value| lower(config.as_object().cloned().unwrap()).map(|low| low.ports);
        assert_eq!(ports(json!({})).unwrap(), ["approved", "rejected", "timeout"]);
        assert_eq!(ports(json!({ "choices": ["go"] })).unwrap(), ["go", "timeout"]);
        assert!(ports(json!({ "choices": ["timeout"] })).is_err());
        assert!(ports(json!({ "choices": ["{{input.x}}"] })).is_err());
    }
}
