//! What the fake sends is kept in `testdata/models`, where other tests use it and where the services'
//! own client libraries are asked whether it is right. `WAYSTATION_BLESS=1` writes them anew.

use std::path::{Path, PathBuf};

use reqwest::{Client, Response};
use serde_json::{Map, Value, json};
use waystation_fake_models::FakeModels;

struct Case {
    file: &'static str,
    status: u16,
    key: Option<&'static str>,
    body: Value,
}

fn case(file: &'static str, status: u16, body: Value) -> Case {
    Case { file, status, key: Some("key"), body }
}

fn keyed(file: &'static str, key: Option<&'static str>) -> Case {
    Case { file, status: 401, key, body: json!({"model": "fake"}) }
}

/// A recipe, so that structured answers have something to hold.
fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {"dish": {"type": "string"}, "minutes": {"type": "integer"}},
        "required": ["dish", "minutes"],
        "additionalProperties": false,
    })
}

/// The same cases for both services: the file's name without the service, the status, what is asked.
fn common() -> Vec<Case> {
    let streamed = json!({"model": "fake", "stream": true});
    vec![
        case("reply.json", 200, json!({"model": "fake"})),
        case("empty.json", 200, json!({"model": "fake-empty"})),
        case("length.json", 200, json!({"model": "fake-length"})),
        case("filtered.json", 200, json!({"model": "fake-filtered"})),
        case("truncated.txt", 200, json!({"model": "fake-truncated"})),
        case("stream.sse", 200, streamed),
        case("stream-empty.sse", 200, json!({"model": "fake-empty", "stream": true})),
        case("stream-truncated.sse", 200, json!({"model": "fake-truncated", "stream": true})),
        case("stream-error.sse", 200, json!({"model": "fake-midway", "stream": true})),
        case("error-unknown-model.json", 404, json!({"model": "fake-refused"})),
        case("error-rate-limit.json", 429, json!({"model": "fake-429"})),
        case("error-overloaded.json", 529, json!({"model": "fake-529"})),
        case("error-internal.json", 500, json!({"model": "fake-500-once"})),
        keyed("error-no-key.json", None),
        keyed("error-wrong-key.json", Some("bad-key")),
    ]
}

fn openai() -> Vec<Case> {
    let format = json!({"name": "recipe", "strict": true, "schema": schema()});
    let format = json!({"type": "json_schema", "json_schema": format});
    let usage = json!({"include_usage": true});
    let mut cases = common();
    cases.extend([
        case("structured.json", 200, json!({"model": "fake", "response_format": format})),
        case(
            "stream-usage.sse",
            200,
            json!({"model": "fake", "stream": true, "stream_options": usage}),
        ),
        case("error-temperature.json", 400, json!({"model": "gpt-5-nano", "temperature": 0.7})),
        case("error-max-tokens.json", 400, json!({"model": "gpt-5-nano", "max_tokens": 9})),
    ]);
    cases
}

fn anthropic() -> Vec<Case> {
    let format = json!({"format": {"type": "json_schema", "schema": schema()}});
    let tools = json!([{"name": "recipe", "input_schema": schema()}]);
    let choice = json!({"type": "tool", "name": "recipe"});
    let tool = json!({"model": "fake", "tools": tools, "tool_choice": choice});
    let mut streamed = tool.clone();
    streamed["stream"] = json!(true);
    let mut cases = common();
    cases.extend([
        case("structured.json", 200, json!({"model": "fake", "output_config": format})),
        case("tool.json", 200, tool),
        case("stream-tool.sse", 200, streamed),
        case("error-no-max-tokens.json", 400, json!({"model": "fake", "max_tokens": null})),
    ]);
    cases
}

fn folder(service: &str) -> PathBuf {
    // Where the checkout is now: build output may be shared by several.
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&here).join("../../testdata/models").join(service)
}

/// What every request has, unless the case says otherwise.
fn completed(service: &str, body: &Value) -> Value {
    let mut whole = Map::new();
    if service == "anthropic" {
        whole.insert("max_tokens".into(), json!(100));
    }
    let message = json!({"role": "user", "content": "What shall we cook tonight?"});
    whole.insert("messages".into(), json!([message]));
    whole.extend(body.as_object().cloned().unwrap_or_default());
    Value::Object(whole)
}

async fn ask(fake: &FakeModels, service: &str, case: &Case) -> Response {
    let path = if service == "openai" { "/v1/chat/completions" } else { "/v1/messages" };
    let mut request = Client::builder().no_proxy().build().unwrap().post(fake.url() + path);
    request = request.json(&completed(service, &case.body));
    request = match (service, case.key) {
        (_, None) => request,
        ("openai", Some(key)) => request.bearer_auth(key),
        (_, Some(key)) => request.header("x-api-key", key),
    };
    request.header("anthropic-version", "2023-06-01").send().await.unwrap()
}

async fn check(service: &str, cases: Vec<Case>) {
    // Another test may have set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let fake = FakeModels::start().await.unwrap();
    let recording = std::env::var_os("WAYSTATION_BLESS").is_some();
    std::fs::create_dir_all(folder(service)).unwrap();
    for case in &cases {
        let response = ask(&fake, service, case).await;
        let (status, sent) = (response.status().as_u16(), response.text().await.unwrap());
        assert_eq!(status, case.status, "{service} {}: {sent}", case.file);
        let file = folder(service).join(case.file);
        if recording {
            std::fs::write(&file, &sent).unwrap();
        }
        let recorded = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(sent, recorded, "{}: WAYSTATION_BLESS=1 writes it anew", file.display());
    }
    let files = std::fs::read_dir(folder(service)).unwrap().count();
    assert_eq!(files, cases.len(), "a file of {service} belongs to no case");
}

#[tokio::test]
async fn openai_is_sent_as_it_is_recorded() {
    check("openai", openai()).await;
}

#[tokio::test]
async fn anthropic_is_sent_as_it_is_recorded() {
    check("anthropic", anthropic()).await;
}
