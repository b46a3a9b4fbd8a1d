//! Instruction chains over HTTP: what is begun and refused, who may ask, what is told.

use std::sync::Arc;

use insta::assert_json_snapshot;
use reqwest::header::HeaderMap;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use tokio::sync::Notify;

use crate::support::server::{Server, answer};
use crate::support::target::{Target, reply as answer_with};
use crate::support::{eventually, pipeline, steady, step};

/// Status, headers and JSON of an answer.
async fn whole(request: RequestBuilder) -> (u16, HeaderMap, Value) {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn what_cannot_be_begun_is_refused_with_every_reason() {
    let server = Server::start().await;
    let refused = async |path: &str, body: &str| {
        let request = server.request(Method::POST, path).body(body.to_owned());
        let (status, reply) = answer(request).await;
        assert_eq!(status, 400, "{body}: {reply}");
        reply
    };
    let condition = json!({ "context": "x", "instructions": [
        { "instruction": "a", "condition": { "expression": "e", "ifTrue": [7] } },
    ] });
    let unknown = json!({ "context": "x", "instructions": ["a"], "provider": "echoo" });
    let several = json!({ "instructions": [{ "type": "dance" }, { "type": "endpoint" }] });
    let mut replies = Vec::new();
    for body in [
        "not JSON",
        "[]",
        r#"{"instructions":["a"]}"#,
        r#"{"context":"x"}"#,
        r#"{"context":"x","firstInstruction":"a"}"#,
        &condition.to_string(),
        &unknown.to_string(),
        &several.to_string(),
    ] {
        let reply = refused("/", body).await;
        let batch = refused("/batch", body).await;
        assert!(batch["error"].as_str().unwrap().ends_with(reply["error"].as_str().unwrap()));
        replies.push(reply);
    }
    for count in ["0", "21", "1.5", "\"many\"", "null"] {
        let body = format!(r#"{{"context":"x","instructions":["a"],"count":{count}}}"#);
        let expected = json!({ "error": "Count must be between 1 and 20" });
        assert_eq!(refused("/batch", &body).await, expected, "{count}");
    }
    assert_json_snapshot!(replies, @r#"
    [
      {
        "error": "The body is not valid JSON: expected ident at line 1 column 2"
      },
      {
        "error": "The body must be a JSON object"
      },
      {
        "error": "Missing required field: context"
      },
      {
        "error": "Missing required fields: either 'instructions' array or 'firstInstruction' and 'secondInstruction'"
      },
      {
        "error": "Missing required fields: either 'instructions' array or 'firstInstruction' and 'secondInstruction'"
      },
      {
        "error": "Conditional instruction 0: ifTrue index 7 is out of bounds"
      },
      {
        "error": "Unknown provider: echoo (did you mean echo?)"
      },
      {
        "error": "Missing required field: context\nInstruction 0: Unknown type: dance; the types are instruction, endpoint, thread, router or agent\nInstruction 1: Missing required field: endpointUrl\nInstruction 1: Missing required field: apiUrl",
        "errors": [
          "Missing required field: context",
          "Instruction 0: Unknown type: dance; the types are instruction, endpoint, thread, router or agent",
          "Instruction 1: Missing required field: endpointUrl",
          "Instruction 1: Missing required field: apiUrl"
        ]
      }
    ]
    "#);
    assert_eq!(server.get("/runs").await.1["runs"], json!([]));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_in_words() {
    let server = Server::with(&[("WAYSTATION_MAX_BODY_BYTES", "2048")]).await;
    let body = json!({ "context": "x".repeat(4_000), "instructions": ["a"] });
    let request = server.request(Method::POST, "/").json(&body);
    let (status, headers, reply) = whole(request).await;
    assert_eq!((status, &reply["code"]), (413, &json!("body_too_large")));
    assert_eq!(header(&headers, "access-control-allow-origin"), Some("*"));
}

#[tokio::test]
async fn what_is_no_instance_is_not_found() {
    let server = Server::start().await;
    let reply = server.execute(&pipeline(&[step("one", "/echo", &[])])).await;
    let other = reply["execution_id"].as_str().unwrap();
    for id in [other, "0000000000000", "none", "a-b"] {
        let request = server.request(Method::GET, &format!("/?instanceId={id}"));
        let expected = json!({ "error": format!("Instance not found: {id}") });
        assert_eq!(answer(request).await, (404, expected), "{id}");
    }
}

#[tokio::test]
async fn a_browser_gets_the_page_and_a_program_the_usage() {
    let server = Server::start().await;
    let (status, headers, usage) = whole(server.request(Method::GET, "/")).await;
    assert_eq!((status, header(&headers, "vary")), (200, Some("accept")));
    assert!(usage["endpoints"]["POST /"].is_string(), "{usage}");
    let accept = "text/html,application/xhtml+xml,*/*;q=0.8";
    let request = server.request(Method::GET, "/?instanceId=").header("accept", accept);
    let (status, headers, page) = whole(request).await;
    assert_eq!((status, header(&headers, "vary")), (200, Some("accept")));
    assert_eq!(header(&headers, "content-type"), Some("text/html; charset=utf-8"));
    let policy = header(&headers, "content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    // All that the page is made of is there, and nothing in it lies elsewhere or inline.
    let page = page.as_str().unwrap();
    let mut texts = vec![page.to_owned()];
    for (path, media) in [
        ("/ui/page.css", "text/css"),
        ("/ui/page.js", "text/javascript"),
        ("/ui/watch.js", "text/javascript"),
        ("/ui/examples.js", "text/javascript"),
    ] {
        let (status, headers, text) = whole(server.request(Method::GET, path)).await;
        assert_eq!(status, 200, "{path}");
        assert_eq!(header(&headers, "content-type"), Some(&*format!("{media}; charset=utf-8")));
        assert_eq!(header(&headers, "x-content-type-options"), Some("nosniff"));
        texts.push(text.as_str().unwrap().to_owned());
    }
    for text in texts {
        for forbidden in
            ["innerHTML", "insertAdjacentHTML", "document.write", "eval(", "style=", "onclick"]
        {
            assert!(!text.contains(forbidden), "{forbidden}");
        }
        let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"));
    }
    assert_eq!(server.get("/ui/none.js").await.0, 404);
}

/// What a page at an origin gets: the status of a POST, and what it is told of the origins.
async fn asked_from(server: &Server, origin: &str) -> (u16, Option<String>) {
    let request = server.request(Method::POST, "/").header("origin", origin).body("{}");
    let (status, headers, reply) = whole(request).await;
    assert!(reply["error"].is_string());
    (status, header(&headers, "access-control-allow-origin").map(str::to_owned))
}

#[tokio::test]
async fn pages_of_other_origins_may_read_everything_and_start_what_the_operator_allows() {
    let page = "https://flows.example";
    let told = |origin: &str| Some(origin.to_owned());
    for (setting, origin, expected) in [
        ("", page, (403, told("*"))),
        ("", "http://localhost:5173", (400, told("*"))),
        ("*", page, (400, told("*"))),
        ("*", "null", (400, told("*"))),
        (page, page, (400, told(page))),
        (page, "https://evil.example", (403, None)),
        ("http://a.example, https://flows.example/", page, (400, told(page))),
    ] {
        let server = Server::with(&[("WAYSTATION_CORS_ORIGINS", setting)]).await;
        assert_eq!(asked_from(&server, origin).await, expected, "{setting} {origin}");
        // Other routes are as closed as ever, and a page cannot get around the host.
        let runs = server.request(Method::GET, "/runs").header("origin", page);
        assert_eq!(answer(runs).await.0, 403);
        let host = server.request(Method::GET, "/").header("host", "flows.example");
        assert_eq!(answer(host.header("origin", page)).await.0, 403);
    }
}

#[tokio::test]
async fn every_reply_of_these_routes_says_what_pages_may_do() {
    let server = Server::start().await;
    for (method, path, body, expected) in [
        (Method::OPTIONS, "/", "", 204),
        (Method::OPTIONS, "/batch", "", 204),
        (Method::GET, "/", "", 200),
        (Method::GET, "/?instanceId=x", "", 404),
        (Method::GET, "/?instanceId=x&instanceId=y", "", 400),
        (Method::POST, "/", "{}", 400),
        (Method::POST, "/batch", "{", 400),
        (Method::DELETE, "/", "", 405),
        (Method::GET, "/batch", "", 405),
    ] {
        let request = server.request(method.clone(), path).header("origin", "http://127.0.0.1:9");
        let (status, headers, reply) = whole(request.body(body)).await;
        assert_eq!(status, expected, "{method} {path} {reply}");
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET, POST, OPTIONS"),
            ("access-control-allow-headers", "Content-Type"),
        ] {
            assert_eq!(header(&headers, name), Some(value), "{method} {path}");
        }
        assert_eq!(headers.get("access-control-allow-credentials"), None);
    }
    // A browser asks before it sends, also from elsewhere, or it would not see the refusal itself.
    let request = server.request(Method::OPTIONS, "/").header("origin", "https://evil.example");
    assert_eq!(whole(request).await.0, 204);
}

/// Begins a chain and gives its id.
async fn begin(server: &Server, chain: &Value) -> String {
    let (status, reply) = server.post("/", chain).await;
    assert_eq!(status, 200, "{reply}");
    reply["instanceId"].as_str().unwrap().to_owned()
}

/// The status of a chain that has ended.
async fn ended(server: &Server, id: &str) -> Value {
    eventually(&format!("chain {id} ends"), async || {
        let (status, reply) = server.get(&format!("/?instanceId={id}")).await;
        assert_eq!((status, &reply["instanceId"]), (200, &json!(id)));
        let word = reply["status"]["status"].as_str().unwrap();
        let is_over = ["complete", "errored", "terminated"].contains(&word);
        is_over.then(|| reply["status"].clone())
    })
    .await
}

/// A status with what matters here: the dialect's own tests look at the rest.
fn brief(status: &Value) -> Value {
    let mut brief = steady(status);
    let logs = brief["output"]["logs"].take();
    brief["output"]["logs"] =
        logs.as_array().unwrap().iter().map(|line| line["message"].clone()).collect();
    for step in brief["output"]["steps"].as_array_mut().unwrap() {
        step["usage"] = step["usage"]["total_tokens"].take();
    }
    brief
}

fn branching() -> Value {
    json!({ "context": "It is fast.", "provider": "echo", "instructions": [
        { "instruction": "Look.", "condition": { "mode": "deterministic",
            "expression": "result contains 'fast'", "ifTrue": [2], "ifFalse": [1] } },
        "Blame it.",
        { "instruction": "Praise it.", "cache": true },
    ] })
}

#[tokio::test]
async fn a_chain_is_begun_and_asked_for() {
    let server = Server::start().await;
    let (status, reply) = server.post("/", &branching()).await;
    assert_eq!(status, 200, "{reply}");
    let id = reply["instanceId"].as_str().unwrap();
    assert_eq!(reply["status"], json!({ "status": "queued" }));
    assert_eq!(reply["message"], "Workflow started successfully");
    let status = ended(&server, id).await;
    assert_json_snapshot!(brief(&status), @r#"
    {
      "status": "complete",
      "output": {
        "originalContext": "It is fast.",
        "steps": [
          {
            "stepNumber": 1,
            "stepIndex": 0,
            "instruction": "Look.",
            "type": "instruction",
            "result": "Look.\n\nIt is fast.",
            "processedAt": "[time]",
            "duration": "[seconds]",
            "conditionEvaluated": true,
            "conditionResult": true,
            "branchTaken": "true",
            "usage": 10
          },
          {
            "stepNumber": 2,
            "stepIndex": 2,
            "instruction": "Praise it.",
            "type": "instruction",
            "result": "Praise it.\n\nLook.\n\nIt is fast.",
            "processedAt": "[time]",
            "duration": "[seconds]",
            "conditionEvaluated": false,
            "branchTaken": "sequential",
            "usage": 16
          }
        ],
        "errors": [],
        "logs": [
          "Workflow started",
          "Step 1 started",
          "Step 1 completed",
          "The condition is true",
          "Step 2 started",
          "Step 2 completed",
          "Workflow completed"
        ],
        "usage": {
          "calls": 2,
          "cached": 0,
          "prompt_tokens": 13,
          "completion_tokens": 13,
          "total_tokens": 26,
          "cost_usd": 0.0
        },
        "finalizedAt": "[time]"
      }
    }
    "#);
}

#[tokio::test]
async fn a_chain_is_a_run_like_others() {
    let server = Server::start().await;
    let id = begin(&server, &branching()).await;
    let status = ended(&server, &id).await;
    let (_, detail) = server.get(&format!("/runs/{id}")).await;
    assert_eq!((&detail["status"], &detail["result"]), (&json!("completed"), &status));
    let steps = detail["steps"].as_array().unwrap();
    let shown = |field: &str| steps.iter().map(|step| step[field].clone()).collect::<Vec<_>>();
    assert_eq!(shown("step_number"), [json!(1), Value::Null, json!(2)]);
    assert_eq!(shown("status"), ["completed", "skipped", "completed"]);
    assert_eq!(shown("instruction"), ["Look.", "Blame it.", "Praise it."]);
    assert_eq!(steps[2]["output"]["text"], "Praise it.\n\nLook.\n\nIt is fast.");
    assert_eq!(detail["usage"]["calls"], 2);
    let (_, history) = server.get("/namespaces/default/workflows/instructions/runs").await;
    let told = history["runs"][0]["progress"].as_array().unwrap();
    assert_eq!(told.last().unwrap()["data"]["final_result"], steps[2]["output"]["text"]);
}

#[tokio::test]
async fn a_batch_begins_as_many_as_it_says() {
    let server = Server::start().await;
    let mut batch = branching();
    batch["count"] = 3.into();
    let (status, reply) = server.post("/batch", &batch).await;
    assert_eq!((status, &reply["count"]), (200, &json!(3)), "{reply}");
    assert_eq!(reply["message"], "Successfully created 3 workflow instance(s)");
    for instance in reply["instances"].as_array().unwrap() {
        assert_eq!(instance["status"], json!({ "status": "queued" }));
        let status = ended(&server, instance["instanceId"].as_str().unwrap()).await;
        assert_eq!(status["status"], "complete");
    }
    let (_, list) = server.get("/runs").await;
    assert_eq!(list["runs"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_batch_for_which_there_is_no_room_leaves_nothing_behind() {
    let server = Server::with(&[("WAYSTATION_MAX_RUNS", "2")]).await;
    let held = Target::start(async |_, _| std::future::pending().await).await;
    let chain = json!({ "context": "x", "count": 3, "instructions": [
        { "type": "endpoint", "endpointUrl": held.url("/"), "apiUrl": "http://api.example/" },
    ] });
    let (status, reply) = server.post("/batch", &chain).await;
    assert_eq!((status, &reply["code"]), (429, &json!("busy")));
    eventually("what had begun is ended", async || {
        let (_, list) = server.get("/runs?status=running").await;
        (list["runs"] == json!([])).then_some(())
    })
    .await;
}

/// A chain whose first step ends when the test wants it, and the bell for that.
async fn held_chain() -> (Target, Arc<Notify>, Value) {
    let bell = Arc::new(Notify::new());
    let waits = Arc::clone(&bell);
    let target = Target::start(move |_, _| {
        let waits = Arc::clone(&waits);
        async move {
            waits.notified().await;
            answer_with(200, r#"{"success":true,"status":200,"attempts":1,"body":"fetched"}"#)
        }
    })
    .await;
    let chain = json!({ "context": "x", "provider": "echo", "instructions": [
        { "type": "endpoint", "endpointUrl": target.url("/"), "apiUrl": "http://api.example/" },
        "Say it again.",
    ] });
    (target, bell, chain)
}

/// The stream of a run.
struct Watched {
    response: reqwest::Response,
    text: String,
}

impl Watched {
    async fn start(server: &Server, id: &str) -> Watched {
        let request = server.request(Method::GET, &format!("/?instanceId={id}"));
        let response = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        Watched { response, text: String::new() }
    }

    /// The next event with its name; nothing at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name| event.lines().find_map(|line| line.strip_prefix(name));
                let Some(data) = field("data: ") else { continue };
                let data = serde_json::from_str(data).unwrap();
                return Some((field("event: ").unwrap().to_owned(), data));
            }
            let piece = self.response.chunk().await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    }
}

#[tokio::test]
async fn a_chain_is_watched_as_it_goes() {
    let server = Server::start().await;
    let (_target, bell, chain) = held_chain().await;
    let id = begin(&server, &chain).await;
    let mut watched = Watched::start(&server, &id).await;
    let (name, first) = watched.next().await.unwrap();
    assert_eq!((name.as_str(), &first["instanceId"]), ("status", &json!(id)));
    bell.notify_one();
    let (mut told, mut last) = (String::new(), first);
    while let Some((name, data)) = watched.next().await {
        match name.as_str() {
            "token" => {
                let place = ["stepNumber", "stepIndex", "attempt"].map(|name| data[name].clone());
                assert_eq!(place, [2, 1, 1].map(Value::from));
                told.push_str(data["text"].as_str().unwrap());
            }
            _ => last = data,
        }
    }
    assert_eq!(last["status"]["status"], "complete");
    assert_eq!(last["status"]["output"]["steps"][1]["result"], told);
    assert_eq!(told, "Say it again.\n\nfetched");
    // Of a run that has ended there is its end.
    let mut watched = Watched::start(&server, &id).await;
    assert_eq!(watched.next().await, Some(("status".to_owned(), last)));
    assert_eq!(watched.next().await, None);
}

#[tokio::test]
async fn a_chain_that_is_cancelled_is_terminated_for_all_who_watch() {
    let server = Server::start().await;
    let (_target, _bell, chain) = held_chain().await;
    let id = begin(&server, &chain).await;
    let mut watched = Watched::start(&server, &id).await;
    watched.next().await.unwrap();
    server.post(&format!("/runs/{id}/cancel"), &json!({})).await;
    let mut last = Value::Null;
    while let Some((_, data)) = watched.next().await {
        last = data["status"].clone();
    }
    assert_eq!(last["status"], "terminated");
    assert_eq!(last["error"], "Run cancelled: requested by the user");
    assert_eq!(ended(&server, &id).await, last);
}

#[tokio::test]
async fn a_step_without_a_key_is_explained() {
    let server = Server::start().await;
    let chain = json!({ "context": "x", "instructions": ["a"] });
    let status = ended(&server, &begin(&server, &chain).await).await;
    assert_eq!(
        (&status["status"], &status["error"]),
        (&json!("errored"), &json!("Missing OPENAI_API_KEY"))
    );
    assert_eq!(status["output"]["errors"][0]["errorType"], "llm");
}

#[tokio::test]
async fn a_schema_that_is_none_is_refused_before_anything_runs() {
    let server = Server::start().await;
    let chain = json!({
        "context": "x",
        "provider": "echo",
        "instructions": ["Look.", { "instruction": "Count.", "schema": { "type": "nonsense" } }],
    });
    let (status, reply) = server.post("/", &chain).await;
    assert_eq!(status, 400);
    let error = reply["error"].as_str().unwrap();
    assert!(error.starts_with("Instruction 1: Field schema: "), "{error}");
    assert_eq!(server.get("/runs").await.1["runs"], json!([]));
}
