//! The language, row by row of its specification.

use serde_json::{Value, json};

use super::{Condition, Expression, Key, Problem, Template};
use crate::limits::{CONFIG_DEPTH, EXPRESSION_BYTES, EXPRESSION_NODES};
use crate::plan::Missing;

fn nothing(_: &str) -> bool {
    false
}

fn scope() -> Value {
    json!({
        "n": 3,
        "yes": true,
        "nothing": null,
        "name": "Ada",
        "quoted": "x' or '1'=='1",
        "braces": "{{n}}",
        "numeric": "12",
        "false_text": "False",
        "secret": "hunter2",
        "items": [1, "two", {"three": 3}],
        "empty": [],
        "keyed": {"0": "zero", "007": "licence", "my-key": 1, "my key": 2, "a": {"b": [10, 20]}, "null": null},
        "r": {"content": [{"text": "hello"}], "some-key": 5, "some": 9},
        "outputs": {"my-node": "out", "node-1": {"x": 1}},
        "my-node": {"output": {"category": "technical"}},
        "node-1": {"value": 11},
        "status": "active",
        "value": 12,
        "input": {"value": 11, "big": 18_446_744_073_709_551_615_u64, "odd": 9_007_199_254_740_993_u64},
        "result": "an error occurred",
        "größe": "groß",
        "json_text": "{\"a\": [1, 2]}",
    })
}

fn known(name: &str) -> bool {
    ["my-node", "node-1", "1", "n", "value"].contains(&name)
}

fn evaluate(source: &str) -> Result<Value, Problem> {
    let scope = scope();
    let expression = Expression::parse(source, &known)?;
    expression.evaluate(&scope).map(std::borrow::Cow::into_owned)
}

fn render(template: &str, missing: Missing) -> Result<(Value, usize), Problem> {
    let template = Template::compile(&json!(template), &known).map_err(|mut all| all.remove(0))?;
    let rendered = template.render(&scope(), missing)?;
    Ok((rendered.value, rendered.warnings.len()))
}

#[track_caller]
fn check_value(source: &str, expected: &Value) {
    match evaluate(source) {
        Ok(value) => assert_eq!(value, *expected, "{source}"),
        Err(problem) => panic!("{source}: {problem}"),
    }
}

#[track_caller]
fn check_error(source: &str, expected: &str) {
    let problem = evaluate(source).expect_err(source);
    let Problem { start, end, message, .. } = &problem;
    assert_eq!(format!("{start}..{end} {message}"), expected, "{source}");
}

#[track_caller]
fn check_render(template: &str, expected: &Value) {
    for missing in [Missing::Verbatim, Missing::Fail] {
        match render(template, missing) {
            Ok(rendered) => assert_eq!(rendered, (expected.clone(), 0), "{template}"),
            Err(problem) => panic!("{template}: {problem}"),
        }
    }
}

#[test]
fn a_lone_placeholder_keeps_the_type_and_mixed_text_is_rendered() {
    let rows = [
        ("{{items}}", scope()["items"].clone()),
        ("{{ n }}", json!(3)),
        ("{{yes}}", json!(true)),
        ("{{nothing}}", json!(null)),
        ("n={{n}}", json!("n=3")),
        ("{{n}}{{n}}", json!("33")),
        (" {{n}}", json!(" 3")),
        ("{{name}}: {{yes}}, {{nothing}}", json!("Ada: true, null")),
        ("{{items}}!", json!(r#"[1,"two",{"three":3}]!"#)),
        ("no hole, } alone }}", json!("no hole, } alone }}")),
        ("{{input.big}} {{input.odd}}", json!("18446744073709551615 9007199254740993")),
        ("", json!("")),
    ];
    for (template, expected) in rows {
        check_render(template, &expected);
    }
}

#[test]
fn paths_reach_fields_indexes_and_keys_of_any_form() {
    let rows = [
        ("{{r.content[0].text}}", json!("hello")),
        ("{{ r . content [ 0 ] . text }}", json!("hello")),
        ("{{items.0}}", json!(1)),
        ("{{items.2.three}}", json!(3)),
        ("{{items[-1].three}}", json!(3)),
        ("{{keyed.0}}", json!("zero")),
        ("{{keyed[0]}}", json!("zero")),
        ("{{keyed.007}}", json!("licence")),
        ("{{keyed[\"my-key\"]}}", json!(1)),
        ("{{keyed['my key']}}", json!(2)),
        ("{{keyed.a.b.1}}", json!(20)),
        ("{{keyed.a.b[n - 2]}}", json!(20)),
        ("{{keyed['a']['b'][items[0]]}}", json!(20)),
        ("{{größe}}", json!("groß")),
        ("{{keyed.null}}", json!(null)),
        ("{{(json_text | fromjson).a[1]}}", json!(2)),
        ("{{[1, [2, 3]][1][0]}}", json!(2)),
        ("{{{\"a\": {b: 1}}.a.b}}", json!(1)),
    ];
    for (template, expected) in rows {
        check_render(template, &expected);
    }
}

#[test]
fn a_dash_belongs_to_a_name_by_one_rule() {
    let rows = [
        // In a hole it does,
        ("{{outputs.my-node}}", json!("out")),
        ("{{r.some-key}}", json!(5)),
        ("{{outputs.node-1.x}}", json!(1)),
        ("{{my-node.output.category}}", json!("technical")),
        // unless the path begins with a name that is known.
        ("{{n-1}}", json!(2)),
        ("{{node-1.value}}", json!(11)),
        ("{{input.value - 1}}", json!(10)),
        ("{{keyed.my-key -1}}", json!(0)),
    ];
    for (template, expected) in rows {
        check_render(template, &expected);
    }
    // Outside a hole it does only if the joined name is known.
    check_value("node-1.value > 10", &json!(true));
    check_value("my-node.output.category", &json!("technical"));
    check_value("outputs.my-node", &json!("out"));
    check_value("value-1", &json!(11));
    check_value("input.value-1", &json!(10));
    check_value("{{r.some-key}}", &json!(5));
    check_error(
        "r.some-key",
        "7..10 `key` does not exist; nearest: `keyed`; if a string is meant, put it in quotes",
    );
}

#[test]
fn a_name_that_begins_with_a_digit_is_one_only_where_no_number_is_possible() {
    check_value("1 + 1", &json!(2));
    check_value("1.5", &json!(1.5));
    let scope = json!({"1": {"output": "first"}});
    let expression = Expression::parse("1.output == 'first'", &known).unwrap();
    assert_eq!(*expression.evaluate(&scope).unwrap(), json!(true));
    check_error(
        "2nd.output",
        "0..3 a name that begins with a digit must follow a `.` or stand in `[\"…\"]`",
    );
}

#[test]
fn quotes_and_braces_in_a_hole_do_not_end_it() {
    check_render("{{ '}}' }}", &json!("}}"));
    check_render("a {{ \"}} {{\" }} b", &json!("a }} {{ b"));
    check_render("{{ 'it\\'s' }}", &json!("it's"));
    check_render("{\"a\":{\"b\":{{n}}}}", &json!("{\"a\":{\"b\":3}}"));
}

#[test]
fn rendered_text_is_never_expanded_again() {
    check_render("{{braces}}", &json!("{{n}}"));
    check_render("<{{braces}}>", &json!("<{{n}}>"));
}

#[test]
fn a_default_catches_missing_and_null_in_both_modes() {
    let rows = [
        ("{{ name | default(\"friend\") | upper }}", json!("ADA")),
        ("{{ nobody | default(\"friend\") | upper }}", json!("FRIEND")),
        ("{{ nothing | default(1) }}", json!(1)),
        ("{{ nothing.deeper | default(1) }}", json!(1)),
        ("{{ items[9].x | default(1) }}", json!(1)),
        ("{{ empty | first | default(1) }}", json!(1)),
        ("{{ items | last }}", json!({"three": 3})),
        ("{{ nobody ?? name }}", json!("Ada")),
        ("{{ yes and (nobody.x | default(false)) }}", json!(false)),
    ];
    for (template, expected) in rows {
        check_render(template, &expected);
    }
}

#[test]
fn smart_primitives_hold_in_pipelines_only() {
    for template in ["{{name.content[0].text}}", "{{name.x}}", "{{name.0}}"] {
        assert_eq!(render(template, Missing::Verbatim), Ok((json!("Ada"), 0)), "{template}");
        assert!(render(template, Missing::Fail).is_err(), "{template}");
    }
    assert_eq!(render("{{n.a.b}}", Missing::Verbatim), Ok((json!(3), 0)));
    assert_eq!(render("{{yes.a}}!", Missing::Verbatim), Ok((json!("true!"), 0)));
    // Only the base counts, and null is no primitive.
    assert_eq!(render("{{keyed.0.x}}", Missing::Verbatim), Ok((json!("{{keyed.0.x}}"), 1)));
    assert_eq!(render("{{nothing.x}}", Missing::Verbatim), Ok((json!("{{nothing.x}}"), 1)));
}

#[test]
fn what_is_missing_stays_verbatim_in_pipelines_and_fails_elsewhere() {
    let templates = [
        "{{nme}}",
        "{{ keyed.a.c }}",
        "{{keyed.null.x}}",
        "{{items[3]}}",
        "{{items[-4]}}",
        "{{items[n]}}",
        "{{empty | first}}",
        "{{ nme | upper }}",
        "{{ n + nme }}",
    ];
    for template in templates {
        let mixed = format!("a {template} b {{{{n}}}}");
        assert_eq!(render(template, Missing::Verbatim), Ok((json!(template), 1)));
        assert_eq!(render(&mixed, Missing::Verbatim), Ok((json!(format!("a {template} b 3")), 1)));
        assert!(render(template, Missing::Fail).is_err(), "{template}");
    }
    // A mismatch of types is no missing name.
    for missing in [Missing::Verbatim, Missing::Fail] {
        assert!(render("{{ name > 1 }}", missing).is_err());
        assert!(render("{{ items | upper }}", missing).is_err());
    }
}

#[test]
fn a_warning_names_key_path_and_place() {
    let config = json!({"headers": {"Authorization": "Bearer {{toke}}"}, "body": {"my items": [0, "{{x.y}}"]}});
    let template = Template::compile(&config, &nothing).unwrap();
    let rendered = template.render(&json!({"token": 1}), Missing::Verbatim).unwrap();
    assert_eq!(rendered.value, config);
    let warnings: Vec<_> = rendered.warnings.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(warnings.join("\n"), @r#"
    `toke` does not exist; nearest: `token`; the placeholder stays as it is written (in `headers.Authorization`, bytes 9..13)
    `x` does not exist; the placeholder stays as it is written (in `body["my items"][1]`, bytes 2..3)
    "#);
    let problem = template.render(&json!({"token": 1}), Missing::Fail).unwrap_err();
    insta::assert_snapshot!(problem, @r#"`toke` does not exist; nearest: `token` (in `headers.Authorization`, bytes 9..13)"#);
}

#[test]
fn values_render_at_any_depth_and_keys_never() {
    let config = json!({"{{n}}": {"list": ["{{n}}", {"deep": "{{name}}!"}, 7]}, "same": "text"});
    let template = Template::compile(&config, &nothing).unwrap();
    let rendered = template.render(&scope(), Missing::Fail).unwrap();
    let expected = json!({"{{n}}": {"list": [3, {"deep": "Ada!"}, 7]}, "same": "text"});
    assert_eq!(rendered.value, expected);
    assert!(!template.is_constant());
    let paths: Vec<_> = template.paths().collect();
    assert_eq!(paths, [[Key::Name("n".into())], [Key::Name("name".into())]]);
    assert!(Template::compile(&json!({"a": ["b", 1]}), &nothing).unwrap().is_constant());
}

#[test]
fn every_problem_of_a_template_is_reported() {
    let config = json!({"a": "{{", "b": ["{{x}}", "é {{ x = 1 }}"], "c": "{{}}", "d": "{{ 'x }}"});
    let problems = Template::compile(&config, &nothing).unwrap_err();
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(problems.join("\n"), @r#"
    this `{{` is never closed with `}}` (in `a`, bytes 0..2)
    use `==` to compare (in `b[1]`, bytes 8..9)
    a value is missing here (in `c`, bytes 2..2)
    this `{{` is never closed, because a quote after it is not (in `d`, bytes 0..2)
    "#);
}

#[test]
fn paths_are_static_and_complete() {
    let source = "{{a.b[0]['c d']}} > x.0 and f-g.h is defined or items[i].name == 'p{{q}}'";
    let expression = Expression::parse(source, &|name| name == "f-g").unwrap();
    let paths: Vec<String> = expression.paths().map(super::path::display).collect();
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

#[test]
fn mistakes_say_what_to_write_instead() {
    let sources = [
        "status = 'active'",
        "a & b",
        "a ? b : c",
        "a <",
        "(a",
        "[1, 2",
        "'open",
        "{{open",
        "a b",
        "1 < 2 < 3",
        "name | uper",
        "name | default",
        "name.includes('a')",
        "name matches '('",
        "name matches 'a{1000}{1000}'",
        "x is deffined",
        "a not b",
        "and b",
        "a.",
        "1 if 2",
        "é § b",
        "1e999",
        "",
    ];
    let lines: Vec<_> = sources
        .iter()
        .map(|source| format!("{source}  →  {}", evaluate(source).unwrap_err()))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    status = 'active'  →  use `==` to compare (bytes 7..8)
    a & b  →  use `&&` or `and` (bytes 2..3)
    a ? b : c  →  write `a if condition else b`, or `a ?? b` for a fallback (bytes 2..3)
    a <  →  a value is missing here (bytes 3..3)
    (a  →  a `)` is missing here (bytes 2..2)
    [1, 2  →  a `]` is missing here (bytes 5..5)
    'open  →  this quoted string is never closed (bytes 0..5)
    {{open  →  this `{{` is never closed with `}}` (bytes 0..2)
    a b  →  the expression should end here, or an operator is missing (bytes 2..3)
    1 < 2 < 3  →  comparisons do not chain: write `a < b and b < c` (bytes 6..7)
    name | uper  →  there is no function `uper`; nearest: `upper`, `number` (bytes 7..11)
    name | default  →  `default` takes 2 arguments, with the value before `|` (bytes 7..14)
    name.includes('a')  →  use `contains`, as in `text contains 'word'` (bytes 5..13)
    name matches '('  →  this is no valid regular expression: unclosed group (bytes 13..16)
    name matches 'a{1000}{1000}'  →  the pattern is too large; use smaller repetitions (bytes 13..28)
    x is deffined  →  `is` must be followed by one of `defined`, `null`, `none`, `None`, `empty`, `string`, `number`, `boolean`, `list`, `object` (bytes 5..13)
    a not b  →  `in`, `contains` or the like must follow `not` (bytes 6..7)
    and b  →  a value is missing before `and` (bytes 0..3)
    a.  →  a name or an index must follow the `.` (bytes 2..2)
    1 if 2  →  an `else` is missing here (bytes 6..6)
    é § b  →  `§` has no meaning here; put strings in quotes (bytes 3..5)
    1e999  →  this number is out of range (bytes 0..5)
      →  a value is missing here (bytes 0..0)
    "#);
}

#[test]
fn failures_say_what_is_wrong_and_never_hold_a_value() {
    let sources = [
        "nme == 1",
        "actve",
        "keyed.a.bb.c",
        "items[3]",
        "items[3].x",
        "items.three",
        "items.length",
        "nothing.x",
        "json_text.a",
        "keyed[name]",
        "items[n]",
        "n[n]",
        "(keyed.a).c",
        "name - 1",
        "name + 1",
        "items + items",
        "1 / 0",
        "9223372036854775807 * 4",
        "1e308 * 10",
        "secret | number",
        "secret | fromjson",
        "name matches secret + '('",
        "n contains 1",
        "n starts_with 'a'",
        "[1, 'a'] | sort",
        "'a' | split('')",
        "{} | min",
        "items[yes]",
    ];
    let lines: Vec<_> = sources
        .iter()
        .map(|source| format!("{source}  →  {}", evaluate(source).unwrap_err()))
        .collect();
    let text = lines.join("\n");
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text, @r#"
    nme == 1  →  `nme` does not exist; nearest: `name`, `numeric`, `n`; if a string is meant, put it in quotes (bytes 0..3)
    actve  →  `actve` does not exist; nearest: `braces`; if a string is meant, put it in quotes (bytes 0..5)
    keyed.a.bb.c  →  `keyed.a.bb` does not exist; nearest: `b` (bytes 0..10)
    items[3]  →  `items[3]` does not exist: `items` has 3 items (bytes 0..8)
    items[3].x  →  `items[3]` does not exist: `items` has 3 items (bytes 0..8)
    items.three  →  `items.three` does not exist: `items` is a list; choose an item with `[0]` (bytes 0..11)
    items.length  →  `items.length` does not exist: `items` is a list; write `| length` (bytes 0..12)
    nothing.x  →  `nothing.x` does not exist: `nothing` is null (bytes 0..9)
    json_text.a  →  `json_text.a` does not exist: `json_text` is a string; if it is JSON, write `| fromjson` (bytes 0..11)
    keyed[name]  →  `keyed` has no field with the name that `name` gives (bytes 0..11)
    items[n]  →  `items` has 3 items: the index is out of range (bytes 0..8)
    n[n]  →  `n` is a number and has no fields (bytes 0..4)
    (keyed.a).c  →  `keyed.a.c` does not exist (bytes 0..11)
    name - 1  →  `-` cannot take a string and a number; convert with `number` (bytes 0..8)
    name + 1  →  `+` cannot take a string and a number; convert with `string` or `number` (bytes 0..8)
    items + items  →  `+` cannot take a list and a list; convert with `string` or `number` (bytes 0..13)
    1 / 0  →  nothing can be divided by zero (bytes 0..5)
    9223372036854775807 * 4  →  the result is out of the range of integers (bytes 0..23)
    1e308 * 10  →  the result is out of the range of numbers (bytes 0..10)
    secret | number  →  `number`: the string is not numeric (bytes 0..15)
    secret | fromjson  →  `fromjson`: the string is no JSON at line 1, column 1 (bytes 0..17)
    name matches secret + '('  →  this is no valid regular expression: unclosed group (bytes 0..25)
    n contains 1  →  a number cannot contain anything (bytes 0..12)
    n starts_with 'a'  →  `starts_with` needs two strings and got a number and a string (bytes 0..17)
    [1, 'a'] | sort  →  `sort`: only numbers alone or strings alone can be sorted (bytes 0..15)
    'a' | split('')  →  `split`: the separator is empty (bytes 0..15)
    {} | min  →  `min`: it needs numbers and got an object; convert with `number` (bytes 0..8)
    items[yes]  →  an index is a string or an integer, never a boolean (bytes 0..10)
    "#);
}

#[test]
fn names_that_a_scope_resolves_by_two_keys_are_suggested_whole() {
    struct Outputs(Value);
    impl super::Scope for Outputs {
        fn lookup<'a>(&'a self, path: &[Key]) -> Option<super::Found<'a>> {
            let [Key::Name(first), Key::Name(second), ..] = path else { return None };
            let found = &**first == "outputs" && &**second == "my-node";
            found.then(|| super::Found { value: std::borrow::Cow::Borrowed(&self.0), used: 2 })
        }
        fn names(&self) -> Vec<String> {
            vec!["outputs.my-node".into(), "my-node.output".into()]
        }
    }
    let scope = Outputs(json!({"x": 1}));
    let evaluate = |source| {
        let expression = Expression::parse(source, &known).unwrap();
        expression.evaluate(&scope).map(std::borrow::Cow::into_owned).map_err(|e| e.to_string())
    };
    assert_eq!(evaluate("{{outputs.my-node.x}}"), Ok(json!(1)));
    insta::assert_snapshot!(evaluate("{{outputs.my-nod.x}}").unwrap_err(), @r#"`outputs.my-nod` does not exist; nearest: `outputs.my-node` (bytes 2..16)"#);
    insta::assert_snapshot!(evaluate("outputs.my-node.z.y").unwrap_err(), @r#"`outputs.my-node.z` does not exist (bytes 0..17)"#);
}

#[test]
fn every_bound_holds() {
    let deep = |open: &str, close: &str| {
        format!("{}1{}", open.repeat(5_000 / open.len()), close.repeat(5_000 / open.len()))
    };
    let sources = [
        format!("'{}'", "a".repeat(EXPRESSION_BYTES)),
        deep("(", ")"),
        deep("[", "]"),
        deep("!", ""),
        deep("- ", ""),
        deep("not ", ""),
        deep("{a:", "}"),
        deep("n[", "]"),
        format!("1{}", "+1".repeat(2_000)),
        format!("1{}", "|abs".repeat(1_000)),
        format!("n{}", "[n]".repeat(1_000)),
        format!("[{}]", "1,".repeat(EXPRESSION_NODES)),
        format!("{}1", "1 if 1 else ".repeat(600)),
        "n matches '\\w{99}' or ".repeat(300) + "n",
    ];
    for source in sources {
        assert!(evaluate(&source).is_err(), "{source}");
    }
    check_value(&format!("{}7{}", "(".repeat(90), ")".repeat(90)), &json!(7));
}

#[test]
fn results_are_bounded_in_size_and_work() {
    let scope = json!({"big": "a".repeat(4 << 20), "list": vec![0; 100_000]});
    let large = [
        format!("'{}'", "{{big}}".repeat(5)),
        format!("[{}]", "big,".repeat(5)),
        format!("{{{}}}", "a: list, ".repeat(6)),
        "big + big + big".to_owned(),
        "big | replace('a', 'aaaaaaaaaaaaaaaa')".to_owned(),
        "big | split('a')".to_owned(),
        "big | replace('a', '[') | fromjson".to_owned(),
        "list | join('                                                            ') | json | json"
            .to_owned(),
        "big | urlencode | urlencode".to_owned(),
    ];
    let laborious =
        ["big matches '^\\w+\\W$'".to_owned(), vec!["big contains 'b'"; 90].join(" or ")];
    let check = |source: &str, message: &str| {
        let expression = Expression::parse(source, &nothing).unwrap();
        let problem = expression.evaluate(&scope).expect_err(source);
        assert!(problem.message.ends_with(message), "{source}: {problem}");
    };
    large.iter().for_each(|source| check(source, "the result would be too large"));
    laborious.iter().for_each(|source| check(source, "too much work on values this large"));
    let template = Template::compile(&json!(vec!["{{big}}"; 5]), &nothing).unwrap();
    assert!(template.render(&scope, Missing::Verbatim).is_err());
}

#[test]
fn nesting_is_bounded_in_configs_and_in_results() {
    let nested = |depth: usize| (0..depth).fold(json!("{{v}}"), |inner, _| json!([inner]));
    assert!(Template::compile(&nested(CONFIG_DEPTH + 1), &nothing).is_err());
    let template = Template::compile(&nested(CONFIG_DEPTH), &nothing).unwrap();
    assert!(template.render(&json!({"v": 1}), Missing::Fail).is_ok());
    let problem = template.render(&json!({"v": [1]}), Missing::Fail).unwrap_err();
    assert_eq!(problem.message, "the value is nested too deeply");
    let expression = Expression::parse("[[v]]", &nothing).unwrap();
    assert!(expression.evaluate(&json!({"v": nested(CONFIG_DEPTH - 2)})).is_ok());
    assert!(expression.evaluate(&json!({"v": nested(CONFIG_DEPTH - 1)})).is_err());
    let expression = Expression::parse("v == v", &nothing).unwrap();
    assert!(expression.evaluate(&json!({"v": nested(CONFIG_DEPTH + 1)})).is_err());
}

#[test]
fn compiled_forms_cross_threads() {
    fn check<T: Send + Sync>() {}
    check::<Expression>();
    check::<Condition>();
    check::<Template>();
}
