//! Stored workflows: kept in versions, changed by several people, checked before they are kept.

use insta::assert_json_snapshot;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use waystation_fake_models::FakeModels;

use crate::support::graph::{calls, execute, flow, gives, node, output, replace, result, save};
use crate::support::server::{Server, answer};

const CUSTOMER_SUPPORT: &str = include_str!("../../../../testdata/graph/customer-support.json");
const MISTAKES: &str = include_str!("../../../../testdata/graph/mistakes.json");

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// A workflow with one end, which gives this.
fn giving(value: &str) -> Value {
    let end = node("end", "end", json!({ "output": value }));
    flow(&[node("start", "start", json!({})), end], &["start -> end"])
}

/// Status, tag and JSON of an answer.
async fn tagged(request: RequestBuilder) -> (u16, String, Value) {
    let response = request.send().await.unwrap();
    let (status, tag) = (response.status().as_u16(), response.headers().get("etag").cloned());
    let tag = tag.map_or(String::new(), |tag| tag.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    (status, tag, serde_json::from_str(&text).unwrap_or_default())
}

#[tokio::test]
async fn an_inquiry_is_classified_by_a_model_and_led_by_its_answer() {
    let fake = FakeModels::start().await.unwrap();
    let base = format!("{}/v1", fake.url());
    let settings = [("OPENAI_BASE_URL", base.as_str()), ("OPENAI_API_KEY", "sk-test")];
    let server = Server::with(&settings).await;
    let workflow = save(&server, &parsed(CUSTOMER_SUPPORT)).await;
    for (category, leads) in [("technical", true), ("billing", false)] {
        let message = format!("It breaks [[answer: {{\"category\":\"{category}\"}}]]");
        let job = execute(&server, &workflow, &json!({ "message": message })).await;
        assert_eq!(output(&job, "classify")["category"], category);
        assert_eq!(result(&job), &json!(leads));
        assert_eq!(job["node_results"]["route"]["port"], leads.to_string());
    }
    assert_eq!(fake.calls().of("gpt-4"), 2);
    let asked = fake.calls().last[0].body["messages"].to_string();
    assert!(asked.contains("Classify this customer inquiry: It breaks"), "{asked}");
}

#[tokio::test]
async fn a_way_that_leads_to_no_node_is_warned_of() {
    let server = Server::start().await;
    let (status, reply) = server.post("/api/v1/workflows", &parsed(CUSTOMER_SUPPORT)).await;
    assert_eq!(status, 201, "{reply}");
    assert_json_snapshot!(reply["warnings"], @r#"
    [
      {
        "loc": [
          "body",
          "nodes",
          2,
          "config"
        ],
        "msg": "there is no node technical_support: the branch true ends here at run time",
        "type": "warning"
      },
      {
        "loc": [
          "body",
          "nodes",
          2,
          "config"
        ],
        "msg": "there is no node general_support: the branch false ends here at run time",
        "type": "warning"
      }
    ]
    "#);
}

#[tokio::test]
async fn what_is_not_reached_is_warned_of_and_does_not_run() {
    let server = Server::start().await;
    let nodes = [
        node("start", "start", json!({})),
        node("lost", "delay", json!({})),
        node("end", "end", json!({ "output": "{{lost.output ?? 'nothing'}}" })),
    ];
    let definition = flow(&nodes, &["start -> end"]);
    let (status, reply) = server.post("/api/v1/workflows", &definition).await;
    assert_eq!(status, 201, "{reply}");
    let warnings = reply["warnings"].as_array().unwrap();
    let texts: Vec<&str> =
        warnings.iter().map(|warning| warning["msg"].as_str().unwrap()).collect();
    assert_eq!(
        texts,
        [
            "refers to lost, which does not come before this node",
            "lost is not reached from a start node, and does not run",
        ]
    );
    let job = execute(&server, reply["id"].as_str().unwrap(), &json!({})).await;
    assert_eq!(
        (job["node_results"]["lost"]["status"].clone(), result(&job)),
        (json!("skipped"), &json!("nothing"))
    );
}

#[tokio::test]
async fn all_mistakes_are_told_at_once_and_nothing_is_kept() {
    let server = Server::start().await;
    let (status, reply) = server.post("/api/v1/workflows", &parsed(MISTAKES)).await;
    assert_eq!(status, 422, "{reply:#}");
    assert_json_snapshot!("all_mistakes", reply);
    assert_eq!(server.post("/workflows/", &parsed(MISTAKES)).await, (422, reply.clone()));
    let checked = server.post("/api/v1/workflows/validate", &parsed(MISTAKES)).await.1;
    assert_eq!((&checked["valid"], &checked["errors"]), (&json!(false), &reply["detail"]));
    assert_eq!(server.get("/api/v1/workflows").await.1["total"], 0);
}

#[tokio::test]
async fn what_is_no_definition_is_refused() {
    let server = Server::start().await;
    for (body, detail) in [
        ("no JSON", "The body is not valid JSON: expected ident at line 1 column 2"),
        ("[]", "The body must be a JSON object"),
    ] {
        let request = server.request(Method::POST, "/api/v1/workflows").body(body);
        let (status, reply) = answer(request).await;
        assert_eq!((status, &reply["detail"][0]["msg"]), (422, &json!(detail)));
    }
    let (status, reply) = server.post("/api/v1/workflows", &json!({})).await;
    assert_eq!(status, 422);
    let places: Vec<Value> =
        reply["detail"].as_array().unwrap().iter().map(|issue| issue["loc"].clone()).collect();
    assert_eq!(places, [json!(["body", "name"]), json!(["body", "nodes"])]);
}

#[tokio::test]
async fn what_was_saved_is_given_back_as_it_was() {
    let server = Server::start().await;
    let mut definition = giving("one");
    definition["nodes"][0]["position"] = json!({ "x": 1.5, "y": -2 });
    definition["metadata"] = json!({ "tags": ["a"], "author": "Ada" });
    let workflow = save(&server, &definition).await;
    for path in [format!("/api/v1/workflows/{workflow}"), format!("/workflows/{workflow}/")] {
        let (status, stored) = server.get(&path).await;
        assert_eq!((status, &stored["id"]), (200, &json!(workflow)));
        for (field, value) in definition.as_object().unwrap() {
            assert_eq!(&stored[field], value, "{field}");
        }
    }
}

#[tokio::test]
async fn each_change_is_a_version_and_old_ones_stay() {
    let server = Server::start().await;
    let request = server.request(Method::POST, "/api/v1/workflows").json(&giving("one"));
    let (status, tag, first) = tagged(request).await;
    assert_eq!((status, &*tag, &first["version"]), (201, "\"1\"", &json!(1)));
    let path = format!("/api/v1/workflows/{}", first["id"].as_str().unwrap());
    let request = server.request(Method::PUT, &path).json(&giving("two"));
    let (status, tag, second) = tagged(request).await;
    assert_eq!((status, &*tag, &second["version"]), (200, "\"2\"", &json!(2)));
    let request = server.request(Method::PATCH, &path).json(&json!({ "name": "Three" }));
    let (status, tag, third) = tagged(request).await;
    assert_eq!((status, &*tag, &third["name"]), (200, "\"3\"", &json!("Three")));
    assert_eq!(third["nodes"], second["nodes"]);
    assert_eq!(server.get(&format!("{path}?version=1")).await.1["nodes"], first["nodes"]);
    assert_eq!(server.get(&format!("{path}?version=4")).await.0, 404);
    let (_, versions) = server.get(&format!("{path}/versions")).await;
    let names = ["Three", "Flow", "Flow"];
    for (index, version) in versions["items"].as_array().unwrap().iter().enumerate() {
        assert_eq!(
            (&version["version"], &version["name"]),
            (&json!(3 - index), &json!(names[index]))
        );
    }
    let old = server.post(&format!("{path}/execute?wait=true&version=1"), &json!({})).await.1;
    assert_eq!((&old["workflow_version"], result(&old)), (&json!(1), &json!("one")));
    let new = server.post(&format!("{path}/execute?wait=true"), &json!({})).await.1;
    assert_eq!((&new["workflow_version"], result(&new)), (&json!(3), &json!("two")));
}

#[tokio::test]
async fn of_two_who_edit_the_same_version_the_later_one_is_told() {
    let server = Server::start().await;
    let workflow = save(&server, &giving("one")).await;
    let path = format!("/api/v1/workflows/{workflow}");
    let seen = tagged(server.request(Method::GET, &path)).await.1;
    let change = async |method: Method, path: &str, value: &str| {
        let request = server.request(method, path).header("if-match", &seen);
        answer(request.json(&giving(value))).await
    };
    assert_eq!(change(Method::PUT, &path, "Ada's").await.0, 200);
    let detail = "The workflow has changed: its present version is 2. Get it again, and repeat your \
                  change on that";
    for (method, path) in [
        (Method::PUT, path.clone()),
        (Method::PATCH, path.clone()),
        (Method::PUT, format!("/workflows/{workflow}")),
    ] {
        let (status, reply) = change(method, &path, "Bob's").await;
        assert_eq!((status, &reply["detail"]), (412, &json!(detail)), "{path}");
    }
    assert_eq!(result(&execute(&server, &workflow, &json!({})).await), &json!("Ada's"));
}

#[tokio::test]
async fn what_was_removed_or_never_there_is_not_found() {
    let server = Server::start().await;
    let workflow = save(&server, &giving("one")).await;
    let path = format!("/api/v1/workflows/{workflow}");
    assert_eq!(server.call(Method::DELETE, &path, None).await.0, 204);
    let unknown = "0123456789abcdef01234567";
    for id in [workflow.as_str(), unknown] {
        let detail = json!({ "detail": format!("Workflow with ID {id} not found") });
        let (own, other) = (format!("/api/v1/workflows/{id}"), format!("/workflows/{id}"));
        for path in [&own, &other] {
            assert_eq!(server.get(path).await, (404, detail.clone()));
            let put = server.call(Method::PUT, path, Some(&giving("x"))).await;
            assert_eq!(put, (404, detail.clone()));
            assert_eq!(server.call(Method::DELETE, path, None).await, (404, detail.clone()));
            let execute = server.post(&format!("{path}/execute"), &json!({})).await;
            assert_eq!(execute, (404, detail.clone()));
        }
        assert_eq!(server.get(&format!("{own}/versions")).await, (404, detail.clone()));
    }
    let malformed = json!({ "detail": "Invalid workflow ID format" });
    assert_eq!(server.get("/workflows/nope").await, (400, malformed));
}

#[tokio::test]
async fn workflows_are_listed_by_page_status_and_words() {
    let server = Server::start().await;
    for (name, status) in [("Refund", "active"), ("Greeting", "draft"), ("Refund all", "draft")] {
        let mut definition = flow(&[gives("a", "x")], &[]);
        definition["name"] = name.into();
        definition["status"] = status.into();
        save(&server, &definition).await;
    }
    let names = async |query: &str| {
        let (status, list) = server.get(&format!("/api/v1/workflows?{query}")).await;
        assert_eq!(status, 200, "{list}");
        let items = list["items"].as_array().unwrap().iter();
        (items.map(|item| item["name"].clone()).collect::<Vec<_>>(), list["total"].clone())
    };
    assert_eq!(names("").await.1, 3);
    assert_eq!(names("q=greet").await, (vec![json!("Greeting")], json!(1)));
    assert_eq!(names("status=active").await, (vec![json!("Refund")], json!(1)));
    let (first, total) = names("status=draft&limit=1").await;
    let (second, _) = names("status=draft&limit=1&page=2").await;
    assert_eq!((first.len(), second.len(), total), (1, 1, json!(2)));
    assert_ne!(first, second);
    for wrong in ["page=0", "limit=0", "page=x", "limit=-1"] {
        assert_eq!(server.get(&format!("/api/v1/workflows?{wrong}")).await.0, 422, "{wrong}");
    }
}

#[tokio::test]
async fn only_the_version_that_is_meant_is_removed() {
    let server = Server::start().await;
    let definition = flow(&[gives("a", "A")], &[]);
    let workflow = save(&server, &definition).await;
    replace(&server, &workflow, &definition).await;
    for path in ["/api/v1/workflows", "/workflows"] {
        let path = format!("{path}/{workflow}");
        let stale = server.request(Method::DELETE, &path).header("if-match", "\"1\"");
        assert_eq!(answer(stale).await.0, 412);
        assert_eq!(server.get(&path).await.1["version"], 2);
    }
    let path = format!("/workflows/{workflow}");
    let present = server.request(Method::DELETE, &path).header("if-match", "\"2\"");
    assert_eq!(present.send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn faults_of_requests_are_told_where_they_are() {
    let server = Server::start().await;
    let workflow = save(&server, &flow(&[gives("a", "A")], &[])).await;
    for (path, place) in [
        ("/api/v1/workflows?limit=x", json!(["query", "limit"])),
        ("/api/v1/jobs?status=odd", json!(["query", "status"])),
        (&format!("/api/v1/workflows/{workflow}?version=x"), json!(["query"])),
        ("/workflows/%FF", json!(["path"])),
    ] {
        let (status, reply) = server.get(path).await;
        assert_eq!((status, &reply["detail"][0]["loc"]), (422, &place), "{path}");
    }
    let (status, reply) = server.get("/api/v1/nothing").await;
    assert_eq!((status, &reply["detail"]), (404, &json!("There is nothing at /api/v1/nothing")));
    let (status, reply) = server.call(Method::PUT, "/api/v1/jobs", None).await;
    assert_eq!(status, 405);
    assert!(reply["detail"].is_string(), "{reply}");
    let path = format!("/api/v1/workflows/{workflow}/execute?wait=perhaps");
    assert_eq!(
        server.post(&path, &json!({})).await.1["detail"][0]["loc"],
        json!(["query", "wait"])
    );
}

#[tokio::test]
async fn secrets_that_nobody_has_set_are_warned_of() {
    let server = Server::start().await;
    let mut definition = flow(&[calls("a", "http://localhost/")], &[]);
    definition["nodes"][0]["config"]["headers"] = json!({ "X-Key": "{{secrets.API_KEY}}" });
    let (status, reply) = server.post("/api/v1/workflows", &definition).await;
    assert_eq!(status, 201);
    let text = reply["warnings"][0]["msg"].as_str().unwrap();
    assert_eq!(text, "secrets.API_KEY is not set: run `waystation secret set API_KEY`");
}
