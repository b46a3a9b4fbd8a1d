//! Templates, row by row of the specification.

use serde_json::json;

use super::super::{Expression, Key, Template};
use super::{check_error, check_render, check_value, known, nothing, render, scope};
use crate::plan::Missing;

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
