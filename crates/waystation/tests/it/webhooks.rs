//! Notifications: their order, bodies and signatures, and that they arrive whatever happens.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use insta::assert_json_snapshot;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::target::{Received, Target, reply};
use crate::support::{eventually, free_port, pipeline, steady, step};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A pipeline that tells a receiver of two steps, a failed one or none, and an aborted one.
fn told(url: &str, bad: bool) -> Value {
    let mut first = step("first", "/echo?only=json", &[]);
    first["body_template"] = json!({ "first_out": "x".repeat(600) });
    let last = if bad { "/echo?status=400&only=json" } else { "/echo?only=json" };
    let mut second = step("second", last, &["first_out"]);
    second["body_template"] = json!({ "second_out": { "n": 1 } });
    let choice = json!({ "step_name": "choice", "usid": "c", "type": "set", "value": [],
                         "outputs": ["selection_c"] });
    let left = step("left", "/echo", &["selection_c"]);
    let mut body = pipeline(&[first, second, choice, left]);
    body["workflow_name"] = "Told".into();
    body["PIPELINE_SETTINGS"]["notifications"] = json!({ "webhook_url": url });
    body
}

/// The same with one step after the other, so that there is one order only.
fn chain(url: &str, length: usize) -> Value {
    let steps: Vec<Value> = (0..length)
        .map(|number| {
            let needs = format!("s{}_out", number.saturating_sub(1));
            let needs = if number == 0 { vec![] } else { vec![needs.as_str()] };
            step(&format!("s{number}"), "/echo", &needs)
        })
        .collect();
    let mut body = pipeline(&steps);
    body["PIPELINE_SETTINGS"]["notifications"] = json!({ "webhook_url": url });
    body
}

fn events(received: &[Received]) -> Vec<String> {
    let name = |one: &Received| {
        let body = one.json();
        let step = body["data"]["step_name"].as_str().unwrap_or_default().to_owned();
        format!("{} {step}", body["event"].as_str().unwrap()).trim_end().to_owned()
    };
    received.iter().map(name).collect()
}

fn chain_events(length: usize) -> Vec<String> {
    let steps = (0..length).flat_map(|number| {
        [format!("step_started s{number}"), format!("step_completed s{number}")]
    });
    let start = std::iter::once("workflow_started".to_owned());
    start.chain(steps).chain(["workflow_completed".to_owned()]).collect()
}

async fn until_last(receiver: &Target, last: &str) -> Vec<Received> {
    eventually(&format!("{last} arrives"), async || {
        let received = receiver.received();
        let is_last = received.last().is_some_and(|one| one.json()["event"] == last);
        is_last.then_some(received)
    })
    .await
}

/// As the specification of Standard Webhooks says: HMAC-SHA256 of id, timestamp and body.
fn check_signature(received: &Received) {
    let key = STANDARD.decode(SECRET.strip_prefix("whsec_").unwrap()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let (id, time) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let signed = format!("{id}.{time}.{}", received.body);
    let signature = received.header("webhook-signature").strip_prefix("v1,").unwrap();
    let signature = STANDARD.decode(signature).unwrap();
    hmac::verify(&key, signed.as_bytes(), &signature).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_secs().abs_diff(time.parse().unwrap()) < 60);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of them are the snapshot")]
async fn the_bodies_are_as_documented() {
    let server = Server::start().await;
    let receiver = Target::start(async |_, _| reply(200, "")).await;
    server.execute(&told(&receiver.url("/hook"), false)).await;
    let mut bodies: Vec<Value> =
        until_last(&receiver, "workflow_completed").await.iter().map(Received::json).collect();
    let (first, last) = (bodies.remove(0), bodies.pop().unwrap());
    assert_eq!(first["event"], "workflow_started");
    let text = first["timestamp"].as_str().unwrap();
    assert!(text.len() == 23 && text.ends_with(" UTC"), "{text}");
    // Steps side by side may be told in either order.
    bodies.sort_by_key(|body| (body["data"]["step_index"].as_u64(), body["event"].to_string()));
    bodies.reverse();
    assert_json_snapshot!(steady(&json!([first, bodies, last])), @r#"
    [
      {
        "event": "workflow_started",
        "workflow_id": "flow",
        "namespace": "default",
        "execution_id": "[run]",
        "timestamp": "[time]",
        "data": {
          "workflow_name": "Told",
          "total_steps": 4,
          "status": "running"
        }
      },
      [
        {
          "event": "step_started",
          "workflow_id": "flow",
          "namespace": "default",
          "execution_id": "[run]",
          "timestamp": "[time]",
          "data": {
            "step_name": "second",
            "usid": "usid-second",
            "step_index": 4,
            "total_steps": 4,
            "status": "running"
          }
        },
        {
          "event": "step_completed",
          "workflow_id": "flow",
          "namespace": "default",
          "execution_id": "[run]",
          "timestamp": "[time]",
          "data": {
            "step_name": "second",
            "usid": "usid-second",
            "step_index": 4,
            "total_steps": 4,
            "status": "completed",
            "execution_time_seconds": "[seconds]",
            "outputs": {
              "second_out": "{\"n\":1}"
            }
          }
        },
        {
          "event": "step_aborted",
          "workflow_id": "flow",
          "namespace": "default",
          "execution_id": "[run]",
          "timestamp": "[time]",
          "data": {
            "step_name": "left",
            "usid": "usid-left",
            "step_index": 3,
            "total_steps": 4,
            "status": "aborted",
            "reason": "USID usid-left not in selection selection_c"
          }
        },
        {
          "event": "step_started",
          "workflow_id": "flow",
          "namespace": "default",
          "execution_id": "[run]",
          "timestamp": "[time]",
          "data": {
            "step_name": "first",
            "usid": "usid-first",
            "step_index": 2,
            "total_steps": 4,
            "status": "running"
          }
        },
        {
          "event": "step_completed",
          "workflow_id": "flow",
          "namespace": "default",
          "execution_id": "[run]",
          "timestamp": "[time]",
          "data": {
            "step_name": "first",
            "usid": "usid-first",
            "step_index": 2,
            "total_steps": 4,
            "status": "completed",
            "execution_time_seconds": "[seconds]",
            "outputs": {
              "first_out": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."
            }
          }
        },
        {
          "event": "step_started",
          "workflow_id": "flow",
          "namespace": "default",
          "execution_id": "[run]",
          "timestamp": "[time]",
          "data": {
            "step_name": "choice",
            "usid": "c",
            "step_index": 1,
            "total_steps": 4,
            "status": "running"
          }
        },
        {
          "event": "step_completed",
          "workflow_id": "flow",
          "namespace": "default",
          "execution_id": "[run]",
          "timestamp": "[time]",
          "data": {
            "step_name": "choice",
            "usid": "c",
            "step_index": 1,
            "total_steps": 4,
            "status": "completed",
            "execution_time_seconds": "[seconds]",
            "outputs": {
              "selection_c": "[]"
            }
          }
        }
      ],
      {
        "event": "workflow_completed",
        "workflow_id": "flow",
        "namespace": "default",
        "execution_id": "[run]",
        "timestamp": "[time]",
        "data": {
          "status": "completed",
          "execution_time_seconds": "[seconds]",
          "steps_completed": 3,
          "steps_failed": 0,
          "steps_aborted": 1,
          "final_result": "{\"original_input\":null,\"input_data\":{},\"selection_c\":[],\"first_out\":\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",\"second_out\":{\"n\":1}}"
        }
      }
    ]
    "#);
}

#[tokio::test]
async fn a_failed_run_is_told_as_failed() {
    let server = Server::start().await;
    let receiver = Target::start(async |_, _| reply(204, "")).await;
    server.execute(&told(&receiver.url("/hook"), true)).await;
    let received = until_last(&receiver, "workflow_failed").await;
    let failed = received.iter().find(|one| one.json()["event"] == "step_failed").unwrap().json();
    let last = received.last().unwrap().json();
    assert_json_snapshot!(steady(&json!([failed, last])), @r#"
    [
      {
        "event": "step_failed",
        "workflow_id": "flow",
        "namespace": "default",
        "execution_id": "[run]",
        "timestamp": "[time]",
        "data": {
          "step_name": "second",
          "usid": "usid-second",
          "step_index": 4,
          "total_steps": 4,
          "status": "failed",
          "error": "HTTP 400: {\"second_out\":{\"n\":1}}"
        }
      },
      {
        "event": "workflow_failed",
        "workflow_id": "flow",
        "namespace": "default",
        "execution_id": "[run]",
        "timestamp": "[time]",
        "data": {
          "status": "failed",
          "error": "HTTP 400: {\"second_out\":{\"n\":1}}",
          "execution_time_seconds": "[seconds]",
          "steps_completed": 2
        }
      }
    ]
    "#);
}

#[tokio::test]
async fn they_come_in_order_and_signed() {
    let server = Server::with(&[("WAYSTATION_WEBHOOK_SECRET", SECRET)]).await;
    let receiver = Target::start(async |_, _| reply(200, "")).await;
    let answered = server.execute(&chain(&receiver.url("/hook"), 5)).await;
    let received = until_last(&receiver, "workflow_completed").await;
    assert_eq!(events(&received), chain_events(5));
    received.iter().for_each(check_signature);
    let mut ids: Vec<&str> = received.iter().map(|one| one.header("webhook-id")).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), received.len());
    let run = answered["execution_id"].as_str().unwrap();
    let detail = eventually("the run knows", async || {
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        (detail["webhook"]["state"] == "delivered").then_some(detail)
    });
    assert_eq!(detail.await["webhook"]["failed_attempts"], 0);
}

#[tokio::test]
async fn what_is_not_taken_comes_again_under_the_same_id() {
    let server = Server::start().await;
    let receiver = Target::start(async |_, before| match before {
        1 | 2 => reply(500, "not now"),
        _ => reply(200, ""),
    });
    let receiver = receiver.await;
    server.execute(&chain(&receiver.url("/hook"), 1)).await;
    let received = until_last(&receiver, "workflow_completed").await;
    let ids: Vec<&str> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids[1], ids[2]);
    assert_eq!(ids[2], ids[3]);
    assert_eq!(received[1].body, received[3].body);
    let once = [&received[..1], &received[3..]].concat();
    assert_eq!(events(&once), chain_events(1));
}

#[tokio::test]
async fn they_survive_a_restart_with_the_receiver_down() {
    let mut server = Server::start().await;
    let port = free_port();
    let run = server.execute(&chain(&format!("http://127.0.0.1:{port}/hook"), 3)).await;
    let run = run["execution_id"].as_str().unwrap().to_owned();
    let detail = eventually("the failure shows", async || {
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        (detail["webhook"]["state"] == "retrying").then_some(detail)
    });
    let webhook = detail.await["webhook"].clone();
    assert!(webhook["error"].as_str().unwrap().contains("127.0.0.1"), "{webhook}");
    assert!(webhook["next_attempt_at"].is_string());
    server.stop().await;
    let server = server.again().await;
    let receiver = Target::start_at(port, async |_, _| reply(200, "")).await;
    let received = until_last(&receiver, "workflow_completed").await;
    let mut kept: Vec<Received> = Vec::new();
    for one in received {
        let is_new = kept.iter().all(|old| old.header("webhook-id") != one.header("webhook-id"));
        if is_new {
            kept.push(one);
        }
    }
    assert_eq!(events(&kept), chain_events(3));
    assert!(kept.iter().all(|one| one.json()["execution_id"] == run.as_str()));
    eventually("the run knows", async || {
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        (detail["webhook"]["state"] == "delivered").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_for_good_shows_on_the_run() {
    let server = Server::start().await;
    let receiver = Target::start(async |_, _| reply(410, "gone")).await;
    let reply = server.execute(&chain(&receiver.url("/hook"), 2)).await;
    assert_eq!(reply["success"], true);
    let run = reply["execution_id"].as_str().unwrap();
    let webhook = eventually("the receiver counts as dead", async || {
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        (detail["webhook"]["state"] == "dead").then(|| detail["webhook"].clone())
    })
    .await;
    assert_eq!(webhook["error"], "HTTP 410 Gone");
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(server.get("/ready").await.1["webhooks"]["dead"], 1);
}

#[tokio::test]
async fn a_receiver_that_never_answers_does_not_slow_the_run_down() {
    let server = Server::start().await;
    let hang = async |_: Received, _: usize| std::future::pending::<Response>().await;
    let receiver = Target::start(hang).await;
    for _ in 0..5 {
        let reply = server.execute(&chain(&receiver.url("/hook"), 5)).await;
        assert_eq!(reply["success"], true);
        assert!(reply["execution_time"].as_f64().unwrap() < 3.0, "{reply}");
    }
}

#[tokio::test]
async fn this_servers_own_receiver_takes_them_once() {
    let server = Server::start().await;
    let reply = server.execute(&chain("/api/workflows/webhook", 2)).await;
    let run = reply["execution_id"].as_str().unwrap();
    eventually("all is delivered", async || {
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        (detail["webhook"]["state"] == "delivered").then_some(())
    })
    .await;
    let (_, history) = server.get("/namespaces/default/workflows/flow/runs").await;
    let runs = history["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{history}");
    assert_eq!(runs[0]["progress"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_run_on_the_command_line_tells_its_receiver_to_the_end() {
    let directory = tempfile::TempDir::new().unwrap();
    let delays = Arc::new(AtomicU16::new(0));
    let counted = Arc::clone(&delays);
    let receiver = Target::start(move |_, _| {
        counted.fetch_add(1, Ordering::Relaxed);
        async {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            reply(200, "")
        }
    });
    let receiver = receiver.await;
    let file = directory.path().join("flow.json");
    std::fs::write(&file, chain(&receiver.url("/hook"), 2).to_string()).unwrap();
    let ended =
        crate::support::command::run(directory.path(), &["run", file.to_str().unwrap()]).await;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_eq!(events(&receiver.received()), chain_events(2));
}

#[tokio::test]
async fn a_silent_receiver_does_not_hold_up_the_others() {
    const PLACES_OF_A_HOST: usize = 16;
    let server = Server::start().await;
    let silent = Target::start(|_, _| std::future::pending::<Response>()).await;
    let set = json!({ "step_name": "one", "usid": "usid-one", "type": "set", "value": 1,
                      "outputs": ["o"] });
    let run = |url: &str| {
        let mut body = pipeline(std::slice::from_ref(&set));
        body["PIPELINE_SETTINGS"] = json!({ "notifications": { "webhook_url": url } });
        body
    };
    for _ in 0..100 {
        server.execute(&run(&silent.url("/"))).await;
    }
    eventually("the silent one is called", async || {
        (silent.most_under_way() == PLACES_OF_A_HOST).then_some(())
    })
    .await;
    let healthy = Target::start(|_, _| async { reply(200, "") }).await;
    server.execute(&run(&format!("http://localhost:{}/", healthy.port))).await;
    eventually("all is told", async || (healthy.received().len() == 4).then_some(())).await;
    assert_eq!(silent.most_under_way(), PLACES_OF_A_HOST);
}
