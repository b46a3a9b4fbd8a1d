//! Outputs in Redis, and that no state of Redis ever touches a run.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use redis::AsyncCommands;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::command::signal;
use crate::support::graph;
use crate::support::server::Server;
use crate::support::target::{Target, reply};
use crate::support::{eventually, free_port, pipeline, step};

/// A redis-server of the test's own.
struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    async fn start() -> Redis {
        Redis::start_at(free_port()).await
    }

    async fn start_at(port: u16) -> Redis {
        let mut child = Command::new("redis-server")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("these tests need redis-server: install the Debian package redis-server");
        let config =
            format!("port {port}\nbind 127.0.0.1\nsave \"\"\nrequirepass \"s3cret word\"\n");
        child.stdin.take().unwrap().write_all(config.as_bytes()).unwrap();
        let redis = Redis { port, child };
        eventually("redis-server answers", async || redis.connect().await).await;
        redis
    }

    async fn connect(&self) -> Option<redis::aio::MultiplexedConnection> {
        let url = format!("redis://:s3cret%20word@127.0.0.1:{}/", self.port);
        redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.ok()
    }

    /// The value at a key, once it is there, and the seconds that it will stay.
    async fn value(&self, key: &str) -> (Value, i64) {
        let mut connection = self.connect().await.unwrap();
        let text: String = eventually(&format!("{key} is in Redis"), async || {
            connection.get::<_, Option<String>>(key).await.unwrap()
        })
        .await;
        let seconds = connection.ttl(key).await.unwrap();
        (serde_json::from_str(&text).unwrap(), seconds)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have been killed before, or stopped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A pipeline with an output of its own name.
fn flow(id: &str) -> Value {
    let mut one = step("one", "/echo?only=json", &[]);
    one["body_template"] = json!({ "one_out": { "made by": id } });
    let mut body = pipeline(&[one]);
    body["workflow_id"] = id.into();
    body
}

async fn run(server: &Server, id: &str) {
    let reply = server.execute(&flow(id)).await;
    assert_eq!(reply["success"], true, "{reply}");
    assert!(reply["execution_time"].as_f64().unwrap() < 5.0, "{reply}");
}

async fn until_state(server: &Server, state: &str) -> Value {
    eventually(&format!("Redis is {state}"), async || {
        let (status, health) = server.get("/health").await;
        assert_eq!((status, &health["status"]), (200, &json!("healthy")));
        let redis = health["details"]["redis"].clone();
        (redis["state"] == state).then_some(redis)
    })
    .await
}

#[tokio::test]
async fn outputs_are_there_for_an_hour() {
    let redis = Redis::start().await;
    let port = redis.port.to_string();
    let server = Server::with(&[
        ("REDIS_HOST", "127.0.0.1"),
        ("REDIS_PORT", &port),
        ("REDIS_PASSWORD", "s3cret word"),
    ])
    .await;
    run(&server, "flow-1").await;
    let (value, seconds) = redis.value("flow-1:output:one_out").await;
    assert_eq!(value, json!({ "made by": "flow-1" }));
    assert!((1..=3_600).contains(&seconds), "{seconds}");
    eventually("the write is counted", async || {
        let status = until_state(&server, "connected").await;
        assert_eq!(status["last_error"], Value::Null);
        (status["written"] == 1).then_some(())
    })
    .await;
}

/// All entries of a stream, as `(id, fields)`.
async fn stream(redis: &Redis, workflow: &str) -> Vec<(String, HashMap<String, String>)> {
    let mut connection = redis.connect().await.unwrap();
    let key = format!("workflow:events:{workflow}");
    redis::cmd("XRANGE").arg(key).arg("-").arg("+").query_async(&mut connection).await.unwrap()
}

fn told(entries: &[(String, HashMap<String, String>)]) -> Vec<(&str, &str)> {
    entries.iter().map(|(_, entry)| (&*entry["job_id"], &*entry["id"])).collect()
}

#[tokio::test]
async fn events_reach_streams_and_channels_once_whatever_breaks() {
    let mut redis = Redis::start().await;
    let port = redis.port;
    let url = format!("redis://:s3cret%20word@127.0.0.1:{port}/0");
    let server = Server::with(&[("REDIS_URL", &url)]).await;
    let asks = graph::flow(&[graph::node("ask", "wait", json!({}))], &[]);
    let workflow = graph::save(&server, &asks).await;
    let channel = format!("workflow:events:{workflow}");
    let client = redis::Client::open(url.as_str()).unwrap();
    let mut subscriber = client.get_async_pubsub().await.unwrap();
    subscriber.subscribe(&channel).await.unwrap();

    let first = graph::begin(&server, &workflow, &json!({ "n": 1 })).await;
    graph::until(&server, &first, "ask", "waiting").await;
    let message = subscriber.on_message().next().await.unwrap();
    let event: Value = serde_json::from_str(&message.get_payload::<String>().unwrap()).unwrap();
    let kind = (&event["event_type"], &event["job_id"], &event["id"]);
    assert_eq!(kind, (&json!("workflow_started"), &json!(first), &json!(1)));
    let entries_of = async |redis: &Redis, count| {
        eventually("the events are there", async || {
            Some(stream(redis, &workflow).await).filter(|entries| entries.len() == count)
        })
        .await
    };
    let entries = entries_of(&redis, 3).await;
    let (_, entry) = &entries[0];
    assert_eq!(entry["event_type"], "workflow_started");
    assert_eq!(entry["workflow_id"], workflow);
    let data: Value = serde_json::from_str(&entry["data"]).unwrap();
    assert_eq!(data["input_data"], json!({ "n": 1 }));
    assert_eq!(entry["timestamp"], event["timestamp"].as_str().unwrap());

    // The server is killed after it has sent events and before it has noted it, as far as one can tell.
    let server = server.again().await;
    let approved = json!({ "choice": "approved" });
    assert_eq!(graph::signal(&server, &first, "ask", &approved).await.0, 200);
    let entries = entries_of(&redis, 5).await;
    let (first, all) = (first.as_str(), told(&entries));
    assert_eq!(all, [(first, "1"), (first, "2"), (first, "3"), (first, "4"), (first, "5")]);

    // Redis goes and comes back without what it had: what happened meanwhile is there, and nothing earlier but
    // what was sent just before and not yet noted.
    redis.child.kill().unwrap();
    redis.child.wait().unwrap();
    let second = graph::begin(&server, &workflow, &json!({})).await;
    graph::until(&server, &second, "ask", "waiting").await;
    redis = Redis::start_at(port).await;
    let second = second.as_str();
    let entries = eventually("the events are there", async || {
        let entries = stream(&redis, &workflow).await;
        let is_all = told(&entries).ends_with(&[(second, "3")]);
        is_all.then_some(entries)
    })
    .await;
    let now = [(first, "4"), (first, "5"), (second, "1"), (second, "2"), (second, "3")];
    let told = told(&entries);
    assert!(told.len() >= 3 && now.ends_with(&told), "{told:?}");
}

#[tokio::test]
async fn events_wait_for_a_redis_that_was_never_there() {
    let port = free_port();
    let url = format!("redis://:s3cret%20word@127.0.0.1:{port}/0");
    let server = Server::with(&[("REDIS_URL", &url)]).await;
    let workflow = graph::save(&server, &graph::flow(&[graph::gives("one", "1")], &[])).await;
    let job = graph::begin(&server, &workflow, &json!({})).await;
    graph::ended(&server, &job).await;
    let redis = Redis::start_at(port).await;
    let entries = eventually("the events are there", async || {
        Some(stream(&redis, &workflow).await).filter(|entries| entries.len() == 4)
    })
    .await;
    assert_eq!(told(&entries), ["1", "2", "3", "4"].map(|id| (job.as_str(), id)));
}

#[tokio::test]
async fn streams_are_trimmed_and_may_be_switched_off() {
    let redis = Redis::start().await;
    let url = format!("redis://:s3cret%20word@127.0.0.1:{}/0", redis.port);
    let wordy = graph::flow(&[graph::gives("one", "1")], &[]);
    let mut lengths = Vec::new();
    for length in ["1", "0"] {
        let server =
            Server::with(&[("REDIS_URL", &url), ("WAYSTATION_REDIS_EVENTS", length)]).await;
        let workflow = graph::save(&server, &wordy).await;
        for _ in 0..60 {
            graph::execute(&server, &workflow, &json!({})).await;
        }
        let last = graph::begin(&server, &workflow, &json!({})).await;
        graph::ended(&server, &last).await;
        if length != "0" {
            eventually("the last event is there", async || {
                let entries = stream(&redis, &workflow).await;
                let (_, entry) = entries.last()?;
                (entry["job_id"] == last && entry["id"] == "4").then_some(())
            })
            .await;
        }
        lengths.push(stream(&redis, &workflow).await.len());
    }
    // Redis trims by whole nodes of a hundred entries.
    assert!((1..=200).contains(&lengths[0]), "{lengths:?}");
    assert_eq!(lengths[1], 0);
}

#[tokio::test]
async fn runs_go_on_while_redis_is_down_and_their_outputs_follow() {
    let port = free_port();
    let url = format!("redis://:s3cret%20word@127.0.0.1:{port}/0");
    let server = Server::with(&[("REDIS_URL", &url)]).await;
    run(&server, "early").await;
    let status = until_state(&server, "down").await;
    assert!(status["last_error"].is_string(), "{status}");
    assert!(!server.log().contains("s3cret"), "{}", server.log());

    let mut redis = Redis::start_at(port).await;
    assert_eq!(redis.value("early:output:one_out").await.0, json!({ "made by": "early" }));
    until_state(&server, "connected").await;

    redis.child.kill().unwrap();
    redis.child.wait().unwrap();
    run(&server, "between").await;
    until_state(&server, "down").await;
    let redis = Redis::start_at(port).await;
    assert_eq!(redis.value("between:output:one_out").await.0, json!({ "made by": "between" }));

    // Alive, and answering nobody.
    signal(redis.child.id(), "STOP");
    run(&server, "stalled").await;
    until_state(&server, "down").await;
    signal(redis.child.id(), "CONT");
    assert_eq!(redis.value("stalled:output:one_out").await.0, json!({ "made by": "stalled" }));
    let status = until_state(&server, "connected").await;
    assert_eq!(status["last_error"], Value::Null);
    let metrics = server.request(reqwest::Method::GET, "/metrics").send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains(r#"waystation_redis_writes_total{result="written"}"#), "{metrics}");
}

#[tokio::test]
async fn a_line_that_stalls_holds_no_run_up() {
    let redis = Redis::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap().port();
    let stalls = Arc::new(AtomicBool::new(false));
    let (flag, upstream) = (Arc::clone(&stalls), redis.port);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(relay(stream, upstream, Arc::clone(&flag)));
        }
    });
    let url = format!("redis://:s3cret%20word@127.0.0.1:{proxy}/");
    let server = Server::with(&[("REDIS_URL", &url)]).await;
    run(&server, "before").await;
    redis.value("before:output:one_out").await;
    stalls.store(true, Ordering::SeqCst);
    for number in 0..5 {
        run(&server, &format!("during-{number}")).await;
    }
    until_state(&server, "down").await;
    stalls.store(false, Ordering::SeqCst);
    for number in 0..5 {
        redis.value(&format!("during-{number}:output:one_out")).await;
    }
}

/// Passes bytes on, except while it stalls.
async fn relay(mut near: TcpStream, upstream: u16, stalls: Arc<AtomicBool>) -> Option<()> {
    let mut far = TcpStream::connect(("127.0.0.1", upstream)).await.ok()?;
    let (mut from_near, mut from_far) = ([0; 8_192], [0; 8_192]);
    loop {
        let (bytes, to) = tokio::select! {
            count = near.read(&mut from_near) => (&from_near[..count.ok()?], &mut far),
            count = far.read(&mut from_far) => (&from_far[..count.ok()?], &mut near),
        };
        if bytes.is_empty() {
            return None;
        }
        while stalls.load(Ordering::SeqCst) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        to.write_all(bytes).await.ok()?;
    }
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_redis() {
    let mut server = Server::with(&[("REDIS_URL", "redis://127.0.0.1:9/")]).await;
    run(&server, "one").await;
    assert!(server.stop().await < std::time::Duration::from_secs(10));
}

#[tokio::test]
async fn upstash_is_spoken_to_by_http() {
    let upstash = Target::start(async |request, before| match before {
        0 => reply(500, "not yet"),
        _ if request.header("authorization") != "Bearer t0ken" => reply(401, "{}"),
        _ => reply(200, r#"{"result":"OK"}"#),
    });
    let upstash = upstash.await;
    let url = upstash.url("");
    let server = Server::with(&[("UPSTASH_REST_URL", &url), ("UPSTASH_REST_TOKEN", "t0ken")]).await;
    run(&server, "up").await;
    let command = eventually("the output is written", async || {
        let last = upstash.received().pop()?.json();
        (last[0] == "SET" && upstash.received().len() > 1).then_some(last)
    })
    .await;
    let expected = json!(["SET", "up:output:one_out", r#"{"made by":"up"}"#, "EX", "3600"]);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let words: Vec<String> = command.as_array().unwrap().iter().map(text).collect();
    let wanted: Vec<String> = expected.as_array().unwrap().iter().map(text).collect();
    assert_eq!(words, wanted);
    until_state(&server, "connected").await;
    assert!(!server.log().contains("t0ken"));
}

#[tokio::test]
async fn events_reach_upstash_several_at_once_and_in_order() {
    let upstash = Target::start(async |request, before| {
        let known =
            r#"{"error":"ERR The ID specified in XADD is equal or smaller than the target"}"#;
        match (request.path.as_str(), before) {
            ("/pipeline", 0) => reply(503, "not yet"),
            // The first event is there already.
            ("/pipeline", 1) => {
                let more = request.json().as_array().unwrap().len() - 1;
                reply(200, format!("[{known}{}]", r#",{"result":"1-1"}"#.repeat(more)))
            }
            ("/pipeline", _) => {
                let all = request.json().as_array().unwrap().len();
                reply(200, format!("[{}]", vec![r#"{"result":1}"#; all].join(",")))
            }
            _ => reply(200, r#"{"result":"OK"}"#),
        }
    });
    let upstash = upstash.await;
    let url = upstash.url("");
    let server = Server::with(&[("UPSTASH_REST_URL", &url), ("UPSTASH_REST_TOKEN", "t0ken")]).await;
    let workflow = graph::save(&server, &graph::flow(&[graph::gives("one", "1")], &[])).await;
    let job = graph::begin(&server, &workflow, &json!({})).await;
    let key = format!("workflow:events:{workflow}");
    let commands = eventually("the last event is published", async || {
        let sent = upstash.received().into_iter().filter(|request| request.path == "/pipeline");
        // Of the first nothing was taken.
        let commands = sent.skip(1).flat_map(|request| {
            assert_eq!(request.header("authorization"), "Bearer t0ken");
            request.json().as_array().unwrap().clone()
        });
        let commands: Vec<Value> = commands.collect();
        let is_last = |command: &Value| command.to_string().contains("workflow_completed");
        let told = |command: &Value| command[0] == "PUBLISH" && is_last(command);
        commands.last().is_some_and(told).then_some(commands)
    })
    .await;
    assert!(commands.iter().all(|command| command[1] == key.as_str()), "{commands:#?}");
    let of = |name: &str| commands.iter().filter(|command| command[0] == *name).cloned().collect();
    let (added, told): (Vec<Value>, Vec<Value>) = (of("XADD"), of("PUBLISH"));
    let kinds: Vec<&str> = added.iter().map(|command| command[7].as_str().unwrap()).collect();
    let expected = ["workflow_started", "node_started", "node_completed", "workflow_completed"];
    assert_eq!(kinds, expected);
    let told: Vec<Value> = told
        .iter()
        .map(|command| serde_json::from_str(command[2].as_str().unwrap()).unwrap())
        .collect();
    let ids: Vec<&Value> = told.iter().map(|event| &event["id"]).collect();
    assert_eq!(ids, [2, 3, 4], "the one that was known is not told again");
    assert!(told.iter().all(|event| event["job_id"] == job.as_str()));
}

#[tokio::test]
async fn without_redis_health_is_silent_about_it() {
    let server = Server::start().await;
    assert_eq!(server.get("/health").await.1.get("details"), None);
}
