//! `filter`: the items of a list for which a condition holds.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};

use super::items::{Items, condition_problem};
use super::model::settings::read;
use super::spec::{Category, Spec, read_settings, schema_of};
use super::subject::subject;
use super::{Outcome, PureCall};

/// The type as definitions know it.
pub(super) fn spec() -> Spec {
    Spec {
        name: "filter",
        title: "Filter",
        description: DESCRIPTION,
        category: Category::Data,
        schema: schema_of::<Settings>,
        example: || json!({ "condition": "price > 10", "items": [{ "price": 5 }, { "price": 15 }] }),
        effort: None,
        lower,
    }
}

const DESCRIPTION: &str = "\
Keeps the items of a list for which a condition holds, in their order.

In the condition, an item's fields are names: `price > 10 and status == 'active'`. Beside them stand `item` \
(the item itself), `value` (likewise, where the item has no field of that name; for an item that is a number \
or a text) and `index` (its place, from 0); behind them the run's names, as in `price > input.limit`. A field \
of the item hides a name of the run.

It gives the list of the items that stay. A value that is no list passes as it is, or becomes `null`.

A condition that cannot be evaluated for an item, because a field is missing or two types do not compare, \
fails the node and says which item it was; `price | default(0) > 10` is the way out. All items together may \
make the node look at 256 MiB of values, where each part of the condition counts as 64 bytes an item: \
hundreds of thousands of items for a usual condition. Beyond, the node fails.";

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What must hold for an item to stay.
    condition: String,
    /// The list, as a template such as `{{outputs.fetch.rows}}`. Without it, the result of the node that
    /// leads here, or the run's input where none does.
    items: Option<Value>,
}

fn lower(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    let settings: Settings = read_settings(config.clone(), &["condition", "items"])?;
    if let Some(problem) = condition_problem("condition", &settings.condition) {
        return Err(vec![problem]);
    }
    if settings.items.is_none() {
        config.shift_remove("items");
    }
    let literal = vec!["condition".to_owned()];
    Ok(Lowered { literal, ..Lowered::new("filter", Value::Object(config)) })
}

/// Gives the items for which the condition holds.
pub(super) fn filter(call: &mut PureCall<'_>) -> Outcome {
    let subject = subject(call, "items").map_err(|several| several.failure("filter", "items"))?;
    let settings: Settings = read("filter", call.config.take())?;
    let items = Items::new(&subject, call.names);
    let condition = items.condition("condition", &settings.condition)?;
    let mut kept = Vec::new();
    for (index, item) in items.list.iter().enumerate() {
        if items.holds(&condition, index)? {
            kept.push(item.clone());
        }
    }
    Ok(items.in_their_form(kept).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::model::testing::{lowered, problems, run_described};
    use super::*;

    fn run(config: &Value, input: &Value, upstream: &[(&str, Value)]) -> Result<Value, String> {
        let given = run_described((spec(), filter), config, input, upstream);
        given.map(|completion| completion.output)
    }

    fn of(condition: &str, items: Value) -> Result<Value, String> {
        let input = json!({ "limit": 2, "status": "of the run" });
        run(&json!({ "condition": condition }), &input, &[("fetch", items)])
    }

    #[test]
    fn what_holds_for_an_item_keeps_it() {
        let people =
            json!([{ "name": "Ada", "age": 36, "first-name": "A" }, { "name": "Bob", "age": 7 }]);
        let only = |index: usize| Ok(json!([people[index]]));
        let nested = json!([{ "value": { "value": 1 } }]);
        for (condition, items, expected) in [
            ("age > 10", people.clone(), only(0)),
            ("{{age}} > 10 and name == 'Ada'", people.clone(), only(0)),
            ("item.age < input.limit * 5", people.clone(), only(1)),
            ("index == 1", people.clone(), only(1)),
            ("item[\"first-name\"] is not defined", people.clone(), only(1)),
            ("first-name | default('') == 'A'", people.clone(), only(0)),
            ("value > 1", json!([1, 2, "3"]), Ok(json!([2, "3"]))),
            ("item > 1", json!([]), Ok(json!([]))),
            ("value", json!([0, 1, null, "", "a", [], {}]), Ok(json!([1, "a"]))),
            ("value.value == 1", nested.clone(), Ok(nested)),
            ("length(value) == 2", json!([[1, 2], [3]]), Ok(json!([[1, 2]]))),
            ("age > 10", people[0].clone(), Ok(people[0].clone())),
            ("age > 10", people[1].clone(), Ok(Value::Null)),
            ("value == null", Value::Null, Ok(Value::Null)),
        ] {
            assert_eq!(of(condition, items), expected, "{condition}");
        }
    }

    #[test]
    fn what_it_looks_at_is_said_or_leads_there() {
        let input = json!({ "list": [1, 2] });
        let fetch = [("fetch", json!([5]))];
        let said = json!({ "condition": "value > 1", "items": "{{input.list}}" });
        assert_eq!(run(&said, &input, &fetch), Ok(json!([2])));
        let nothing = json!({ "condition": "value > 1", "items": null });
        assert_eq!(run(&nothing, &input, &fetch), Ok(json!([5])));
        let on_input = json!({ "condition": "list | length > 1" });
        assert_eq!(run(&on_input, &input, &[]), Ok(input.clone()));
        let two = [("a", json!([1])), ("b", json!([2]))];
        insta::assert_snapshot!(run(&nothing, &input, &two).unwrap_err(), @r#"value_invalid: filter: several nodes lead here, `a`, `b`; say in `items` what is meant [for example "items": "{{outputs.a}}"]"#);
    }

    #[test]
    fn a_condition_that_cannot_be_evaluated_names_the_item() {
        let items = json!([{ "price": 1 }, { "pirce": 2 }]);
        insta::assert_snapshot!(of("price > 0", items.clone()).unwrap_err(), @"expression_failed: condition: item 1: `price` does not exist; nearest: `pirce`; if a string is meant, put it in quotes (bytes 0..5)");
        insta::assert_snapshot!(of("price > 'x'", items[0].clone()).unwrap_err(), @"expression_failed: condition: `>` cannot order a number and a string that is not numeric (bytes 0..11)");
        insta::assert_snapshot!(of("value > 'x'", json!(["y", 1])).unwrap_err(), @"expression_failed: condition: item 1: `>` cannot order a number and a string that is not numeric (bytes 0..11)");
    }

    #[test]
    fn too_much_work_on_all_items_together_is_refused() {
        let items: Value = (0..3_000).map(|_| json!("x".repeat(1_000))).collect();
        let costly = format!("value matches '{}'", "(a|b|c)?".repeat(200));
        insta::assert_snapshot!(of(&costly, items).unwrap_err(), @"limit_exceeded: condition: item 2094: this takes too much work on values this large (bytes 0..1616); for all its items together, a node may look at 256 MiB and produce 16 MiB [give it fewer or smaller items, or a simpler expression]");
    }

    #[test]
    fn what_is_wrong_with_the_settings_is_told_at_once() {
        let problems = |config: Value| problems(spec, &config);
        insta::assert_snapshot!(problems(json!({})), @"condition: it is required");
        insta::assert_snapshot!(problems(json!({ "condition": "price >" })), @"condition: a value is missing here (bytes 7..7)");
        insta::assert_snapshot!(problems(json!({ "condition": "{{price" })), @"condition: this `{{` is never closed with `}}` (bytes 0..2)");
        insta::assert_snapshot!(problems(json!({ "condition": "secrets.KEY == 1" })), @"condition: a condition cannot look at a secret (bytes 0..16)");
        insta::assert_snapshot!(problems(json!({ "condition": 1, "item": 2 })), @r#"
        condition: 1 is not of type "string"
        item: there is no such setting; nearest: `items`
        "#);
        let dashes = "2nd-step.output.total-price > 1";
        assert_eq!(problems(json!({ "condition": dashes })), "", "these may be names");
        let minus = "total-price > total-length(x)";
        assert_eq!(problems(json!({ "condition": minus })), "", "this may be a minus");
    }

    #[test]
    fn the_condition_is_left_as_it_stands() {
        let config = json!({ "condition": "{{price}} > 1", "items": "{{input.list}}" });
        let lowered = lowered(spec(), &config).unwrap();
        assert_eq!((lowered.kind.as_str(), lowered.config), ("filter", config));
        assert_eq!((lowered.literal, lowered.condition), (vec!["condition".to_owned()], None));
    }

    proptest! {
        #[test]
        fn it_keeps_what_a_loop_would(
            items in prop::collection::vec((any::<i8>(), prop::bool::ANY), 0..20),
            limit in any::<i8>(),
        ) {
            let item = |(n, flag): &(i8, bool)| json!({ "n": n, "flag": flag });
            let stays = |(n, flag): &&(i8, bool)| *n >= limit && !flag;
            let expected: Value = items.iter().filter(stays).map(item).collect();
            let condition = format!("n >= {limit} and not flag");
            prop_assert_eq!(of(&condition, items.iter().map(item).collect()), Ok(expected));
        }
    }
}
