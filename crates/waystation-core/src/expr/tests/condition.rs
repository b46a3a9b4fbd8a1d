//! Conditions and functions, row by row of the specification.

use serde_json::json;

use super::super::{Condition, Expression};
use super::{check_error, check_value, known, nothing, scope};

#[test]
fn paths_are_static_and_complete() {
    let source = "{{a.b[0]['c d']}} > x.0 and f-g.h is defined or items[i].name == 'p{{q}}'";
    let expression = Expression::parse(source, &|name| name == "f-g").unwrap();
    let paths: Vec<String> = expression.paths().map(super::super::path::display).collect();
    assert_eq!(paths, ["a.b[0][\"c d\"]", "x[0]", "f-g.h", "i", "items", "q"]);
}

#[test]
fn conditions_accept_every_spelling() {
    let rows = [
        ("{{input.value}} > 10", true),
        ("{{my-node.output.category}} == 'technical'", true),
        ("{{my-node.output.category}} === \"technical\"", true),
        ("{{my-node.output.category}} !== 'technical'", false),
        ("status == 'active' && value > 10", true),
        ("status == 'x' || value > 10", true),
        ("status == 'x' or not value > 10", false),
        ("!(status == 'x') and true", true),
        ("! yes", false),
        ("'pre-{{status}}' == 'pre-active'", true),
        ("'{{n}}{{n}}' == '33'", true),
        ("'{{status}}' == status", true),
        ("result contains 'error'", true),
        ("result not contains 'error'", false),
        ("items contains 'two'", true),
        ("items contains 'three'", false),
        ("keyed contains 'my-key'", true),
        ("'two' in items", true),
        ("2 not in items", true),
        ("result starts_with 'an '", true),
        ("result startsWith 'error'", false),
        ("result ends_with 'occurred'", true),
        ("result not ends_with 'occurred'", false),
        ("result matches '^an\\s+err'", true),
        ("result matches 'ERR'", false),
        ("result matches (result | slice(0, 2))", true),
        ("yes == True and yes == true and False == false", true),
        ("nothing == None and nothing == null", true),
        ("nothing is null and nothing is not defined", false),
        ("nobody is defined", false),
        ("nobody.x is not defined", true),
        ("items[7] is defined", false),
        ("nothing is defined", true),
        ("empty is empty and name is string and n is number", true),
        ("items is list and keyed is object and yes is boolean", true),
        ("n == 3.0 and 3 <= n and n < 3.5 and -n < 0", true),
        ("n + 1 == 4 and 7 % 4 == n and n * 2 - 1 == 10 / 2", true),
        ("1 + 2 * 3 == 7 and (1 + 2) * 3 == 9 and 10 - 2 - 3 == 5", true),
        ("(status if yes else nobody) == 'active'", true),
        ("nobody ?? 5 > 4", true),
        ("input.big > 18446744073709551614", true),
        ("input.odd == 9007199254740992", false),
        ("input.odd > 9007199254740992.0", true),
        ("name == 'Ada' and not (name == 'Bob')", true),
        ("length(items) == 3 and items | length == 3", true),
    ];
    for (source, expected) in rows {
        let condition =
            Condition::parse(source, &known).unwrap_or_else(|e| panic!("{source}: {e}"));
        assert_eq!(condition.evaluate(&scope()), Ok(expected), "{source}");
    }
}

#[test]
fn a_hole_is_a_sub_expression_and_never_source() {
    check_value("{{quoted}} == 'x'", &json!(false));
    check_value("'{{quoted}}' == 'x'", &json!(false));
    check_value("{{quoted}} == \"x' or '1'=='1\"", &json!(true));
    check_value("{{n - 1}} * 2", &json!(4));
    check_error(
        "{{ yes) or (yes }}",
        "6..7 the expression should end here, or an operator is missing",
    );
    check_error("{{ {{n}} }}", "3..5 `{{ }}` cannot stand in `{{ }}`: write the name alone");
}

#[test]
fn numeric_text_compares_as_a_number_with_numbers_only() {
    let rows = [
        ("numeric == 12", true),
        ("numeric > 9", true),
        ("9 < numeric", true),
        ("numeric == '12.0'", false),
        ("' 1.2e1 ' == 12", true),
        ("'abc' == 12", false),
        ("'' == 0", false),
        ("'inf' == 0 or '0x1' == 1", false),
        ("12 in [numeric]", true),
        ("'10' > '9'", false),
        ("true == 'true'", false),
        ("null == 0", false),
    ];
    for (source, expected) in rows {
        check_value(source, &json!(expected));
    }
    check_error("name > 1", "0..8 `>` cannot order a number and a string that is not numeric");
    check_error("nothing < 1", "0..11 `<` cannot order null and a number");
}

#[test]
fn truth_is_what_the_documentation_says() {
    let falsy = ["null", "false", "0", "0.0", "''", "'false'", "false_text", "[]", "{}", "empty"];
    let truthy = ["true", "1", "-0.5", "'0'", "' '", "[0]", "{a: null}", "name"];
    for (sources, expected) in [(&falsy[..], false), (&truthy[..], true)] {
        for source in sources {
            let condition = Condition::parse(source, &nothing).unwrap();
            assert_eq!(condition.evaluate(&scope()), Ok(expected), "{source}");
        }
    }
    check_value("'' or 'b' or 'c'", &json!("b"));
    check_value("'a' and 0 and nobody", &json!(0));
}

#[test]
fn functions_compute() {
    let rows = [
        ("' Ab ' | trim | lower", json!("ab")),
        ("'straße' | upper", json!("STRASSE")),
        ("'größe' | length", json!(5)),
        ("keyed.a | json", json!("{\"b\":[10,20]}")),
        ("name | json", json!("\"Ada\"")),
        ("n | string", json!("3")),
        ("'1e2' | number", json!(100.0)),
        ("json_text | fromjson", json!({"a": [1, 2]})),
        ("items | join(', ')", json!("1, two, {\"three\":3}")),
        ("'a,b,,c' | split(',')", json!(["a", "b", "", "c"])),
        ("' a  b ' | split", json!(["a", "b"])),
        ("'aXbX' | replace('X', '-')", json!("a-b-")),
        ("[1, 2, 3] | first", json!(1)),
        ("[1, 2, 3] | last", json!(3)),
        ("{b: 1, a: 2} | keys", json!(["b", "a"])),
        ("{b: 1, a: 2} | values", json!([1, 2])),
        ("[1, 2, 3, 4] | slice(1, -1)", json!([2, 3])),
        ("'größe' | slice(-3)", json!("öße")),
        ("[1, 2] | slice(5, 9)", json!([])),
        ("2.5 | round", json!(3)),
        ("-2.567 | round(2)", json!(-2.57)),
        ("-2 | abs", json!(2)),
        ("[3, 1, 2.5] | min", json!(1)),
        ("max(3, 1, 2.5)", json!(3)),
        ("[1, 2.5] | sum", json!(3.5)),
        ("[] | sum", json!(0)),
        ("[1, 2, 1, '1'] | unique", json!([1, 2, "1"])),
        ("[3, 1.5, 2] | sort", json!([1.5, 2, 3])),
        ("['b', 'a'] | sort | reverse", json!(["b", "a"])),
        ("'a b/ö' | urlencode", json!("a%20b%2F%C3%B6")),
        ("7 / 2", json!(3.5)),
        ("6 / 2", json!(3)),
        ("-7 % 3", json!(2)),
        ("'a' + 'b'", json!("ab")),
        ("-9223372036854775808", json!(i64::MIN)),
    ];
    for (source, expected) in rows {
        check_value(source, &expected);
    }
}
