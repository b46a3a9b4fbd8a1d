//! Every bound.

use serde_json::json;

use super::super::{Condition, Expression, Template};
use super::{check_value, evaluate, nothing};
use crate::limits::{CONFIG_DEPTH, EXPRESSION_BYTES, EXPRESSION_NODES};
use crate::plan::Missing;

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
