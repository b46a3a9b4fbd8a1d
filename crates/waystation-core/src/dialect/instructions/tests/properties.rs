//! What holds for every request, however odd.

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::world::{compiled, providers};
use crate::dialect::instructions::{Known, Request, compile};
use crate::plan::{Plan, Shape};
use crate::program::Program;

const KEYS: [&str; 42] = [
    "context",
    "instructions",
    "instruction",
    "firstInstruction",
    "secondInstruction",
    "provider",
    "model",
    "temperature",
    "max_tokens",
    "cache",
    "stream",
    "api_key",
    "system_prompt",
    "schema",
    "budget",
    "tokens",
    "cost_usd",
    "count",
    "type",
    "condition",
    "expression",
    "mode",
    "ifTrue",
    "ifFalse",
    "evaluateAfterStep",
    "endpointUrl",
    "apiUrl",
    "method",
    "headers",
    "body",
    "collectFromSteps",
    "outputFormat",
    "completionCheck",
    "description",
    "evaluationPrompt",
    "options",
    "id",
    "name",
    "endpoint",
    "defaultOption",
    "decisionPrompt",
    "availableTools",
];

const WORDS: [&str; 26] = [
    "",
    "endpoint",
    "thread",
    "router",
    "agent",
    "instruction",
    "echo",
    "https://m.test/v1",
    "json",
    "llm",
    "skip",
    "deterministic",
    "/echo",
    "{{ previous }}",
    "{{",
    "{{ 0.x }}",
    "{{ 77.x }}",
    "{{ }} {{ context }}",
    "{{secrets.A}}",
    "{{secrets.A | upper}}",
    "result > 1",
    "result ==",
    "a",
    "GET",
    "{{ \"}}",
    "ftp://x",
];

/// Any JSON, with a leaning towards the words of the format.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..9i64).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(WORDS.to_vec()).prop_map(Value::from),
        "\\PC{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 64, 8, |inner| {
        let fields = prop::collection::vec((select(KEYS.to_vec()), inner.clone()), 0..10);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            fields.prop_map(|fields| fields.into_iter().collect::<Value>()),
        ]
    })
}

/// A right instruction of each type.
fn right(kind: &str) -> Value {
    let endpoint = json!({ "endpointUrl": "/e", "apiUrl": "https://a.test" });
    let options = json!([{ "id": "i", "name": "n", "description": "d", "endpoint": endpoint }]);
    match kind {
        "endpoint" => json!({ "type": kind, "endpointUrl": "/e", "apiUrl": "https://a.test" }),
        "thread" => json!({ "type": kind, "collectFromSteps": [1], "outputFormat": "json" }),
        "router" => json!({
            "type": kind, "description": "d", "evaluationPrompt": "e", "options": options,
        }),
        "agent" => json!({
            "type": kind, "description": "d", "decisionPrompt": "e", "availableTools": options,
            "fallbackBehavior": "llm",
        }),
        _ => json!({ "instruction": "i", "condition": { "expression": "e", "ifTrue": [0] } }),
    }
}

/// A request that is right but for a few fields.
fn odd_request() -> impl Strategy<Value = Value> {
    let kinds = select(vec!["endpoint", "thread", "router", "agent", "instruction"]);
    let odd = (kinds, prop::option::of((select(KEYS.to_vec()), any_json())));
    let instructions = prop::collection::vec(odd, 1..5);
    (instructions, prop::option::of((select(KEYS.to_vec()), any_json()))).prop_map(
        |(instructions, odd)| {
            let instruction = |(kind, odd): (&str, Option<(&str, Value)>)| {
                let mut instruction = right(kind);
                if let Some((key, value)) = odd {
                    instruction[key] = value;
                }
                instruction
            };
            let list: Vec<Value> = instructions.into_iter().map(instruction).collect();
            let mut request = json!({ "context": "c", "instructions": list });
            if let Some((key, value)) = odd {
                request[key] = value;
            }
            request
        },
    )
}

fn check(body: &str) -> Result<(), TestCaseError> {
    match compiled(body) {
        Err(errors) => {
            prop_assert!(!errors.is_empty());
            prop_assert!(errors.iter().all(|error| !error.is_empty()));
        }
        Ok((request, compiled)) => {
            let stored = serde_json::to_string(&compiled.plan).unwrap();
            let plan: Plan = serde_json::from_str(&stored).unwrap();
            prop_assert_eq!(&plan, &compiled.plan);
            let Shape::Queue { items } = &plan.shape else {
                return Err(TestCaseError::fail("a chain is a queue"));
            };
            let visible = plan.nodes.iter().filter(|node| !node.hidden).count();
            prop_assert_eq!(visible, items.len());
            prop_assert!(Program::load(plan, "hash").is_ok());
            prop_assert!(!request.context.is_null());
            let again = Request::parse(body).unwrap();
            prop_assert_eq!(again.source(), request.source());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn whatever_the_request_it_compiles_or_says_why(
        request in prop_oneof![odd_request(), any_json()],
    ) {
        check(&request.to_string())?;
    }

    #[test]
    fn whatever_the_text_nothing_panics(body in r#"[\[\]{}":,a-z0-9 ]{0,60}|\PC{0,30}"#) {
        check(&body)?;
    }

    #[test]
    fn whatever_an_instruction_says_the_model_is_asked_in_a_text(said in "[{} a.|'\"1]{1,24}|\\PC{1,24}") {
        let body = json!({ "context": { "a": [1] }, "instructions": [said] }).to_string();
        let request = Request::parse(&body).unwrap();
        let known = Known { providers: &providers(), instructions_max: 9 };
        let Ok(compiled) = compile(&request, &known) else {
            return Err(TestCaseError::fail("every text is an instruction"));
        };
        let plan = compiled.plan;
        prop_assert_eq!(plan.nodes[0].metadata["instruction"].as_str(), Some(said.as_str()));
        prop_assert!(Program::load(plan, "hash").is_ok());
    }
}
