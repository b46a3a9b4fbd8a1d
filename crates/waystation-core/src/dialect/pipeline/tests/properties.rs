//! What holds for every definition, however odd.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use super::world::{Answers, execute};
use crate::dialect::pipeline::{Request, compile};
use crate::plan::{Plan, Shape};
use crate::program::Program;

const STEPS_MAX: usize = 64;

/// Any JSON, with a leaning towards the words of the format.
fn any_json() -> impl Strategy<Value = Value> {
    let word = select(vec![
        "a",
        "b",
        "o",
        "json",
        "set",
        "GET",
        "POST",
        "/echo",
        "https://x.test",
        "ftp://x.test",
        "{{a}}",
        "{{ 1 + }}",
        "{{",
        "{{outputs.a.o}}",
        "selection_a",
        "",
        "original_input",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    let key = select(vec![
        "step_name",
        "usid",
        "service_url",
        "method",
        "outputs",
        "dependencies",
        "headers",
        "input_prep_config",
        "type",
        "mapping",
        "body_template",
        "timeout",
        "max_retries",
        "labels",
        "value",
        "error_handling",
        "retry_delay",
        "raise_on_error",
        "timeouts",
        "step_timeout",
        "total_pipeline_timeout",
        "notifications",
        "webhook_url",
        "other",
    ]);
    leaf.prop_recursive(4, 64, 8, move |inner| {
        let fields = prop::collection::vec((key.clone(), inner.clone()), 0..10);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            fields.prop_map(|fields| {
                Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())
            }),
        ]
    })
}

/// A right step of which some fields are anything.
fn odd_step() -> impl Strategy<Value = Value> {
    let fields = vec![
        "step_name",
        "usid",
        "service_url",
        "method",
        "outputs",
        "dependencies",
        "headers",
        "input_prep_config",
        "type",
        "body_template",
        "timeout",
        "max_retries",
        "labels",
    ];
    let chosen = subsequence(fields, 0..2);
    (chosen, any_json(), 0..20u8, select(vec!["a", "b", "o"])).prop_map(
        |(fields, value, usid, dependency)| {
            let mut step = json!({
                "step_name": "a", "usid": format!("u{usid}"), "service_url": "/echo",
                "method": "POST", "outputs": ["o"], "dependencies": [dependency],
                "body_template": { "x": "{{a}} {{b}}" },
            });
            for field in fields {
                step[field] = value.clone();
            }
            step
        },
    )
}

fn odd_steps() -> impl Strategy<Value = Value> {
    prop_oneof![any_json(), prop::collection::vec(odd_step(), 1..5).prop_map(Value::from)]
}

/// Steps without cycles: each may depend on and mention those before it, in a shuffled array.
fn right_steps() -> impl Strategy<Value = (Vec<Value>, Vec<Value>)> {
    let shape = (prop::collection::vec(any::<prop::sample::Index>(), 0..4), 0..6u8, any::<bool>());
    let steps = prop::collection::vec(shape, 1..12).prop_map(|shapes| {
        let step = |(n, (picks, output, gated)): (usize, (Vec<prop::sample::Index>, u8, bool))| {
            let names: Vec<String> = match n {
                0 => Vec::new(),
                _ => picks.iter().map(|pick| format!("o{}", pick.index(n))).collect(),
            };
            let mut dependencies = names.clone();
            if gated && n > 0 {
                dependencies.push(format!("selection_{}", n - 1));
            }
            let mentions: Vec<String> =
                names.iter().map(|name| format!("{{{{{name}}}}}")).collect();
            json!({
                // Neither in the order of the array nor in that of the dependencies.
                "usid": format!("u{:02}", n * 7 % 12), "step_name": format!("s{n}"),
                "service_url": "/echo", "method": "POST", "dependencies": dependencies,
                "outputs": [format!("o{n}"), format!("shared{output}"), format!("selection_{n}")],
                "body_template": mentions,
            })
        };
        shapes.into_iter().enumerate().map(step).collect::<Vec<Value>>()
    });
    steps.prop_flat_map(|steps| (Just(steps.clone()), Just(steps).prop_shuffle()))
}

fn compiled(steps: &[Value]) -> Plan {
    let text = Value::from(steps).to_string();
    compile(Some(&text), None, STEPS_MAX).expect("a right definition").plan
}

fn edges(plan: &Plan) -> &[crate::plan::Edge] {
    match &plan.shape {
        Shape::Graph { edges } => edges,
        Shape::Queue { .. } => panic!("a pipeline is a graph"),
    }
}

/// The order by the definition of it: of the steps whose dependencies are listed, the least usid.
fn expected_order(steps: &[Value]) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let maker: HashMap<String, usize> = steps
        .iter()
        .enumerate()
        .flat_map(|(index, step)| {
            let outputs = step["outputs"].as_array().unwrap();
            outputs.iter().map(move |output| (text(output), index))
        })
        .collect();
    let needs = |step: &Value| -> Vec<usize> {
        step["dependencies"].as_array().unwrap().iter().map(|name| maker[&text(name)]).collect()
    };
    let mut listed: Vec<usize> = Vec::new();
    while listed.len() < steps.len() {
        let free = (0..steps.len()).filter(|index| {
            !listed.contains(index)
                && needs(&steps[*index]).iter().all(|need| listed.contains(need))
        });
        listed.extend(free.min_by_key(|index| text(&steps[*index]["usid"])));
    }
    listed.into_iter().map(|index| text(&steps[index]["usid"])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_the_definition_it_compiles_or_says_why(
        steps in odd_steps(),
        settings in any_json(),
    ) {
        let (steps, settings) = (steps.to_string(), settings.to_string());
        match compile(Some(&steps), Some(&settings), STEPS_MAX) {
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                prop_assert!(errors.iter().all(|error| !error.is_empty()));
            }
            Ok(compiled) => {
                let stored = serde_json::to_string(&compiled.plan).unwrap();
                let plan: Plan = serde_json::from_str(&stored).unwrap();
                prop_assert_eq!(&plan, &compiled.plan);
                prop_assert!(Program::load(plan, "hash").is_ok());
            }
        }
    }

    #[test]
    fn whatever_the_texts_nothing_panics(
        steps in r#"[\[\]{}":,a-z0-9 ]{0,60}|\PC{0,30}"#,
        body in r#"[\[\]{}":,a-z0-9 ]{0,60}|\PC{0,30}"#,
    ) {
        prop_assert!(compile(Some(&steps), Some(&body), STEPS_MAX).is_err());
        let _ = Request::parse(&body);
    }

    #[test]
    fn whatever_the_body_it_is_taken_apart_or_refused(fields in any_json()) {
        let mut body = Map::new();
        for name in ["workflow_id", "namespace", "original_input", "input_data", "STEPS_CONFIG"] {
            body.insert(name.into(), fields.get("other").unwrap_or(&fields).clone());
        }
        let text = Value::Object(body).to_string();
        match Request::parse(&text) {
            Ok(request) => prop_assert!(request.input["input_data"].is_object()),
            Err(error) => prop_assert!(!error.message.is_empty()),
        }
    }

    #[test]
    fn the_order_of_the_array_does_not_matter((steps, shuffled) in right_steps()) {
        let plan = compiled(&steps);
        let usids = |plan: &Plan| -> Vec<String> {
            plan.nodes.iter().filter(|node| !node.hidden).map(|node| node.id.clone()).collect()
        };
        prop_assert_eq!(usids(&plan), expected_order(&steps));
        prop_assert_eq!(plan, compiled(&shuffled));
    }

    #[test]
    fn the_listing_is_topological((steps, _) in right_steps()) {
        let plan = compiled(&steps);
        for edge in edges(&plan) {
            let hidden = |node: u32| plan.nodes[node as usize].hidden;
            prop_assert!(edge.from < edge.to || hidden(edge.from) || hidden(edge.to));
        }
    }

    #[test]
    fn every_run_ends_with_every_step_accounted_for((steps, _) in right_steps()) {
        let body = json!({ "STEPS_CONFIG": steps }).to_string();
        let observed = execute(&body, Answers::new());
        let count = |name: &str| observed.reply[name].as_u64().unwrap_or_default() as usize;
        prop_assert_eq!(&observed.reply["success"], true);
        prop_assert_eq!(count("steps_completed") + count("steps_aborted"), steps.len());
    }
}
