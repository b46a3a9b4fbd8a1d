//! Blocks, workflows made of them, and the progress that engines tell.

use insta::assert_json_snapshot;
use reqwest::Method;
use serde_json::{Value, json};
use waystation_engine::event::signature::SigningKey;

use crate::support::server::{Server, answer};
use crate::support::{eventually, free_port, steady, without_ports};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

fn block(id: &str, title: &str, body: &Value, labels: &Value) -> Value {
    json!({
        "id": id,
        "title": title,
        "content": { "type": "api_config", "data": {
            "service_url": "/echo?only=json",
            "method": "POST",
            "headers": { "x-kind": "test" },
            "body_template": body,
        } },
        "labels": labels,
    })
}

/// Two blocks, the second of which needs the first.
async fn with_blocks(server: &Server) {
    let first = block(
        "block-aaaa-1",
        "Fetch data!",
        &json!({ "got": "{{original_input}}" }),
        &json!({ "workflow:main:1": "" }),
    );
    let second = block(
        "block-bbbb-2",
        "Sum up",
        &json!({ "seen": "{{step_1_result.got}}", "too": "{{fetch_result.got}}" }),
        &json!({ "workflow:main:2": "", "depends_on": "workflow:main:1" }),
    );
    for block in [second, first] {
        let (status, reply) = server.post("/namespaces/team/blocks", &block).await;
        assert_eq!(status, 201, "{reply}");
    }
}

#[tokio::test]
async fn blocks_are_made_read_replaced_listed_and_removed() {
    let server = Server::start().await;
    let made = block("b1", "One", &json!({}), &json!({}));
    let (status, reply) = server.post("/namespaces/n/blocks", &made).await;
    assert_eq!(status, 201);
    assert_json_snapshot!(steady(&reply), @r#"
    {
      "id": "b1",
      "title": "One",
      "content": {
        "type": "api_config",
        "data": {
          "service_url": "/echo?only=json",
          "method": "POST",
          "headers": {
            "x-kind": "test"
          },
          "body_template": {}
        }
      },
      "labels": {},
      "created_at": "[time]",
      "updated_at": "[time]"
    }
    "#);
    let (status, again) = server.get("/namespaces/n/blocks/b1").await;
    assert_eq!((status, &again), (200, &reply));
    assert_eq!(server.get("/namespaces/other/blocks/b1").await.0, 404);

    let (status, named) = server.post("/namespaces/n/blocks", &json!({ "title": "Two" })).await;
    assert_eq!(status, 201);
    let id = named["id"].as_str().unwrap();
    assert!(!id.is_empty());

    let put = json!({ "id": "ignored", "title": "Uno", "labels": null });
    let (status, reply) = server.call(Method::PUT, "/namespaces/n/blocks/b1", Some(&put)).await;
    assert_eq!((status, &reply["id"], &reply["title"]), (200, &json!("b1"), &json!("Uno")));
    assert_eq!(reply["created_at"], again["created_at"]);

    let (_, list) = server.get("/namespaces/n/blocks").await;
    assert_eq!(list["blocks"].as_array().unwrap().len(), 2);
    let (_, page) = server.get("/namespaces/n/blocks?limit=1").await;
    let after = page["next_after"].as_str().unwrap();
    let (_, rest) = server.get(&format!("/namespaces/n/blocks?limit=1&after={after}")).await;
    assert_ne!(page["blocks"][0]["id"], rest["blocks"][0]["id"]);

    let remove = async || server.call(Method::DELETE, "/namespaces/n/blocks/b1", None).await;
    assert_eq!(remove().await.0, 204);
    let (status, reply) = remove().await;
    assert_eq!((status, &reply["error"]), (404, &json!("Block b1 not found")));
}

#[tokio::test]
async fn what_is_no_block_is_refused() {
    let server = Server::start().await;
    let made = block("b1", "One", &json!({}), &json!({}));
    assert_eq!(server.post("/namespaces/n/blocks", &made).await.0, 201);
    for (method, path, body, status, error) in [
        (Method::POST, "", made, 409, "Block b1 exists already"),
        (Method::POST, "", json!([]), 400, "The body must be a JSON object"),
        (Method::POST, "", json!({}), 400, "Field title must be a string"),
        (Method::POST, "", json!({ "title": "x", "id": 5 }), 400, "Field id must be"),
        (Method::POST, "", json!({ "title": "x", "content": 5 }), 400, "Field content must be"),
        (Method::PUT, "/b1", json!({ "title": "x", "labels": [] }), 400, "Field labels must be"),
        (Method::PUT, "/none", json!({ "title": "x" }), 404, "Block none not found"),
    ] {
        let path = format!("/namespaces/n/blocks{path}");
        let (got, reply) = server.call(method, &path, Some(&body)).await;
        assert_eq!(got, status, "{reply}");
        assert!(reply["error"].as_str().unwrap().starts_with(error), "{reply}");
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "most of them are the snapshot")]
async fn blocks_run_as_a_pipeline_and_leave_a_result_block() {
    let server = Server::start().await;
    with_blocks(&server).await;
    let body = json!({ "userInput": "rain", "blockIds": ["block-bbbb-2", "block-aaaa-1"] });
    let (status, reply) = server.post("/namespaces/team/workflows/main/execute", &body).await;
    assert_eq!(status, 200, "{reply}");
    assert_eq!(reply["success"], true, "{reply}");
    assert_eq!(
        reply["result"]["all_outputs"]["step_2_result"],
        json!({ "seen": "rain", "too": "rain" })
    );
    let mut block = reply["result_block"].clone();
    let path = format!("/namespaces/team/blocks/{}", block["id"].as_str().unwrap());
    assert_eq!(server.get(&path).await.1, block);
    block["id"] = "[id]".into();
    assert_json_snapshot!(steady(&block), @r#"
    {
      "id": "[id]",
      "title": "Result of main",
      "content": {
        "type": "workflow_result",
        "data": {
          "workflow_id": "main",
          "execution_id": "[run]",
          "success": true,
          "execution_time": "[seconds]",
          "step_outputs": {
            "original_input": "rain",
            "input_data": {},
            "step_1_result": {
              "got": "rain"
            },
            "fetch_result": {
              "got": "rain"
            },
            "step_2_result": {
              "seen": "rain",
              "too": "rain"
            },
            "sum_result": {
              "seen": "rain",
              "too": "rain"
            }
          },
          "final_result": {
            "original_input": "rain",
            "input_data": {},
            "step_1_result": {
              "got": "rain"
            },
            "fetch_result": {
              "got": "rain"
            },
            "step_2_result": {
              "seen": "rain",
              "too": "rain"
            },
            "sum_result": {
              "seen": "rain",
              "too": "rain"
            }
          },
          "errors": []
        }
      },
      "labels": {
        "result:main": "main"
      },
      "created_at": "[time]",
      "updated_at": "[time]"
    }
    "#);
    let (_, history) = server.get("/namespaces/team/workflows/main/runs").await;
    assert_eq!(history["runs"][0]["execution_id"], reply["execution_id"]);
    assert_eq!(history["runs"][0]["status"], "completed");
    let progress = history["runs"][0]["progress"].as_array().unwrap();
    let events: Vec<&str> = progress.iter().map(|one| one["event"].as_str().unwrap()).collect();
    assert_eq!(
        events,
        [
            "workflow_started",
            "step_started",
            "step_completed",
            "step_started",
            "step_completed",
            "workflow_completed",
        ]
    );
}

#[tokio::test]
async fn a_failed_run_leaves_its_errors_in_the_result_block() {
    let server = Server::start().await;
    let mut bad = block("bad", "Bad", &json!({}), &json!({}));
    bad["content"]["data"]["service_url"] = "/echo?status=404".into();
    server.post("/namespaces/n/blocks", &bad).await;
    let body = json!({ "userInput": 1, "blockIds": ["bad"] });
    let (status, reply) = server.post("/namespaces/n/workflows/w/execute", &body).await;
    assert_eq!((status, &reply["success"]), (200, &json!(false)));
    let data = &reply["result_block"]["content"]["data"];
    assert_eq!(data["success"], false);
    assert!(data["errors"][0].as_str().unwrap().starts_with("HTTP 404"), "{data}");
}

#[tokio::test]
async fn blocks_that_make_no_pipeline_are_all_named() {
    let server = Server::start().await;
    with_blocks(&server).await;
    server.post("/namespaces/team/blocks", &json!({ "id": "note", "title": "A note" })).await;
    let lost = block("lost", "Lost", &json!({}), &json!({ "depends_on": "nowhere" }));
    server.post("/namespaces/team/blocks", &lost).await;
    for (ids, status, error) in [
        (
            json!(["block-aaaa-1", "x", "y"]),
            422,
            "Failed to transform blocks: block x not found in namespace team; block y not found in namespace team",
        ),
        (
            json!(["note"]),
            422,
            "Failed to transform blocks: block note (A note) has no api_config content with a service_url and a method",
        ),
        (
            json!(["lost"]),
            422,
            "Failed to transform blocks: Step 1 (lost): Unknown dependency: nowhere",
        ),
        (
            json!(["block-aaaa-1", "block-aaaa-1"]),
            422,
            "Failed to transform blocks: Duplicate USID: block-aaaa-1",
        ),
        (json!([]), 400, "Field blockIds must name 1 to 1000 blocks"),
        (json!("block-aaaa-1"), 400, "Field blockIds must be an array of strings"),
        (json!(null), 400, "Field blockIds must be an array of strings"),
    ] {
        let body = json!({ "userInput": "x", "blockIds": ids });
        let (got, reply) = server.post("/namespaces/team/workflows/w/execute", &body).await;
        assert_eq!((got, reply["error"].as_str().unwrap()), (status, error));
        assert_eq!(reply["success"], false);
    }
    assert_eq!(server.get("/runs").await.1["runs"], json!([]));
}

#[tokio::test]
async fn another_engine_runs_the_blocks_and_tells_its_progress() {
    let engine = Server::with(&[("WAYSTATION_WEBHOOK_SECRET", SECRET)]).await;
    let port = free_port();
    let (public, port) = (format!("http://127.0.0.1:{port}"), port.to_string());
    let url = engine.url("");
    let settings = [
        ("WORKFLOW_ENGINE_URL", url.as_str()),
        ("WAYSTATION_PUBLIC_URL", &public),
        ("WAYSTATION_WEBHOOK_SECRET", SECRET),
    ];
    let server = Server::at(&port, &settings).await;
    with_blocks(&server).await;
    let body = json!({ "userInput": "rain", "blockIds": ["block-aaaa-1", "block-bbbb-2"] });
    // A name that has to be spelt out in a URL.
    let path = "/namespaces/team/workflows/my%20flow%3F%2F1/";
    let (status, reply) = server.post(&format!("{path}execute"), &body).await;
    assert_eq!((status, &reply["success"]), (200, &json!(true)), "{reply}");
    let run = reply["execution_id"].as_str().unwrap();
    assert_eq!(server.get(&format!("/runs/{run}")).await.0, 404);
    let (_, detail) = engine.get(&format!("/runs/{run}")).await;
    assert_eq!(detail["workflow_id"], "my flow?/1");
    let history = eventually("the progress arrives", async || {
        let (_, history) = server.get(&format!("{path}runs")).await;
        (history["runs"][0]["status"] == "completed").then_some(history)
    })
    .await;
    assert_eq!(history["runs"][0]["execution_id"], run);
    assert_eq!(history["runs"][0]["progress"].as_array().unwrap().len(), 6);
    assert_eq!(
        reply["result_block"]["content"]["data"]["final_result"],
        reply["result"]["final_result"]
    );
}

#[tokio::test]
async fn an_engine_that_finds_problems_is_quoted_like_this_one() {
    let engine = Server::start().await;
    let server = Server::with(&[("WORKFLOW_ENGINE_URL", &engine.url("/execute"))]).await;
    let lost = block("lost", "Lost", &json!({}), &json!({ "depends_on": "nowhere" }));
    server.post("/namespaces/team/blocks", &lost).await;
    let body = json!({ "userInput": "x", "blockIds": ["lost"] });
    let (status, reply) = server.post("/namespaces/team/workflows/w/execute", &body).await;
    let error = "Failed to transform blocks: Step 1 (lost): Unknown dependency: nowhere";
    assert_eq!((status, reply["error"].as_str().unwrap()), (422, error));
}

#[tokio::test]
async fn an_engine_that_does_not_do_its_part_is_a_bad_gateway() {
    let port = free_port();
    let odd = crate::support::target::Target::start(async |_, _| {
        crate::support::target::reply(500, "out of order")
    })
    .await;
    for (url, error) in [
        (format!("http://127.0.0.1:{port}"), "Workflow engine is not reachable: "),
        (odd.url(""), "Workflow engine answered HTTP 500: out of order"),
    ] {
        let server = Server::with(&[("WORKFLOW_ENGINE_URL", &url)]).await;
        with_blocks(&server).await;
        let body = json!({ "userInput": "x", "blockIds": ["block-aaaa-1"] });
        let (status, reply) = server.post("/namespaces/team/workflows/w/execute", &body).await;
        assert_eq!(status, 502, "{reply}");
        let text = reply["error"].as_str().unwrap();
        assert!(text.starts_with(error), "{}", without_ports(text));
        assert!(reply["hint"].as_str().unwrap().contains("WORKFLOW_ENGINE_URL"));
    }
}

fn notification(event: &str, execution: &str) -> Value {
    json!({ "event": event, "workflow_id": "w", "namespace": "n", "execution_id": execution,
            "timestamp": "2026-01-01 00:00:00 UTC", "data": { "status": "x" } })
}

#[tokio::test]
async fn notifications_of_other_engines_count_once_by_their_id() {
    let server = Server::start().await;
    let tell = async |id: Option<&str>, path: &str, event: &Value| {
        let mut request = server.request(Method::POST, path).json(event);
        if let Some(id) = id {
            request = request.header("webhook-id", id);
        }
        answer(request).await
    };
    let (started, failed) =
        (notification("workflow_started", "e1"), notification("workflow_failed", "e1"));
    let path = "/api/workflows/webhook";
    let taken = |is_new: bool| (200, json!({ "success": true, "received": is_new }));
    assert_eq!(tell(Some("m1"), path, &started).await, taken(true));
    assert_eq!(tell(Some("m1"), path, &started).await, taken(false));
    let (_, history) = server.get("/namespaces/n/workflows/w/runs").await;
    assert_eq!(history["runs"][0]["status"], "running");
    assert_eq!(tell(Some("m2"), "/api/workflows/webhook/w", &failed).await, taken(true));
    // The path's workflow counts more than the body's.
    let elsewhere = "/api/workflows/webhook/v";
    assert_eq!(tell(None, elsewhere, &notification("workflow_started", "e2")).await, taken(true));
    let (_, history) = server.get("/namespaces/n/workflows/w/runs").await;
    assert_json_snapshot!(history, @r#"
    {
      "runs": [
        {
          "execution_id": "e1",
          "workflow_id": "w",
          "namespace": "n",
          "status": "failed",
          "progress": [
            {
              "event": "workflow_started",
              "timestamp": "2026-01-01 00:00:00 UTC",
              "data": {
                "status": "x"
              }
            },
            {
              "event": "workflow_failed",
              "timestamp": "2026-01-01 00:00:00 UTC",
              "data": {
                "status": "x"
              }
            }
          ]
        }
      ],
      "next_before": null
    }
    "#);
    let (_, other) = server.get("/namespaces/n/workflows/v/runs").await;
    assert_eq!(other["runs"][0]["execution_id"], "e2");
    for (body, error) in
        [(json!({}), "Field event must be a string"), (json!([]), "The body must be a JSON object")]
    {
        let (status, reply) = tell(None, path, &body).await;
        assert_eq!((status, reply["error"].as_str().unwrap()), (400, error));
    }
}

#[tokio::test]
async fn with_a_secret_only_signed_notifications_count() {
    let server = Server::with(&[("WAYSTATION_WEBHOOK_SECRET", SECRET)]).await;
    let body = notification("workflow_started", "e1").to_string();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let key = SigningKey::parse(SECRET).unwrap();
    let other = SigningKey::parse("whsec_AAAA").unwrap();
    for (time, signature, status) in [
        (now, key.sign("m1", now, body.as_bytes()), 200),
        (now, other.sign("m1", now, body.as_bytes()), 401),
        (now, key.sign("m2", now, body.as_bytes()), 401),
        (now, key.sign("m1", now, b"{}"), 401),
        (now - 3_600, key.sign("m1", now - 3_600, body.as_bytes()), 401),
        (now, String::new(), 401),
    ] {
        let request = server.request(Method::POST, "/api/workflows/webhook").body(body.clone());
        let request = request
            .header("webhook-id", "m1")
            .header("webhook-timestamp", time.to_string())
            .header("webhook-signature", signature);
        let (got, reply) = answer(request).await;
        assert_eq!(got, status, "{reply}");
        if status == 401 {
            assert_eq!(reply["code"], "signature_invalid");
        }
    }
    let request = server.request(Method::POST, "/api/workflows/webhook").body(body);
    assert_eq!(answer(request).await.0, 401);
    let (_, history) = server.get("/namespaces/n/workflows/w/runs").await;
    assert_eq!(history["runs"][0]["progress"].as_array().unwrap().len(), 1);
}
