//! The tables of the embedded store, how a file gets them, and the settings that durability needs.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use waystation_core::error::{Code, Error};

use crate::store::{Result, StoreError};

/// Each step leads from the version that is its index to the next one. Steps never change.
const MIGRATIONS: &[&str] = &[
    include_str!("schema-1.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
    include_str!("schema-4.sql"),
    include_str!("schema-5.sql"),
    include_str!("schema-6.sql"),
];
/// How long a statement waits for somebody else's lock, such as that of a database shell.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// More than the store's distinct statements.
const STATEMENTS_CACHED: usize = 128;

/// How the writing connection is set up. Auto-vacuum and page size take effect only before the first
/// table exists.
pub const WRITER_PRAGMAS: &str = "
    PRAGMA page_size = 4096;
    PRAGMA auto_vacuum = INCREMENTAL;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA fullfsync = ON;
    PRAGMA wal_autocheckpoint = 2000;
    PRAGMA journal_size_limit = 67108864;
    PRAGMA cache_size = -65536;
    PRAGMA temp_store = MEMORY;
";
const READER_PRAGMAS: &str = "
    PRAGMA query_only = ON;
    PRAGMA cache_size = -16384;
    PRAGMA temp_store = MEMORY;
";
/// What has to be so for an acknowledged write to survive power loss, and for space to come back.
const REQUIRED: &[(&str, &str)] =
    &[("journal_mode", "wal"), ("synchronous", "2"), ("auto_vacuum", "2"), ("query_only", "0")];

/// The one connection that writes, with all tables in place.
pub(super) fn open_writer(file: &Path) -> Result<Connection> {
    let mut connection = open(file, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.execute_batch(WRITER_PRAGMAS)?;
    check_pragmas(&connection)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// A connection that only reads, beside the writer.
pub(super) fn open_reader(file: &Path) -> Result<Connection> {
    let connection = open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.execute_batch(READER_PRAGMAS)?;
    match version(&connection)? {
        current if current == MIGRATIONS.len() => Ok(connection),
        older if older < MIGRATIONS.len() => Err(refuse(
            "the data was written by an older version",
            "start the server once, which brings the data up to date",
        )),
        newer => Err(too_new(newer)),
    }
}

/// Refuses data that this program cannot bring up to date.
pub(super) fn check_version(connection: &Connection) -> Result<()> {
    match version(connection)? {
        known if known <= MIGRATIONS.len() => Ok(()),
        newer => Err(too_new(newer)),
    }
}

/// Whether there is a table of that name.
pub(super) fn has_table(connection: &Connection, name: &str) -> Result<bool> {
    let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    Ok(connection.query_row(sql, [name], |row| row.get::<_, i64>(0))? > 0)
}

fn open(file: &Path, mode: OpenFlags) -> Result<Connection> {
    let connection = Connection::open_with_flags(file, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
    // Otherwise most statements are prepared again whenever they are asked with other values, in case these
    // call for another plan. The queries here are made for one.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Reads the settings back, because a pragma that cannot be obeyed is silently ignored.
fn check_pragmas(connection: &Connection) -> Result<()> {
    for (name, expected) in REQUIRED {
        let found = connection.pragma_query_value(None, name, |row| {
            row.get_ref(0).map(|value| match value.as_i64() {
                Ok(number) => number.to_string(),
                Err(_) => value.as_str().unwrap_or_default().to_owned(),
            })
        })?;
        if found != *expected {
            let message = format!("the database's {name} is {found}; only {expected} is safe");
            return Err(refuse(message, "use a data directory that this program created"));
        }
    }
    Ok(())
}

fn migrate(connection: &mut Connection) -> Result<()> {
    let present = version(connection)?;
    let steps = MIGRATIONS.get(present..).ok_or_else(|| too_new(present))?;
    for (step, sql) in steps.iter().enumerate() {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", (present + step + 1) as i64)?;
        transaction.commit()?;
    }
    Ok(())
}

fn version(connection: &Connection) -> Result<usize> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    usize::try_from(found).map_err(StoreError::failed)
}

fn too_new(found: usize) -> StoreError {
    let known = MIGRATIONS.len();
    refuse(
        format!("the data has format {found}; this version knows formats up to {known}"),
        "run the newer version that wrote it, or use another data directory (--data)",
    )
}

fn refuse(message: impl Into<String>, hint: &str) -> StoreError {
    let message = message.into();
    StoreError { detail: message.clone(), error: Error::new(Code::Store, message).with_hint(hint) }
}

/// The tables of a new file, for tests.
#[cfg(test)]
pub(super) fn fresh() -> (tempfile::TempDir, Connection) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("test.db");
    std::fs::File::create(&file).unwrap();
    let connection = open_writer(&file).unwrap();
    (dir, connection)
}

/// How SQLite would answer a query.
#[cfg(test)]
pub(super) fn query_plan(connection: &Connection, sql: &str) -> String {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let values = vec![1; explain.parameter_count()];
    let steps =
        explain.query_map(rusqlite::params_from_iter(values), |row| row.get::<_, String>(3));
    steps.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap().join("; ")
}

#[cfg(test)]
mod tests {
    use rusqlite::{StatementStatus, params_from_iter};
    use serde_json::Map;
    use waystation_core::plan::{Budget, Dialect, Missing, OnFailure, PLAN_FORMAT, Plan, Shape};

    use super::*;
    use crate::store::codec;

    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.db");
        std::fs::File::create(&file).unwrap();
        (dir, file)
    }

    /// Data as an older version has left it.
    fn of_format(path: &std::path::Path, format: usize) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.execute_batch(WRITER_PRAGMAS).unwrap();
        MIGRATIONS[..format].iter().for_each(|sql| connection.execute_batch(sql).unwrap());
        connection.pragma_update(None, "user_version", format as i64).unwrap();
        connection
    }

    /// The first column of what a query finds.
    fn column<T: rusqlite::types::FromSql>(connection: &Connection, sql: &str) -> Vec<T> {
        let mut select = connection.prepare(sql).unwrap();
        let rows = select.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn statements_stay_prepared_whatever_they_are_asked() {
        let (_dir, connection) = fresh();
        for sql in [
            "SELECT first_seq, entries FROM journal WHERE run = ?1 ORDER BY batch DESC",
            "SELECT definition FROM workflow_versions WHERE workflow = ?1 AND version = ?2",
            "SELECT id FROM runs WHERE status = ?1 AND id > ?2 LIMIT ?3",
        ] {
            for asked in 1..4 {
                let mut select = connection.prepare_cached(sql).unwrap();
                let values = vec![asked; select.parameter_count()];
                select.query(params_from_iter(values)).unwrap().next().unwrap();
            }
            let select = connection.prepare_cached(sql).unwrap();
            assert_eq!(select.get_status(StatementStatus::RePrepare), 0, "{sql}");
        }
    }

    #[test]
    fn each_wrong_setting_refuses_to_start() {
        let (_dir, path) = file();
        let connection = open_writer(&path).unwrap();
        check_pragmas(&connection).unwrap();
        for (wrong, right, text) in [
            ("synchronous = NORMAL", "synchronous = FULL", "synchronous is 1; only 2"),
            ("journal_mode = DELETE", "journal_mode = WAL", "journal_mode is delete; only wal"),
            ("query_only = ON", "query_only = OFF", "query_only is 1; only 0"),
        ] {
            connection.execute_batch(&format!("PRAGMA {wrong}")).unwrap();
            let refused = check_pragmas(&connection).unwrap_err();
            assert!(refused.error.message.contains(text), "{}", refused.error.message);
            connection.execute_batch(&format!("PRAGMA {right}")).unwrap();
        }
    }

    #[test]
    fn a_file_that_cannot_give_space_back_is_refused() {
        let (_dir, path) = file();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE other (a)").unwrap();
        let refused = open_writer(&path).unwrap_err();
        assert_eq!(refused.error.message, "the database's auto_vacuum is 0; only 2 is safe");
    }

    #[test]
    fn a_newer_format_is_refused_and_an_older_one_is_not_read_only() {
        let (_dir, path) = file();
        let newer = MIGRATIONS.len() + 1;
        open_writer(&path).unwrap().pragma_update(None, "user_version", newer as i64).unwrap();
        for refused in [open_writer(&path).unwrap_err(), open_reader(&path).unwrap_err()] {
            assert!(refused.error.message.contains("this version knows formats up to"));
        }
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 0).unwrap();
        let refused = open_reader(&path).unwrap_err();
        assert_eq!(refused.error.message, "the data was written by an older version");
    }

    /// A commit writes every page that it touches: smaller pages are fewer bytes.
    #[test]
    fn the_writer_works_with_small_pages() {
        let (_dir, path) = file();
        let connection = open_writer(&path).unwrap();
        let size: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0)).unwrap();
        assert_eq!(size, 4_096);
    }

    #[test]
    fn data_of_every_older_format_is_brought_up_to_date() {
        for older in 1..MIGRATIONS.len() {
            let (_dir, path) = file();
            let connection = of_format(&path, older);
            connection.execute("INSERT INTO secrets VALUES ('kept', x'01')", []).unwrap();
            drop(connection);

            let connection = open_writer(&path).unwrap();
            assert_eq!(version(&connection).unwrap(), MIGRATIONS.len());
            let kept = "SELECT name FROM secrets";
            let name: String = connection.query_row(kept, [], |row| row.get(0)).unwrap();
            assert_eq!(name, "kept");
            for table in [
                "answers",
                "spending",
                "child_runs",
                "workflows",
                "triggers",
                "feed",
                "access_keys",
            ] {
                connection.execute_batch(&format!("SELECT * FROM {table}")).unwrap();
            }
            open_reader(&path).unwrap();
        }
    }

    fn plan(dialect: Dialect, padding: usize) -> Vec<u8> {
        let plan = Plan {
            format: PLAN_FORMAT,
            dialect,
            shape: Shape::Queue { items: Vec::new() },
            nodes: Vec::new(),
            results: Vec::new(),
            variables: Map::from_iter([("x".into(), "\"dialect\":".repeat(padding).into())]),
            missing: Missing::Fail,
            on_failure: OnFailure::Stop,
            deadline_ms: None,
            webhook_url: None,
            budget: Budget::default(),
        };
        codec::pack_json(&serde_json::to_vec(&plan).unwrap())
    }

    #[test]
    fn runs_of_older_data_get_their_wire_format_and_are_counted() {
        let (_dir, path) = file();
        let connection = of_format(&path, 2);
        let plans = [
            plan(Dialect::Pipeline, 1),
            plan(Dialect::Pipeline, 900),
            plan(Dialect::Instructions, 1),
            plan(Dialect::Instructions, 900),
        ];
        assert!(plans[1][0] == 2 && plans[3][0] == 2, "they are compressed");
        for (id, json) in plans.iter().enumerate() {
            let sql = "INSERT INTO plans VALUES (?1, ?1, ?2, 0)";
            connection.execute(sql, rusqlite::params![id as i64, json]).unwrap();
        }
        for id in 0..12 {
            let sql =
                "INSERT INTO runs VALUES (?1, 'n', 'w', NULL, ?1 % 4, ?1 % 3, 5, NULL, NULL, 0)";
            connection.execute(sql, [id]).unwrap();
        }
        drop(connection);

        let connection = open_writer(&path).unwrap();
        let all = |sql: &str| column::<i64>(&connection, sql);
        let expected = [0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1];
        assert_eq!(all("SELECT dialect FROM runs ORDER BY id"), expected);
        assert_eq!(all("SELECT count(*) FROM runs WHERE version IS NULL"), [12]);
        assert_eq!(all("SELECT runs FROM run_counts ORDER BY dialect, status"), [2; 6]);
    }

    #[test]
    fn notifications_of_older_data_stay_and_are_known_within_their_namespaces() {
        let (_dir, path) = file();
        let connection = of_format(&path, 5);
        let columns = "INSERT INTO progress (id, webhook_id, namespace, workflow, execution, received, event)";
        let old = format!("{columns} VALUES (?1, 'w' || ?1, 'a', 'flow', 'run', ?1 * 10, x'7b7d')");
        for id in [3, 7] {
            connection.execute(&old, [id]).unwrap();
        }
        drop(connection);

        let connection = open_writer(&path).unwrap();
        let all = |sql: &str| column::<String>(&connection, sql);
        let told = "SELECT concat_ws(' ', id, webhook_id, namespace, workflow, execution, received, hex(event)) \
                    FROM progress ORDER BY id";
        assert_eq!(all(told), ["3 w3 a flow run 30 7B7D", "7 w7 a flow run 70 7B7D"]);
        let new = |namespace: &str| {
            let sql = format!("{columns} VALUES (NULL, 'w3', ?1, 'flow', 'run', 80, x'7b7d')");
            connection.execute(&sql, [namespace])
        };
        assert!(new("a").is_err(), "the same again");
        new("b").unwrap();
        assert_eq!(all("SELECT namespace FROM progress WHERE id > 7"), ["b"]);
    }
}
