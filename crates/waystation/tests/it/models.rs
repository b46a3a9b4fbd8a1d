//! Chains that ask models, against services whose words the services' own clients accept.

use futures_util::future::join_all;
use serde_json::{Value, json};
use waystation_fake_models::FakeModels;

use crate::support::server::{Server, bytes_under};
use crate::support::{eventually, without_ports};

const KEY: &str = "sk-never-to-be-seen-4711";

async fn fake() -> FakeModels {
    FakeModels::start().await.unwrap()
}

/// A server whose providers are the fake, with this key.
async fn server_with_key(fake: &FakeModels, key: &str) -> Server {
    let base = fake.url();
    let settings = [
        ("OPENAI_BASE_URL", format!("{base}/v1")),
        ("OPENAI_API_KEY", key.to_owned()),
        ("ANTHROPIC_BASE_URL", base.clone()),
        ("ANTHROPIC_API_KEY", key.to_owned()),
        ("MODEL_SERVICE_URL", base.clone()),
        ("LOG_LEVEL", "info".to_owned()),
    ];
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, text)| (*name, &**text)).collect();
    Server::with(&settings).await
}

async fn server(fake: &FakeModels) -> Server {
    server_with_key(fake, KEY).await
}

/// Begins a chain and gives its instance's id.
async fn begin(server: &Server, chain: &Value) -> String {
    let (status, reply) = server.post("/", chain).await;
    assert_eq!(status, 200, "{reply}");
    reply["instanceId"].as_str().unwrap().to_owned()
}

/// The status of an instance that has ended.
async fn ended(server: &Server, instance: &str) -> Value {
    eventually(&format!("{instance} ends"), async || {
        let (_, reply) = server.get(&format!("/?instanceId={instance}")).await;
        let status = reply["status"]["status"].as_str().unwrap();
        ["complete", "errored", "terminated"].contains(&status).then(|| reply["status"].clone())
    })
    .await
}

async fn run(server: &Server, chain: &Value) -> Value {
    ended(server, &begin(server, chain).await).await
}

/// A chain of these instructions.
fn chain(instructions: &Value) -> Value {
    json!({ "context": "Sailing tomorrow", "instructions": instructions, "model": "fake" })
}

/// The results of the steps, in order of execution.
fn results(status: &Value) -> Vec<&str> {
    let steps = status["output"]["steps"].as_array().unwrap();
    steps.iter().map(|step| step["result"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn five_instructions_of_all_kinds_run_to_their_end_through_failures() {
    let fake = fake().await;
    let server = server(&fake).await;
    let sample = |name: &str| json!({ "endpointUrl": "/endpoint-1", "apiUrl": format!("/endpoints/demo/mock/{name}") });
    let option = |name: &str| json!({ "id": name, "name": name, "description": name, "endpoint": sample(name) });
    let status = run(
        &server,
        &chain(&json!([
            "Write it down [[answer: rain is feared]]",
            {
                "instruction": "Say more [[answer: wind is hoped for]]",
                "provider": "anthropic",
                "model": "fake-500-once",
                "condition": {
                    "expression": "Rain matters [[answer: false]]",
                    "ifTrue": [4],
                    "ifFalse": [2, 3, 4],
                },
            },
            { "type": "endpoint", "endpointUrl": "/endpoint-1", "apiUrl": "/endpoints/demo/mock/weather" },
            {
                "type": "router",
                "description": "What else there is",
                "provider": "gateway",
                "model": "fake-slow",
                "evaluationPrompt": "What helps? [[delay: 1]] [[answer: 2]]",
                "options": [option("weather"), option("news")],
            },
            { "type": "thread", "collectFromSteps": [1, 2], "outputFormat": "numbered" },
        ])),
    )
    .await;
    assert_eq!(status["status"], "complete", "{status:#}");
    let results = results(&status);
    assert_eq!(results[..2], ["rain is feared", "wind is hoped for"]);
    assert!(results[2].contains(r#""kind":"weather""#), "{}", results[2]);
    let routed: Value = serde_json::from_str(results[3]).unwrap();
    assert_eq!(routed["routerDecision"]["selectedOption"], "news");
    assert_eq!(routed["data"]["kind"], "news");
    let collected = "1. [Step 1] rain is feared\n\n2. [Step 2] wind is hoped for";
    assert_eq!(results[4], collected);
    assert_eq!(status["output"]["steps"][1]["branchTaken"], "false");
    // The second step and its condition were each asked twice.
    let calls = fake.calls();
    assert_eq!((calls.of("fake"), calls.of("fake-500-once"), calls.of("fake-slow")), (1, 4, 1));
}

/// A model that fails, whether pieces are asked for, how often it is asked, and how the error begins
/// where `{}` is the vendor.
type Failing = (&'static str, bool, usize, &'static str);

const FAILING: [Failing; 14] = [
    ("fake-empty", false, 4, "The model's answer is empty"),
    ("fake-filtered", false, 1, "The model's answer is empty: the provider withheld it"),
    ("fake-truncated", false, 4, "{} gave JSON that breaks off: {\"id\":"),
    ("fake-not-json", false, 4, "{} gave no JSON: That is not JSON."),
    ("fake-html", false, 4, "{} gave no JSON: <!doctype html>"),
    ("fake-huge", false, 1, "the response of 127.0.0.1:[port] is larger than 4194304 bytes"),
    ("fake-endless", true, 1, "the answer of {} exceeds 4194304 bytes"),
    ("fake-cut", false, 4, "the response of 127.0.0.1:[port] broke off"),
    ("fake-cut", true, 4, "the response of 127.0.0.1:[port] broke off"),
    ("fake-midway", true, 4, "{} API error: "),
    ("fake-429", false, 4, "{} API error: 429 - {"),
    ("fake-429-after", false, 4, "{} API error: 429 - {"),
    ("fake-529", false, 4, "{} API error: 529 - {"),
    ("fake-refused", false, 1, "{} API error: 404 - {"),
];

/// A chain whose second instruction fails, at one of both vendors.
async fn check_failing(server: &Server, (provider, label): (&str, &str), failing: &Failing) {
    let (model, stream, asked, words) = *failing;
    let first = json!({ "instruction": "Begin [[answer: half of it]]" });
    let second = json!({
        "instruction": "Go on", "provider": provider, "model": model, "stream": stream,
    });
    let status = run(server, &chain(&json!([first, second, "Never"]))).await;
    assert_eq!(status["status"], "errored", "{status:#}");
    assert_eq!(results(&status), ["half of it", ""]);
    let error = without_ports(status["error"].as_str().unwrap());
    assert!(error.starts_with(&words.replace("{}", label)), "{model}: {error}");
    let told = &status["output"]["errors"][0];
    assert_eq!((&told["error"], &told["errorType"]), (&status["error"], &json!("llm")));
    assert_eq!(told["context"]["attempts"], asked, "{model}");
}

#[tokio::test]
async fn what_is_no_answer_is_an_error_and_leaves_what_there_was() {
    let fake = fake().await;
    let server = server(&fake).await;
    let vendors = [("openai", "OpenAI"), ("anthropic", "Anthropic")];
    let cases =
        vendors.into_iter().flat_map(|vendor| FAILING.iter().map(move |case| (vendor, case)));
    join_all(cases.map(|(vendor, case)| check_failing(&server, vendor, case))).await;
    let asked: usize = FAILING.iter().map(|(_, _, asked, _)| asked + 1).sum();
    assert_eq!(fake.calls().total, 2 * asked);
}

#[tokio::test]
async fn an_answer_that_was_recorded_is_not_paid_for_again_after_a_crash() {
    let fake = fake().await;
    let server = server(&fake).await;
    let held = fake.hold("second");
    let instructions = json!([
        { "instruction": "[[answer: dear]]", "model": "first" },
        { "instruction": "[[answer: cheap]]", "model": "second" },
    ]);
    let instance = begin(&server, &chain(&instructions)).await;
    // The second step starts when the first one's answer is on disk.
    fake.reached(2).await;
    let server = server.again().await;
    fake.reached(3).await;
    drop(held);
    let status = ended(&server, &instance).await;
    assert_eq!(results(&status), ["dear", "cheap"]);
    let calls = fake.calls();
    assert_eq!((calls.of("first"), calls.of("second")), (1, 2));
}

#[tokio::test]
async fn equal_questions_make_one_call_at_once_later_and_after_a_restart() {
    let fake = fake().await;
    let server = server(&fake).await;
    let mut question = chain(&json!(["[[answer: shared]] [[usage: 70 30]]"]));
    question["cache"] = json!(true);
    let held = fake.hold("fake");
    let instances = join_all((0..100).map(|_| begin(&server, &question))).await;
    fake.reached(1).await;
    drop(held);
    let ends = join_all(instances.iter().map(|instance| ended(&server, instance))).await;
    let used = |status: &Value| status["output"]["steps"][0]["usage"].clone();
    for status in &ends {
        assert_eq!(results(status), ["shared"]);
        assert_eq!(used(status)["total_tokens"], 100);
    }
    assert_eq!(ends.iter().filter(|status| used(status)["cached"] == 0).count(), 1);
    let server = server.again().await;
    let status = run(&server, &question).await;
    assert_eq!((results(&status), used(&status)["cached"].clone()), (vec!["shared"], json!(1)));
    assert_eq!(fake.calls().total, 1);
    question["instructions"] = json!(["[[answer: another]]"]);
    assert_eq!(results(&run(&server, &question).await), ["another"]);
    assert_eq!(fake.calls().total, 2);
}

#[tokio::test]
async fn what_is_asked_and_answered_is_not_logged_and_keys_are_nowhere() {
    // The service quotes a key that begins so in its error.
    for (key, expected) in [(KEY, "complete"), ("bad-key-never-to-be-seen", "errored")] {
        let fake = fake().await;
        let server = server_with_key(&fake, key).await;
        for provider in ["openai", "anthropic"] {
            let mut question = chain(&json!(["A private prompt [[answer: a private answer]]"]));
            question["context"] = json!("a private context");
            question["provider"] = json!(provider);
            question["cache"] = json!(true);
            let status = run(&server, &question).await;
            assert_eq!(status["status"], expected, "{status:#}");
            assert!(!status.to_string().contains(key), "{status:#}");
        }
        assert!(fake.calls().last.iter().all(|call| call.has_key));
        let log = server.log();
        assert!(log.contains("INFO"), "{log}");
        for text in [key, "private"] {
            assert!(!log.contains(text), "{log}");
        }
        for (file, bytes) in bytes_under(server.data()) {
            let holds = bytes.windows(key.len()).any(|part| part == key.as_bytes());
            assert!(!holds, "{} holds the key", file.display());
        }
    }
}
