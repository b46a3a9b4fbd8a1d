//! The sink against a real Redis that is killed, stopped and started, and against a stand-in for Upstash.

pub(crate) mod server;
mod upstash;
mod values;

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use server::{PASSWORD, Server};
use upstash::Upstash;

const DEADLINE: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_secs(10);

fn sink(settings: &[(&str, String)]) -> OutputSink {
    let lookup = |name: &str| {
        settings.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    };
    OutputSink::start(RedisConfig::from_lookup(lookup).unwrap().unwrap())
}

fn sink_for(port: u16) -> OutputSink {
    sink(&[
        ("REDIS_HOST", "127.0.0.1".into()),
        ("REDIS_PORT", port.to_string()),
        ("REDIS_PASSWORD", PASSWORD.into()),
    ])
}

/// Waits until the status is as it should be.
async fn until(sink: &OutputSink, holds: impl Fn(&RedisStatus) -> bool) -> RedisStatus {
    let start = Instant::now();
    loop {
        let status = sink.status();
        if holds(&status) {
            return status;
        }
        assert!(start.elapsed() < DEADLINE, "still {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn put(sink: &OutputSink, name: &str, value: Value) {
    sink.put("w", name, Arc::new(value));
}

#[tokio::test]
async fn outputs_are_written_as_json_and_expire() {
    let server = Server::start().await;
    let sink = sink_for(server.port);
    put(&sink, "a", json!({"text": "é\n\"", "list": [1, null, true]}));
    put(&sink, "b", json!("old"));
    put(&sink, "b", json!("new"));
    let status = until(&sink, |status| status.written == 3).await;
    assert_eq!((status.state, status.last_error, status.queued), (RedisState::Connected, None, 0));
    assert_eq!(server.get("w:output:a").await, r#"{"text":"é\n\"","list":[1,null,true]}"#);
    assert_eq!(server.get("w:output:b").await, r#""new""#);
    assert!((3_500..=3_600).contains(&server.seconds_left("w:output:a").await));
}

#[tokio::test]
async fn an_address_may_hold_the_password() {
    let server = Server::start().await;
    let mut url = url::Url::parse(&format!("redis://127.0.0.1:{}", server.port)).unwrap();
    // `%` stays as it is in `set_password`, so it is spelled out first.
    url.set_password(Some(&PASSWORD.replace('%', "%25"))).unwrap();
    let sink = sink(&[("REDIS_URL", url.to_string())]);
    put(&sink, "a", json!(1));
    until(&sink, |status| status.written == 1).await;
}

#[tokio::test]
async fn a_redis_that_starts_late_gets_what_waited() {
    let port = server::free_port();
    let start = Instant::now();
    let sink = sink_for(port);
    for number in 0..1_000 {
        put(&sink, &format!("o{number}"), json!(number));
    }
    assert!(start.elapsed() < Duration::from_secs(2), "putting waits for nothing");
    let status = until(&sink, |status| status.state == RedisState::Down).await;
    assert!(status.last_error.is_some());
    assert_eq!((status.queued, status.written), (1_000, 0));

    let server = Server::start_at(port).await;
    let status = until(&sink, |status| status.written == 1_000).await;
    assert_eq!((status.state, status.last_error), (RedisState::Connected, None));
    assert_eq!(server.get("w:output:o999").await, "999");
}

#[tokio::test]
async fn a_redis_that_dies_is_noticed_and_found_again() {
    let mut server = Server::start().await;
    let sink = sink_for(server.port);
    put(&sink, "before", json!(1));
    until(&sink, |status| status.written == 1).await;

    server.kill();
    // Nothing is put: the idle connection is looked after.
    until(&sink, |status| status.state == RedisState::Down).await;
    put(&sink, "meanwhile", json!(2));

    let server = Server::start_at(server.port).await;
    until(&sink, |status| status.written == 2 && status.state == RedisState::Connected).await;
    assert_eq!(server.get("w:output:meanwhile").await, "2");
}

#[tokio::test]
async fn a_redis_that_hangs_delays_but_loses_nothing() {
    let server = Server::start().await;
    let sink = sink_for(server.port);
    until(&sink, |status| status.state == RedisState::Connected).await;

    server.signal("STOP");
    for number in 0..300 {
        put(&sink, &format!("o{number}"), json!(number));
    }
    let status = until(&sink, |status| status.state == RedisState::Down).await;
    assert_eq!((status.written, status.failed, status.queued), (0, 0, 300));
    server.signal("CONT");
    until(&sink, |status| status.written == 300).await;
    assert_eq!(server.get("w:output:o299").await, "299");
}

#[tokio::test]
async fn a_wrong_password_shows_at_once() {
    let server = Server::start().await;
    let sink = sink(&[("REDIS_URL", format!("redis://:wrong@127.0.0.1:{}", server.port))]);
    let status = until(&sink, |status| status.state == RedisState::Down).await;
    let error = status.last_error.unwrap();
    assert!(error.to_lowercase().contains("password") && !error.contains("wrong@"), "{error}");
}

#[tokio::test]
async fn what_redis_refuses_is_counted_and_stops_nothing() {
    let server = Server::start().await;
    let sink = sink_for(server.port);
    server.configure("maxmemory", "1").await;
    put(&sink, "a", json!(1));
    let status = until(&sink, |status| status.failed == 1).await;
    assert_eq!((status.state, status.queued), (RedisState::Connected, 0));
    assert!(status.last_error.unwrap().contains("OOM"));
    server.configure("maxmemory", "0").await;
    put(&sink, "a", json!(2));
    until(&sink, |status| status.written == 1).await;
    assert_eq!(server.get("w:output:a").await, "2");
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let sink = sink_for(server::free_port());
    let value = Arc::new(json!(1));
    for _ in 0..REDIS_QUEUE + 7 {
        sink.put("w", "o", Arc::clone(&value));
    }
    let status = sink.status();
    assert_eq!((status.queued, status.dropped), (REDIS_QUEUE as u64, 7));
}

#[tokio::test]
async fn large_values_fill_the_queue_by_their_size() {
    let sink = sink_for(server::free_port());
    let value = Arc::new(json!({"text": "x".repeat(REDIS_QUEUE_BYTES / 4)}));
    for _ in 0..5 {
        sink.put("w", "o", Arc::clone(&value));
    }
    put(&sink, "small", json!(1));
    assert_eq!((sink.status().queued, sink.status().dropped), (4, 2));
}

#[tokio::test]
async fn closing_writes_what_waits() {
    let server = Server::start().await;
    let sink = sink_for(server.port);
    for number in 0..1_000 {
        put(&sink, &format!("o{number}"), json!(number));
    }
    sink.close(SOON).await;
    assert_eq!(sink.status().written, 1_000);
    put(&sink, "late", json!(1));
    assert_eq!((sink.status().dropped, sink.status().queued), (1, 0));
}

#[tokio::test]
async fn closing_gives_up_in_time() {
    let sink = sink_for(server::free_port());
    put(&sink, "a", json!(1));
    let start = Instant::now();
    sink.close(Duration::from_millis(300)).await;
    assert!(start.elapsed() < SOON);
    assert_eq!((sink.status().dropped, sink.status().queued), (1, 0));

    let idle = sink_for(server::free_port());
    let start = Instant::now();
    idle.close(DEADLINE).await;
    assert!(start.elapsed() < SOON, "with nothing to write there is nothing to wait for");
}

#[tokio::test]
async fn upstash_gets_one_command_a_request_in_the_order_of_a_key() {
    let upstash = Upstash::start().await;
    let sink = sink(&upstash.settings("token"));
    for number in 0..50 {
        put(&sink, "same", json!(number));
        put(&sink, &format!("o{number}"), json!({"n": number}));
    }
    until(&sink, |status| status.written == 100).await;
    assert_eq!(sink.status().state, RedisState::Connected);
    assert_eq!(upstash.last("w:output:same"), json!(["SET", "w:output:same", "49", "EX", "3600"]));
    let other = json!(["SET", "w:output:o7", "{\"n\":7}", "EX", "3600"]);
    assert_eq!(upstash.last("w:output:o7"), other);
}

#[tokio::test]
async fn upstash_that_is_unwell_gets_what_waited() {
    let upstash = Upstash::start().await;
    upstash.answer_all(503, "upstream");
    let sink = sink(&upstash.settings("token"));
    put(&sink, "a", json!(1));
    let status = until(&sink, |status| status.state == RedisState::Down).await;
    assert_eq!(status.last_error.as_deref(), Some("HTTP 503 Service Unavailable"));
    upstash.answer_all(200, r#"{"result":"OK"}"#);
    until(&sink, |status| status.written == 1).await;
    upstash.answer_all(400, r#"{"error":"ERR max request size exceeded"}"#);
    put(&sink, "b", json!(1));
    let status = until(&sink, |status| status.failed == 1).await;
    assert_eq!(status.state, RedisState::Connected);
    assert_eq!(status.last_error.as_deref(), Some("ERR max request size exceeded"));
}

#[tokio::test]
async fn upstash_refuses_a_wrong_token() {
    let upstash = Upstash::start().await;
    let sink = sink(&upstash.settings("other"));
    let status = until(&sink, |status| status.state == RedisState::Down).await;
    assert_eq!(status.last_error.as_deref(), Some("HTTP 401 Unauthorized"));
}

#[tokio::test]
async fn one_output_that_breaks_the_connection_does_not_stop_the_others() {
    let upstash = Upstash::start().await;
    let sink = sink(&upstash.settings("token"));
    for name in ["a", upstash::POISON, "b"] {
        put(&sink, name, json!(1));
    }
    let status = until(&sink, |status| status.queued == 0).await;
    assert_eq!((status.written, status.failed), (2, 1));
}

#[test]
fn the_weight_is_close_to_the_length_of_the_json() {
    for value in [json!(null), json!("text"), json!([1, "a", [true]]), json!({"a": {"b": "c"}})] {
        let length = value.to_string().len();
        assert!((length..=length + 8 * length).contains(&weight(&value)), "{value}");
    }
}
