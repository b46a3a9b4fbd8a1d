//! Files of SQLite.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;

use super::*;

/// A directory that may be read with a file in it, and one outside that may not.
struct Place {
    _folder: TempDir,
    source: DataSource,
    root: std::path::PathBuf,
    own: std::path::PathBuf,
}

impl Place {
    fn new() -> Place {
        let folder = TempDir::new().expect("a directory");
        let (root, own) = (folder.path().join("root"), folder.path().join("root/own"));
        fs::create_dir_all(&own).expect("a directory");
        fs::create_dir_all(root.join("sub")).expect("a directory");
        let script =
            "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO t VALUES (1, 'one');";
        for file in [
            root.join("a.db"),
            root.join("sub/b.db"),
            own.join("waystation.db"),
            folder.path().join("out.db"),
        ] {
            rusqlite::Connection::open(file)
                .expect("a file")
                .execute_batch(script)
                .expect("a table");
        }
        let files = Files::below(root.clone(), own.clone());
        let source = DataSource::new(Arc::new(open_client()), files);
        Place { _folder: folder, source, root, own }
    }
}

fn config(path: &str) -> Value {
    json!({ "source_type": "sqlite", "connection": path })
}

#[tokio::test]
async fn values_come_back_as_they_went_in_and_change_nothing() {
    let place = Place::new();
    check_that_values_stay_values(&place.source, &config("a.db"), true).await;
}

#[tokio::test]
async fn values_of_all_kinds_have_a_form_in_json() {
    let place = Place::new();
    let query = "SELECT 1 AS whole, 1.5 AS real, 9e999 AS infinite, 'é' AS text, x'00ff' AS bytes, \
        null AS none, ? AS truth, ? AS big, ? AS doc, ? AS float";
    let parameters = json!([true, u64::MAX, { "a": 1 }, 0.1]);
    let rows = rows(
        &place.source,
        with(&config("a.db"), json!({ "query": query, "parameters": parameters })),
    )
    .await;
    let expected = json!([{
        "whole": 1, "real": 1.5, "infinite": "Infinity", "text": "é", "bytes": "AP8=", "none": null,
        "truth": 1, "big": "18446744073709551615", "doc": "{\"a\":1}", "float": 0.1,
    }]);
    assert_eq!(rows, expected);
    let odd = with(&config("a.db"), json!({ "query": "SELECT CAST(x'ff' AS TEXT) AS odd" }));
    let failure = failure(&place.source, odd).await;
    assert!(failure.message.contains("column `odd`"), "{}", failure.message);
}

#[tokio::test]
async fn values_may_have_names() {
    let place = Place::new();
    let named = json!({ "query": "SELECT :a AS a, @b AS b, $c AS c, :a AS again",
        "parameters": { "a": 1, "b": "'", "c": null, "unused": 0 } });
    let rows = rows(&place.source, with(&config("a.db"), named)).await;
    assert_eq!(rows, json!([{ "a": 1, "b": "'", "c": null, "again": 1 }]));
    let missing = json!({ "query": "SELECT :a", "parameters": { "b": 1 } });
    let failure = failure(&place.source, with(&config("a.db"), missing)).await;
    assert_eq!(failure.message, "parameters: there is no value for `:a` of the query");
}

#[tokio::test]
async fn only_files_below_the_directory_are_opened() {
    let place = Place::new();
    symlink(place.root.join("../out.db"), place.root.join("link.db")).expect("a link");
    symlink(&place.own, place.root.join("sub/own")).expect("a link");
    symlink(place.root.join("a.db"), place.root.join("inner.db")).expect("a link");
    let ask = |path: String| with(&config(&path), json!({ "query": "SELECT name FROM t" }));
    let inside = place.root.join("sub/b.db").display().to_string();
    for path in ["a.db", "sqlite:a.db", "sqlite://sub/b.db", "sub/../a.db", "inner.db", &inside] {
        assert_eq!(
            rows(&place.source, ask(path.to_owned())).await,
            json!([{ "name": "one" }]),
            "{path}"
        );
    }
    let outside = place.root.join("../out.db").display().to_string();
    for path in [
        "../out.db",
        "link.db",
        &outside,
        "own/waystation.db",
        "sub/own/waystation.db",
        ".",
        "sub",
        "no.db",
        "/etc/passwd",
        "file:a.db?mode=rwc",
        "a.db?mode=rwc",
        "file:../out.db",
        ":memory:",
        "\u{0}",
    ] {
        let failure = failure(&place.source, ask(path.to_owned())).await;
        assert_eq!(failure.class, Class::Fatal, "{path}");
    }
    let closed = failure(&source(), ask("a.db".to_owned())).await;
    assert!(closed.hint.expect("a hint").contains("WAYSTATION_SQLITE_DIR"));
}

#[tokio::test]
async fn a_statement_neither_writes_nor_reaches_beyond_its_file() {
    let place = Place::new();
    let other = place.root.join("../out.db").display().to_string();
    for query in [
        "INSERT INTO t VALUES (2, 'x')".to_owned(),
        "DELETE FROM t RETURNING id".to_owned(),
        "DROP TABLE t".to_owned(),
        "PRAGMA query_only = 0".to_owned(),
        "PRAGMA writable_schema = 1".to_owned(),
        "SELECT * FROM pragma_table_info('t')".to_owned(),
        format!("ATTACH '{other}' AS other"),
        format!("VACUUM INTO '{}'", place.root.join("copy.db").display()),
        "VACUUM".to_owned(),
        "SELECT load_extension('x')".to_owned(),
        "BEGIN; DELETE FROM t".to_owned(),
        "COMMIT".to_owned(),
        "SELECT 1; DELETE FROM t".to_owned(),
        "CREATE TEMP TABLE x (a)".to_owned(),
        "CREATE INDEX i ON t (name)".to_owned(),
    ] {
        let failure =
            failure(&place.source, with(&config("a.db"), json!({ "query": query }))).await;
        assert_eq!(failure.class, Class::Fatal, "{query}");
        let is_write = query.starts_with("INSERT");
        assert!(
            !is_write || failure.hint.as_deref().unwrap_or_default().contains("write: true"),
            "{failure:?}"
        );
        let may_write = with(&config("a.db"), json!({ "query": query, "write": true }));
        let reaches = ["PRAGMA", "ATTACH", "VACUUM", "SELECT", "COMMIT", "BEGIN"];
        if reaches.iter().any(|start| query.starts_with(start)) {
            assert!(attempt(&place.source, may_write).await.is_err(), "{query}");
        }
    }
    assert!(!place.root.join("copy.db").exists());
    let all =
        rows(&place.source, with(&config("a.db"), json!({ "query": "SELECT * FROM t" }))).await;
    assert_eq!(all, json!([{ "id": 1, "name": "one" }]));
}

#[tokio::test]
async fn a_write_is_kept_whole_or_not_at_all() {
    let place = Place::new();
    let write =
        |query: &str| with(&config("a.db"), json!({ "query": query, "write": true, "limit": 1 }));
    let many = "INSERT INTO t (name) VALUES ('x'), ('y') RETURNING name";
    let written = attempt(&place.source, write(many)).await.expect("a write").output;
    assert_eq!((&written["rows"], &written["affected"]), (&json!([{ "name": "x" }]), &json!(2)));
    let odd = "INSERT INTO t (name) VALUES (CAST(x'ff' AS TEXT)) RETURNING name";
    assert!(attempt(&place.source, write(odd)).await.is_err());
    let count = rows(
        &place.source,
        with(&config("a.db"), json!({ "query": "SELECT count(*) AS n FROM t" })),
    )
    .await;
    assert_eq!(count, json!([{ "n": 3 }]));
}

#[tokio::test]
async fn only_so_many_rows_are_read_and_a_query_ends_with_its_attempt() {
    let place = Place::new();
    let endless = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT n FROM n";
    check_the_limit(&place.source, &config("a.db"), endless).await;
    let wide = with(&config("a.db"), json!({ "query": "SELECT zeroblob(100000000)" }));
    assert_eq!(failure(&place.source, wide).await.code, Code::LimitExceeded);
    // Nobody waits for this one. Its thread must end, or the test would not.
    let counted = endless.replace("SELECT n FROM n", "SELECT count(*) FROM n");
    let never = with(&config("a.db"), json!({ "query": counted }));
    let cut = attempt(&place.source, never);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(50), cut).await.is_err());
}

#[tokio::test]
async fn so_many_queries_run_at_once_and_one_that_is_cut_short_makes_room() {
    let place = Place::new();
    let sqlite = Arc::new(tokio::sync::Semaphore::new(2));
    let source = Arc::new(DataSource { sqlite: Arc::clone(&sqlite), ..place.source });
    let endless =
        "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT count(*) FROM n";
    let start = |query: &str| {
        let (source, asked) =
            (Arc::clone(&source), with(&config("a.db"), json!({ "query": query })));
        tokio::spawn(async move { attempt(&source, asked).await })
    };
    let endless = [start(endless), start(endless), start(endless)];
    let mut further = start("SELECT 1 AS one");
    while sqlite.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let early = tokio::time::timeout(std::time::Duration::from_millis(100), &mut further).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    // A place is free when the thread is; those that wait lose nothing by being cut short.
    endless.iter().for_each(|query| query.abort());
    let one = further.await.expect("a task").expect("rows").output;
    assert_eq!(one["rows"], json!([{ "one": 1 }]));
    let all = sqlite.acquire_many(2).await;
    assert!(all.is_ok(), "all places are free");
}
