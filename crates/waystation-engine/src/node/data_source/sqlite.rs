//! SQLite: one statement on a file below the directory that the operator names.
//!
//! Opening a file takes less than a millisecond, so nothing is kept open. Without `write` the file is
//! opened for reading alone; in any case a statement may neither reach another file nor change how
//! this one is used.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::config::DbConfig;
use rusqlite::ffi::ErrorCode;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use waystation_core::error::{Code, Failure};

use super::answer::{Answer, float};
use super::settings::{Parameters, check_count, invalid};
use super::{Ask, DataSource, SourceType, failure};
use crate::limits::{SOURCE_BYTES, SOURCE_LOCK_TIME, SOURCE_QUERY_BYTES};

const SOURCE: SourceType = SourceType::Sqlite;
/// Steps of a statement after which it is asked whether anybody still waits for it.
const STEPS: i32 = 100;
/// Queries that run at once at the least, however few cores there are.
const PLACES_MIN: usize = 2;
/// Bytes of a pattern of `LIKE` or `GLOB`; a longer one fails the query. Comparing is one step, however
/// long it takes.
const PATTERN_BYTES: i32 = 1_000;

/// Which files data sources may read.
#[derive(Clone, Debug, Default)]
pub struct Files {
    root: Option<PathBuf>,
    /// Where the engine keeps its own.
    own: Option<PathBuf>,
}

impl Files {
    /// None.
    pub fn closed() -> Files {
        Files::default()
    }

    /// Those below a directory, but none below the engine's own.
    pub fn below(root: PathBuf, own: PathBuf) -> Files {
        Files { root: Some(root), own: Some(own) }
    }

    /// The file that a connection string names, with no link on the way to it.
    fn find(&self, connection: &str) -> Result<PathBuf, Failure> {
        let Some(root) = &self.root else {
            let text = "connection: this server opens no SQLite files";
            let hint = "WAYSTATION_SQLITE_DIR names the directory whose files may be read";
            let failure = Failure::fatal(Code::Forbidden, text);
            return Err(Failure { hint: Some(hint.to_owned()), ..failure });
        };
        let rest = connection.strip_prefix("sqlite:").unwrap_or(connection);
        let path = rest.strip_prefix("//").unwrap_or(rest);
        let missing = |_| invalid(&format!("connection: there is no file `{path}`"));
        let root = root.canonicalize().map_err(|_| {
            Failure::fatal(Code::SettingInvalid, "WAYSTATION_SQLITE_DIR names no directory")
        })?;
        let file = root.join(path).canonicalize().map_err(missing)?;
        let own = self.own.as_ref().and_then(|own| own.canonicalize().ok());
        let is_own = own.is_some_and(|own| file.starts_with(own));
        if !file.starts_with(&root) || is_own || !file.is_file() {
            let text = format!("connection: `{path}` is no file that this server opens");
            return Err(Failure::fatal(Code::Forbidden, text));
        }
        Ok(file)
    }
}

impl DataSource {
    pub(super) async fn ask_sqlite(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let file = self.files.find(ask.connection)?;
        let sql = ask.settings.sql()?.to_owned();
        let parameters = match &ask.settings.parameters {
            Some(Parameters::Named(_)) => ask.settings.parameters.clone(),
            _ => Some(Parameters::Listed(ask.settings.listed()?.to_vec())),
        };
        let (answer, writes) = (ask.answer(), ask.settings.write);
        let absence = Absence::default();
        let is_unwanted = Arc::clone(&absence.0);
        let place = self.place_for_sqlite(ask).await;
        ask.is_being_sent();
        let work = tokio::task::spawn_blocking(move || {
            // It is free again when the thread is.
            let _place = place;
            let mut connection = open(&file, writes, is_unwanted)?;
            let answer = query(&connection, &sql, parameters.as_ref(), answer)?;
            if writes {
                commit(&mut connection)?;
            }
            Ok(answer)
        });
        let done = work.await.map_err(|_| failure::broken(SOURCE, "the query was cut short"))?;
        // What failed has changed nothing: its transaction ends with the connection.
        done.inspect_err(|_| ask.was_undone())
    }

    /// Waits until one more query may run. Each takes a thread, of which the store needs some, too.
    async fn place_for_sqlite(&self, ask: &Ask<'_>) -> Option<OwnedSemaphorePermit> {
        let places = &self.sqlite;
        match Arc::clone(places).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                let place = Arc::clone(places).acquire_owned();
                // The semaphore is never closed.
                ask.context.waiting("waits for other queries of SQLite", place).await.ok()
            }
        }
    }
}

/// As many queries at once as there are cores; a further one waits.
pub(super) fn places() -> Arc<Semaphore> {
    let cores = std::thread::available_parallelism().map_or(PLACES_MIN, usize::from);
    Arc::new(Semaphore::new(cores.max(PLACES_MIN)))
}

/// Tells the thread that works on a query when nobody waits for it any more.
#[derive(Default)]
struct Absence(Arc<AtomicBool>);

impl Drop for Absence {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn open(file: &Path, writes: bool, is_unwanted: Arc<AtomicBool>) -> Result<Connection, Failure> {
    let access = match writes {
        true => OpenFlags::SQLITE_OPEN_READ_WRITE,
        false => OpenFlags::SQLITE_OPEN_READ_ONLY,
    };
    // The path has no links; should one be put there now, it is not followed.
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let open = || {
        let mut connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(SOURCE_LOCK_TIME)?;
        connection.pragma_update(None, "query_only", !writes)?;
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, SOURCE_BYTES as i32)?;
        connection.set_limit(Limit::SQLITE_LIMIT_SQL_LENGTH, SOURCE_QUERY_BYTES as i32)?;
        connection.set_limit(Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, PATTERN_BYTES)?;
        connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
        if writes {
            connection.execute_batch("BEGIN IMMEDIATE")?;
        }
        connection.progress_handler(STEPS, Some(move || is_unwanted.load(Ordering::Relaxed)))?;
        connection.authorizer(Some(judge))?;
        Ok(connection)
    };
    open().map_err(|error| failed(&error))
}

fn commit(connection: &mut Connection) -> Result<(), Failure> {
    let none: Option<fn(AuthContext<'_>) -> Authorization> = None;
    let done = connection.authorizer(none).and_then(|()| connection.execute_batch("COMMIT"));
    done.map_err(|error| failed(&error))
}

/// What a statement may not do, whether it may write or not.
fn judge(context: AuthContext<'_>) -> Authorization {
    match context.action {
        // Other files, and settings of this one.
        AuthAction::Attach { .. } | AuthAction::Detach { .. } | AuthAction::Pragma { .. } => {
            Authorization::Deny
        }
        // What does not last is not made.
        AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => Authorization::Deny,
        // A statement has a transaction of its own already.
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Authorization::Deny,
        AuthAction::Function { function_name } if is_forbidden(function_name) => {
            Authorization::Deny
        }
        AuthAction::Unknown { .. } => Authorization::Deny,
        _ => Authorization::Allow,
    }
}

/// Functions that reach beyond the file.
fn is_forbidden(function: &str) -> bool {
    ["load_extension", "fts3_tokenizer"].iter().any(|name| name.eq_ignore_ascii_case(function))
}

fn query(
    connection: &Connection,
    sql: &str,
    parameters: Option<&Parameters>,
    mut answer: Answer,
) -> Result<Answer, Failure> {
    let wrong = |error: rusqlite::Error| failed(&error);
    let mut statement = connection.prepare(sql).map_err(wrong)?;
    bind(&mut statement, parameters)?;
    answer.name_columns(statement.column_names());
    let before = connection.total_changes();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(wrong)? {
        if answer.is_full() {
            break;
        }
        let names = answer.columns.iter().enumerate();
        let values: Result<Vec<Value>, Failure> = names
            .map(|(at, name)| {
                row.get_ref(at).map_err(wrong).and_then(|value| value_json(value, name))
            })
            .collect();
        answer.push_values(values?)?;
    }
    drop(rows);
    drop(statement);
    // Only a write has begun a transaction by itself.
    if !connection.is_autocommit() {
        answer.affected = Some(connection.total_changes() - before);
    }
    Ok(answer)
}

fn bind(statement: &mut Statement<'_>, parameters: Option<&Parameters>) -> Result<(), Failure> {
    let wrong = |error: rusqlite::Error| failed(&error);
    let places = statement.parameter_count();
    match parameters {
        Some(Parameters::Named(values)) => {
            for place in 1..=places {
                let name = statement.parameter_name(place).unwrap_or_default();
                let plain = name.trim_start_matches([':', '@', '$']);
                let value = values.get(plain).or_else(|| values.get(name));
                let value = value.ok_or_else(|| {
                    invalid(&format!("parameters: there is no value for `{name}` of the query"))
                })?;
                statement.raw_bind_parameter(place, Bound(value)).map_err(wrong)?;
            }
        }
        listed => {
            let values = match listed {
                Some(Parameters::Listed(values)) => values.as_slice(),
                _ => &[],
            };
            check_count(values.len(), places)?;
            for (at, value) in values.iter().enumerate() {
                statement.raw_bind_parameter(at + 1, Bound(value)).map_err(wrong)?;
            }
        }
    }
    Ok(())
}

/// A value that a query is given.
struct Bound<'a>(&'a Value);

impl rusqlite::ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Bool(value) => ToSqlOutput::from(*value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => ToSqlOutput::from(whole),
                (None, Some(float)) if !number.is_u64() => ToSqlOutput::from(float),
                _ => ToSqlOutput::from(number.to_string()),
            },
            Value::String(text) => ToSqlOutput::from(text.as_str()),
            other => ToSqlOutput::from(other.to_string()),
        })
    }
}

fn value_json(value: ValueRef<'_>, column: &str) -> Result<Value, Failure> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(whole) => json!(whole),
        ValueRef::Real(number) => float(number),
        ValueRef::Text(bytes) => std::str::from_utf8(bytes)
            .map_err(|_| failure::unknown_type(SOURCE, column, "text that is no UTF-8"))?
            .into(),
        ValueRef::Blob(bytes) => STANDARD.encode(bytes).into(),
    })
}

/// What an error of the library means.
fn failed(error: &rusqlite::Error) -> Failure {
    let text = Told(error);
    match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly) => failure::read_only(SOURCE, text),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => failure::broken(SOURCE, text),
        Some(ErrorCode::TooBig) => failure::too_much(SOURCE),
        Some(ErrorCode::AuthorizationForStatementDenied) => {
            let hint = "a statement reaches no other file, sets nothing and is its own transaction";
            Failure { hint: Some(hint.to_owned()), ..failure::refused(SOURCE, text) }
        }
        _ => failure::refused(SOURCE, text),
    }
}

/// The message of an error, without the query that the library adds.
struct Told<'a>(&'a rusqlite::Error);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            rusqlite::Error::SqlInputError { msg, .. } => f.write_str(msg),
            rusqlite::Error::MultipleStatement => f.write_str("the query is several statements"),
            other => other.fmt(f),
        }
    }
}
