//! What authors are told.

use serde_json::{Value, json};

use super::super::{Expression, Key, Template};
use super::{evaluate, known, nothing};
use crate::plan::Missing;

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

/// What a secret is turned into could not be recognised and kept out of results.
#[test]
fn a_secret_can_only_be_used_as_it_is() {
    for source in ["{{secrets.KEY}}", "Bearer {{ secrets.KEY }}!", "{{(secrets.KEY)}}"] {
        assert!(Template::compile(&json!(source), &nothing).is_ok(), "{source}");
    }
    for source in [
        "{{secrets.KEY | upper}}",
        "{{'x' if secrets.KEY starts_with 'a' else 'y'}}",
        "{{secrets.KEY[0]}} {{[secrets.KEY]}}",
        "{{secrets.KEY ?? ''}}",
    ] {
        let problems = Template::compile(&json!(source), &nothing).unwrap_err();
        assert!(problems[0].message.contains("as it is"), "{source}: {problems:?}");
    }
    let problem = Expression::parse("secrets.KEY == 'x'", &nothing).unwrap_err();
    assert_eq!(problem.message, "an expression cannot look at a secret");
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
    impl super::super::Scope for Outputs {
        fn lookup<'a>(&'a self, path: &[Key]) -> Option<super::super::Found<'a>> {
            let [Key::Name(first), Key::Name(second), ..] = path else { return None };
            let found = &**first == "outputs" && &**second == "my-node";
            found.then(|| super::super::Found {
                value: std::borrow::Cow::Borrowed(&self.0),
                used: 2,
            })
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
