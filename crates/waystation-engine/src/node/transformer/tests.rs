//! Each way of transforming, setting by setting.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{JQ_TIMEOUT_MS, spec, transformer};
use crate::node::model::testing::{lowered, problems, run_described};

fn run(config: &Value, upstream: &[(&str, Value)]) -> Result<Value, String> {
    let input = json!({ "rate": 2, "list": [1, [2]] });
    run_described((spec(), transformer), config, &input, upstream).map(|done| done.output)
}

/// Transforms what one node gave.
#[expect(clippy::needless_pass_by_value, reason = "settings are made where they are used")]
fn of(config: Value, subject: &Value) -> Result<Value, String> {
    run(&config, &[("before", subject.clone())])
}

#[track_caller]
fn check(cases: impl IntoIterator<Item = (Value, Value, Value)>) {
    for (config, subject, expected) in cases {
        assert_eq!(of(config.clone(), &subject), Ok(expected), "{config} of {subject}");
    }
}

fn people() -> Value {
    json!([
        { "name": "Ada", "team": "x", "age": 36, "address": { "city": "London", "zip": 1 } },
        { "name": "Bob", "team": "y", "age": 7 },
        { "name": "Cyd", "team": "x", "age": 36, "address": { "city": "Paris" } },
    ])
}

#[test]
fn what_it_works_on_is_said_or_leads_there() {
    let before = [("before", json!([9]))];
    let map = |items: Value| run(&json!({ "transform_type": "map", "items": items }), &before);
    assert_eq!(map(json!("{{input.list}}")), Ok(json!([1, [2]])));
    assert_eq!(map(json!([1])), Ok(json!([1])));
    assert_eq!(map(json!(null)), Ok(json!([9])), "nothing is said");
    let config = json!({ "transform_type": "map" });
    assert_eq!(run(&config, &before), Ok(json!([9])), "without fields it is the identity");
    let two = [("a", json!([1])), ("b", json!([2]))];
    insta::assert_snapshot!(run(&config, &two).unwrap_err(), @r#"value_invalid: transformer: several nodes lead here, `a`, `b`; say in `items` what is meant [for example "items": "{{outputs.a}}"]"#);
}

#[test]
fn map_makes_new_items() {
    let fields = |fields: Value| json!({ "transform_type": "map", "fields": fields });
    let expression = |source: &str| json!({ "transform_type": "map", "expression": source });
    check([
        (
            fields(
                json!({ "label": "{{name}} ({{age}})", "kind": "person", "n": [{ "at": "{{index}}" }] }),
            ),
            json!([people()[1]]),
            json!([{ "label": "Bob (7)", "kind": "person", "n": [{ "at": 0 }] }]),
        ),
        (fields(json!({ "all": "{{item}}" })), json!([1, 2]), json!([{ "all": 1 }, { "all": 2 }])),
        (fields(json!({})), json!([1]), json!([{}])),
        (fields(json!({ "v": "{{value * input.rate}}" })), json!(4), json!({ "v": 8 })),
        (expression("age * input.rate"), people(), json!([72, 14, 72])),
        (
            expression("{\"n\": name, \"i\": index}"),
            json!([people()[0]]),
            json!([{ "n": "Ada", "i": 0 }]),
        ),
        (expression("value | upper"), json!("a"), json!("A")),
        (expression("value"), json!([]), json!([])),
    ]);
}

#[test]
fn pick_keeps_fields_and_their_nesting() {
    let pick = |fields: Value| json!({ "transform_type": "pick", "fields": fields });
    check([
        (
            pick(json!(["address.city", "name", "nothing", "name.first"])),
            people(),
            json!([
                { "address": { "city": "London" }, "name": "Ada" },
                { "name": "Bob" },
                { "address": { "city": "Paris" }, "name": "Cyd" },
            ]),
        ),
        (pick(json!(["a.b"])), json!({ "a.b": 1, "a": { "b": 2 } }), json!({ "a.b": 1 })),
        (
            pick(json!(["a", "a.b"])),
            json!({ "a": { "b": 2, "c": 3 } }),
            json!({ "a": { "b": 2, "c": 3 } }),
        ),
        (
            pick(json!(["a.b", "a.c"])),
            json!({ "a": { "b": null, "c": 3 } }),
            json!({ "a": { "b": null, "c": 3 } }),
        ),
        (pick(json!(["tags.0"])), json!({ "tags": [1] }), json!({})),
        (pick(json!([""])), json!({ "": 1 }), json!({ "": 1 })),
    ]);
    insta::assert_snapshot!(of(pick(json!(["a"])), &json!([{ "a": 1 }, 5])).unwrap_err(), @"value_invalid: pick: item 1: it is a number and has no fields");
    insta::assert_snapshot!(of(pick(json!(["a"])), &json!(null)).unwrap_err(), @"value_invalid: pick: it is null and has no fields");
}

#[test]
fn rename_gives_other_names_in_the_same_places() {
    let rename = |fields: Value| json!({ "transform_type": "rename", "fields": fields });
    check([
        (rename(json!({ "a": "z" })), json!([{ "a": 1, "b": 2 }]), json!([{ "z": 1, "b": 2 }])),
        (rename(json!({ "a": "b" })), json!({ "a": 1, "b": 2 }), json!({ "b": 1 })),
        (
            rename(json!({ "a": "b", "b": "a" })),
            json!({ "a": 1, "b": 2 }),
            json!({ "b": 1, "a": 2 }),
        ),
        (rename(json!({ "a": "b" })), json!({ "b": 2 }), json!({ "b": 2 })),
    ]);
    let order = of(rename(json!({ "b": "y" })), &json!({ "a": 1, "b": 2, "c": 3 })).unwrap();
    assert_eq!(order.to_string(), r#"{"a":1,"y":2,"c":3}"#);
    insta::assert_snapshot!(of(rename(json!({ "a": "b" })), &json!(["x"])).unwrap_err(), @"value_invalid: rename: item 0: it is a string and has no fields");
}

#[test]
fn flatten_opens_lists_level_by_level() {
    let flatten = |depth: Value| json!({ "transform_type": "flatten", "depth": depth });
    let nested = json!([1, [2, [3, [4]]], [], { "a": [5] }]);
    check([
        (
            json!({ "transform_type": "flatten" }),
            nested.clone(),
            json!([1, 2, [3, [4]], { "a": [5] }]),
        ),
        (flatten(json!(2)), nested.clone(), json!([1, 2, 3, [4], { "a": [5] }])),
        (flatten(json!(100)), nested, json!([1, 2, 3, 4, { "a": [5] }])),
    ]);
    insta::assert_snapshot!(of(flatten(json!(1)), &json!({ "rows": [1] })).unwrap_err(), @r#"value_invalid: flatten needs a list and got an object [say in `items` where the list is, as in "{{outputs.fetch.rows}}"]"#);
}

#[test]
fn group_makes_lists_by_what_items_have_in_common() {
    let group = |by: &str| json!({ "transform_type": "group", "by": by });
    let named = |names: &[usize]| names.iter().map(|n| people()[*n].clone()).collect::<Value>();
    check([
        (group("team"), people(), json!({ "x": named(&[0, 2]), "y": named(&[1]) })),
        (group("age > 10"), people(), json!({ "true": named(&[0, 2]), "false": named(&[1]) })),
        (
            group("address.city"),
            people(),
            json!({ "London": named(&[0]), "null": named(&[1]), "Paris": named(&[2]) }),
        ),
        (
            group("value"),
            json!([1, "1", 2, null]),
            json!({ "1": [1, "1"], "2": [2], "null": [null] }),
        ),
        (group("x"), json!([]), json!({})),
    ]);
    insta::assert_snapshot!(of(group("tema"), &people()).unwrap_err(), @"expression_failed: by: item 0: `tema` does not exist; nearest: `team`, `item`; if a string is meant, put it in quotes (bytes 0..4)");
    insta::assert_snapshot!(of(group("address"), &people()).unwrap_err(), @"value_invalid: by: item 0: an object cannot be what a group has in common [convert it with `| number` or `| string`, or filter such items out]");
    insta::assert_snapshot!(of(group("team"), &people()[0]).unwrap_err(), @r#"value_invalid: group needs a list and got an object [say in `items` where the list is, as in "{{outputs.fetch.rows}}"]"#);
}

#[test]
fn sort_is_stable_and_puts_what_is_missing_last() {
    let sort =
        |by: &str, order: &str| json!({ "transform_type": "sort", "by": by, "order": order });
    let named = |names: &[usize]| names.iter().map(|n| people()[*n].clone()).collect::<Value>();
    let gaps = json!([{ "n": null, "i": 0 }, { "n": 2 }, { "i": 1 }, { "n": 10 }]);
    let at = |places: [usize; 4]| places.map(|place| gaps[place].clone());
    check([
        (sort("age", "asc"), people(), named(&[1, 0, 2])),
        (sort("age", "desc"), people(), named(&[0, 2, 1])),
        (sort("address.city", "desc"), people(), named(&[2, 0, 1])),
        (sort("0 - age", "asc"), people(), named(&[0, 2, 1])),
        (sort("n", "asc"), gaps.clone(), json!(at([1, 3, 0, 2]))),
        (sort("n", "desc"), gaps.clone(), json!(at([3, 1, 0, 2]))),
        (json!({ "transform_type": "sort" }), json!([10, 9, 1.5]), json!([1.5, 9, 10])),
        (json!({ "transform_type": "sort" }), json!(["10", "9"]), json!(["10", "9"])),
        (json!({ "transform_type": "sort" }), json!([true, false]), json!([false, true])),
    ]);
    insta::assert_snapshot!(of(sort("item", "asc"), &json!([1, null, "a"])).unwrap_err(), @"value_invalid: by: item 2: a string cannot be compared with a number, as in item 0 [convert it with `| number` or `| string`, or filter such items out]");
    insta::assert_snapshot!(of(sort("item", "asc"), &json!([[1]])).unwrap_err(), @"value_invalid: by: item 0: a list has no place in an order [convert it with `| number` or `| string`, or filter such items out]");
    insta::assert_snapshot!(of(sort("agee", "asc"), &people()).unwrap_err(), @"expression_failed: by: item 0: `agee` does not exist; nearest: `age`; if a string is meant, put it in quotes (bytes 0..4)");
    insta::assert_snapshot!(of(sort("age", "asc"), &json!("text")).unwrap_err(), @r#"value_invalid: sort needs a list and got a string [say in `items` where the list is, as in "{{outputs.fetch.rows}}"]"#);
}

#[test]
fn aggregate_computes_each_figure() {
    let items = json!([
        { "n": 4, "t": "b", "g": 1 }, { "n": null, "t": "a", "g": 1 }, { "n": 1, "t": "b", "g": "1" }, { "n": 1 },
    ]);
    let figure = |op: &str, of: &str| {
        let fields = json!({ "x": { "op": op, "of": of } });
        let result = self::of(json!({ "transform_type": "aggregate", "fields": fields }), &items);
        result.map(|result| result["x"].clone())
    };
    for (op, of, expected) in [
        ("count", "n", json!(3)),
        ("count", "item", json!(4)),
        ("sum", "n", json!(6)),
        ("sum", "n ?? 10", json!(16)),
        ("avg", "n", json!(2)),
        ("avg", "n + 0.5", json!(null)),
        ("min", "n", json!(1)),
        ("max", "n", json!(4)),
        ("min", "t", json!("a")),
        ("max", "t", json!("b")),
        ("first", "t", json!("b")),
        ("last", "t", json!("b")),
        ("last", "n", json!(1)),
        ("list", "t", json!(["b", "a", "b"])),
        ("unique", "t", json!(["b", "a"])),
        ("unique", "g", json!([1, "1"])),
        ("join", "t", json!("b, a, b")),
        ("join", "n", json!("4, 1, 1")),
    ] {
        match expected.is_null() {
            true => assert!(figure(op, of).is_err(), "{op} of {of}"),
            false => assert_eq!(figure(op, of), Ok(expected), "{op} of {of}"),
        }
    }
    insta::assert_snapshot!(figure("sum", "t").unwrap_err(), @"value_invalid: fields.x: item 0: `sum` needs numbers and got a string [convert it with `| number` or `| string`, or filter such items out]");
    insta::assert_snapshot!(figure("avg", "n + 1").unwrap_err(), @"expression_failed: fields.x: item 1: `+` cannot take null and a number; convert with `string` or `number` (bytes 0..5)");
    insta::assert_snapshot!(figure("max", "n ?? t").unwrap_err(), @"value_invalid: fields.x: item 1: a string cannot be compared with a number, as in item 0 [convert it with `| number` or `| string`, or filter such items out]");
    insta::assert_snapshot!(figure("sum", "m").unwrap_err(), @"expression_failed: fields.x: item 0: `m` does not exist; if a string is meant, put it in quotes (bytes 0..1)");
}

#[test]
fn aggregate_knows_groups_and_empty_lists() {
    let all = json!({
        "count": { "op": "count" }, "sum": { "op": "sum" }, "avg": { "op": "avg" }, "min": { "op": "min" },
        "max": { "op": "max" }, "first": { "op": "first" }, "last": { "op": "last" }, "list": { "op": "list" },
        "unique": { "op": "unique" }, "join": { "op": "join", "separator": "-" },
    });
    let aggregate = |fields: &Value| json!({ "transform_type": "aggregate", "fields": fields });
    let none = json!({
        "count": 0, "sum": 0, "avg": null, "min": null, "max": null, "first": null, "last": null, "list": [],
        "unique": [], "join": "",
    });
    let some = json!({
        "count": 3, "sum": 5, "avg": 5.0 / 3.0, "min": 1, "max": 2, "first": 2, "last": 1, "list": [2, 2, 1],
        "unique": [2, 1], "join": "2-2-1",
    });
    check([(aggregate(&all), json!([]), none), (aggregate(&all), json!([2, 2, 1]), some)]);

    let fields = json!({ "n": { "op": "count" }, "oldest": { "op": "max", "of": "age" } });
    let mut grouped = aggregate(&fields);
    grouped["by"] = json!("address.city");
    let expected = json!([
        { "key": "London", "n": 1, "oldest": 36 }, { "key": null, "n": 1, "oldest": 7 },
        { "key": "Paris", "n": 1, "oldest": 36 },
    ]);
    check([(grouped.clone(), people(), expected), (grouped, json!([]), json!([]))]);
}

#[test]
fn template_is_made_once() {
    let config = json!({
        "transform_type": "template",
        "template": { "first": "{{value[0].name}}", "rate": "{{input.rate}}", "text": "{{value | length}} people" },
    });
    let made = json!({ "first": "Ada", "rate": 2, "text": "3 people" });
    check([(config, people(), made)]);
    let config = json!({ "transform_type": "template", "template": "Dear {{name}}", "items": { "name": "Ada" } });
    assert_eq!(run(&config, &[]), Ok(json!("Dear Ada")));
    let two = [("a", json!([1])), ("b", json!([2]))];
    let config =
        json!({ "transform_type": "template", "template": ["{{outputs.a}}", "{{outputs.b}}"] });
    assert_eq!(run(&config, &two), Ok(json!([[1], [2]])), "names need no value");
    let config = json!({ "transform_type": "template", "template": "{{value}}" });
    insta::assert_snapshot!(run(&config, &two).unwrap_err(), @"expression_failed: template: `value` does not exist (bytes 2..7)");
}

#[test]
fn jq_is_left_to_its_own_type() {
    let config =
        json!({ "transform_type": "jq", "expression": ".[] | {{x}}", "items": "{{input.list}}" });
    let lowered = lowered(spec(), &config).unwrap();
    assert_eq!(lowered.kind, "jq");
    assert_eq!(lowered.config, json!({ "expression": ".[] | {{x}}", "value": "{{input.list}}" }));
    assert_eq!(
        (lowered.literal, lowered.timeout_ms),
        (vec!["expression".to_owned()], JQ_TIMEOUT_MS)
    );
    let config = json!({ "transform_type": "jq", "expression": ".a" });
    assert_eq!(
        crate::node::model::testing::lowered(spec(), &config).unwrap().config,
        json!({ "expression": ".a" })
    );
}

#[test]
fn expressions_and_templates_wait_for_the_items() {
    let fields = json!({ "n": { "op": "count" } });
    let config = json!({
        "transform_type": "aggregate", "fields": fields, "by": "a", "items": "{{input.list}}",
    });
    let lowered = lowered(spec(), &config).unwrap();
    assert_eq!(lowered.literal, ["fields", "by"]);
    assert_eq!((lowered.timeout_ms, lowered.config), (0, config));
}

#[test]
fn all_items_together_are_bounded() {
    let many: Value = (0..20_000).map(|n| json!({ "n": n })).collect();
    let long =
        json!({ "transform_type": "map", "fields": { "text": "x".repeat(2_000), "n": "{{n}}" } });
    insta::assert_snapshot!(of(long, &many).unwrap_err(), @"limit_exceeded: fields: item 7847: the result would be too large; for all its items together, a node may look at 256 MiB and produce 16 MiB [give it fewer or smaller items, or a simpler expression]");
    let separator = "x".repeat(2_000);
    let fields = json!({ "x": { "op": "join", "of": "n", "separator": separator } });
    let join = json!({ "transform_type": "aggregate", "fields": fields });
    insta::assert_snapshot!(of(join, &many).unwrap_err(), @"limit_exceeded: fields.x: item 0: the result would be too large; for all its items together, a node may look at 256 MiB and produce 16 MiB [give it fewer or smaller items, or a simpler expression]");
    let fields: Value = (0..1_000).map(|n| json!(format!("field-{n}"))).collect();
    let pick = json!({ "transform_type": "pick", "fields": fields });
    insta::assert_snapshot!(of(pick, &many).unwrap_err(), @"limit_exceeded: fields: item 4194: this takes too much work on values this large; for all its items together, a node may look at 256 MiB and produce 16 MiB [give it fewer or smaller items, or a simpler expression]");
    let fields: serde_json::Map<String, Value> =
        (0..1_000).map(|n| (format!("figure-{n}"), json!({ "op": "count" }))).collect();
    let aggregate = json!({ "transform_type": "aggregate", "by": "n", "fields": fields });
    insta::assert_snapshot!(of(aggregate, &many).unwrap_err(), @"limit_exceeded: fields.figure-230: item 385: the result would be too large; for all its items together, a node may look at 256 MiB and produce 16 MiB [give it fewer or smaller items, or a simpler expression]");
}

#[test]
fn a_failure_names_the_setting_and_the_item() {
    let map = |fields: Value| json!({ "transform_type": "map", "fields": fields });
    insta::assert_snapshot!(of(map(json!({ "a": { "b": "{{agee}}" } })), &people()).unwrap_err(), @"expression_failed: fields: item 0: `agee` does not exist; nearest: `age` (in `a.b`, bytes 2..6)");
    let expression = json!({ "transform_type": "map", "expression": "address.city" });
    insta::assert_snapshot!(of(expression, &people()).unwrap_err(), @"expression_failed: expression: item 1: `address` does not exist (bytes 0..7)");
}

#[test]
fn what_is_wrong_with_the_settings_is_told_at_once() {
    let problems = |kind: &str, mut config: Value| {
        config["transform_type"] = kind.into();
        problems(spec, &config)
    };
    insta::assert_snapshot!(problems("shuffle", json!({})), @r#"transform_type: "shuffle" is none of "map", "pick", "rename", "flatten", "group", "sort", "aggregate", "template", "jq""#);
    insta::assert_snapshot!(crate::node::model::testing::problems(spec, &json!({ "fields": {} })), @"transform_type: it is required");
    insta::assert_snapshot!(problems("map", json!({ "by": "a" })), @"by: there is no such setting");
    insta::assert_snapshot!(problems("map", json!({ "fields": {}, "expression": "a" })), @"expression: give either `fields` or `expression`");
    insta::assert_snapshot!(problems("map", json!({ "fields": { "a": "{{", "b": { "c": "{{ + }}" } } })), @"
    fields.a: this `{{` is never closed with `}}` (bytes 0..2)
    fields.b.c: a value is missing here (bytes 3..4)
    ");
    insta::assert_snapshot!(problems("map", json!({ "fields": { "a": "{{secrets.KEY}}" } })), @"fields: a secret cannot be a part of a node's result");
    insta::assert_snapshot!(problems("map", json!({ "expression": "secrets.KEY" })), @"expression: an expression cannot look at a secret (bytes 0..11)");
    insta::assert_snapshot!(problems("map", json!({ "fields": ["a"] })), @r#"fields: ["a"] is not of types "null", "object""#);
    insta::assert_snapshot!(problems("pick", json!({ "fields": [] })), @"fields: [] has less than 1 item");
    insta::assert_snapshot!(problems("rename", json!({ "fields": { "a": "c", "b": "c" } })), @"fields.b: another field is to be called `c`, too");
    insta::assert_snapshot!(problems("flatten", json!({ "depth": 0 })), @"depth: 0 is less than the minimum of 1");
    insta::assert_snapshot!(problems("flatten", json!({ "depth": "{{input.depth}}" })), @"depth: a template cannot stand here; say it as it is");
    insta::assert_snapshot!(problems("group", json!({})), @"by: it is required");
    insta::assert_snapshot!(problems("sort", json!({ "by": "a b", "order": "asc" })), @"by: the expression should end here, or an operator is missing (bytes 2..3)");
    insta::assert_snapshot!(problems("sort", json!({ "order": "up" })), @r#"order: "up" is none of "asc", "desc""#);
    insta::assert_snapshot!(problems("aggregate", json!({ "fields": { "x": { "op": "median" } } })), @r#"fields.x.op: "median" is none of "count", "sum", "avg", "min", "max", "first", "last", "list", "unique", "join""#);
    let fields = json!({ "key": { "op": "sum", "of": "a +", "separator": "," } });
    insta::assert_snapshot!(problems("aggregate", json!({ "fields": fields, "by": "(" })), @"
    by: a value is missing here (bytes 1..1)
    fields.key.separator: `sum` has no use for it
    fields.key: `key` is what the group has in common
    fields.key.of: a value is missing here (bytes 3..3)
    ");
    insta::assert_snapshot!(problems("jq", json!({ "items": [1] })), @"expression: it is required");
}

fn rows() -> impl Strategy<Value = Vec<(Option<i8>, u8)>> {
    prop::collection::vec((prop::option::of(-3_i8..4), any::<u8>()), 0..20)
}

fn listed(rows: &[(Option<i8>, u8)]) -> Value {
    rows.iter().map(|(n, id)| json!({ "n": n, "id": id })).collect()
}

proptest! {
    #[test]
    fn sorting_agrees_with_a_stable_sort(rows in rows(), is_descending in any::<bool>()) {
        let mut expected = rows.clone();
        expected.sort_by_key(|(n, _)| match (n, is_descending) {
            (None, _) => (1, 0),
            (Some(n), true) => (0, -i16::from(*n)),
            (Some(n), false) => (0, i16::from(*n)),
        });
        let order = if is_descending { "desc" } else { "asc" };
        let config = json!({ "transform_type": "sort", "by": "n", "order": order });
        prop_assert_eq!(of(config, &listed(&rows)), Ok(listed(&expected)));
    }

    #[test]
    fn grouping_and_aggregating_agree_with_a_loop(rows in rows()) {
        let mut keys: Vec<Option<i8>> = Vec::new();
        for (n, _) in &rows {
            if !keys.contains(n) {
                keys.push(*n);
            }
        }
        let of_key = |key: Option<i8>| rows.iter().filter(move |(n, _)| *n == key).copied().collect::<Vec<_>>();
        let name = |key: Option<i8>| key.map_or("null".to_owned(), |key| key.to_string());
        let groups: serde_json::Map<String, Value> =
            keys.iter().map(|key| (name(*key), listed(&of_key(*key)))).collect();
        let config = json!({ "transform_type": "group", "by": "n" });
        prop_assert_eq!(of(config, &listed(&rows)), Ok(Value::Object(groups)));

        let sum = |key: Option<i8>| of_key(key).iter().map(|(_, id)| u64::from(*id)).sum::<u64>();
        let sums: Value = keys.iter().map(|key| json!({ "key": key, "sum": sum(*key) })).collect();
        let fields = json!({ "sum": { "op": "sum", "of": "id" } });
        let config = json!({ "transform_type": "aggregate", "by": "n", "fields": fields });
        prop_assert_eq!(of(config, &listed(&rows)), Ok(sums));
    }
}
