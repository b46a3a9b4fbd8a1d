//! `POST /execute`: the shapes of replies.

use insta::assert_json_snapshot;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::server::{Server, answer};
use crate::support::target::{Target, reply};
use crate::support::{pipeline, steady, step};

/// A greeting made by one step, and used by another.
fn greeting() -> Value {
    json!({
        "workflow_id": "greet",
        "namespace": "team",
        "workflow_name": "Greeting",
        "original_input": "Ada",
        "input_data": { "mark": "!" },
        "STEPS_CONFIG": [
            {
                "step_name": "hello",
                "usid": "a1",
                "service_url": "/echo?only=json",
                "method": "POST",
                "input_prep_config": {
                    "type": "json",
                    "mapping": { "text": "Hello {{original_input}}{{input_data.mark}}" },
                },
                "outputs": ["text"],
            },
            {
                "step_name": "ask",
                "usid": "b2",
                "service_url": "/echo",
                "method": "GET",
                "headers": { "x-said": "{{text}}" },
                "input_prep_config": { "type": "json", "mapping": { "q": "{{text}}" } },
                "outputs": ["args"],
                "dependencies": ["text"],
            },
        ],
    })
}

#[tokio::test]
async fn a_success_has_results_counts_and_all_outputs() {
    let server = Server::start().await;
    let mut replies = Vec::new();
    for path in ["/execute", "/api/execute"] {
        let (status, reply) = server.post(path, &greeting()).await;
        assert_eq!(status, 200);
        for (field, is_right) in [
            ("execution_time", reply["execution_time"].is_f64()),
            ("steps_completed", reply["steps_completed"].is_u64()),
            ("steps_aborted", reply["steps_aborted"].is_u64()),
        ] {
            assert!(is_right, "{field}: {reply}");
        }
        replies.push(steady(&reply));
    }
    assert_eq!(replies[0], replies[1]);
    assert_json_snapshot!(replies[0], @r#"
    {
      "success": true,
      "workflow_id": "greet",
      "namespace": "team",
      "execution_time": "[seconds]",
      "steps_completed": 2,
      "steps_aborted": 0,
      "final_result": {
        "original_input": "Ada",
        "input_data": {
          "mark": "!"
        },
        "text": "Hello Ada!",
        "args": {
          "q": "Hello Ada!"
        }
      },
      "all_outputs": {
        "original_input": "Ada",
        "input_data": {
          "mark": "!"
        },
        "text": "Hello Ada!",
        "args": {
          "q": "Hello Ada!"
        }
      },
      "execution_id": "[run]"
    }
    "#);
}

#[tokio::test]
async fn a_failure_says_what_failed_and_keeps_what_was_done() {
    let server = Server::start().await;
    let target = Target::start(async |request, _| match request.path.as_str() {
        "/good" => reply(200, r#"{"good_out":1}"#),
        _ => reply(404, "no such thing"),
    });
    let target = target.await;
    let steps = [
        step("good", &target.url("/good"), &[]),
        step("bad", &target.url("/bad"), &["good_out"]),
        step("never", &target.url("/never"), &["bad_out"]),
    ];
    let reply = server.execute(&pipeline(&steps)).await;
    assert!(reply["steps_completed"].is_u64() && reply["steps_failed"].is_u64());
    assert_json_snapshot!(steady(&reply), @r#"
    {
      "success": false,
      "workflow_id": "flow",
      "namespace": "default",
      "error": "HTTP 404: no such thing",
      "execution_time": "[seconds]",
      "steps_completed": 1,
      "steps_failed": 1,
      "partial_outputs": {
        "original_input": null,
        "input_data": {},
        "good_out": 1
      },
      "failed_step": "bad",
      "execution_id": "[run]"
    }
    "#);
    assert_eq!(target.count("/never"), 0);
}

#[tokio::test]
async fn all_problems_of_a_definition_come_at_once_and_nothing_runs() {
    let server = Server::start().await;
    let definition = json!({ "STEPS_CONFIG": [
        { "step_name": "a", "usid": "x", "service_url": "/echo", "method": "GET", "outputs": ["o"] },
        { "step_name": "b", "usid": "x", "service_url": "/echo", "method": "BREW", "outputs": [] },
        { "usid": "y" },
        { "step_name": "c", "usid": "z", "service_url": "ftp://host/file", "method": "GET",
          "outputs": ["p"], "dependencies": ["aa"] },
    ], "PIPELINE_SETTINGS": { "error_handling": { "max_retries": -1 }, "colour": "red" } });
    let (status, reply) = server.post("/execute", &definition).await;
    assert_eq!(status, 200);
    assert_json_snapshot!(reply, @r#"
    {
      "success": false,
      "error": "Payload validation failed:\nPIPELINE_SETTINGS.error_handling.max_retries must be a whole number from 0 to 100\nDuplicate USID: x\nStep 2 (b): Invalid HTTP method: BREW\nStep 2 (b): Outputs must be a non-empty array\nStep 3 (unknown): Missing required field: step_name\nStep 3 (unknown): Missing required field: service_url\nStep 3 (unknown): Missing required field: method\nStep 3 (unknown): Missing required field: outputs\nStep 4 (c): Invalid service_url: ftp://host/file; an http or https URL is expected, or a path on this server\nStep 4 (c): Unknown dependency: aa (did you mean a?)",
      "validation_errors": [
        "PIPELINE_SETTINGS.error_handling.max_retries must be a whole number from 0 to 100",
        "Duplicate USID: x",
        "Step 2 (b): Invalid HTTP method: BREW",
        "Step 2 (b): Outputs must be a non-empty array",
        "Step 3 (unknown): Missing required field: step_name",
        "Step 3 (unknown): Missing required field: service_url",
        "Step 3 (unknown): Missing required field: method",
        "Step 3 (unknown): Missing required field: outputs",
        "Step 4 (c): Invalid service_url: ftp://host/file; an http or https URL is expected, or a path on this server",
        "Step 4 (c): Unknown dependency: aa (did you mean a?)"
      ]
    }
    "#);
    let (_, runs) = server.get("/runs").await;
    assert_eq!(runs["runs"], json!([]));
}

#[tokio::test]
async fn a_caller_who_prefers_not_to_wait_gets_the_id_at_once() {
    let server = Server::start().await;
    let slow = pipeline(&[step("slow", "/echo?delay_ms=300", &[])]);
    for preference in ["respond-async", "wait=10, Respond-Async", "respond-async; x=1"] {
        let request = server.request(Method::POST, "/execute").json(&slow);
        let response = request.header("prefer", preference).send().await.unwrap();
        assert_eq!(response.status(), 202, "{preference}");
        assert_eq!(response.headers()["preference-applied"], "respond-async");
        let begun: Value = response.json().await.unwrap();
        let run = begun["execution_id"].as_str().unwrap();
        assert_eq!(begun["status"], "running");
        let detail = server.until(run, "completed").await;
        assert_eq!(detail["result"]["success"], true);
    }
    let request = server.request(Method::POST, "/execute").json(&slow);
    assert_eq!(answer(request.header("prefer", "return=minimal")).await.0, 200);
}

#[tokio::test]
async fn the_answer_shapes_of_services_become_outputs() {
    let server = Server::start().await;
    let target = Target::start(async |request, _| {
        reply(
            200,
            match request.path.as_str() {
                "/anthropic" => r#"{"content":[{"type":"text","text":"said"}]}"#,
                "/openai" => r#"{"choices":[{"message":{"content":"{\"o\":7}"}}]}"#,
                "/prose" => r#"{"choices":[{"message":{"content":"just words"}}]}"#,
                "/named" => r#"{"o":{"deep":[1]},"other":2}"#,
                "/whole" => r#"[1,2]"#,
                _ => "plain text",
            },
        )
    });
    let target = target.await;
    for (path, expected) in [
        ("/anthropic", json!("said")),
        ("/openai", json!(7)),
        ("/prose", json!("just words")),
        ("/named", json!({ "deep": [1] })),
        ("/whole", json!([1, 2])),
        ("/text", json!("plain text")),
    ] {
        let mut one = step("one", &target.url(path), &[]);
        one["outputs"] = json!(["o"]);
        let reply = server.execute(&pipeline(&[one])).await;
        assert_eq!(reply["all_outputs"]["o"], expected, "{path}");
    }
}

#[tokio::test]
async fn the_final_result_is_the_output_of_that_name() {
    let server = Server::start().await;
    for (outputs, expected) in [
        (vec!["x", "result", "final_result"], json!(3)),
        (vec!["x", "result"], json!(2)),
        (vec!["x"], json!({ "original_input": null, "input_data": {}, "x": 1 })),
    ] {
        let mut one = step("one", "/echo?only=json", &[]);
        one["body_template"] = json!({ "x": 1, "result": 2, "final_result": 3 });
        one["outputs"] = json!(outputs);
        let reply = server.execute(&pipeline(&[one])).await;
        assert_eq!(reply["final_result"], expected);
    }
}

#[tokio::test]
async fn names_that_hide_one_another_are_told() {
    let server = Server::start().await;
    let set = json!({ "step_name": "set", "usid": "usid-set", "type": "set", "value": 2,
                      "outputs": ["n"] });
    let mut body = pipeline(&[set]);
    body["input_data"] = json!({ "n": 5, "m": 6 });
    let reply = server.execute(&body).await;
    let warning = "input_data.n is hidden by an output: write {{input.input_data.n}} for it";
    assert_eq!(reply["warnings"], json!([warning]));
}
