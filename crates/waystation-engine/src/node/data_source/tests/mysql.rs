//! A MariaDB server, which speaks MySQL's protocol.

use super::servers::{Certificate, ENCODED, PASSWORD, mariadb};
use super::*;

fn config(host: &str, port: u16) -> Value {
    let connection = format!("mysql://waystation:{ENCODED}@{host}:{port}/test");
    json!({ "source_type": "mysql", "connection": connection })
}

async fn write(source: &DataSource, base: &Value, query: &str) -> Value {
    let config = with(base, json!({ "query": query, "write": true }));
    attempt(source, config).await.unwrap_or_else(|failure| panic!("{query}: {failure:?}")).output
}

#[tokio::test]
async fn values_come_back_as_they_went_in_and_change_nothing() {
    let server = mariadb(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(&source, &base, "CREATE TABLE t (id int, name text)").await;
    write(&source, &base, "INSERT INTO t VALUES (1, 'one')").await;
    check_that_values_stay_values(&source, &base, true).await;
    let named = json!({ "query": "SELECT :a AS a, :b AS b, ':a' AS text", "parameters": { "a": "'", "b": 2 } });
    assert_eq!(
        rows(&source, with(&base, named)).await,
        json!([{ "a": "'", "b": 2, "text": ":a" }])
    );
    let missing = json!({ "query": "SELECT :a", "parameters": { "b": 2 } });
    let missing = failure(&source, with(&base, missing)).await;
    assert_eq!(
        (missing.code, missing.class),
        (Code::DefinitionInvalid, Class::Fatal),
        "{missing:?}"
    );
}

#[tokio::test]
async fn values_of_all_kinds_have_a_form_in_json() {
    let server = mariadb(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(
        &source,
        &base,
        "CREATE TABLE v (tiny tinyint, big bigint unsigned, single float, price decimal(20, 2), bits bit(3), \
         text varchar(9), bytes blob, doc json, day date, time time(3), clock datetime, instant timestamp, \
         year year, kind enum('a', 'b'), nothing int)",
    )
    .await;
    write(
        &source,
        &base,
        "INSERT INTO v VALUES (-1, 18446744073709551615, 0.1, 19.90, b'101', 'é', x'00ff', '{\"a\":1}', \
         '1999-12-31', '-100:00:01.5', '2024-02-29 12:00:00', '2024-02-29 12:00:00', 2024, 'b', null)",
    )
    .await;
    let rows = rows(&source, with(&base, json!({ "query": "SELECT * FROM v" }))).await;
    insta::assert_json_snapshot!(rows);
}

#[tokio::test]
async fn the_server_itself_refuses_to_write() {
    let server = mariadb(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(&source, &base, "CREATE TABLE t (id int) ENGINE=InnoDB").await;
    write(
        &source,
        &base,
        "CREATE PROCEDURE leave_it() BEGIN COMMIT; INSERT INTO t VALUES (2); END",
    )
    .await;
    write(
        &source,
        &base,
        "CREATE FUNCTION sneak() RETURNS int BEGIN INSERT INTO t VALUES (3); RETURN 1; END",
    )
    .await;
    for query in [
        "INSERT INTO t VALUES (1)",
        "SELECT sneak()",
        "CALL leave_it()",
        "DROP TABLE t",
        "CREATE TABLE u (id int)",
        "TRUNCATE TABLE t",
        "SELECT 1; INSERT INTO t VALUES (1)",
        "BEGIN NOT ATOMIC COMMIT; INSERT INTO t VALUES (1); END",
    ] {
        let failure = unguarded(&source, &with(&base, json!({ "query": query }))).await;
        let failure = failure.expect_err(query);
        assert_eq!(failure.class, Class::Fatal, "{query}");
        let is_named = failure.hint.as_deref().unwrap_or_default().contains("write: true");
        assert!(is_named || !query.starts_with("INSERT"), "{query}: {failure:?}");
    }
    for query in ["COMMIT", "SET SESSION TRANSACTION READ WRITE"] {
        let _ = unguarded(&source, &with(&base, json!({ "query": query }))).await;
        let insert = with(&base, json!({ "query": "INSERT INTO t VALUES (1)" }));
        unguarded(&source, &insert).await.expect_err("a write");
    }
    let count = rows(&source, with(&base, json!({ "query": "SELECT count(*) AS n FROM t" }))).await;
    assert_eq!(count, json!([{ "n": 0 }]));
}

#[tokio::test]
async fn questions_alone_are_sent() {
    let server = mariadb(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    let others = [
        "SHUTDOWN",
        "/* /* */ SHUTDOWN -- */ SELECT 1",
        "/*! SHUTDOWN */",
        "/*M! SHUTDOWN */",
        "SELECT 1 INTO OUTFILE '/tmp/waystation-mark'",
        "SELECT 1 INTO dumpFile '/tmp/waystation-mark'",
        "SET GLOBAL max_connections = 1",
        "FLUSH TABLES",
        "KILL 1",
        "BEGIN NOT ATOMIC SHUTDOWN; END",
    ];
    check_that_questions_alone_are_sent(&source, &base, &others).await;
    // Nothing follows a question.
    for query in ["SELECT 1; SHUTDOWN", "SELECT 1;SHUTDOWN;", "SHOW TABLES; SET GLOBAL x = 1"] {
        let several = failure(&source, with(&base, json!({ "query": query }))).await;
        assert!(several.message.contains("(error 1064)"), "{}", several.message);
    }
    for query in [
        "# why\n(SELECT 1 AS one)",
        "VALUES (1)",
        "SHOW TABLES",
        "EXPLAIN SELECT 1",
        "DESC information_schema.tables",
        "-- why\nWITH x AS (SELECT 1 AS one) SELECT * FROM x;",
    ] {
        rows(&source, with(&base, json!({ "query": query }))).await;
    }
}

#[tokio::test]
async fn a_write_is_kept_and_counted_and_only_so_many_rows_are_read() {
    let server = mariadb(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(&source, &base, "CREATE TABLE t (id int PRIMARY KEY)").await;
    let written =
        write(&source, &base, "INSERT INTO t SELECT seq FROM seq_1_to_10 RETURNING id").await;
    assert_eq!((&written["affected"], &written["count"]), (&Value::Null, &json!(10)), "{written}");
    let updated = write(&source, &base, "DELETE FROM t WHERE id > 8").await;
    assert_eq!(updated["affected"], json!(2));
    check_the_limit(&source, &base, "SELECT id FROM t").await;
    check_the_limit(&source, &base, "SELECT seq FROM seq_1_to_100000000").await;
    check_the_limit(&source, &base, "SELECT seq FROM seq_1_to_100000000 LIMIT 90000000").await;
    let wide = with(&base, json!({ "query": "SELECT repeat('x', 15000000) AS wide" }));
    assert_eq!(failure(&source, wide).await.code, Code::LimitExceeded);
    // The connection is used again, and forgets what a query has set.
    let id = json!({ "query": "SELECT connection_id() AS id, @kept AS kept" });
    let first = rows(&source, with(&base, id.clone())).await;
    rows(&source, with(&base, json!({ "query": "SELECT @kept := 1 AS kept" }))).await;
    assert_eq!(rows(&source, with(&base, id)).await, first);
}

#[tokio::test]
async fn failures_say_what_and_hold_no_password() {
    let server = mariadb(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    let wrong = failure(&source, with(&base, json!({ "query": "SELECT * FROM nowhere" }))).await;
    assert_eq!(wrong.message, "MySQL: Table 'test.nowhere' doesn't exist (error 1146)");
    let connection = format!("mysql://waystation:no-{ENCODED}@127.0.0.1:{}/test", server.port);
    let stranger = json!({ "source_type": "mysql", "connection": connection, "query": "SELECT 1" });
    let stranger = failure(&source, stranger).await;
    assert!(stranger.message.contains("Access denied"), "{}", stranger.message);
    for failure in [wrong, stranger] {
        assert!(!format!("{failure:?}").contains(PASSWORD), "{failure:?}");
    }
    let config = |port| with(&config("127.0.0.1", port), json!({ "query": "SELECT 1" }));
    check_unreachable(config, ENCODED).await;
}

#[tokio::test]
async fn a_private_connection_is_made_with_the_named_host_alone() {
    let certificate = Certificate::for_localhost();
    let server = mariadb(Some(&certificate)).await;
    let query = json!({ "query": "SHOW SESSION STATUS LIKE 'Ssl_version'" });
    let private = |host: &str| {
        let mut config = with(&config(host, server.port), query.clone());
        let connection = config["connection"].as_str().unwrap().to_owned();
        config["connection"] = format!("{connection}?ssl-mode=REQUIRED").into();
        config
    };
    let trusting = source_with(open_client(), Some(certificate.trust()));
    let version = rows(&trusting, private("localhost")).await;
    assert!(version[0]["Value"].as_str().unwrap().starts_with("TLS"), "{version}");
    let stranger = failure(&trusting, private("127.0.0.1")).await;
    assert!(stranger.message.contains("certificate"), "{}", stranger.message);
    let doubting = failure(&source(), private("localhost")).await;
    assert!(doubting.message.contains("certificate"), "{}", doubting.message);
    let open = rows(&trusting, with(&config("localhost", server.port), query)).await;
    assert_eq!(open[0]["Value"], json!(""));
}
