//! `merge`, as definitions have it: where branches meet again. Its engine type is called `gather`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::plan::Join;

use super::model::settings::read;
use super::spec::{Category, Spec, read_settings, schema_of};
use super::subject::arrived;
use super::{Outcome, PureCall};

/// The type as definitions know it.
pub(super) fn spec() -> Spec {
    Spec {
        name: "merge",
        title: "Merge",
        description: DESCRIPTION,
        category: Category::Flow,
        schema: schema_of::<Settings>,
        example: || json!({ "mode": "all", "combine": "object" }),
        effort: None,
        lower,
    }
}

const DESCRIPTION: &str = "\
Brings branches together, and goes on when enough of them have arrived.

With `mode` `all` it waits until every branch has either arrived or turned out not to come (because a \
condition led elsewhere); one that arrives is enough. With `any` it goes on with the first that arrives, with \
`first` when `count` of them have; the rest goes on by itself and leads no further here. If fewer arrive than \
it waits for, the node is skipped.

It gives the results that have arrived by then, in the order of the edges. After a condition, of whose \
branches only one comes, `combine: first` gives that branch's result as it is.";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// When to go on.
    #[serde(default)]
    mode: Mode,
    /// How many branches to wait for; with `mode: first` alone.
    #[schemars(range(min = 1))]
    count: Option<u32>,
    /// What to give.
    #[serde(default)]
    combine: Combine,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    /// When all branches that come have arrived.
    #[default]
    All,
    /// When one has arrived.
    Any,
    /// When `count` have arrived.
    First,
}

#[derive(Clone, Copy, Default, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Combine {
    /// An object of the results by node id.
    #[default]
    Object,
    /// A list of the results.
    Array,
    /// The first result alone.
    First,
}

fn lower(config: Map<String, Value>) -> Result<Lowered, Problems> {
    let settings: Settings = read_settings(config.clone(), &[])?;
    let join = match (settings.mode, settings.count) {
        (Mode::First, Some(count)) => Join::First(count),
        (Mode::First, None) => return problem("count: `mode: first` needs to know how many"),
        (_, Some(_)) => return problem("count: it has a meaning with `mode: first` alone"),
        (Mode::Any, None) => Join::First(1),
        (Mode::All, None) => Join::All,
    };
    let lowered = Lowered::new("gather", Value::Object(config));
    Ok(Lowered { join: Some(join), ..lowered })
}

fn problem(text: &str) -> Result<Lowered, Problems> {
    Err(vec![text.to_owned()])
}

/// Gives the results that have arrived, combined.
pub(super) fn gather(call: &mut PureCall<'_>) -> Outcome {
    let settings: Settings = read("merge", call.config.take())?;
    let results = arrived(call).into_iter();
    let mut results = results.map(|(id, result)| (id, result.as_ref().clone()));
    let combined = match settings.combine {
        Combine::Object => Value::Object(results.collect()),
        Combine::Array => results.map(|(_, result)| result).collect(),
        Combine::First => results.next().map(|(_, result)| result).unwrap_or_default(),
    };
    Ok(combined.into())
}

#[cfg(test)]
mod tests {
    use super::super::model::testing::{lowered, problems, run_described};
    use super::*;

    #[test]
    fn what_has_arrived_is_combined() {
        let (a, b) = (("a", json!([1])), ("b", json!(2)));
        for (config, upstream, expected) in [
            (json!({}), vec![b.clone(), a.clone()], json!({ "b": 2, "a": [1] })),
            (json!({}), vec![a.clone()], json!({ "a": [1] })),
            (json!({}), vec![], json!({})),
            (
                json!({ "combine": "object" }),
                vec![a.clone(), b.clone()],
                json!({ "a": [1], "b": 2 }),
            ),
            (json!({ "combine": "array" }), vec![a.clone(), b.clone(), a.clone()], json!([[1], 2])),
            (json!({ "combine": "first" }), vec![b.clone(), a.clone()], json!(2)),
            (json!({ "combine": "first" }), vec![], json!(null)),
        ] {
            let given = run_described((spec(), gather), &config, &json!({}), &upstream);
            assert_eq!(given.map(|given| given.output), Ok(expected), "{config}");
        }
    }

    #[test]
    fn the_mode_says_what_to_wait_for() {
        for (config, join) in [
            (json!({}), Join::All),
            (json!({ "mode": "all" }), Join::All),
            (json!({ "mode": "any" }), Join::First(1)),
            (json!({ "mode": "first", "count": 3 }), Join::First(3)),
        ] {
            let lowered = lowered(spec(), &config).unwrap();
            assert_eq!((lowered.join, lowered.kind.as_str()), (Some(join), "gather"), "{config}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_settings_is_told_at_once() {
        let problems = |config: Value| problems(spec, &config);
        insta::assert_snapshot!(problems(json!({ "mode": "some" })), @r#"mode: "some" is none of "all", "any", "first""#);
        insta::assert_snapshot!(problems(json!({ "mode": "first" })), @"count: `mode: first` needs to know how many");
        insta::assert_snapshot!(problems(json!({ "mode": "any", "count": 2 })), @"count: it has a meaning with `mode: first` alone");
        let wrong = json!({ "mode": "first", "count": 0, "combine": "sum" });
        insta::assert_snapshot!(problems(wrong), @r#"
        count: 0 is less than the minimum of 1
        combine: "sum" is none of "object", "array", "first"
        "#);
        let templates = json!({ "mode": "{{input.mode}}", "count": "{{input.n}}" });
        insta::assert_snapshot!(problems(templates), @"
        mode: a template cannot stand here; say it as it is
        count: a template cannot stand here; say it as it is
        ");
    }
}
