//! What is wrong with a request, in words: each text exactly, all of them at once.

use serde_json::{Value, json};

use super::world::{compiled, providers};
use crate::dialect::instructions::{Known, Request, compile};
use crate::limits::{COLLECTED_STEPS, OPTIONS_PER_NODE};

const NEITHER: &str = "Missing required fields: either 'instructions' array or 'firstInstruction' and \
    'secondInstruction'";

/// The problems of a request.
fn problems(request: &Value) -> Vec<String> {
    compiled(&request.to_string()).map_or_else(|errors| errors, |_| Vec::new())
}

/// Checks one instruction, of which some fields are as given; a null takes a field away.
fn check(instruction: Value, changes: &Value, expected: &[&str]) {
    let mut instruction = instruction;
    for (name, value) in changes.as_object().expect("fields") {
        instruction[name] = value.clone();
    }
    let request = json!({ "context": "c", "instructions": [instruction, "next"] });
    assert_eq!(problems(&request), expected, "{request}");
}

fn endpoint() -> Value {
    json!({ "type": "endpoint", "endpointUrl": "/endpoint-1", "apiUrl": "https://a.test/x" })
}

fn thread() -> Value {
    json!({ "type": "thread", "collectFromSteps": [1], "outputFormat": "json" })
}

fn option(id: &str) -> Value {
    json!({ "id": id, "name": "N", "description": "D",
        "endpoint": { "endpointUrl": "/endpoint-1", "apiUrl": "https://a.test/x" } })
}

fn router() -> Value {
    json!({ "type": "router", "description": "D", "evaluationPrompt": "E",
        "options": [option("weather"), option("news")] })
}

fn agent() -> Value {
    json!({ "type": "agent", "description": "D", "decisionPrompt": "E", "fallbackBehavior": "skip",
        "availableTools": [option("weather")] })
}

#[test]
fn bodies_that_are_none() {
    let refused = |body: &str| Request::parse(body).unwrap_err();
    for body in ["[]", "1", "\"text\"", "null"] {
        assert_eq!(refused(body), ["The body must be a JSON object"]);
    }
    let words = "The body is not valid JSON: EOF while parsing a value at line 1 column 0";
    assert_eq!(refused(""), [words]);
}

#[test]
fn contexts_that_are_none() {
    let words = ["Missing required field: context"];
    for nothing in [json!(null), json!(""), json!(0), json!(false), json!(0.0)] {
        assert_eq!(problems(&json!({ "context": nothing, "instructions": ["a"] })), words);
    }
    assert_eq!(problems(&json!({ "instructions": ["a"] })), words);
    for something in [json!("0"), json!(1), json!(true), json!([]), json!({}), json!(" ")] {
        assert_eq!(problems(&json!({ "context": something, "instructions": ["a"] })), [""; 0]);
    }
}

#[test]
fn instructions_that_are_none() {
    assert_eq!(problems(&json!({})), ["Missing required field: context", NEITHER]);
    for fields in [
        json!({ "context": "c" }),
        json!({ "context": "c", "instructions": [] }),
        json!({ "context": "c", "instructions": null, "firstInstruction": "a" }),
        json!({ "context": "c", "firstInstruction": "a", "secondInstruction": "" }),
        json!({ "context": "c", "secondInstruction": "b" }),
    ] {
        assert_eq!(problems(&fields), [NEITHER], "{fields}");
    }
    let fields = json!({ "context": "c", "instructions": "text" });
    assert_eq!(problems(&fields), ["Field instructions must be an array"]);
    let fields = json!({ "context": "c", "firstInstruction": 7, "secondInstruction": "b" });
    assert_eq!(problems(&fields), ["Instruction 0: must be a string or an object"]);
    let many = json!({ "context": "c", "instructions": vec!["a"; 101] });
    let words = "There are 101 instructions; at most 100 are allowed (WAYSTATION_MAX_STEPS)";
    assert_eq!(problems(&many), [words]);
}

#[test]
fn counts_of_a_batch() {
    let count = |count: Value| {
        let body = json!({ "context": "c", "instructions": ["a"], "count": count }).to_string();
        Request::parse(&body).unwrap().count()
    };
    for (given, right) in [(json!(1), 1), (json!(20), 20), (json!(3.0), 3)] {
        assert_eq!(count(given), Ok(right));
    }
    for wrong in [json!(0), json!(21), json!(-1), json!(1.5), json!("3"), json!(null), json!([1])] {
        assert_eq!(count(wrong), Err("Count must be between 1 and 20".into()));
    }
}

#[test]
fn each_field_of_a_request_with_a_wrong_value() {
    let key = "Field api_key must be a secret's name in braces, as in {{secrets.MY_KEY}}: requests \
        are recorded";
    let cases = [
        (json!({ "provider": 7 }), "Field provider must be a string"),
        (json!({ "provider": "opnai" }), "Unknown provider: opnai (did you mean openai?)"),
        (json!({ "provider": "zzz" }), "Unknown provider: zzz"),
        (
            json!({ "provider": "ftp://x.test" }),
            "Field provider must be a provider's name or an http or https URL",
        ),
        (
            json!({ "provider": "https://me:key@x.test/v1" }),
            "Field provider must be a URL without a user and password; use api_key",
        ),
        (json!({ "model": ["a"] }), "Field model must be a string"),
        (json!({ "temperature": 2.1 }), "Field temperature must be a number from 0 to 2"),
        (json!({ "temperature": "1" }), "Field temperature must be a number from 0 to 2"),
        (json!({ "max_tokens": 0 }), "Field max_tokens must be a whole number from 1 to 10000000"),
        (json!({ "cache": 1 }), "Field cache must be true or false"),
        (json!({ "stream": "yes" }), "Field stream must be true or false"),
        (json!({ "api_key": "sk-1" }), key),
        (json!({ "api_key": "Bearer {{secrets.A}}" }), key),
        (json!({ "budget": 5 }), "Field budget must be an object"),
        (
            json!({ "budget": { "tokens": 0 } }),
            "Field budget.tokens must be a whole number from 1 to 9007199254740992",
        ),
        (
            json!({ "budget": { "cost_usd": -1 } }),
            "Field budget.cost_usd must be a number from 0 to 1000000000",
        ),
        (json!({ "workflow_id": 1 }), "Field workflow_id must be a string"),
        (json!({ "namespace": "n".repeat(257) }), "Field namespace must be at most 256 bytes long"),
    ];
    for (fields, words) in cases {
        let mut request = json!({ "context": "c", "instructions": ["a"] });
        for (name, value) in fields.as_object().unwrap() {
            request[name] = value.clone();
        }
        assert_eq!(problems(&request), [words], "{request}");
    }
}

#[test]
fn conditions() {
    let plain = |condition: Value| json!({ "instruction": "i", "condition": condition });
    let indices = "Instruction 0: Field condition.ifTrue must be an array of whole numbers";
    let ordinal = "Instruction 0: Field condition.evaluateAfterStep must be a whole number from 1 to \
        4294967295";
    let cases = [
        (json!("true"), "Instruction 0: Field condition must be an object"),
        (json!({}), "Instruction 0: Missing required field: condition.expression"),
        (
            json!({ "expression": "e", "ifTrue": [2] }),
            "Conditional instruction 0: ifTrue index 2 is out of bounds",
        ),
        (
            json!({ "expression": "e", "ifFalse": [0, -1] }),
            "Conditional instruction 0: ifFalse index -1 is out of bounds",
        ),
        (json!({ "expression": "e", "ifTrue": ["1"] }), indices),
        (
            json!({ "expression": "e", "ifTrue": 1 }),
            "Instruction 0: Field condition.ifTrue must be an array",
        ),
        (json!({ "expression": "e", "evaluateAfterStep": 0 }), ordinal),
        (json!({ "expression": "e", "evaluateAfterStep": "1" }), ordinal),
        (
            json!({ "expression": "e", "mode": "determinstic" }),
            "Instruction 0: Field condition.mode must be \"llm\" or \"deterministic\", not \
                \"determinstic\" (did you mean deterministic?)",
        ),
        (
            json!({ "expression": "result contains", "mode": "deterministic" }),
            "Instruction 0: Field condition.expression: a value is missing here (bytes 15..15)",
        ),
        (
            json!({ "expression": "secrets.A == 1", "mode": "deterministic" }),
            "Instruction 0: Field condition.expression: a condition cannot look at a secret (bytes \
                0..14)",
        ),
    ];
    for (condition, words) in cases {
        check(plain(condition), &json!({}), &[words]);
    }
}

#[test]
fn plain_instructions() {
    let plain = json!({ "instruction": "i" });
    let missing = "Instruction 0: Missing required field: instruction";
    for nothing in [json!(null), json!("")] {
        check(plain.clone(), &json!({ "instruction": nothing }), &[missing]);
    }
    let words = "Instruction 0: Field instruction must be a string";
    check(plain.clone(), &json!({ "instruction": ["a"] }), &[words]);
    let words = "Instruction 0: Unknown type: rooter (did you mean router?); the types are \
        instruction, endpoint, thread, router or agent";
    check(plain.clone(), &json!({ "type": "rooter" }), &[words]);
    let words = "Instruction 0: Unknown type: 7; the types are instruction, endpoint, thread, router \
        or agent";
    check(plain.clone(), &json!({ "type": 7 }), &[words]);
    check(plain.clone(), &json!({ "type": "instruction" }), &[]);
    let words = "Instruction 0: Unknown provider: ech (did you mean echo?)";
    check(plain.clone(), &json!({ "provider": "ech" }), &[words]);
    check(
        plain,
        &json!({ "schema": [], "system_prompt": 1 }),
        &[
            "Instruction 0: Field system_prompt must be a string",
            "Instruction 0: Field schema must be an object",
        ],
    );
}

#[test]
fn endpoints() {
    let url = "an http or https URL or a path on this server, not";
    let cases = [
        (json!({ "endpointUrl": null }), "Missing required field: endpointUrl".to_owned()),
        (json!({ "apiUrl": "" }), "Missing required field: apiUrl".into()),
        (
            json!({ "apiUrl": "api.test" }),
            "Field apiUrl must be an http or https URL, not api.test".into(),
        ),
        (
            json!({ "apiUrl": "/echo" }),
            "Field apiUrl must be an http or https URL, not /echo".into(),
        ),
        (json!({ "endpointUrl": "//x" }), format!("Field endpointUrl must be {url} //x")),
        (
            json!({ "method": "FETCH" }),
            "Field method must be one of GET, HEAD, POST, PUT, PATCH, DELETE, not FETCH".into(),
        ),
        (json!({ "headers": ["a"] }), "Field headers must be an object".into()),
        (
            json!({ "headers": { "a b": "c" } }),
            "Field headers: Invalid header name: \"a b\"".into(),
        ),
        (json!({ "headers": { "A": null } }), "Field headers: Header A must be a string".into()),
        (json!({ "retries": 101 }), "Field retries must be a whole number from 0 to 100".into()),
        (
            json!({ "retryDelay": -1 }),
            "Field retryDelay must be a whole number from 0 to 300000".into(),
        ),
        (json!({ "timeout": 0 }), "Field timeout must be a whole number from 1 to 300000".into()),
    ];
    for (changes, words) in cases {
        check(endpoint(), &changes, &[&format!("Instruction 0: {words}")]);
    }
    check(endpoint(), &json!({ "apiUrl": "/endpoints/demo/mock/news" }), &[]);
    check(endpoint(), &json!({ "method": "patch", "apiUrl": "{{ previous }}", "retries": 0 }), &[]);
}

#[test]
fn threads() {
    let steps =
        "Instruction 0: Field collectFromSteps must be a non-empty array of whole numbers from 1";
    for wrong in [json!([]), json!([0]), json!([-1]), json!(["1"]), json!([1.5]), json!(1)] {
        check(thread(), &json!({ "collectFromSteps": wrong }), &[steps]);
    }
    let missing = "Instruction 0: Missing required field: collectFromSteps";
    check(thread(), &json!({ "collectFromSteps": null }), &[missing]);
    let missing = "Instruction 0: Missing required field: outputFormat";
    check(thread(), &json!({ "outputFormat": null }), &[missing]);
    let format = "Instruction 0: Field outputFormat must be \"json\", \"markdown\" or \"numbered\", not \
        \"markdwn\" (did you mean markdown?)";
    check(thread(), &json!({ "outputFormat": "markdwn" }), &[format]);
    let mode = "Instruction 0: Field completionCheck.mode must be \"deterministic\" or \"llm\", not \"ai\"";
    check(thread(), &json!({ "completionCheck": { "mode": "ai" } }), &[mode]);
    let most = COLLECTED_STEPS + 1;
    let words = format!("Threads may collect {COLLECTED_STEPS} steps together, not {most}");
    check(thread(), &json!({ "collectFromSteps": vec![1; most] }), &[&words]);
}

#[test]
fn routers_and_agents() {
    let cases = [
        (json!({ "description": "" }), "Missing required field: description"),
        (json!({ "evaluationPrompt": null }), "Missing required field: evaluationPrompt"),
        (json!({ "options": null }), "Missing required field: options"),
        (json!({ "options": [] }), "Field options must be a non-empty array"),
        (json!({ "options": ["a"] }), "Field options[0] must be an object"),
        (json!({ "options": [option("a"), option("a")] }), "Field options[1].id: a is there twice"),
        (
            json!({ "defaultOption": "wether" }),
            "Unknown defaultOption: wether (did you mean weather?)",
        ),
    ];
    for (changes, words) in cases {
        check(router(), &changes, &[&format!("Instruction 0: {words}")]);
    }
    let many: Vec<Value> = (0..=OPTIONS_PER_NODE).map(|n| option(&n.to_string())).collect();
    check(
        router(),
        &json!({ "options": many }),
        &["Instruction 0: Field options must be at most 256 long"],
    );
    let all = ["id", "name", "description", "endpoint"]
        .map(|field| format!("Instruction 0: Missing required field: options[0].{field}"));
    check(router(), &json!({ "options": [{}] }), &all.each_ref().map(String::as_str));
    let mut option = option("a");
    option["endpoint"]["apiUrl"] = Value::Null;
    let words = "Instruction 0: Missing required field: availableTools[0].endpoint.apiUrl";
    check(agent(), &json!({ "availableTools": [option] }), &[words]);
    let words = "Instruction 0: Field fallbackBehavior must be \"llm\" or \"skip\", not \"none\"";
    check(agent(), &json!({ "fallbackBehavior": "none" }), &[words]);
    let words = "Instruction 0: Missing required field: decisionPrompt";
    check(agent(), &json!({ "decisionPrompt": null }), &[words]);
}

#[test]
fn depths_and_sizes_are_bounded() {
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let words = "Instruction 0: Fields may be nested 90 levels deep at most";
    check(endpoint(), &json!({ "body": deep }), &[words]);
    let body = json!({ "context": deep, "instructions": ["a"] });
    assert_eq!(problems(&body), ["Field context must be nested 90 levels deep at most"]);
    let many = "{{ a b }}".repeat(100_001);
    let words = "Instruction 0: Field instruction has more `{{` than a text may have";
    check(json!({ "instruction": many }), &json!({}), &[words]);
}

#[test]
fn a_long_text_is_an_instruction() {
    let long = "word ".repeat(200_000);
    check(json!({ "instruction": long }), &json!({}), &[]);
}

#[test]
fn equal_plans_have_equal_sources_whatever_the_context() {
    let request = |context: &str, step: &str| {
        let body = json!({ "context": context, "instructions": [step] }).to_string();
        Request::parse(&body).unwrap()
    };
    assert_eq!(request("a", "x").source(), request("b", "x").source());
    assert_ne!(request("a", "x").source(), request("a", "y").source());
    // A request without a context must not pass as one that was compiled with it.
    assert_ne!(request("", "x").source(), request("a", "x").source());
    let known = Known { providers: &providers(), instructions_max: 9 };
    assert!(compile(&request("", "x"), &known).is_err());
}
