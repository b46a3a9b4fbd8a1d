//! What begins workflows by itself: schedules, and hooks that other programs call.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::command::run_with;
use crate::support::eventually;
use crate::support::graph::{ended, flow, gives, job, node, replace, result, save};
use crate::support::server::{Server, answer};

const SECRET: &str = "s3cret-of-the-hook";
const BODY: &str = r#"{"text":"hi"}"#;

/// A workflow that gives its input, and begins by these triggers.
fn begun_by(triggers: &Value) -> Value {
    let mut definition = flow(&[node("end", "end", json!({ "output": "{{input}}" }))], &[]);
    definition["triggers"] = triggers.clone();
    definition
}

fn every_second() -> Value {
    let input = json!({ "by": "tick" });
    begun_by(&json!([{ "id": "tick", "type": "schedule", "cron": "* * * * * *", "input": input }]))
}

/// The newest jobs of a workflow, and how many there are.
async fn jobs(server: &Server, workflow: &str) -> (Vec<Value>, u64) {
    let (_, list) = server.get(&format!("/api/v1/jobs?workflow_id={workflow}")).await;
    (list["items"].as_array().unwrap().clone(), list["total"].as_u64().unwrap())
}

/// Waits until a workflow has run so many times more.
async fn runs_again(server: &Server, workflow: &str, times: u64) {
    let before = jobs(server, workflow).await.1;
    eventually("the schedule begins runs", async || {
        (jobs(server, workflow).await.1 >= before + times).then_some(())
    })
    .await;
}

/// Switches the trigger of a workflow.
async fn switch(server: &Server, workflow: &str, trigger: &str, to: &str) -> (u16, Value) {
    let path = format!("/api/v1/workflows/{workflow}/triggers/{trigger}/{to}");
    server.call(Method::POST, &path, None).await
}

#[tokio::test]
async fn a_schedule_begins_runs_with_its_input() {
    let server = Server::start().await;
    let workflow = save(&server, &every_second()).await;
    runs_again(&server, &workflow, 2).await;
    let id = jobs(&server, &workflow).await.0[1]["id"].clone();
    let job = ended(&server, id.as_str().unwrap()).await;
    assert_eq!((result(&job), &job["trigger"]), (&json!({ "by": "tick" }), &json!("tick")));
    let (_, triggers) = server.get(&format!("/api/v1/workflows/{workflow}/triggers")).await;
    let trigger = &triggers["items"][0];
    assert_eq!((&trigger["id"], &trigger["type"]), (&json!("tick"), &json!("schedule")));
    assert!(trigger["runs"].as_u64().unwrap() >= 2, "{trigger}");
    assert!(trigger["next_at"].as_str() > trigger["last_at"].as_str(), "{trigger}");
}

#[tokio::test]
async fn a_schedule_that_is_switched_off_begins_nothing_until_it_is_on_again() {
    let server = Server::start().await;
    let (off, clock) = (save(&server, &every_second()).await, save(&server, &every_second()).await);
    runs_again(&server, &off, 1).await;
    let (status, trigger) = switch(&server, &off, "tick", "disable").await;
    assert_eq!((status, &trigger["enabled"]), (200, &json!(false)));
    // The other one tells when seconds have passed: what had begun has ended.
    runs_again(&server, &clock, 1).await;
    let count = jobs(&server, &off).await.1;
    runs_again(&server, &clock, 2).await;
    assert_eq!(jobs(&server, &off).await.1, count);
    let (status, trigger) = switch(&server, &off, "tick", "enable").await;
    assert_eq!((status, &trigger["enabled"]), (200, &json!(true)));
    runs_again(&server, &off, 1).await;
    let detail = json!({ "detail": format!("Workflow {off} has no trigger tock") });
    assert_eq!(switch(&server, &off, "tock", "enable").await, (404, detail));
}

#[tokio::test]
async fn only_active_workflows_are_begun_by_their_triggers() {
    let server = Server::start().await;
    let hook = json!([{ "type": "webhook", "path": "orders" }]);
    let workflow = save(&server, &begun_by(&hook)).await;
    assert_eq!(server.post("/hooks/orders", &json!({})).await.0, 202);
    let mut draft = begun_by(&hook);
    draft["status"] = "draft".into();
    replace(&server, &workflow, &draft).await;
    let detail = json!({ "detail": "There is no hook at /hooks/orders" });
    assert_eq!(server.post("/hooks/orders", &json!({})).await, (404, detail));
    replace(&server, &workflow, &begun_by(&hook)).await;
    assert_eq!(server.post("/hooks/orders", &json!({})).await.0, 202);
    let removed = server.call(Method::DELETE, &format!("/workflows/{workflow}"), None).await;
    assert_eq!(removed.0, 204);
    assert_eq!(server.post("/hooks/orders", &json!({})).await.0, 404);
}

#[tokio::test]
async fn a_hook_gives_the_run_what_it_was_called_with() {
    let server = Server::start().await;
    let hook = json!([{ "id": "in", "type": "webhook", "path": "/orders/new/", "methods": ["put", "POST"] }]);
    let workflow = save(&server, &begun_by(&hook)).await;
    let request = server.request(Method::PUT, "/hooks/orders/new?a=1&b=%C3%A4").body(BODY);
    let (status, reply) =
        answer(request.header("authorization", "Bearer mine").header("x-kind", "test")).await;
    assert_eq!((status, &reply["status"]), (202, &json!("accepted")));
    let job = ended(&server, reply["job_id"].as_str().unwrap()).await;
    let input = result(&job);
    assert_eq!((&input["method"], &input["path"]), (&json!("PUT"), &json!("orders/new")));
    assert_eq!(input["query"], json!({ "a": "1", "b": "ä" }));
    assert_eq!(input["body"], json!({ "text": "hi" }));
    assert_eq!(
        (&input["headers"]["x-kind"], &input["headers"]["authorization"]),
        (&json!("test"), &Value::Null)
    );
    assert_eq!((&job["workflow_id"], &job["trigger"]), (&json!(workflow), &json!("in")));
    let refused = server.call(Method::GET, "/hooks/orders/new", None).await;
    assert_eq!(refused, (405, json!({ "detail": "This hook takes PUT, POST" })));
    assert_eq!(server.post("/hooks/orders", &json!({})).await.0, 404);
}

#[tokio::test]
async fn a_hook_may_answer_with_the_result() {
    let server = Server::start().await;
    let mut definition = flow(&[gives("half", "{{ 1 / input.body.n }}")], &[]);
    definition["triggers"] = json!([{ "type": "webhook", "path": "half", "reply": "result" }]);
    save(&server, &definition).await;
    assert_eq!(server.post("/hooks/half", &json!({ "n": 2 })).await, (200, json!(0.5)));
    let (status, reply) = server.post("/hooks/half", &json!({ "n": 0 })).await;
    let detail = "Node half failed: template: nothing can be divided by zero (bytes 3..19)";
    assert_eq!((status, &reply["detail"]), (500, &json!(detail)));
}

#[tokio::test]
async fn a_path_belongs_to_one_workflow() {
    let server = Server::start().await;
    let hook = begun_by(&json!([{ "type": "webhook", "path": "orders" }]));
    save(&server, &hook).await;
    let detail = json!({ "detail": "Another workflow has a hook at orders already" });
    assert_eq!(server.post("/api/v1/workflows", &hook).await, (409, detail));
}

/// The signature of a text, as GitHub writes it.
fn signed(text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let bytes = hmac::sign(&key, text.as_bytes());
    let digits: Vec<String> = bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={}", digits.concat())
}

/// A server with the hook `/hooks/orders`, whose calls are signed with a secret.
async fn server_with_signed_hook(secret: &str, scheme: &str) -> (Server, String) {
    let server = Server::start().await;
    let set = run_with(server.data(), &["secret", "set", "hook_key"], &[], secret).await;
    assert_eq!(set.code, Some(0), "{}", set.stderr);
    let signature = json!({ "secret": "{{secrets.hook_key}}", "scheme": scheme });
    let hook = json!([{ "type": "webhook", "path": "orders", "signature": signature }]);
    let workflow = save(&server, &begun_by(&hook)).await;
    (server, workflow)
}

/// Calls the hook with headers.
async fn call(server: &Server, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = server.request(Method::POST, "/hooks/orders").body(BODY);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    answer(request).await
}

#[tokio::test]
async fn only_whoever_knows_the_secret_may_call_a_signed_hook() {
    let (server, workflow) = server_with_signed_hook(SECRET, "hmac-sha256").await;
    let (good, bad) = (signed(BODY), signed("another body"));
    let (status, reply) = call(&server, &[]).await;
    assert_eq!((status, &reply["detail"]), (401, &json!("the signature is missing")));
    for wrong in [bad.as_str(), "sha256=", "", &good[7..good.len() - 2]] {
        let (status, reply) = call(&server, &[("x-hub-signature-256", wrong)]).await;
        assert_eq!(status, 401, "{wrong}: {reply}");
    }
    assert_eq!(jobs(&server, &workflow).await.1, 0);
    let (status, reply) = call(&server, &[("x-hub-signature-256", &good)]).await;
    assert_eq!(status, 202, "{reply}");
    let id = reply["job_id"].as_str().unwrap();
    ended(&server, id).await;
    let job = job(&server, id).await.to_string();
    assert!(!job.contains(&good) && !job.contains(SECRET), "{job}");
}

#[tokio::test]
async fn a_hook_may_follow_the_webhook_standard() {
    let secret = format!("whsec_{}", STANDARD.encode(SECRET));
    let (server, _) = server_with_signed_hook(&secret, "standard-webhooks").await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    for (at, expected) in [(now, 202), (now - 3_600, 401)] {
        let text = hmac::sign(&key, format!("msg_1.{at}.{BODY}").as_bytes());
        let (at, signature) = (at.to_string(), format!("v1,{}", STANDARD.encode(text)));
        let headers = [
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", at.as_str()),
            ("webhook-signature", signature.as_str()),
        ];
        let (status, reply) = call(&server, &headers).await;
        assert_eq!(status, expected, "{reply}");
    }
}

#[tokio::test]
async fn a_delivery_that_comes_again_begins_nothing_more() {
    let (server, workflow) = server_with_signed_hook(SECRET, "hmac-sha256").await;
    let good = signed(BODY);
    let deliver = async |server: &Server, id: &str| {
        let headers = [("x-hub-signature-256", good.as_str()), ("x-github-delivery", id)];
        let (status, reply) = call(server, &headers).await;
        assert_eq!(status, 202, "{reply}");
        reply["job_id"].clone()
    };
    let first = deliver(&server, "one").await;
    assert_eq!(deliver(&server, "one").await, first);
    let second = deliver(&server, "two").await;
    assert_ne!(second, first);
    let server = server.again().await;
    assert_eq!(deliver(&server, "one").await, first, "also after a crash");
    assert_eq!(jobs(&server, &workflow).await.1, 2);
}

#[tokio::test]
async fn what_is_no_trigger_is_refused() {
    let server = Server::start().await;
    let wrong = json!([
        { "type": "fax" },
        { "type": "webhook", "path": "../x", "color": "red" },
        { "type": "webhook", "path": "a", "methods": ["FLY"] },
        { "type": "schedule" },
        { "type": "webhook", "path": "b", "signature": { "scheme": "md5" } },
    ]);
    let (status, reply) = server.post("/api/v1/workflows", &begun_by(&wrong)).await;
    assert_eq!(status, 422);
    let places: Vec<Value> =
        reply["detail"].as_array().unwrap().iter().map(|issue| issue["loc"].clone()).collect();
    let expected = [
        json!(["body", "triggers", 0, "type"]),
        json!(["body", "triggers", 1, "color"]),
        json!(["body", "triggers", 1, "path"]),
        json!(["body", "triggers", 2, "methods"]),
        json!(["body", "triggers", 3, "cron"]),
        json!(["body", "triggers", 4, "signature"]),
    ];
    assert_eq!(places, expected);
    for (field, value) in [("cron", "61 * * * *"), ("cron", "daily"), ("timezone", "Mars/One")] {
        let mut definition = every_second();
        definition["triggers"][0][field] = value.into();
        let (status, reply) = server.post("/api/v1/workflows", &definition).await;
        assert_eq!((status, &reply["detail"][0]["loc"][1]), (422, &json!("triggers")), "{value}");
    }
}
