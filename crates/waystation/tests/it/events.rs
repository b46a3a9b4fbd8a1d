//! Live events: the same over WebSocket and as server-sent events, each once and in order, through
//! breaks and restarts.

use std::convert::Infallible;
use std::sync::Arc;

use axum::response::IntoResponse;
use futures_util::{SinkExt, StreamExt, stream};
use insta::assert_json_snapshot;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::command::{key, run};
use crate::support::graph::{begin, calls, ended, flow, gives, graph, node, save, signal, until};
use crate::support::server::{Server, answer};
use crate::support::target::{Received, Target, reply};
use crate::support::{eventually, free_port, steady};

async fn streamed(server: &Server, path: &str, after: Option<&str>, most: usize) -> Vec<Value> {
    read(open(server, path, after).await, most).await
}

async fn open(server: &Server, path: &str, after: Option<&str>) -> Response {
    let mut request = server.request(Method::GET, path);
    if let Some(after) = after {
        request = request.header("Last-Event-ID", after);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response
}

/// Reads server-sent events to the end of the stream, or until there are so many.
async fn read(response: Response, most: usize) -> Vec<Value> {
    let (mut pieces, mut text, mut events) = (response.bytes_stream(), String::new(), Vec::new());
    while events.len() < most
        && let Some(piece) = pieces.next().await
    {
        text += std::str::from_utf8(&piece.unwrap()).unwrap();
        while let Some((block, rest)) = text.split_once("\n\n") {
            events.extend(event(block));
            text = rest.to_owned();
        }
    }
    events
}

/// The event of a block, whose id is the event's own within a run.
fn event(block: &str) -> Option<Value> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
    let mut event: Value = serde_json::from_str(field("data: ")?).unwrap();
    event["sse"] = field("id: ").into();
    Some(event)
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(server: &Server, path: &str) -> Result<Socket, Error> {
    let url = format!("ws://{}{path}", server.address);
    tokio_tungstenite::connect_async(url).await.map(|(socket, _)| socket)
}

/// Everything until the server closes, and what it says then.
async fn heard(mut socket: Socket) -> (Vec<Value>, String) {
    let (mut events, mut farewell) = (Vec::new(), String::new());
    while let Some(message) = socket.next().await {
        match message {
            Ok(Message::Text(text)) => events.push(serde_json::from_str(&text).unwrap()),
            Ok(Message::Close(frame)) => {
                let frame = frame.unwrap();
                farewell = format!("{} {}", u16::from(frame.code), frame.reason);
            }
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
    (events, farewell)
}

fn ids(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["id"].as_u64().unwrap()).collect()
}

fn without_sse(events: &[Value]) -> Vec<Value> {
    let mut events = events.to_vec();
    for event in &mut events {
        event.as_object_mut().unwrap().shift_remove("sse");
    }
    events
}

/// A flow whose call fails once, and whose second branch is not taken.
async fn eventful() -> (Target, Value) {
    let target = Target::start(|_, earlier| async move {
        match earlier {
            0 => reply(503, "busy"),
            _ => reply(200, json!({ "kind": "billing" }).to_string()),
        }
    })
    .await;
    let mut call = calls("call", &target.url("/"));
    call["config"]["retries"] = 1.into();
    call["config"]["retry_delay"] = 0.01.into();
    let condition = json!({ "condition": "{{call.output.kind}} == 'billing'",
        "true_edge": "yes", "false_edge": "no" });
    let nodes = [call, node("if", "conditional", condition), gives("yes", "1"), gives("no", "2")];
    (target, flow(&nodes, &["call -> if", "if -> yes", "if -> no"]))
}

#[tokio::test]
async fn a_job_is_told_event_by_event_the_same_by_both_ways() {
    let server = Server::start().await;
    let (_target, definition) = eventful().await;
    let workflow = save(&server, &definition).await;
    let job = begin(&server, &workflow, &json!({ "n": 1 })).await;
    let path = format!("/api/v1/jobs/{job}/events");
    let events = streamed(&server, &path, None, usize::MAX).await;
    let expected: Vec<u64> = (1..=events.len() as u64).collect();
    assert_eq!(ids(&events), expected, "without gaps");
    assert!(events.iter().all(|event| event["sse"].as_str() == Some(&*event["id"].to_string())));
    assert_eq!(events[0]["workflow_id"], json!(workflow));
    let mut told = steady(&json!(without_sse(&events)));
    for event in told.as_array_mut().unwrap() {
        (event["workflow_id"], event["job_id"]) = ("[workflow]".into(), "[job]".into());
    }
    told[2]["data"]["retry_at"] = "[time]".into();
    told[4]["data"]["output"]["headers"]["date"] = "[time]".into();
    assert_json_snapshot!(told);

    let ways = [format!("/ws/job/{job}"), format!("/ws/executions/{job}")];
    for way in ways {
        let (told, farewell) = heard(socket(&server, &way).await.unwrap()).await;
        assert_eq!(told, without_sse(&events));
        assert_eq!(farewell, "1000 the run has ended");
        for cut in 0..=events.len() {
            let (rest, _) =
                heard(socket(&server, &format!("{way}?after={cut}")).await.unwrap()).await;
            assert_eq!(rest, told[cut..]);
        }
    }
    for cut in 1..events.len() {
        let rest = streamed(&server, &path, Some(&cut.to_string()), usize::MAX).await;
        assert_eq!(rest, events[cut..]);
    }
    // Nothing is left, and a browser stops coming again.
    let request = server.request(Method::GET, &path).header("last-event-id", events.len());
    assert_eq!(request.send().await.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_watched_job_goes_on_through_a_kill_without_a_missing_or_repeated_event() {
    let (open, opened) = watch::channel(false);
    let target = Target::start(move |request, _| {
        let mut opened = opened.clone();
        async move {
            if request.path == "/slow" {
                opened.wait_for(|is_open| *is_open).await.unwrap();
            }
            reply(200, "{}")
        }
    })
    .await;
    let server = Server::start().await;
    let nodes = [calls("quick", &target.url("/quick")), calls("slow", &target.url("/slow"))];
    let workflow = save(&server, &flow(&nodes, &["quick -> slow"])).await;
    let job = begin(&server, &workflow, &json!({})).await;
    let path = format!("/api/v1/jobs/{job}/events");
    let before = streamed(&server, &path, None, 4).await;
    assert_eq!(before.last().unwrap()["node_id"], "slow", "{before:#?}");

    let server = server.again().await;
    let last = before.last().unwrap()["sse"].as_str().unwrap().to_owned();
    let watching = socket(&server, &format!("/ws/job/{job}?after={last}")).await.unwrap();
    open.send(true).unwrap();
    let (after, farewell) = heard(watching).await;
    assert_eq!(farewell, "1000 the run has ended");
    let all = [without_sse(&before), after].concat();
    assert_eq!(ids(&all), (1..=all.len() as u64).collect::<Vec<_>>());
    assert_eq!(all.last().unwrap()["event_type"], "workflow_completed");
    let again = streamed(&server, &path, None, usize::MAX).await;
    assert_eq!(without_sse(&again), all, "told again, the past is the same");
}

#[tokio::test]
async fn a_workflow_is_watched_across_its_jobs() {
    let server = Server::start().await;
    let asks = flow(&[node("ask", "wait", json!({}))], &[]);
    let (workflow, other) = (save(&server, &asks).await, save(&server, &asks).await);
    let path = format!("/api/v1/workflows/{workflow}/events");
    let earlier = begin(&server, &workflow, &json!({})).await;
    until(&server, &earlier, "ask", "waiting").await;

    let watching = socket(&server, &format!("/ws/workflow/{workflow}")).await.unwrap();
    let elsewhere = begin(&server, &other, &json!({})).await;
    until(&server, &elsewhere, "ask", "waiting").await;
    let later = begin(&server, &workflow, &json!({})).await;
    until(&server, &later, "ask", "waiting").await;
    for job in [&later, &earlier] {
        assert_eq!(signal(&server, job, "ask", &json!({ "choice": "approved" })).await.0, 200);
        ended(&server, job).await;
    }
    let live: Vec<Value> = watching
        .take(7)
        .map(|message| serde_json::from_str(message.unwrap().to_text().unwrap()).unwrap())
        .collect()
        .await;
    let told: Vec<_> = live
        .iter()
        .map(|event| (event["job_id"].as_str().unwrap(), event["event_type"].as_str().unwrap()))
        .collect();
    let (later, earlier) = (later.as_str(), earlier.as_str());
    let expected = [
        (later, "workflow_started"),
        (later, "node_started"),
        (later, "node_waiting"),
        (later, "node_completed"),
        (later, "workflow_completed"),
        (earlier, "node_completed"),
        (earlier, "workflow_completed"),
    ];
    assert_eq!(told, expected);

    // From the beginning, and from every place in between, also after a restart.
    let server = server.again().await;
    let all = streamed(&server, &path, Some("0"), 10).await;
    assert_eq!(without_sse(&all[3..]), live);
    for cut in 0..9 {
        let after = all[cut]["sse"].as_str();
        assert_eq!(streamed(&server, &path, after, 9 - cut).await, all[cut + 1..]);
    }
}

#[tokio::test]
async fn runs_of_pipelines_have_events_too() {
    let server = Server::start().await;
    let step = crate::support::step("one", "/echo?only=json", &[]);
    let reply = server.execute(&crate::support::pipeline(&[step])).await;
    let run = reply["execution_id"].as_str().unwrap();
    let events = streamed(&server, &format!("/runs/{run}/events"), None, usize::MAX).await;
    let kinds: Vec<_> = events.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    let expected = ["workflow_started", "node_started", "node_completed", "workflow_completed"];
    assert_eq!(kinds, expected);
    let (told, _) = heard(socket(&server, &format!("/ws/executions/{run}")).await.unwrap()).await;
    assert_eq!(told, without_sse(&events));
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_in_words() {
    let server = Server::start().await;
    let workflow = save(&server, &flow(&[gives("one", "1")], &[])).await;
    let job = begin(&server, &workflow, &json!({})).await;
    let nobody = "0".repeat(24);
    let mut refusals = Vec::new();
    for path in [
        format!("/api/v1/jobs/{nobody}/events"),
        format!("/api/v1/workflows/{nobody}/events"),
        format!("/ws/workflow/{nobody}"),
        "/ws/job/x".to_owned(),
        format!("/ws/executions/{nobody}"),
        format!("/api/v1/jobs/{job}/events?after=x"),
        format!("/ws/job/{job}?after=-1"),
        format!("/ws/job/{job}"),
    ] {
        let (status, reply) = server.get(&path).await;
        refusals.push(json!([path.replace(&job, "JOB"), status, reply]));
    }
    let request = server.request(Method::GET, &format!("/api/v1/jobs/{job}/events"));
    let (status, reply) = answer(request.header("last-event-id", "yesterday")).await;
    refusals.push(json!(["Last-Event-ID", status, reply]));
    assert_json_snapshot!(refusals);
}

#[tokio::test]
async fn a_server_that_goes_down_says_so_to_those_who_watch() {
    let mut server = Server::start().await;
    let workflow = save(&server, &flow(&[node("ask", "wait", json!({}))], &[])).await;
    let job = begin(&server, &workflow, &json!({})).await;
    until(&server, &job, "ask", "waiting").await;
    let mut watching = socket(&server, &format!("/ws/job/{job}")).await.unwrap();
    let stream = open(&server, &format!("/api/v1/jobs/{job}/events"), None).await;
    server.signal("TERM");
    let told = read(stream, usize::MAX).await;
    // What the server does not read must not cost the client what it was sent.
    watching.send(Message::text("hello?")).await.unwrap();
    let (events, farewell) = heard(watching).await;
    assert_eq!(events.len(), 3);
    assert_eq!(farewell, "1012 the server is shutting down; come again soon");
    assert_eq!(told.last().unwrap()["reason"], "the server is shutting down; come again soon");
    server.stop().await;
}

#[tokio::test]
async fn who_may_not_come_in_any_more_may_not_stay_either() {
    let server = Server::start().await;
    let workflow = save(&server, &flow(&[node("ask", "wait", json!({}))], &[])).await;
    let job = begin(&server, &workflow, &json!({})).await;
    until(&server, &job, "ask", "waiting").await;
    let watched = format!("/ws/job/{job}");
    let anybody = socket(&server, &watched).await.unwrap();

    let mine = key(server.data(), &["--role", "editor"]).await;
    let asked = "1008 This server asks callers who they are by now";
    assert_eq!(heard(anybody).await.1, asked, "the first key asks those who are there already");

    let watching = socket(&server, &format!("{watched}?token={mine}")).await.unwrap();
    let path = format!("/api/v1/jobs/{job}/events?token={mine}");
    let streaming = open(&server, &path, None).await;
    let other = key(server.data(), &["--role", "editor"]).await;
    let staying = socket(&server, &format!("{watched}?token={other}")).await.unwrap();
    let id = mine.split('_').nth(1).unwrap();
    assert_eq!(run(server.data(), &["key", "revoke", id]).await.code, Some(0));
    assert_eq!(heard(watching).await.1, "1008 The key has been revoked");
    let told = read(streaming, usize::MAX).await;
    assert_eq!(told.last().unwrap()["reason"], "The key has been revoked");
    let cancel = server.request(Method::POST, &format!("/api/v1/jobs/{job}/cancel"));
    answer(cancel.header("x-api-key", &other)).await;
    assert_eq!(heard(staying).await.1, "1000 the run has ended", "others stay");
}

/// Hears events up to one that is awaited.
async fn hear(socket: &mut Socket, told: &mut Vec<Value>, is_awaited: impl Fn(&Value) -> bool) {
    while !told.last().is_some_and(&is_awaited) {
        let message = socket.next().await.unwrap().unwrap();
        told.push(serde_json::from_str(message.to_text().unwrap()).unwrap());
    }
}

/// A service that answers when the bell is rung; as a model, with another piece each time.
async fn slow_model(pieces: &'static [&'static str]) -> (Target, Arc<Notify>) {
    let bell = Arc::new(Notify::new());
    let rung = Arc::clone(&bell);
    let target = Target::start(move |request, _| {
        let rung = Arc::clone(&rung);
        async move {
            if request.path == "/hold" {
                rung.notified().await;
                return reply(200, "{}");
            }
            let chunk = |delta: Value, finish: Value| {
                let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
                let chunk = json!({ "id": "c", "object": "chat.completion.chunk", "created": 1,
                    "model": "fake", "choices": [choice] });
                format!("data: {chunk}\n\n")
            };
            let told = stream::iter(pieces).then(move |piece| {
                let rung = Arc::clone(&rung);
                async move {
                    rung.notified().await;
                    chunk(json!({ "content": piece }), Value::Null)
                }
            });
            let end = chunk(json!({}), json!("stop")) + "data: [DONE]\n\n";
            let body = told.chain(stream::once(async { end })).map(Ok::<_, Infallible>);
            let body = axum::body::Body::from_stream(body);
            ([("content-type", "text/event-stream")], body).into_response()
        }
    });
    (target.await, bell)
}

#[tokio::test]
async fn pieces_of_an_answer_are_told_to_those_who_listen_and_never_again() {
    let (model, bell) = slow_model(&["Once ", "upon ", "a time"]).await;
    let base = model.url("/v1");
    let server = Server::with(&[("OPENAI_BASE_URL", &base), ("OPENAI_API_KEY", "key")]).await;
    let says = json!({ "prompt": "Tell me", "provider": "openai", "model": "fake" });
    let nodes = [calls("hold", &model.url("/hold")), node("say", "llm", says)];
    let definition = flow(&nodes, &["hold -> say"]);
    let job = begin(&server, &save(&server, &definition).await, &json!({})).await;
    let path = format!("/api/v1/jobs/{job}/events");
    let streaming = open(&server, &path, None).await;
    let mut watching = socket(&server, &format!("/ws/job/{job}")).await.unwrap();
    let mut told: Vec<Value> = Vec::new();
    bell.notify_one();
    hear(&mut watching, &mut told, |event| event["event_type"] == "node_completed").await;
    // Each piece is told before the next is made, and before the answer is whole.
    for said in ["Once ", "upon ", "a time"] {
        bell.notify_one();
        hear(&mut watching, &mut told, |event| event["data"]["text"] == said).await;
    }
    let kinds: Vec<&str> = told.iter().map(|event| event["event_type"].as_str().unwrap()).collect();
    let held = ["workflow_started", "node_started", "node_completed"];
    assert_eq!(kinds[..3], held);
    assert_eq!(kinds[3..], ["node_started", "llm_token", "llm_token", "llm_token"]);
    let (piece, node) = (&told[4], json!("say"));
    assert_eq!((&piece["id"], &piece["node_id"]), (&Value::Null, &node), "{piece:#}");
    assert_eq!((&piece["data"]["attempt"], &piece["data"]["live"]), (&json!(1), &json!(true)));
    told.extend(heard(watching).await.0);
    let streamed_events = without_sse(&read(streaming, usize::MAX).await);
    assert_eq!(streamed_events, told);
    let whole = &told[7]["data"]["output"]["text"];
    assert_eq!(whole, "Once upon a time");
    let again = streamed(&server, &path, None, usize::MAX).await;
    told.retain(|event| event["event_type"] != "llm_token");
    assert_eq!(without_sse(&again), told);
}

#[tokio::test]
async fn a_receiver_gets_the_same_events_through_a_restart() {
    let mut server = Server::start().await;
    let port = free_port();
    let (_target, mut definition) = eventful().await;
    let each = json!({ "items": [1, 2], "body": graph(&[gives("inner", "{{item}}")], &[]) });
    definition["nodes"].as_array_mut().unwrap().push(node("each", "foreach", each));
    let receiver = format!("http://127.0.0.1:{port}/hook");
    definition["settings"] = json!({ "notifications": { "webhook_url": receiver } });
    let workflow = save(&server, &definition).await;
    let job = begin(&server, &workflow, &json!({})).await;
    ended(&server, &job).await;
    eventually("the failure shows", async || {
        let (_, detail) = server.get(&format!("/runs/{job}")).await;
        (detail["webhook"]["state"] == "retrying").then_some(())
    })
    .await;
    server.stop().await;
    let server = server.again().await;
    let receiver = Target::start_at(port, async |_, _| reply(200, "")).await;
    eventually("all is delivered", async || {
        let (_, detail) = server.get(&format!("/runs/{job}")).await;
        (detail["webhook"]["state"] == "delivered").then_some(())
    })
    .await;
    let mut told = receiver.received();
    told.dedup_by_key(|one| one.header("webhook-id").to_owned());
    let told: Vec<Value> = told.iter().map(Received::json).collect();
    let path = format!("/api/v1/jobs/{job}/events");
    let events = streamed(&server, &path, None, usize::MAX).await;
    assert_eq!(told, without_sse(&events), "those of the job, and none of its items");
}

#[tokio::test]
async fn the_last_event_of_every_format_has_its_result() {
    let server = Server::start().await;
    let pipeline = crate::support::pipeline(&[crate::support::step("a", "/echo?only=json", &[])]);
    let reply = server.execute(&pipeline).await;
    let chain = json!({ "context": "hi", "provider": "echo", "instructions": ["Say it"] });
    let (_, begun) = server.post("/", &chain).await;
    let instance = begun["instanceId"].as_str().unwrap();
    server.until(instance, "completed").await;
    for (run, is_right) in [
        (reply["execution_id"].as_str().unwrap(), &|result: &Value| {
            *result == reply["final_result"]
        }),
        (instance, &|result: &Value| result.as_str().is_some_and(|text| text.contains("hi"))),
    ] as [(&str, &dyn Fn(&Value) -> bool); 2]
    {
        let events = streamed(&server, &format!("/runs/{run}/events?after=0"), None, 99).await;
        let last = events.last().unwrap();
        assert_eq!(last["event_type"], "workflow_completed");
        assert!(is_right(&last["data"]["result"]), "{last:#}");
    }
}
