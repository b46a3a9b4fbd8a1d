//! A PostgreSQL server.

use std::time::{Duration, Instant};

use super::servers::{Certificate, ENCODED, PASSWORD, postgres};
use super::*;

fn config(host: &str, port: u16) -> Value {
    let connection = format!("postgres://waystation:{ENCODED}@{host}:{port}/postgres");
    json!({ "source_type": "postgres", "connection": connection })
}

async fn write(source: &DataSource, base: &Value, query: &str) -> Value {
    let config = with(base, json!({ "query": query, "write": true }));
    attempt(source, config).await.unwrap_or_else(|failure| panic!("{query}: {failure:?}")).output
}

#[tokio::test]
async fn values_come_back_as_they_went_in_and_change_nothing() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(&source, &base, "CREATE TABLE t (id int, name text)").await;
    write(&source, &base, "INSERT INTO t VALUES (1, 'one')").await;
    check_that_values_stay_values(&source, &base, false).await;
    let nul = with(&base, json!({ "query": "SELECT $1::text", "parameters": ["a\u{0}b"] }));
    let failure = failure(&source, nul).await;
    assert!(failure.message.contains("invalid byte sequence"), "{}", failure.message);
}

#[tokio::test]
async fn values_of_all_kinds_have_a_form_in_json() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(&source, &base, "CREATE TYPE mood AS ENUM ('sad', 'happy')").await;
    write(&source, &base, "CREATE DOMAIN year AS int CHECK (VALUE > 0)").await;
    let query = "SELECT 1::int2 AS small, -2::int4 AS whole, 9007199254740993::int8 AS big, \
        0.1::float4 AS single, 'NaN'::float8 AS nan, 19.90::numeric AS price, \
        -0.00012::numeric AS tiny, 10000::numeric AS round, 123456789012345678901.5::numeric AS exact, \
        'é'::varchar AS text, true AS truth, null AS nothing, '{\"a\": [1]}'::jsonb AS doc, \
        '[1, 2]'::json AS list, '2024-02-29 12:00:00.5+02'::timestamptz AS instant, \
        '2024-02-29 12:00'::timestamp AS clock, '1999-12-31'::date AS day, '23:59:59'::time AS time, \
        'infinity'::timestamptz AS never, '6f1e7a52-3c5b-4a6f-9b9d-0a1b2c3d4e5f'::uuid AS id, \
        '\\x00ff'::bytea AS bytes, ARRAY[[1, null], [3, 4]] AS grid, ARRAY['a,b', '\"'] AS words, \
        'happy'::mood AS mood, 2024::year AS year, '10.0.0.0/8'::cidr AS net, \
        '1 day'::interval AS span, int4range(1, 5) AS range, ARRAY['1 h'::interval] AS spans, \
        '(1,2)'::point AS point, 1 AS twice, 2 AS twice";
    let rows = rows(&source, with(&base, json!({ "query": query }))).await;
    insta::assert_json_snapshot!(rows);
    let record = with(&base, json!({ "query": "SELECT ROW(1, 2) AS pair" }));
    let failure = failure(&source, record).await;
    assert!(failure.message.contains("column `pair`"), "{}", failure.message);
}

#[tokio::test]
async fn values_take_the_types_of_their_places() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    let query = "SELECT $1::int + 1 AS next, $2::bool AS truth, $3::jsonb AS doc, $4::text[] AS list, \
        $5::numeric AS price, $6::timestamptz AS time, $7::int[] AS numbers, $8::text AS nothing, \
        $9::json AS text";
    let list = json!(["a,b", "\"q\"", "back\\slash", "{x}", null, "NULL", ""]);
    let parameters =
        json!([41, true, { "a": "'" }, list, 19.9, "2024-01-02T03:04:05Z", [1, null], null, "x"]);
    let rows =
        rows(&source, with(&base, json!({ "query": query, "parameters": parameters }))).await;
    let expected = json!([{
        "next": 42, "truth": true, "doc": { "a": "'" }, "list": list, "price": 19.9,
        "time": "2024-01-02T03:04:05Z", "numbers": [1, null], "nothing": null, "text": "x",
    }]);
    assert_eq!(rows, expected);
    let few = with(&base, json!({ "query": "SELECT $1::int, $2::int", "parameters": [1] }));
    let failure = failure(&source, few).await;
    assert_eq!(failure.message, "parameters: the query has 2 places, and 1 values are given");
}

#[tokio::test]
async fn the_server_itself_refuses_to_write() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(&source, &base, "CREATE TABLE t (id int, name text)").await;
    write(&source, &base, "CREATE SEQUENCE s").await;
    write(
        &source,
        &base,
        "CREATE FUNCTION sneak() RETURNS int LANGUAGE plpgsql AS \
         $$ BEGIN INSERT INTO t VALUES (1, 'x'); RETURN 1; END $$",
    )
    .await;
    write(&source, &base, "CREATE PROCEDURE leave() LANGUAGE plpgsql AS $$ BEGIN COMMIT; INSERT INTO t VALUES (2, 'x'); END $$").await;
    for query in [
        "INSERT INTO t VALUES (1, 'x')",
        "WITH x AS (INSERT INTO t VALUES (1, 'x') RETURNING 1) SELECT * FROM x",
        "SELECT sneak()",
        "CALL leave()",
        "DROP TABLE t",
        "CREATE TABLE u (id int)",
        "SELECT nextval('s')",
        "TRUNCATE t",
        "DO $$ BEGIN SET TRANSACTION READ WRITE; INSERT INTO t VALUES (1, 'x'); END $$",
        "DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); INSERT INTO t VALUES (1, 'x'); END $$",
        "DO $$ BEGIN COMMIT; INSERT INTO t VALUES (1, 'x'); END $$",
        "SELECT 1; INSERT INTO t VALUES (1, 'x')",
        "COMMIT; INSERT INTO t VALUES (1, 'x')",
        "COPY t FROM STDIN",
    ] {
        let failure = unguarded(&source, &with(&base, json!({ "query": query }))).await;
        let failure = failure.expect_err(query);
        assert_eq!(
            failure.class,
            if query.starts_with("COPY") { failure.class } else { Class::Fatal },
            "{query}"
        );
        let is_named = failure.hint.as_deref().unwrap_or_default().contains("write: true");
        let is_insert = query.starts_with("INSERT");
        assert!(is_named || !is_insert, "{query}: {failure:?}");
    }
    // What ends or opens the transaction by itself leaves nothing behind for the next query.
    for query in ["COMMIT", "ROLLBACK", "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE"] {
        let _ = unguarded(&source, &with(&base, json!({ "query": query }))).await;
        let insert = with(&base, json!({ "query": "INSERT INTO t VALUES (1, 'x')" }));
        unguarded(&source, &insert).await.expect_err("a write");
    }
    let rows = rows(&source, with(&base, json!({ "query": "SELECT * FROM t" }))).await;
    assert_eq!(rows, json!([]));
}

#[tokio::test]
async fn questions_alone_are_sent() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    let folder = tempfile::TempDir::new().expect("a directory");
    let mark = folder.path().join("mark");
    // The server has a user of its own, which may write here.
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).expect("a mode");
    let program = format!("COPY (SELECT 1) TO PROGRAM 'touch {}'", mark.display());
    let file = format!("COPY (SELECT 1) TO '{}'", mark.display());
    let others = [
        program.as_str(),
        &file,
        &format!("/* SELECT */ {program}"),
        &format!("/* /* */ SELECT */ {program}"),
        &format!("DO $$ BEGIN {program}; END $$"),
        "SET statement_timeout = 0",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "CHECKPOINT",
    ];
    check_that_questions_alone_are_sent(&source, &base, &others).await;
    // Nothing follows a question.
    for query in [format!("SELECT 1; {program}"), format!("SELECT 1;{file}")] {
        let several = failure(&source, with(&base, json!({ "query": query }))).await;
        assert!(several.message.contains("multiple commands"), "{}", several.message);
    }
    assert!(!mark.exists());
    for query in [
        "TABLE pg_cast",
        "(VALUES (1))",
        "SHOW work_mem",
        "EXPLAIN SELECT 1",
        "/* a /* b */ */ WITH x AS (SELECT 1) SELECT * FROM x;",
    ] {
        rows(&source, with(&base, json!({ "query": query }))).await;
    }
}

#[tokio::test]
async fn a_write_is_kept_and_counted() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(
        &source,
        &base,
        "CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED, name text)",
    )
    .await;
    let insert = "INSERT INTO t SELECT n, 'x' FROM generate_series(1, 5) AS n RETURNING id";
    let written = with(&base, json!({ "query": insert, "write": true, "limit": 2 }));
    let written = attempt(&source, written).await.expect("a write").output;
    assert_eq!(written["rows"], json!([{ "id": 1 }, { "id": 2 }]));
    assert_eq!(written["truncated"], json!(true));
    let updated = write(&source, &base, "UPDATE t SET name = 'y' WHERE id > 3").await;
    assert_eq!((&updated["affected"], &updated["count"]), (&json!(2), &json!(0)));
    let all = rows(&source, with(&base, json!({ "query": "SELECT count(*) AS n FROM t" }))).await;
    assert_eq!(all, json!([{ "n": 5 }]));
    // What only fails at the end fails too.
    let twice = with(&base, json!({ "query": "INSERT INTO t VALUES (1, 'z')", "write": true }));
    let failure = failure(&source, twice).await;
    assert!(failure.message.contains("SQLSTATE 23505"), "{}", failure.message);
    assert_eq!(failure.class, Class::Fatal);
}

#[tokio::test]
async fn only_so_many_rows_are_read_and_the_connection_is_used_again() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    check_the_limit(&source, &base, "SELECT generate_series(1, 100000000) AS n").await;
    let process = json!({ "query": "SELECT pg_backend_pid() AS id" });
    let first = rows(&source, with(&base, process.clone())).await;
    // What a query leaves in its session does not reach the next one.
    let set = json!({ "query": "SELECT set_config('search_path', 'nowhere', false), pg_advisory_lock(1)" });
    rows(&source, with(&base, set)).await;
    let path = json!({ "query": "SELECT current_setting('search_path') AS path, \
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS locks" });
    let path = rows(&source, with(&base, path)).await;
    assert_eq!(path, json!([{ "path": "\"$user\", public", "locks": 0 }]));
    assert_eq!(rows(&source, with(&base, process)).await, first);
    // A connection that the server has closed is replaced.
    let end =
        json!({ "query": "SELECT pg_terminate_backend($1::int)", "parameters": [first[0]["id"]] });
    let other = source_with(open_client(), None);
    rows(&other, with(&base, end)).await;
    assert_eq!(
        rows(&source, with(&base, json!({ "query": "SELECT 1 AS one" }))).await,
        json!([{ "one": 1 }])
    );
    let wide = json!({ "query": "SELECT repeat('x', 100000000) AS wide" });
    let failure = failure(&source, with(&base, wide)).await;
    assert_eq!(failure.code, Code::LimitExceeded, "{failure:?}");
}

#[tokio::test]
async fn a_query_ends_with_its_attempt() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    let sleep = with(&base, json!({ "query": "SELECT pg_sleep(600)" }));
    let cut = tokio::time::timeout(Duration::from_secs(1), attempt(&source, sleep)).await;
    assert!(cut.is_err());
    let asleep =
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'";
    let start = Instant::now();
    while rows(&source, with(&base, json!({ "query": asleep }))).await != json!([]) {
        assert!(start.elapsed() < Duration::from_secs(60), "the query goes on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn failures_say_what_and_hold_no_password() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    let wrong = failure(&source, with(&base, json!({ "query": "SELECT nme FROM t" }))).await;
    assert_eq!(wrong.code, Code::QueryFailed);
    assert_eq!(wrong.message, "PostgreSQL: relation \"t\" does not exist (SQLSTATE 42P01)");
    let connection =
        format!("postgres://waystation:no-{ENCODED}@127.0.0.1:{}/postgres", server.port);
    let stranger =
        json!({ "source_type": "postgres", "connection": connection, "query": "SELECT 1" });
    let stranger = failure(&source, stranger).await;
    assert!(stranger.message.contains("password authentication failed"), "{}", stranger.message);
    assert_eq!(stranger.class, Class::Fatal);
    let quoted = with(&base, json!({ "query": "SELECT $1::int", "parameters": [PASSWORD] }));
    for failure in [wrong, stranger, failure(&source, quoted).await] {
        assert!(!format!("{failure:?}").contains(PASSWORD), "{failure:?}");
    }
    let config = |port| with(&config("127.0.0.1", port), json!({ "query": "SELECT 1" }));
    check_unreachable(config, ENCODED).await;
}

#[tokio::test]
async fn a_private_connection_is_made_with_the_named_host_alone() {
    let certificate = Certificate::for_localhost();
    let server = postgres(Some(&certificate)).await;
    let query = json!({ "query": "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()" });
    let private = |host: &str| {
        let mut config = with(&config(host, server.port), query.clone());
        let connection = config["connection"].as_str().unwrap().to_owned();
        config["connection"] = format!("{connection}?sslmode=require").into();
        config
    };
    let trusting = source_with(open_client(), Some(certificate.trust()));
    assert_eq!(rows(&trusting, private("localhost")).await, json!([{ "ssl": true }]));
    // The address is right, the name is not that of the certificate.
    let stranger = failure(&trusting, private("127.0.0.1")).await;
    assert!(stranger.message.contains("certificate"), "{}", stranger.message);
    // The machine does not trust the authority.
    let doubting = failure(&source(), private("localhost")).await;
    assert!(doubting.message.contains("certificate"), "{}", doubting.message);
    // A private address may be asked in the open, where nobody says otherwise.
    let open = with(&config("localhost", server.port), query);
    assert_eq!(rows(&trusting, open).await, json!([{ "ssl": false }]));
}

#[tokio::test]
async fn a_write_that_may_have_happened_is_not_tried_again() {
    let server = postgres(None).await;
    let (source, base) = (source(), config("127.0.0.1", server.port));
    write(&source, &base, "CREATE TABLE t (id int)").await;
    let again = |config: Value, is_repeated: bool, number: u32| {
        let context = AttemptContext::new(
            Arc::new(crate::node::context::RunContext::new(
                crate::id::RunId::new(),
                Arc::new(tokio::sync::Semaphore::new(1)),
            )),
            (0, number),
            Default::default(),
            Vec::new(),
        );
        Call { is_repeated, context, ..call(config) }
    };
    let insert = with(&base, json!({ "query": "INSERT INTO t VALUES (1)", "write": true }));
    for (is_repeated, number) in [(true, 1), (false, 2)] {
        let cut = source.attempt(again(insert.clone(), is_repeated, number)).await.unwrap_err();
        assert_eq!((cut.code, cut.class), (Code::WriteUncertain, Class::Fatal));
    }
    // A connection that breaks while the statement is under way leaves it open what happened.
    let suicide = "SELECT pg_terminate_backend(pg_backend_pid())";
    let broken = with(&base, json!({ "query": suicide, "write": true }));
    assert_eq!(failure(&source, broken).await.code, Code::WriteUncertain);
    let broken = with(&base, json!({ "query": suicide }));
    assert!(matches!(failure(&source, broken).await.class, Class::Retryable { .. }));
    // One that never reached the server is tried again.
    let unsent = with(
        &config("127.0.0.1", servers::free_port()),
        json!({ "query": "SELECT 1", "write": true }),
    );
    let unsent = failure(&source, unsent).await;
    assert!(matches!(unsent.class, Class::Retryable { .. }), "{unsent:?}");
    assert!(source.attempt(again(insert, false, 2)).await.is_ok());
    let count = rows(&source, with(&base, json!({ "query": "SELECT count(*) AS n FROM t" }))).await;
    assert_eq!(count, json!([{ "n": 1 }]));
}
