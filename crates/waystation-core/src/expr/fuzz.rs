//! Properties over random sources and random data: nothing panics, and data never becomes source.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{Condition, Expression, Template};
use crate::plan::Missing;

const SOURCES: [&str; 16] = [
    "{{input.value}} > 10",
    "{{classify.output.category}} == 'technical'",
    "'pre-{{status}}' == 'pre-active' && !x.y[0]",
    "result contains 'error' or a not in [1, 'b', {c: d}]",
    "name | default(\"friend\") | upper",
    "(a if b is not defined else c ?? 1) * -2 % 3",
    "items[-1].name starts_with text | slice(1, -1)",
    "a matches '^x+$' and b matches a",
    "length(items) + items[0] - 1 / n == 2",
    "x | split(',') | join(';') | replace('a', b) | json | fromjson",
    "[3, 1, 2] | sort | reverse | unique | sum | round(2) | abs",
    "outputs.my-node.0[\"k\"] !== None",
    "{{ {\"a\": {\"b\": \"}}\"}} }} is object",
    "x | keys | first | urlencode | trim | number | string",
    "max(a, b) >= min(items) || not 'ö' in größe",
    "{{a-1}} - 1e3 <= 0.5",
];

const PIECES: [&str; 56] = [
    "a",
    "b",
    "x",
    "items",
    "n",
    "text",
    "1",
    "-1",
    "0.5",
    "1e308",
    "18446744073709551615",
    "'s'",
    "\"ö\"",
    "true",
    "null",
    "None",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    "{{",
    "}}",
    ".",
    ",",
    ":",
    "|",
    "+",
    "-",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    ">=",
    "&&",
    "or",
    "not",
    "!",
    "in",
    "contains",
    "matches",
    "is",
    "defined",
    "if",
    "else",
    "??",
    "default",
    "length",
    "json",
    "sort",
    "'{{a}}'",
    " ",
    "é",
];

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[0-9]{1,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        let key = prop_oneof![Just("a".to_owned()), Just("value".to_owned()), ".{0,3}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_scope() -> impl Strategy<Value = Value> {
    let names = ["a", "b", "x", "items", "n", "text", "input", "status", "result", "name"];
    prop::collection::vec(any_value(), names.len()).prop_map(move |values| {
        Value::Object(names.iter().map(ToString::to_string).zip(values).collect::<Map<_, _>>())
    })
}

fn any_source() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,60}",
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..20)
            .prop_map(|pieces| pieces.join(" ")),
        prop::collection::vec(prop::sample::select(&PIECES[..]), 0..12)
            .prop_map(|pieces| pieces.concat()),
        mutated_source(),
    ]
}

fn mutated_source() -> impl Strategy<Value = String> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<char>()), 0..4);
    (prop::sample::select(&SOURCES[..]), edits).prop_map(|(source, edits)| {
        let mut characters: Vec<char> = source.chars().collect();
        for (place, edit, character) in edits {
            let at = place.index(characters.len() + 1);
            match edit {
                0 if at < characters.len() => drop(characters.remove(at)),
                1 => characters.truncate(at),
                2 => characters.insert(at, '{'),
                _ => characters.insert(at, character),
            }
        }
        characters.into_iter().collect()
    })
}

fn check_place(source: &str, problem: &super::Problem) {
    assert!(source.get(problem.start..problem.end).is_some(), "{source:?}: {problem}");
    assert!(!problem.message.is_empty());
}

#[test]
fn the_seeds_parse() {
    for source in SOURCES {
        Expression::parse(source, &|_| false).unwrap_or_else(|e| panic!("{source}: {e}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_panics_and_places_fit(source in any_source(), scope in any_scope(), known: bool) {
        match Expression::parse(&source, &|_| known) {
            Err(problem) => check_place(&source, &problem),
            Ok(expression) => {
                if let Err(problem) = expression.evaluate(&scope) {
                    check_place(&source, &problem);
                }
            }
        }
        for template in [source.clone(), format!("é{{{{{source}}}}}ü")] {
            match Template::compile(&json!([template]), &|_| known) {
                Err(problems) => problems.iter().for_each(|problem| check_place(&template, problem)),
                Ok(compiled) => for missing in [Missing::Verbatim, Missing::Fail] {
                    match compiled.render(&scope, missing) {
                        Err(problem) => check_place(&template, &problem),
                        Ok(rendered) => {
                            rendered.warnings.iter().for_each(|warning| check_place(&template, warning));
                        }
                    }
                },
            }
        }
    }

    #[test]
    fn data_never_becomes_source(data in text(), other in text()) {
        let scope = json!({"x": data, "y": other});
        for source in ["{{x}}", "{{ x }}", "{{x}}{{ '' }}"] {
            let template = Template::compile(&json!(source), &|_| false).unwrap();
            let rendered = template.render(&scope, Missing::Fail).unwrap();
            prop_assert_eq!(&rendered.value, &json!(data));
        }
        let equal = data == other;
        for source in ["{{x}} == {{y}}", "x === y", "'{{x}}' == y", "'{{x}}' == '{{y}}'"] {
            let condition = Condition::parse(source, &|_| false).unwrap();
            prop_assert_eq!(condition.evaluate(&scope).unwrap(), equal);
        }
        let literal = other.replace('\\', "\\\\").replace('\'', "\\'").replace('{', "\\{");
        let condition = Condition::parse(&format!("{{{{x}}}} == '{literal}'"), &|_| false).unwrap();
        prop_assert_eq!(condition.evaluate(&scope).unwrap(), equal);
    }

    #[test]
    fn equality_is_symmetric_and_agrees_with_membership(a in any_value(), b in any_value()) {
        let scope = json!({"a": a, "b": b});
        let holds = |source: &str| {
            Condition::parse(source, &|_| false).unwrap().evaluate(&scope).unwrap()
        };
        prop_assert!(holds("a == a"));
        prop_assert_eq!(holds("a == b"), holds("b == a"));
        prop_assert_eq!(holds("a == b"), !holds("a != b"));
        prop_assert_eq!(holds("a == b"), holds("a in [b]"));
    }
}

fn text() -> impl Strategy<Value = String> {
    let piece =
        prop::sample::select(vec!["'", "\"", "{{", "}}", "\\", "x", " or ", "==", "1", "ö", "\n"]);
    prop_oneof![".{0,20}", prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())]
}
