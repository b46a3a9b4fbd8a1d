//! A Redis server.

use super::*;
use crate::event::redis::tests::server::Server;

/// The password of the server, as it stands in an address.
const ENCODED: &str = "p%40ss%2Fw%23rd%20%3F%2541%3A%C3%A9%26%2B";

fn config(port: u16, query: Value) -> Value {
    let connection = format!("redis://:{ENCODED}@127.0.0.1:{port}/1");
    let source = json!({ "source_type": "redis", "connection": connection });
    with(&source, Value::from_iter([("query", query)]))
}

async fn write(source: &DataSource, port: u16, query: Value) {
    rows(source, with(&config(port, query), json!({ "write": true }))).await;
}

#[tokio::test]
async fn replies_become_rows() {
    let server = Server::start().await;
    let (source, port) = (source(), server.port);
    write(&source, port, json!(["HSET", "h", "a", 1, "b", "x y"])).await;
    write(&source, port, json!(["RPUSH", "l", "1", true, "3"])).await;
    write(&source, port, json!(["ZADD", "z", 1.5, "one"])).await;
    write(&source, port, json!(["SET", "s", "text"])).await;
    for (query, expected) in [
        (json!(["HGETALL", "h"]), json!([{ "a": "1", "b": "x y" }])),
        (json!(["hgetall", "none"]), json!([{}])),
        (
            json!(["LRANGE", "l", 0, -1]),
            json!([{ "value": "1" }, { "value": "true" }, { "value": "3" }]),
        ),
        (json!(["ZRANGE", "z", 0, -1, "WITHSCORES"]), json!([{ "value": ["one", 1.5] }])),
        (json!(["GET", "s"]), json!([{ "value": "text" }])),
        (json!(["GET", "none"]), json!([])),
        (json!(["EXISTS", "s"]), json!([{ "value": 1 }])),
        (json!(["OBJECT", "ENCODING", "s"]), json!([{ "value": "embstr" }])),
        (json!(["DBSIZE"]), json!([{ "value": 4 }])),
    ] {
        assert_eq!(rows(&source, config(port, query.clone())).await, expected, "{query}");
    }
    let some = with(&config(port, json!(["LRANGE", "l", 0, -1])), json!({ "limit": 2 }));
    let some = attempt(&source, some).await.expect("rows").output;
    assert_eq!((&some["count"], &some["truncated"]), (&json!(2), &json!(true)));
}

#[tokio::test]
async fn values_stay_values() {
    let server = Server::start().await;
    let source = source();
    for text in hostile_texts(100, true) {
        write(&source, server.port, json!(["SET", "k", text])).await;
        let given = rows(&source, config(server.port, json!(["GET", "k"]))).await;
        assert_eq!(given, json!([{ "value": text }]));
        assert_eq!(
            rows(&source, config(server.port, json!(["DBSIZE"]))).await,
            json!([{ "value": 1 }])
        );
    }
}

#[tokio::test]
async fn the_server_says_what_a_command_does() {
    let server = Server::start().await;
    let (source, port) = (source(), server.port);
    write(&source, port, json!(["SET", "k", "1"])).await;
    for (query, may_write_too) in [
        (json!(["SET", "k", "2"]), true),
        (json!(["DEL", "k"]), true),
        (json!(["GETDEL", "k"]), true),
        (json!(["FLUSHALL"]), true),
        (json!(["CONFIG", "GET", "requirepass"]), false),
        (json!(["CONFIG", "SET", "dir", "/tmp"]), false),
        (json!(["SHUTDOWN"]), false),
        (json!(["DEBUG", "SLEEP", "1"]), false),
        (json!(["MONITOR"]), false),
        (json!(["SUBSCRIBE", "c"]), false),
        (json!(["BLPOP", "l", "0"]), false),
        (json!(["WAIT", "1", "0"]), false),
        (json!(["EVAL", "return redis.call('SET', 'k', '2')", "0"]), false),
        (json!(["SELECT", "0"]), false),
        (json!(["MULTI"]), false),
        (json!(["AUTH", "x"]), false),
        (json!(["CLIENT", "KILL", "ID", "1"]), false),
        (json!(["MODULE", "LOAD", "/x"]), false),
        (json!(["SLAVEOF", "h", "1"]), false),
        (json!(["NOSUCH", "x"]), false),
        (json!(["OBJECT", "NOSUCH", "x"]), false),
        (json!(["OBJECT"]), false),
    ] {
        let refused = failure(&source, config(port, query.clone())).await;
        assert_eq!(refused.class, Class::Fatal, "{query}: {refused:?}");
        let is_hinted = refused.hint.as_deref().unwrap_or_default().contains("write: true");
        assert_eq!(is_hinted, may_write_too, "{query}: {refused:?}");
        if !may_write_too {
            let writing = with(&config(port, query.clone()), json!({ "write": true }));
            assert!(attempt(&source, writing).await.is_err(), "{query}");
        }
    }
    assert_eq!(rows(&source, config(port, json!(["GET", "k"]))).await, json!([{ "value": "1" }]));
    // A script that the server itself keeps from writing.
    let script = json!(["EVAL_RO", "return redis.call('SET', 'k', '2')", "0"]);
    let script = failure(&source, config(port, script)).await;
    assert!(script.message.contains("Write commands are not allowed"), "{}", script.message);
}

#[tokio::test]
async fn failures_say_what_and_hold_no_password() {
    let mut server = Server::start().await;
    let (source, port) = (source(), server.port);
    write(&source, port, json!(["SET", "k", "1"])).await;
    let wrong = failure(&source, config(port, json!(["HGETALL", "k"]))).await;
    assert!(wrong.message.contains("WRONGTYPE"), "{}", wrong.message);
    let mut stranger = config(port, json!(["GET", "k"]));
    stranger["connection"] = format!("redis://:no{ENCODED}@127.0.0.1:{port}").into();
    let stranger = failure(&source, stranger).await;
    assert_eq!(stranger.class, Class::Fatal, "{stranger:?}");
    for failure in [wrong, stranger] {
        assert!(!format!("{failure:?}").contains("w#rd"), "{failure:?}");
    }
    write(&source, port, json!(["SETRANGE", "big", 70_000_000, "x"])).await;
    let big = failure(&source, config(port, json!(["GET", "big"]))).await;
    assert_eq!(big.code, Code::LimitExceeded, "{big:?}");
    // A kept connection that has broken is replaced.
    assert!(attempt(&source, config(port, json!(["GET", "k"]))).await.is_ok());
    server.kill();
    let gone = failure(&source, config(port, json!(["GET", "k"]))).await;
    assert!(matches!(gone.class, Class::Retryable { .. }), "{gone:?}");
    let _server = Server::start_at(port).await;
    assert!(attempt(&source, config(port, json!(["GET", "k"]))).await.is_ok());
    check_unreachable(|port| config(port, json!(["GET", "k"])), ENCODED).await;
}
