//! `/runs`: lists, details, cancelling, trying again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use insta::assert_json_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::server::Server;
use crate::support::target::{Target, reply};
use crate::support::{eventually, pipeline, steady, step};

async fn list(server: &Server, query: &str) -> (Vec<String>, Value) {
    let (status, list) = server.get(&format!("/runs{query}")).await;
    assert_eq!(status, 200, "{list}");
    let id = |run: &Value| run["execution_id"].as_str().unwrap().to_owned();
    (list["runs"].as_array().unwrap().iter().map(id).collect(), list["next_before"].clone())
}

#[tokio::test]
async fn runs_are_listed_newest_first_filtered_and_in_pages() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for (number, (workflow, namespace, url)) in [
        ("a", "x", "/echo"),
        ("a", "y", "/echo?status=400"),
        ("b", "x", "/echo"),
        ("b", "y", "/echo"),
        ("a", "x", "/echo?status=400"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = pipeline(&[step(&format!("s{number}"), url, &[])]);
        body["workflow_id"] = workflow.into();
        body["namespace"] = namespace.into();
        ids.push(server.execute(&body).await["execution_id"].as_str().unwrap().to_owned());
    }
    let pick = |numbers: &[usize]| -> Vec<String> {
        numbers.iter().map(|number| ids[*number].clone()).collect()
    };
    for (query, expected) in [
        ("", &[4, 3, 2, 1, 0][..]),
        ("?workflow_id=a", &[4, 1, 0]),
        ("?namespace=y", &[3, 1]),
        ("?status=failed", &[4, 1]),
        ("?status=completed&workflow_id=b", &[3, 2]),
        ("?status=running", &[]),
        ("?workflow_id=a&namespace=x&status=failed", &[4]),
        ("?limit=0", &[4]),
        ("?limit=100000", &[4, 3, 2, 1, 0]),
        ("?workflow_id=none", &[]),
    ] {
        assert_eq!(list(&server, query).await.0, pick(expected), "{query}");
    }
    let (mut pages, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let (page, next) = list(&server, &query).await;
        pages.extend(page);
        let Some(next) = next.as_str() else { break };
        query = format!("?limit=2&before={next}");
    }
    assert_eq!(pages, pick(&[4, 3, 2, 1, 0]));
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of them are the snapshot")]
async fn a_run_shows_its_steps_its_log_and_its_reply() {
    let server = Server::start().await;
    let mut first = step("first", "/echo?only=json", &[]);
    first["body_template"] = json!({ "first_out": "{{nothing.here}}" });
    let second = step("second", "/echo?status=400&only=json", &["first_out"]);
    let mut body = pipeline(&[first, second]);
    body["PIPELINE_SETTINGS"]["odd"] = json!(1);
    let reply = server.execute(&body).await;
    let run = reply["execution_id"].as_str().unwrap();
    let (status, detail) = server.get(&format!("/runs/{run}")).await;
    assert_eq!(status, 200);
    assert_json_snapshot!(steady(&detail), @r#"
    {
      "execution_id": "[run]",
      "workflow_id": "flow",
      "namespace": "default",
      "workflow_name": null,
      "status": "failed",
      "created_at": "[time]",
      "finished_at": "[time]",
      "execution_time": "[seconds]",
      "error_code": "http_status",
      "dialect": "pipeline",
      "plan": "[hash]",
      "retry_of": null,
      "steps": [
        {
          "step_name": "first",
          "usid": "usid-first",
          "type": "http",
          "status": "completed",
          "waiting": null,
          "attempts": 1,
          "started_at": "[time]",
          "finished_at": "[time]",
          "execution_time": "[seconds]",
          "error": null,
          "hint": null,
          "reason": null,
          "outputs": {
            "first_out": "{{nothing.here}}"
          },
          "usage": null
        },
        {
          "step_name": "second",
          "usid": "usid-second",
          "type": "http",
          "status": "failed",
          "waiting": null,
          "attempts": 1,
          "started_at": "[time]",
          "finished_at": "[time]",
          "execution_time": "[seconds]",
          "error": "HTTP 400: null",
          "hint": null,
          "reason": null,
          "outputs": {},
          "usage": null
        }
      ],
      "log": [
        {
          "timestamp": "[time]",
          "level": "warning",
          "step_name": null,
          "message": "PIPELINE_SETTINGS.odd has no effect: no such setting"
        },
        {
          "timestamp": "[time]",
          "level": "warning",
          "step_name": "first",
          "message": "`nothing` does not exist; the placeholder stays as it is written (in `body.first_out`, bytes 2..9)"
        }
      ],
      "webhook": null,
      "usage": {
        "calls": 0,
        "cached": 0,
        "prompt_tokens": 0,
        "completion_tokens": 0,
        "total_tokens": 0,
        "cost_usd": 0.0
      },
      "result": {
        "success": false,
        "workflow_id": "flow",
        "namespace": "default",
        "error": "HTTP 400: null",
        "execution_time": "[seconds]",
        "steps_completed": 1,
        "steps_failed": 1,
        "partial_outputs": {
          "original_input": null,
          "input_data": {},
          "first_out": "{{nothing.here}}"
        },
        "failed_step": "second",
        "execution_id": "[run]",
        "warnings": [
          "PIPELINE_SETTINGS.odd has no effect: no such setting",
          "first: `nothing` does not exist; the placeholder stays as it is written (in `body.first_out`, bytes 2..9)"
        ]
      }
    }
    "#);
}

#[tokio::test]
async fn unknown_and_ended_runs_are_told_apart() {
    let server = Server::start().await;
    let reply = server.execute(&pipeline(&[step("one", "/echo", &[])])).await;
    let ended = reply["execution_id"].as_str().unwrap();
    let path = format!("/runs/{ended}/cancel");
    let (status, reply) = server.call(Method::POST, &path, None).await;
    assert_eq!(status, 409);
    assert_eq!(reply["error"], format!("Run {ended} has already completed"));
    for id in ["nonsense", "0000000000000", "%20", "../x"] {
        for (method, action) in
            [(Method::GET, ""), (Method::POST, "/cancel"), (Method::POST, "/retry")]
        {
            let (status, _) = server.call(method, &format!("/runs/{id}{action}"), None).await;
            assert_eq!(status, 404, "{id}{action}");
        }
    }
}

#[tokio::test]
async fn a_run_under_way_can_be_cancelled_and_not_twice() {
    let server = Server::start().await;
    let target = Target::start(async |_, _| std::future::pending().await).await;
    let run = server.begin(&pipeline(&[step("slow", &target.url("/"), &[])])).await;
    eventually("the step runs", async || (target.received().len() == 1).then_some(())).await;
    let (status, detail) = server.get(&format!("/runs/{run}")).await;
    assert_eq!((status, &detail["status"]), (200, &json!("running")));
    assert_eq!(detail["steps"][0]["status"], "running");
    assert_eq!(detail["result"], Value::Null);
    let (status, reply) = server.call(Method::POST, &format!("/runs/{run}/retry"), None).await;
    assert_eq!(
        (status, reply["error"].as_str()),
        (409, Some(&*format!("Run {run} is still running")))
    );
    let cancel = async || server.call(Method::POST, &format!("/runs/{run}/cancel"), None).await;
    let (status, row) = cancel().await;
    assert_eq!((status, &row["status"]), (200, &json!("cancelled")));
    eventually("the connection is dropped", async || (target.dropped() == 1).then_some(())).await;
    let (status, reply) = cancel().await;
    assert_eq!(status, 409);
    assert_eq!(reply["error"], format!("Run {run} has already been cancelled"));
    let detail = server.until(&run, "cancelled").await;
    assert_eq!(detail["result"]["error"], "Run cancelled: requested by the user");
    assert_eq!(detail["steps"][0]["status"], "cancelled");
}

#[tokio::test]
async fn a_waiting_caller_hears_of_the_cancelling() {
    let server = Server::start().await;
    let target = Target::start(async |_, _| std::future::pending().await).await;
    let body = pipeline(&[step("slow", &target.url("/"), &[])]);
    let waiting = tokio::spawn(server.request(Method::POST, "/execute").json(&body).send());
    eventually("the step runs", async || (target.received().len() == 1).then_some(())).await;
    let run = list(&server, "").await.0.remove(0);
    server.call(Method::POST, &format!("/runs/{run}/cancel"), None).await;
    let reply: Value = waiting.await.unwrap().unwrap().json().await.unwrap();
    assert_json_snapshot!(steady(&reply), @r#"
    {
      "success": false,
      "workflow_id": "flow",
      "namespace": "default",
      "error": "Run cancelled: requested by the user",
      "execution_time": "[seconds]",
      "steps_completed": 0,
      "steps_failed": 0,
      "partial_outputs": {
        "original_input": null,
        "input_data": {}
      },
      "execution_id": "[run]"
    }
    "#);
}

#[tokio::test]
async fn a_sleeping_run_can_be_cancelled() {
    let server = Server::start().await;
    let mut body = pipeline(&[step("one", "/echo?status=500", &[])]);
    body["PIPELINE_SETTINGS"] = json!({ "error_handling": { "max_retries": 1, "retry_delay": 3_600 },
                "timeouts": { "total_pipeline_timeout": 100_000 } });
    let run = server.begin(&body).await;
    eventually("the step waits", async || {
        let (_, detail) = server.get(&format!("/runs/{run}")).await;
        (detail["steps"][0]["status"] == "retrying").then_some(())
    })
    .await;
    // Asleep it does not count as under way.
    eventually("the run sleeps", async || {
        (server.get("/ready").await.1["runs_running"] == 0).then_some(())
    })
    .await;
    let (status, row) = server.call(Method::POST, &format!("/runs/{run}/cancel"), None).await;
    assert_eq!((status, &row["status"]), (200, &json!("cancelled")));
}

#[tokio::test]
async fn another_try_keeps_what_was_done() {
    let server = Server::start().await;
    let mended = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&mended);
    let target = Target::start(move |request, _| {
        let works = request.path == "/good" || flag.load(Ordering::SeqCst);
        async move { reply(if works { 200 } else { 400 }, "said") }
    });
    let target = target.await;
    let steps =
        [step("good", &target.url("/good"), &[]), step("bad", &target.url("/bad"), &["good_out"])];
    let reply = server.execute(&pipeline(&steps)).await;
    let first = reply["execution_id"].as_str().unwrap();
    mended.store(true, Ordering::SeqCst);
    let (status, begun) = server.call(Method::POST, &format!("/runs/{first}/retry"), None).await;
    assert_eq!(status, 202);
    assert_eq!(begun["retry_of"], first);
    let second = begun["execution_id"].as_str().unwrap();
    assert_ne!(second, first);
    let detail = server.until(second, "completed").await;
    assert_eq!(detail["retry_of"], first);
    assert_eq!(detail["result"]["steps_completed"], 2);
    assert_eq!((target.count("/good"), target.count("/bad")), (1, 2));
    assert_eq!(server.get(&format!("/runs/{first}")).await.1["status"], "failed");
}
