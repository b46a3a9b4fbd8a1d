//! PostgreSQL: one statement in a transaction that the server itself keeps from writing.
//!
//! Values are sent beside the statement, in the text form from which the server makes whatever type
//! their place has. Rows come from a portal that is asked for one more than the node may have, so that
//! the server makes no more of them.

mod session;
mod values;

use futures_util::TryStreamExt;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, Row, Statement, Transaction};
use waystation_core::error::{Code, Failure};

pub(super) use self::session::Session;
use self::values::{Parameter, Raw, Unread};
use super::answer::Answer;
use super::settings::check_count;
use super::{Ask, DataSource, SourceType, failure};
use crate::limits::SOURCE_STATEMENT_TIME;

const SOURCE: SourceType = SourceType::Postgres;

impl DataSource {
    pub(super) async fn ask_postgres(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let sql = ask.settings.sql()?;
        let parameters = ask.settings.listed()?;
        let lease = self.postgres.lease(ask.connection, ask.context).await;
        let mut session = match lease.take() {
            Some(kept) if kept.is_well().await => kept,
            _ => Session::open(self, ask.connection).await?,
        };
        let parameters: Vec<Parameter<'_>> = parameters.iter().map(Parameter).collect();
        let answered = converse(&mut session, ask, sql, parameters).await;
        // After an error of the server's the session is whole; after any other nobody knows.
        let is_whole = match &answered {
            Ok(_) => true,
            Err(Trouble::Settings(_)) => true,
            Err(Trouble::Client(error)) => error.as_db_error().is_some(),
        };
        let is_used_up = session.allowance.is_used_up();
        if is_whole && session.reset().await {
            lease.keep(session);
        }
        answered.map_err(|trouble| match trouble {
            Trouble::Settings(failure) => failure,
            Trouble::Client(_) if is_used_up => failure::too_much(SOURCE),
            Trouble::Client(error) => {
                if is_undone(&error) {
                    ask.was_undone();
                }
                failed(&error)
            }
        })
    }
}

/// Why there is no answer.
enum Trouble {
    Settings(Failure),
    Client(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Client(error)
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Trouble {
        Trouble::Settings(failure)
    }
}

async fn converse(
    session: &mut Session,
    ask: &Ask<'_>,
    sql: &str,
    parameters: Vec<Parameter<'_>>,
) -> Result<Answer, Trouble> {
    let writes = ask.settings.write;
    let transaction = session.client.build_transaction().read_only(!writes).start().await?;
    // A transaction that has read once cannot be turned into one that writes.
    let time = SOURCE_STATEMENT_TIME.as_millis();
    let settle = format!("SELECT set_config('statement_timeout', '{time}', true)");
    transaction.batch_execute(&settle).await?;
    let statement = transaction.prepare(sql).await?;
    check_count(parameters.len(), statement.params().len())?;
    let mut answer = ask.answer();
    answer.name_columns(statement.columns().iter().map(|column| column.name()));
    ask.is_being_sent();
    let affected = read(&transaction, &statement, parameters, &mut answer).await?;
    match writes {
        true => {
            answer.affected = affected;
            transaction.commit().await?;
        }
        false => transaction.rollback().await?,
    }
    Ok(answer)
}

/// Takes the rows; says how many the statement has touched.
async fn read(
    transaction: &Transaction<'_>,
    statement: &Statement,
    parameters: Vec<Parameter<'_>>,
    answer: &mut Answer,
) -> Result<Option<u64>, Trouble> {
    let portal = transaction.bind_raw(statement, parameters).await?;
    let most = answer.limit() as i32 + 1;
    let mut rows = std::pin::pin!(transaction.query_portal_raw(&portal, most).await?);
    let mut unread = Unread::default();
    while let Some(row) = rows.try_next().await? {
        // The server sends one row more than may be taken, and no further one.
        if answer.is_full() {
            continue;
        }
        answer.push_values(values(&row, answer.len(), &mut unread)?)?;
    }
    let affected = rows.rows_affected();
    unread.ask(transaction, answer).await?;
    Ok(affected)
}

/// A row as JSON; values of unknown types are put aside.
fn values(
    row: &Row,
    number: usize,
    unread: &mut Unread,
) -> Result<Vec<serde_json::Value>, Trouble> {
    let value = |(at, column): (usize, &tokio_postgres::Column)| {
        let raw: Option<Raw<'_>> = row.try_get(at)?;
        let Some(raw) = raw else { return Ok(serde_json::Value::Null) };
        Ok(values::json(column.type_(), raw.0).unwrap_or_else(|| {
            unread.put(number, at, (column.type_(), raw.0));
            serde_json::Value::Null
        }))
    };
    row.columns().iter().enumerate().map(value).collect()
}

/// Whether it is a serialization failure or a deadlock, after which the server has undone everything.
fn is_undone(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("40"))
}

/// What an error of the client or the server means.
fn failed(error: &Error) -> Failure {
    let Some(told) = error.as_db_error() else {
        return failure::broken(SOURCE, session::in_words(error));
    };
    let code = told.code();
    let mut text = format!("{} (SQLSTATE {})", told.message(), code.code());
    if let Some(detail) = told.hint().or(told.detail()) {
        text = format!("{text}: {detail}");
    }
    match code.code().get(..2) {
        _ if *code == SqlState::READ_ONLY_SQL_TRANSACTION => failure::read_only(SOURCE, text),
        _ if *code == SqlState::QUERY_CANCELED => {
            Failure { code: Code::Timeout, ..failure::refused(SOURCE, text) }
        }
        Some("28") => failure::locked_out(SOURCE, text),
        _ if *code == SqlState::INVALID_CATALOG_NAME => failure::locked_out(SOURCE, text),
        Some("08" | "53" | "57") => failure::broken(SOURCE, text),
        _ if is_undone(error) => failure::undone(SOURCE, text),
        _ => failure::refused(SOURCE, text),
    }
}
