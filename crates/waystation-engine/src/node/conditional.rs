//! `conditional` and `condition`, as definitions have them: two ways out, by whether a condition holds.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};

use super::items::condition_problem;
use super::spec::{Category, Spec, read_settings, schema_of};

/// The type that may name the nodes to go on with.
pub(super) fn conditional_spec() -> Spec {
    Spec {
        name: "conditional",
        title: "Conditional",
        description: CONDITIONAL,
        category: Category::Flow,
        schema: schema_of::<Conditional>,
        example: || json!({ "condition": "{{input.value}} > 10" }),
        effort: None,
        lower: lower_conditional,
    }
}

/// The type whose edges alone say how to go on.
pub(super) fn condition_spec() -> Spec {
    Spec {
        name: "condition",
        title: "Condition",
        description: CONDITION,
        category: Category::Flow,
        schema: schema_of::<OnlyCondition>,
        example: || json!({ "condition": "input.value > 10" }),
        effort: None,
        lower: lower_condition,
    }
}

const CONDITIONAL: &str = "\
Goes one way if a condition holds, and another if not.

The ways are the nodes that `true_edge` and `false_edge` name, and the edges labelled `true` and `false` (by \
`label`, `condition` or `sourceHandle`); an edge without a label follows on true. A way that leads nowhere \
ends that branch.

It gives the boolean. A condition that cannot be evaluated, because a name is unknown or two types do not \
compare, fails the node; it never counts as false.";

const CONDITION: &str = "\
Goes one way if a condition holds, and another if not, by the labels of its edges.

An edge labelled `true` or `false` (by `label`, `condition` or `sourceHandle`) is followed in that case, and \
an edge without a label on true. `conditional` does the same and may name the nodes itself.

It gives the boolean. A condition that cannot be evaluated, because a name is unknown or two types do not \
compare, fails the node; it never counts as false.";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Conditional {
    /// What decides: an expression on the run's names, with or without `{{ }}` around them.
    condition: String,
    /// The id of the node to go on with if it holds.
    true_edge: Option<String>,
    /// The id of the node to go on with if it does not hold.
    false_edge: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct OnlyCondition {
    /// What decides: an expression on the run's names, with or without `{{ }}` around them.
    condition: String,
}

fn lower_conditional(config: Map<String, Value>) -> Result<Lowered, Problems> {
    let settings: Conditional = read_settings(config, &["condition"])?;
    let target = |port: &str, edge: Option<String>| edge.map(|node| (port.to_owned(), node));
    let targets = target("true", settings.true_edge).into_iter();
    let targets = targets.chain(target("false", settings.false_edge)).collect();
    Ok(Lowered { targets, ..branch(settings.condition)? })
}

fn lower_condition(config: Map<String, Value>) -> Result<Lowered, Problems> {
    let settings: OnlyCondition = read_settings(config, &["condition"])?;
    branch(settings.condition)
}

/// The condition is no setting of the plan's node: it would hide names of the run from itself.
fn branch(condition: String) -> Result<Lowered, Problems> {
    if let Some(problem) = condition_problem("condition", &condition) {
        return Err(vec![problem]);
    }
    let lowered = Lowered::new("condition", Value::Object(Map::new()));
    let ports = vec!["true".to_owned(), "false".to_owned()];
    Ok(Lowered { condition: Some(condition), ports, ..lowered })
}

#[cfg(test)]
mod tests {
    use super::super::model::testing::{lowered, problems};
    use super::*;

    #[test]
    fn the_condition_is_the_nodes_and_no_setting() {
        let config =
            json!({ "condition": "{{input.a}} > 1", "true_edge": "yes", "false_edge": "no" });
        let one = lowered(conditional_spec(), &config).unwrap();
        assert_eq!((one.kind.as_str(), &one.config), ("condition", &json!({})));
        assert_eq!(one.condition.as_deref(), Some("{{input.a}} > 1"));
        assert_eq!(one.ports, ["true", "false"]);
        let target = |port: &str, node: &str| (port.to_owned(), node.to_owned());
        assert_eq!(one.targets, [target("true", "yes"), target("false", "no")]);
        let other = lowered(condition_spec(), &json!({ "condition": "{{input.a}} > 1" })).unwrap();
        assert_eq!(other, Lowered { targets: Vec::new(), ..one });
    }

    #[test]
    fn each_edge_may_be_left_out() {
        for (config, targets) in [
            (json!({ "condition": "a" }), vec![]),
            (json!({ "condition": "a", "true_edge": null }), vec![]),
            (json!({ "condition": "a", "false_edge": "no" }), vec![("false".into(), "no".into())]),
        ] {
            assert_eq!(lowered(conditional_spec(), &config).unwrap().targets, targets, "{config}");
        }
    }

    #[test]
    fn what_is_wrong_with_the_settings_is_told_at_once() {
        for spec in [conditional_spec, condition_spec] {
            let problems = |config: Value| problems(spec, &config);
            assert_eq!(problems(json!({ "condition": "my-node.output > 2nd.output" })), "");
            insta::allow_duplicates! {
                insta::assert_snapshot!(problems(json!({})), @"condition: it is required");
                insta::assert_snapshot!(problems(json!({ "condition": "a = 1" })), @"condition: use `==` to compare (bytes 2..3)");
                insta::assert_snapshot!(problems(json!({ "condition": "{{secrets.KEY}} == 'a'" })), @"condition: a condition cannot look at a secret (bytes 0..22)");
            }
        }
        let wrong = json!({ "condition": "a", "true_edge": "{{input.node}}" });
        insta::assert_snapshot!(problems(conditional_spec, &wrong), @"true_edge: a template cannot stand here; say it as it is");
        let wrong = json!({ "condition": "a", "true_edge": "yes" });
        insta::assert_snapshot!(problems(condition_spec, &wrong), @"true_edge: there is no such setting");
    }
}
