//! Stored workflows run as executions: the calls of the execution guide, and what both APIs share.

use std::net::Ipv4Addr;

use reqwest::Method;
use serde_json::{Value, json};
use waystation_fake_models::FakeModels;

use crate::support::eventually;
use crate::support::graph::{calls, execute, flow, gives, node, result, save};
use crate::support::mail::Mail;
use crate::support::server::Server;
use crate::support::target::{Target, reply};

const SAY_HELLO: &str = include_str!("../../../../testdata/graph/say-hello.json");
const WELCOME_EMAIL: &str = include_str!("../../../../testdata/graph/welcome-email.json");
/// The model that the guide's node asks without saying so.
const MODEL: &str = "google/gemini-2.0-flash-exp:free";
const HELLO: &str = "You sent 9 characters that begin with: Say hello";

fn say_hello() -> Value {
    serde_json::from_str(SAY_HELLO).unwrap()
}

async fn server_with(fake: &FakeModels) -> Server {
    let base = format!("{}/v1", fake.url());
    Server::with(&[("OPENROUTER_BASE_URL", &base), ("OPENROUTER_API_KEY", "sk-test")]).await
}

/// Saves a workflow as the guide does and gives its id.
async fn create(server: &Server, definition: &Value) -> String {
    let (status, reply) = server.post("/workflows/", definition).await;
    assert_eq!(status, 201, "{reply:#}");
    reply["id"].as_str().unwrap().to_owned()
}

/// Begins an execution and gives the reply.
async fn start(server: &Server, workflow: &str, body: &Value) -> Value {
    let (status, reply) = server.post(&format!("/workflows/{workflow}/execute"), body).await;
    assert_eq!((status, &reply["workflow_id"]), (202, &json!(workflow)), "{reply:#}");
    reply
}

/// All about an execution that was begun.
async fn execution(server: &Server, begun: &Value) -> Value {
    let id = begun["execution_id"].as_str().unwrap();
    let (status, execution) = server.get(&format!("/workflows/executions/{id}")).await;
    assert_eq!((status, &execution["execution_id"]), (200, &begun["execution_id"]));
    execution
}

/// The words of a list of lines.
fn words<'a>(lines: &'a Value, field: &str) -> Vec<(&'a str, &'a str)> {
    let lines = lines.as_array().unwrap().iter();
    let text = |line: &'a Value, field: &str| line[field].as_str().unwrap_or_default();
    lines.map(|line| (text(line, "node_id"), text(line, field))).collect()
}

#[tokio::test]
async fn the_second_execution_of_the_guide_is_answered_from_the_cache() {
    let fake = FakeModels::start().await.unwrap();
    let server = server_with(&fake).await;
    let workflow = create(&server, &say_hello()).await;
    let body = json!({ "inputs": { "name": "Alice" }, "async_execution": false });
    for is_cached in [false, true] {
        let begun = start(&server, &workflow, &body).await;
        assert_eq!(begun["status"], "success");
        assert_eq!(begun["message"], "Workflow execution completed");
        let execution = execution(&server, &begun).await;
        assert_eq!(execution["status"], "success");
        assert_eq!(execution["variables"], json!({ "name": "Alice" }));
        let node = &execution["node_states"]["ai1"];
        assert_eq!((&node["status"], &node["output"]), (&json!("completed"), &json!(HELLO)));
        assert_eq!((&node["cached"], &node["model"]), (&json!(is_cached), &json!(MODEL)));
        assert_eq!(node["usage"]["total_tokens"], 15);
        assert!(node["latency_ms"].is_number(), "{node}");
    }
    assert_eq!(fake.calls().of(MODEL), 1);
}

#[tokio::test]
async fn the_welcome_email_of_the_guide_arrives() {
    let fake = FakeModels::start().await.unwrap();
    let mail = Mail::start(Ipv4Addr::LOCALHOST.into(), 0).await;
    let (base, port) = (format!("{}/v1", fake.url()), mail.port.to_string());
    let server = Server::with(&[
        ("OPENROUTER_BASE_URL", &base),
        ("OPENROUTER_API_KEY", "sk-test"),
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", &port),
        ("SMTP_SECURITY", "none"),
        ("SMTP_FROM", "flows@example.com"),
    ])
    .await;
    let workflow = create(&server, &serde_json::from_str(WELCOME_EMAIL).unwrap()).await;
    let inputs = json!({ "user_name": "John", "email": "john@example.com" });
    let body = json!({ "inputs": inputs, "async_execution": false });
    let begun = start(&server, &workflow, &body).await;
    let execution = execution(&server, &begun).await;
    assert_eq!(execution["status"], "success", "{execution:#}");
    let greeting = execution["node_states"]["ai1"]["output"].as_str().unwrap();
    let letter = mail.letters().remove(0);
    let expected = ["MAIL FROM:<flows@example.com>", "RCPT TO:<john@example.com>"];
    assert_eq!(letter.envelope, expected);
    let has = |line: &str| letter.lines.iter().any(|known| known == line);
    assert!(has("Subject: Hello") && has(&format!("Result: {greeting}")), "{letter:?}");
    assert_eq!(mail.letters().len(), 1);
}

#[tokio::test]
async fn an_execution_has_states_and_a_log() {
    let server = Server::start().await;
    let nodes = [
        node("start", "start", json!({})),
        node("fork", "condition", json!({ "condition": "status == 'active'" })),
        gives("yes", "{{user_name}} is active"),
        gives("no", "{{user_name}} is not"),
        node("end", "end", json!({ "output": "Result: {{outputs.yes}}" })),
    ];
    let edges = ["start -> fork", "fork -> yes: true", "fork -> no: false", "yes -> end"];
    let workflow = create(&server, &flow(&nodes, &edges)).await;
    let body = json!({ "inputs": { "user_name": "Ada", "status": "active" } });
    let execution = execution(&server, &start(&server, &workflow, &body).await).await;
    let states = execution["node_states"].as_object().unwrap().iter();
    let states: Vec<_> = states.map(|(id, state)| (id.as_str(), &state["status"])).collect();
    let (completed, skipped) = (json!("completed"), json!("skipped"));
    let expected = [
        ("start", &completed),
        ("fork", &completed),
        ("yes", &completed),
        ("no", &skipped),
        ("end", &completed),
    ];
    assert_eq!(states, expected);
    assert_eq!(execution["result"], "Result: Ada is active");
    assert_eq!(execution["errors"], json!([]));
    let log = words(&execution["logs"], "message");
    assert_eq!(log.first(), Some(&("", "Workflow started")));
    assert_eq!(log.last(), Some(&("", "Workflow completed")));
    assert!(log.contains(&("fork", "Completed (true)")), "{log:?}");
    assert!(log.contains(&("no", "Skipped: fork took another branch")), "{log:?}");
}

#[tokio::test]
async fn a_failed_node_makes_the_execution_an_error() {
    let server = Server::start().await;
    let workflow = create(&server, &flow(&[gives("half", "{{ 1 / zero }}")], &[])).await;
    let begun = start(&server, &workflow, &json!({ "inputs": { "zero": 0 } })).await;
    let why = "template: nothing can be divided by zero (bytes 3..11)";
    let message = format!("Workflow execution failed: Node half failed: {why}");
    assert_eq!((&begun["status"], &begun["message"]), (&json!("error"), &json!(message)));
    let execution = execution(&server, &begun).await;
    assert_eq!(execution["status"], "error");
    assert_eq!(execution["node_states"]["half"]["error"], why);
    assert_eq!(words(&execution["errors"], "error"), [("half", why)]);
}

#[tokio::test]
async fn an_execution_in_the_background_is_queued_runs_and_may_be_cancelled() {
    let target = Target::start(async |_, _| std::future::pending().await).await;
    let server = Server::start().await;
    let workflow = create(&server, &flow(&[calls("call", &target.url("/"))], &[])).await;
    let begun = start(&server, &workflow, &json!({ "inputs": {}, "async_execution": true })).await;
    assert_eq!(begun["status"], "queued");
    assert_eq!(begun["message"], "Workflow execution started in background");
    eventually("the call", async || (target.count("/") == 1).then_some(())).await;
    let shown = execution(&server, &begun).await;
    assert_eq!((&shown["status"], &shown["end_time"]), (&json!("running"), &Value::Null));
    assert_eq!(shown["node_states"]["call"]["status"], "running");
    let id = begun["execution_id"].as_str().unwrap();
    let path = format!("/workflows/executions/{id}/cancel");
    assert_eq!(server.call(Method::POST, &path, None).await.0, 200);
    eventually("the caller leaves", async || (target.dropped() == 1).then_some(())).await;
    eventually("the end", async || {
        (execution(&server, &begun).await["status"] == "cancelled").then_some(())
    })
    .await;
}

#[tokio::test]
async fn executions_are_listed_newest_first() {
    let server = Server::start().await;
    let workflow = create(&server, &flow(&[gives("a", "{{ 1 / n }}")], &[])).await;
    let other = create(&server, &flow(&[gives("a", "x")], &[])).await;
    let mut begun = Vec::new();
    for n in [1, 0, 2] {
        begun.insert(0, start(&server, &workflow, &json!({ "inputs": { "n": n } })).await);
    }
    start(&server, &other, &json!({})).await;
    let list = async |query: &str| {
        let path = format!("/workflows/{workflow}/executions{query}");
        server.get(&path).await.1.as_array().unwrap().clone()
    };
    let ids = |list: &[Value]| -> Vec<Value> {
        list.iter().map(|execution| execution["execution_id"].clone()).collect()
    };
    let all = list("").await;
    assert_eq!(ids(&all), ids(&begun));
    let statuses: Vec<&Value> = all.iter().map(|execution| &execution["status"]).collect();
    assert_eq!(statuses, ["success", "error", "success"]);
    assert_eq!(ids(&list("?limit=2").await), ids(&begun)[..2]);
    let newest = begun[0]["execution_id"].as_str().unwrap();
    assert_eq!(ids(&list(&format!("?before={newest}")).await), ids(&begun)[1..]);
}

#[tokio::test]
async fn what_one_api_saves_the_other_runs() {
    let server = Server::start().await;
    // Edges in either spelling, inputs under either name.
    let saved_here = create(
        &server,
        &json!({ "name": "Here",
            "nodes": [gives("a", "{{input.n}}"), gives("b", "{{a.output}}{{n}}")],
            "edges": [{ "from": "a", "to": "b" }],
        }),
    )
    .await;
    let job = execute(&server, &saved_here, &json!({ "n": 4 })).await;
    assert_eq!(result(&job), &json!("44"));
    let nodes = [gives("a", "{{input.n}}"), gives("b", "{{outputs.a}}{{n}}")];
    let saved_there = save(&server, &flow(&nodes, &["a -> b"])).await;
    let begun = start(&server, &saved_there, &json!({ "inputs": { "n": 5 } })).await;
    assert_eq!(execution(&server, &begun).await["result"], "55");
    // A run is a job and an execution, and each list has both workflows.
    let id = begun["execution_id"].as_str().unwrap();
    let (status, job) = server.get(&format!("/api/v1/jobs/{id}")).await;
    assert_eq!((status, result(&job)), (200, &json!("55")));
    let (_, list) = server.get("/workflows").await;
    let listed: Vec<&Value> = list.as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(listed, [&json!(saved_there), &json!(saved_here)]);
    assert_eq!(server.get("/api/v1/workflows").await.1["total"], 2);
}

#[tokio::test]
async fn a_run_that_is_no_execution_is_not_found() {
    let server = Server::start().await;
    let target = Target::start(async |_, _| reply(200, "{}")).await;
    let step = crate::support::step("one", &target.url("/"), &[]);
    let pipeline = server.execute(&crate::support::pipeline(&[step])).await;
    for id in [pipeline["execution_id"].as_str().unwrap(), "nope", "0000000000000"] {
        let (status, reply) = server.get(&format!("/workflows/executions/{id}")).await;
        let detail = json!({ "detail": format!("Execution with ID {id} not found") });
        assert_eq!((status, reply), (404, detail));
        let (status, reply) = server.get(&format!("/api/v1/jobs/{id}")).await;
        assert_eq!(
            (status, reply["detail"].clone()),
            (404, json!(format!("Job with ID {id} not found")))
        );
    }
}

#[tokio::test]
async fn an_execution_takes_inputs_as_an_object_and_nothing_for_them() {
    let server = Server::start().await;
    let workflow = save(&server, &flow(&[gives("a", "{{ input }}")], &[])).await;
    let path = format!("/workflows/{workflow}/execute");
    for (body, expected) in [
        (json!({}), json!({})),
        (json!({ "async_execution": false }), json!({})),
        (json!({ "inputs": { "n": 1 } }), json!({ "n": 1 })),
        (json!({ "n": 1 }), json!({ "n": 1 })),
    ] {
        let (status, begun) = server.post(&path, &body).await;
        assert_eq!((status, &begun["status"]), (202, &json!("success")), "{begun}");
        assert_eq!(execution(&server, &begun).await["variables"], expected, "{body}");
    }
    for wrong in [json!({ "async_execution": "yes" }), json!({ "inputs": [1] })] {
        assert_eq!(server.post(&path, &wrong).await.0, 422, "{wrong}");
    }
}
