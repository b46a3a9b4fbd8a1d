//! Jobs: begun once, listed, cancelled, tried again from where they failed.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::graph::{
    begin, calls, ended, error, execute, flow, gives, graph, job, node, nodes_that_are, output,
    result, run, save, state, until,
};
use crate::support::server::{Server, answer};
use crate::support::target::{Target, reply};

/// A service that never answers.
async fn silent() -> Target {
    Target::start(async |_, _| std::future::pending().await).await
}

async fn cancel(server: &Server, job: &str) -> (u16, Value) {
    server.call(Method::POST, &format!("/api/v1/jobs/{job}/cancel"), None).await
}

/// Cancels a job of this definition while it calls the target, and gives the job.
async fn cancelled_while_calling(server: &Server, definition: &Value, target: &Target) -> Value {
    let workflow = save(server, definition).await;
    let id = begin(server, &workflow, &json!({})).await;
    eventually("the call", async || (target.count("/") == 1).then_some(())).await;
    assert_eq!(cancel(server, &id).await.0, 200);
    eventually("the caller leaves", async || (target.dropped() == 1).then_some(())).await;
    let job = ended(server, &id).await;
    assert_eq!(job["status"], "cancelled");
    assert_eq!(job["error"], "Cancelled: requested by the user");
    job
}

#[tokio::test]
async fn cancelling_stops_what_is_under_way_and_nothing_more_begins() {
    let (server, target) = (Server::start().await, silent().await);
    let nodes =
        [gives("a", "A"), calls("call", &target.url("/")), calls("next", &target.url("/next"))];
    let definition = flow(&nodes, &["a -> call", "call -> next"]);
    let job = cancelled_while_calling(&server, &definition, &target).await;
    assert_eq!((state(&job, "a"), state(&job, "call")), ("completed", "cancelled"));
    assert_eq!(target.count("/next"), 0);
    let id = job["id"].as_str().unwrap();
    let detail = format!("Run {id} has already been cancelled");
    assert_eq!(cancel(&server, id).await, (409, json!({ "detail": detail })));
}

#[tokio::test]
async fn cancelling_reaches_the_runs_within() {
    let server = Server::start().await;
    let target = silent().await;
    let inner = flow(&[calls("call", &target.url("/"))], &[]);
    let inner = save(&server, &inner).await;
    let sub = node("sub", "subworkflow", json!({ "workflow_id": inner }));
    let job = cancelled_while_calling(&server, &flow(&[sub], &[]), &target).await;
    assert_eq!(state(&job, "sub"), "cancelled");
    let target = silent().await;
    let body = graph(&[calls("call", &target.url("/"))], &[]);
    let each = node("each", "foreach", json!({ "items": [1, 2], "concurrency": 1, "body": body }));
    let job = cancelled_while_calling(&server, &flow(&[each], &[]), &target).await;
    assert_eq!(state(&job, "each"), "cancelled");
    assert_eq!(target.count("/"), 1);
}

#[tokio::test]
async fn a_job_that_has_ended_or_is_unknown_cannot_be_cancelled() {
    let server = Server::start().await;
    let workflow = save(&server, &flow(&[gives("a", "A")], &[])).await;
    let job = execute(&server, &workflow, &json!({})).await;
    let id = job["id"].as_str().unwrap();
    assert_eq!(cancel(&server, id).await.0, 409);
    let unknown = json!({ "detail": "Job with ID nope not found" });
    assert_eq!(cancel(&server, "nope").await, (404, unknown.clone()));
    assert_eq!(server.get("/api/v1/jobs/nope").await, (404, unknown.clone()));
    assert_eq!(server.get("/api/v1/jobs/nope/logs").await, (404, unknown));
}

/// Two calls, of which the second fails the first time, and an end.
async fn two_calls(server: &Server) -> (Target, Value) {
    let target = Target::start(async |request, before| match (request.path.as_str(), before) {
        ("/second", 0) => reply(400, "not yet"),
        _ => reply(200, json!({ "got": request.json() }).to_string()),
    });
    let target = target.await;
    let mut second = calls("second", &target.url("/second"));
    second["config"]["body"] = json!({ "n": "{{input.n}}" });
    let end = node("end", "end", json!({ "output": "{{second.output.got.n}}" }));
    let nodes = [calls("first", &target.url("/first")), second, end];
    let workflow = save(server, &flow(&nodes, &["first -> second", "second -> end"])).await;
    let job = execute(server, &workflow, &json!({ "n": 1 })).await;
    assert_eq!(error(&job), "Node second failed: HTTP 400: not yet");
    (target, job)
}

/// Tries a job again and gives the new one, once it has ended.
async fn retried(server: &Server, id: &Value, body: &Value) -> Value {
    let path = format!("/api/v1/jobs/{}/retry", id.as_str().unwrap());
    let (status, reply) = server.post(&path, body).await;
    assert_eq!((status, &reply["retry_of"]), (202, id), "{reply:#}");
    assert_ne!(&reply["id"], id);
    ended(server, reply["id"].as_str().unwrap()).await
}

#[tokio::test]
async fn a_failed_job_goes_on_from_where_it_failed() {
    let server = Server::start().await;
    let (target, failed) = two_calls(&server).await;
    let job = retried(&server, &failed["id"], &json!({})).await;
    assert_eq!(result(&job), &json!(1));
    assert_eq!(output(&job, "first"), output(&failed, "first"));
    assert_eq!((target.count("/first"), target.count("/second")), (1, 2));
    assert_eq!(
        error(&self::job(&server, failed["id"].as_str().unwrap()).await),
        "Node second failed: HTTP 400: not yet"
    );
}

#[tokio::test]
async fn a_job_is_tried_again_from_a_node_with_another_input() {
    let server = Server::start().await;
    let (target, failed) = two_calls(&server).await;
    let id = &failed["id"];
    let job = retried(&server, id, &json!({ "from": "second", "input_data": { "n": 2 } })).await;
    assert_eq!((result(&job), &job["input_data"]), (&json!(2), &json!({ "n": 2 })));
    assert_eq!((target.count("/first"), target.count("/second")), (1, 2));
    let job = retried(&server, id, &json!({ "from": "first" })).await;
    assert_eq!(result(&job), &json!(1));
    assert_eq!((target.count("/first"), target.count("/second")), (2, 3));
    let path = format!("/api/v1/jobs/{}/retry", id.as_str().unwrap());
    let unknown = server.post(&path, &json!({ "from": "third" })).await;
    let detail =
        json!([{ "loc": ["body"], "msg": "The run has no node third", "type": "value_error" }]);
    assert_eq!(unknown, (422, json!({ "detail": detail })));
}

#[tokio::test]
async fn a_job_under_way_cannot_be_tried_again() {
    let server = Server::start().await;
    let workflow = save(&server, &flow(&[node("ask", "wait", json!({}))], &[])).await;
    let id = begin(&server, &workflow, &json!({})).await;
    let detail = json!({ "detail": format!("Run {id} is still running") });
    let path = format!("/api/v1/jobs/{id}/retry");
    assert_eq!(server.call(Method::POST, &path, None).await, (409, detail));
}

#[tokio::test]
async fn the_log_tells_what_happened() {
    let server = Server::start().await;
    let nodes = [gives("a", "A"), gives("half", "{{ 1 / input.n }}")];
    let workflow = save(&server, &flow(&nodes, &["a -> half"])).await;
    let job = execute(&server, &workflow, &json!({ "n": 0 })).await;
    let id = job["id"].as_str().unwrap();
    let (status, log) = server.get(&format!("/api/v1/jobs/{id}/logs")).await;
    assert_eq!((status, &log["job_id"]), (200, &job["id"]));
    let lines = log["logs"].as_array().unwrap().iter();
    let told: Vec<Value> =
        lines.map(|line| json!([line["level"], line["node_id"], line["message"]])).collect();
    let failed = "Failed: template: nothing can be divided by zero (bytes 3..14)";
    let expected = [
        json!(["info", null, "Workflow started"]),
        json!(["info", "a", "Completed"]),
        json!(["error", "half", failed]),
        json!(["info", null, "Workflow failed"]),
    ];
    assert_eq!(told, expected);
}

#[tokio::test]
async fn the_input_has_several_names_and_waiting_is_a_wish() {
    let server = Server::start().await;
    let workflow = save(&server, &flow(&[gives("a", "{{input.n}}")], &[])).await;
    let path = format!("/api/v1/workflows/{workflow}/execute");
    for body in [
        json!({ "input_data": { "n": 1 } }),
        json!({ "inputs": { "n": 1 } }),
        json!({ "input": { "n": 1 } }),
        json!({ "n": 1 }),
    ] {
        let (status, job) = server.post(&format!("{path}?wait=true"), &body).await;
        assert_eq!((status, result(&job)), (200, &json!(1)), "{body}");
        let (status, job) = server.post(&path, &body).await;
        assert_eq!((status, &job["input_data"]), (202, &json!({ "n": 1 })));
        assert_eq!(result(&ended(&server, job["id"].as_str().unwrap()).await), &json!(1));
    }
    assert_eq!(server.post(&path, &json!([1])).await.0, 422);
}

#[tokio::test]
async fn the_same_key_gives_the_same_job() {
    let server = Server::start().await;
    let (workflow, other) = (adding_one(&server).await, adding_one(&server).await);
    let call = async |server: &Server, workflow: &str, key: &str, n: u32| {
        let path = format!("/api/v1/workflows/{workflow}/execute");
        let request = server.request(Method::POST, &path).header("idempotency-key", key);
        answer(request.json(&json!({ "input_data": { "n": n } }))).await
    };
    let (status, first) = call(&server, &workflow, "k", 1).await;
    assert_eq!(status, 202);
    let (status, again) = call(&server, &workflow, "k", 1).await;
    assert_eq!((status, &again["id"]), (202, &first["id"]));
    let detail = json!({ "detail": "The Idempotency-Key was used with another request" });
    assert_eq!(call(&server, &workflow, "k", 2).await, (409, detail));
    assert_ne!(call(&server, &workflow, "other", 1).await.1["id"], first["id"]);
    assert_ne!(call(&server, &other, "k", 1).await.1["id"], first["id"]);
    let server = server.again().await;
    let (status, again) = call(&server, &workflow, "k", 1).await;
    assert_eq!((status, &again["id"]), (202, &first["id"]), "also after a crash");
    assert_eq!(server.get(&format!("/api/v1/jobs?workflow_id={workflow}")).await.1["total"], 2);
}

async fn adding_one(server: &Server) -> String {
    save(server, &flow(&[gives("a", "{{ input.n + 1 }}")], &[])).await
}

#[tokio::test]
async fn jobs_are_listed_newest_first_with_totals() {
    let server = Server::start().await;
    let workflow = save(&server, &flow(&[gives("a", "{{ 1 / input.n }}")], &[])).await;
    let asking = save(&server, &flow(&[node("ask", "wait", json!({}))], &[])).await;
    let mut begun = Vec::new();
    for n in [1, 0, 2] {
        begun.insert(0, execute(&server, &workflow, &json!({ "n": n })).await["id"].clone());
    }
    let waits = begin(&server, &asking, &json!({})).await;
    until(&server, &waits, "ask", "waiting").await;
    let list = async |query: &str| {
        let (status, list) = server.get(&format!("/api/v1/jobs?{query}")).await;
        assert_eq!(status, 200, "{list}");
        let items = list["items"].as_array().unwrap().iter();
        let ids: Vec<Value> = items.map(|item| item["id"].clone()).collect();
        (ids, list["total"].clone(), list["next_before"].clone())
    };
    assert_eq!(list("").await.1, 4);
    let of = format!("workflow_id={workflow}");
    assert_eq!(list(&of).await, (begun.clone(), json!(3), Value::Null));
    assert_eq!(list("status=running").await.0, [json!(waits)]);
    assert_eq!(list(&format!("{of}&status=failed")).await.0, [begun[1].clone()]);
    assert_eq!(list(&format!("{of}&status=cancelled")).await, (vec![], json!(0), Value::Null));
    assert_eq!(list(&format!("{of}&limit=1&page=2")).await.0, [begun[1].clone()]);
    let (first, total, next) = list(&format!("{of}&limit=2")).await;
    assert_eq!((first.as_slice(), total), (&begun[..2], json!(3)));
    let next = next.as_str().unwrap();
    assert_eq!(list(&format!("{of}&limit=2&before={next}")).await.0, begun[2..]);
    for wrong in ["status=odd", "before=nope", "page=0", "limit=x"] {
        assert_eq!(server.get(&format!("/api/v1/jobs?{wrong}")).await.0, 422, "{wrong}");
    }
}

#[tokio::test]
async fn a_job_tells_all_about_its_nodes() {
    let target = Target::start(async |_, before| match before {
        0 => reply(503, "busy"),
        _ => reply(200, "{\"n\":1}"),
    });
    let target = target.await;
    let server = Server::start().await;
    let mut call = calls("call", &target.url("/"));
    call["config"]["retries"] = 1.into();
    call["config"]["retry_delay"] = json!(0.01);
    let workflow = save(&server, &flow(&[call], &[])).await;
    let seen = execute(&server, &workflow, &json!({})).await;
    assert_eq!(result(&seen)["n"], 1);
    assert_eq!((&seen["workflow_id"], &seen["workflow_version"]), (&json!(workflow), &json!(1)));
    let node = &seen["node_results"]["call"];
    assert_eq!((&node["attempts"], &node["error"]), (&json!(2), &Value::Null));
    for field in ["started_at", "completed_at"] {
        assert!(node[field].is_string() && seen[field].is_string(), "{field}");
    }
    assert!(node["duration_ms"].is_u64(), "{node}");
    assert_eq!(nodes_that_are(&seen, "completed"), ["call"]);
    assert_eq!(job(&server, seen["id"].as_str().unwrap()).await, seen);
}

#[tokio::test]
async fn calls_with_one_key_at_the_same_time_begin_one_job() {
    let target = Target::start(async |_, _| reply(200, "{}")).await;
    let server = Server::start().await;
    // Its job lasts before it ends, and so does its claim on the key.
    let workflow = save(&server, &flow(&[calls("call", &target.url("/"))], &[])).await;
    let path = format!("/api/v1/workflows/{workflow}/execute?wait=True");
    let body = |text: &str| text.to_owned();
    let call = |text: String| {
        let request = server.request(Method::POST, &path).header("idempotency-key", "k");
        answer(request.body(text))
    };
    // Other ways of writing the same.
    let texts = ["{\"input_data\":{\"a\":1,\"b\":2}}", "{\"inputs\": {\"b\": 2, \"a\": 1}}"];
    let all = (0..16).map(|number| call(body(texts[number % 2])));
    let jobs = futures_util::future::join_all(all).await;
    for (status, job) in &jobs {
        assert_eq!((*status, &job["id"]), (200, &jobs[0].1["id"]), "{job}");
        assert_eq!(job["status"], "completed", "who waits gets the end");
    }
    assert_eq!(target.count("/"), 1);
}

#[tokio::test]
async fn a_retry_takes_numbers_as_ids_and_nothing_that_it_does_not_know() {
    let server = Server::start().await;
    let mut one = gives("1", "{{ input.n }}");
    one["id"] = 1.into();
    let job = run(&server, &flow(&[one], &[]), &json!({ "n": 1 })).await;
    let again = retried(&server, &job["id"], &json!({ "from": 1, "inputs": { "n": 2 } })).await;
    assert_eq!(result(&again), &json!(2));
    let path = format!("/api/v1/jobs/{}/retry", job["id"].as_str().unwrap());
    for wrong in [json!({ "frm": "1" }), json!({ "from": [] }), json!({ "from": 7 })] {
        assert_eq!(server.post(&path, &wrong).await.0, 422, "{wrong}");
    }
}

#[tokio::test]
async fn a_definition_runs_once_without_being_kept() {
    let server = Server::start().await;
    let workflow = flow(&[gives("a", "{{ input.n + 1 }}")], &[]);
    let body = json!({ "workflow": workflow, "input_data": { "n": 1 } });
    let (status, job) = server.post("/api/v1/workflows/run?wait=true", &body).await;
    assert_eq!((status, result(&job)), (200, &json!(2)));
    let (status, job) = server.post("/api/v1/workflows/run", &body).await;
    assert_eq!(status, 202);
    assert_eq!(result(&ended(&server, job["id"].as_str().unwrap()).await), &json!(2));
    assert_eq!(server.post("/api/v1/workflows/run", &json!({})).await.0, 422);
    let wrong = json!({ "workflow": { "name": "x", "nodes": [{ "id": "a", "type": "zap" }] } });
    assert_eq!(server.post("/api/v1/workflows/run", &wrong).await.0, 422);
    for list in ["/api/v1/workflows", "/api/v1/jobs"] {
        assert_eq!(server.get(list).await.1["total"], 0, "{list}");
    }
}
