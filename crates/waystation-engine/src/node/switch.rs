//! `switch`: leaves by the port of the first case that fits a value.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::error::{Code, Failure};
use waystation_core::expr::are_equal;

use super::items::{Items, condition_problem};
use super::model::settings::read;
use super::spec::{Category, Spec, holds_template, read_settings, schema_of};
use super::subject::{Several, subject};
use super::{Completion, Outcome, PureCall};

/// The port where no case fits.
const DEFAULT: &str = "default";

/// The type as definitions know it.
pub(super) fn spec() -> Spec {
    Spec {
        name: "switch",
        title: "Switch",
        description: DESCRIPTION,
        category: Category::Flow,
        schema: schema_of::<Settings>,
        example: || {
            json!({
                "value": "{{input.amount}}",
                "cases": [{ "equals": 0, "port": "free" }, { "when": "value > 1000", "port": "large" }],
            })
        },
        effort: None,
        lower,
    }
}

const DESCRIPTION: &str = "\
Chooses one of several ways by a value: the first case that fits decides.

A case fits if the value equals its `equals`, as `==` does it (the text `\"3\"` equals the number 3), or if its \
`when` holds: a condition in which `value` is the value, its fields are names, and the run's names stand \
behind them. The node leaves by the case's `port`; where no case fits, by `default`. Edges say which port \
they follow by their `label` (or `condition`, or `sourceHandle`); a port without an edge ends that branch.

It gives the value.";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What to decide by, usually a template. Without it, the result of the node that leads here, or the
    /// run's input where none does.
    value: Option<Value>,
    /// The cases, which are tried one after another.
    #[schemars(length(min = 1, max = 256))]
    cases: Vec<Case>,
}

/// One case.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
enum Case {
    /// Fits a value.
    Equals {
        /// The value that fits, as it stands: for one that depends on the run, use `when`.
        #[serde(deserialize_with = "Value::deserialize")]
        equals: Value,
        /// The port to leave by.
        #[schemars(length(min = 1, max = 256))]
        port: String,
    },
    /// Fits where a condition holds.
    When {
        /// A condition on `value`, its fields and the run's names.
        when: String,
        /// The port to leave by.
        #[schemars(length(min = 1, max = 256))]
        port: String,
    },
}

impl Case {
    fn port(&self) -> &str {
        match self {
            Case::Equals { port, .. } | Case::When { port, .. } => port,
        }
    }

    fn problem(&self, number: usize) -> Option<String> {
        match self {
            Case::When { when, .. } => condition_problem(&format!("cases.{number}.when"), when),
            Case::Equals { equals, .. } if holds_template(equals) => Some(format!(
                "cases.{number}.equals: a template cannot stand here; use `when`, as in \"value == input.x\""
            )),
            Case::Equals { .. } => None,
        }
    }

    /// Whether it fits the value, or what stands in for it where several nodes lead here.
    fn fits(
        &self,
        number: usize,
        value: &Items<'_>,
        several: Option<&Several>,
    ) -> Result<bool, Failure> {
        match (self, several) {
            (Case::When { when, .. }, _) => {
                value.holds(&value.condition(&format!("cases.{number}.when"), when)?, 0)
            }
            (Case::Equals { .. }, Some(several)) => Err(several.failure("switch", "value")),
            (Case::Equals { equals, .. }, None) => {
                let told = |problem| {
                    Failure::fatal(Code::ValueInvalid, format!("cases.{number}.equals: {problem}"))
                };
                are_equal(&value.list[0], equals).map_err(told)
            }
        }
    }
}

fn lower(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    let settings: Settings = read_settings(config.clone(), &["value"])?;
    let cases = settings.cases.iter().enumerate();
    let problems: Problems = cases.filter_map(|(number, case)| case.problem(number)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    if settings.value.is_none() {
        config.shift_remove("value");
    }
    let mut ports: Vec<String> = Vec::new();
    for port in settings.cases.iter().map(Case::port).chain([DEFAULT]) {
        if !ports.iter().any(|known| known == port) {
            ports.push(port.to_owned());
        }
    }
    let literal = vec!["cases".to_owned()];
    Ok(Lowered { literal, ports, ..Lowered::new("switch", Value::Object(config)) })
}

/// Gives the value, and leaves by the port of the first case that fits it.
pub(super) fn switch(call: &mut PureCall<'_>) -> Outcome {
    let subject = subject(call, "value");
    let settings: Settings = read("switch", call.config.take())?;
    let (value, several) = (subject.as_deref().ok(), subject.as_ref().err());
    let whole = Items::whole(value, call.names);
    for (number, case) in settings.cases.iter().enumerate() {
        if case.fits(number, &whole, several)? {
            return Ok(leave(value, case.port()));
        }
    }
    Ok(leave(value, DEFAULT))
}

fn leave(value: Option<&Value>, port: &str) -> Completion {
    let output = value.cloned().unwrap_or_default();
    Completion { output, port: Some(port.to_owned()), ..Completion::default() }
}

#[cfg(test)]
mod tests {
    use super::super::model::testing::{lowered, problems, run_described};
    use super::*;

    fn run(config: &Value, upstream: &[(&str, Value)]) -> Result<(Value, String), String> {
        let completion = run_described((spec(), switch), config, &json!({ "limit": 5 }), upstream)?;
        Ok((completion.output, completion.port.expect("a port")))
    }

    #[test]
    fn the_first_case_that_fits_decides() {
        let config = json!({ "cases": [
            { "equals": 3, "port": "three" },
            { "equals": null, "port": "nothing" },
            { "equals": { "a": [1] }, "port": "object" },
            { "when": "value is number and value > input.limit", "port": "large" },
            { "when": "value is object and kind | default('') == 'x'", "port": "kind" },
            { "when": "value is number", "port": "three" },
        ]});
        for (value, port) in [
            (json!(3), "three"),
            (json!("3"), "three"),
            (json!(3.0), "three"),
            (json!(4), "three"),
            (json!(null), "nothing"),
            (json!({ "a": [1] }), "object"),
            (json!(6), "large"),
            (json!({ "kind": "x" }), "kind"),
            (json!({ "kind": "y" }), "default"),
            (json!("four"), "default"),
            (json!([3]), "default"),
        ] {
            let left = run(&config, &[("before", value.clone())]);
            assert_eq!(left, Ok((value, port.to_owned())));
        }
    }

    #[test]
    fn the_value_is_said_or_leads_there() {
        let cases = json!([{ "equals": 5, "port": "five" }]);
        let config = json!({ "value": "{{input.limit}}", "cases": cases });
        assert_eq!(run(&config, &[("a", json!(1))]), Ok((json!(5), "five".into())));
        let two = [("a", json!(1)), ("b", json!(2))];
        insta::assert_snapshot!(run(&json!({ "cases": cases }), &two).unwrap_err(), @r#"value_invalid: switch: several nodes lead here, `a`, `b`; say in `value` what is meant [for example "value": "{{outputs.a}}"]"#);
        let config = json!({ "cases": [{ "when": "input.limit == 5", "port": "b" }] });
        assert_eq!(run(&config, &two), Ok((json!(null), "b".into())), "names need no value");
    }

    #[test]
    fn ports_are_known_before_a_run() {
        let config = json!({ "cases": [
            { "equals": 1, "port": "a" },
            { "when": "value > 2", "port": "b" },
            { "equals": 2, "port": "a" },
        ]});
        let lowered = lowered(spec(), &config).unwrap();
        assert_eq!(lowered.ports, ["a", "b", "default"]);
        assert_eq!((lowered.literal, lowered.config), (vec!["cases".to_owned()], config));
    }

    #[test]
    fn a_case_that_cannot_be_evaluated_is_named() {
        let cases = json!([{ "equals": 1, "port": "a" }, { "when": "size > 2", "port": "b" }]);
        let left = run(&json!({ "cases": cases }), &[("a", json!({ "siz": 1 }))]);
        insta::assert_snapshot!(left.unwrap_err(), @"expression_failed: cases.1.when: `size` does not exist; nearest: `siz`; if a string is meant, put it in quotes (bytes 0..4)");
    }

    #[test]
    fn what_is_wrong_with_the_settings_is_told_at_once() {
        let problems = |cases: Value| problems(spec, &json!({ "cases": cases }));
        insta::assert_snapshot!(problems(json!([])), @"cases: [] has less than 1 item");
        insta::assert_snapshot!(problems(json!([{ "equals": 1 }, { "when": 1, "port": "a" }])), @r#"
        cases.0.port: it is required
        cases.1.when: 1 is not of type "string"
        "#);
        insta::assert_snapshot!(problems(json!([{ "equals": 1, "when": "x", "port": "" }])), @"cases.0: it has none of the forms that are possible here");
        insta::assert_snapshot!(problems(json!("{{input.cases}}")), @"cases: a template cannot stand here; say it as it is");
        let cases =
            json!([{ "equals": ["{{input.x}}"], "port": "a" }, { "when": "value >", "port": "b" }]);
        insta::assert_snapshot!(problems(cases), @r#"
        cases.0.equals: a template cannot stand here; use `when`, as in "value == input.x"
        cases.1.when: a value is missing here (bytes 7..7)
        "#);
    }
}
