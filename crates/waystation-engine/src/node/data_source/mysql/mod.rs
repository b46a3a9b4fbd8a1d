//! MySQL and MariaDB: one statement in a transaction that the server itself keeps from writing.
//!
//! The library is told the addresses that the egress policy permits, and verifies the certificate for
//! the name that they were found under. It would rather use a socket file of which the server tells
//! it; that is switched off.

mod values;

use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, IoError, OptsBuilder, Params, QueryResult, SslOpts};
use tokio::time::timeout;
use waystation_core::error::{Code, Failure};

use super::address::Address;
use super::answer::Answer;
use super::settings::{Parameters, check_count, invalid};
use super::{Ask, DataSource, SourceType, failure};
use crate::egress::SendError;
use crate::egress::address::{Kind, kind};
use crate::limits::{CONNECT_TIMEOUT, SOURCE_STATEMENT_TIME, SOURCE_WIRE_BYTES};

const SOURCE: SourceType = SourceType::Mysql;
const PORT: u16 = 3306;
/// How long leaving is waited for.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

impl DataSource {
    pub(super) async fn ask_mysql(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let sql = ask.settings.sql()?;
        let lease = self.mysql.lease(ask.connection, ask.context).await;
        let mut kept = lease.take();
        if let Some(session) = &mut kept
            && session.ping().await.is_err()
        {
            kept = None;
        }
        let mut session = match kept {
            Some(session) => session,
            None => self.open_mysql(ask.connection).await?,
        };
        let answered = converse(&mut session, ask, sql).await;
        let is_whole = match &answered {
            Ok((_, is_drained)) => *is_drained,
            Err(Trouble::Settings(_)) => true,
            Err(Trouble::Client(error)) => matches!(error, Error::Server(_)),
        };
        // Resetting also ends the transaction.
        if is_whole && session.reset().await.unwrap_or(false) {
            lease.keep(session);
        } else {
            tokio::spawn(timeout(GOODBYE_TIME, session.disconnect()));
        }
        let answer = answered.map_err(|trouble| match trouble {
            Trouble::Settings(failure) => failure,
            Trouble::Client(error) => {
                if is_undone(&error) {
                    ask.was_undone();
                }
                failed(&error)
            }
        })?;
        Ok(answer.0)
    }

    async fn open_mysql(&self, connection: &str) -> Result<Conn, Failure> {
        let address = Address::parse(connection, SOURCE, PORT)?;
        let unreachable = |error: SendError| failure::unreachable(SOURCE, &error);
        let ips = self.client.permitted_addresses(&address.host).await.map_err(unreachable)?;
        let is_public = || ips.iter().any(|ip| kind(*ip) == Kind::Public);
        let tls = address.tls.unwrap_or_else(is_public).then(|| self.mysql_tls());
        let options = OptsBuilder::default()
            .ip_or_hostname(address.host.as_str())
            .tcp_port(address.port)
            .resolved_ips(Some(ips))
            .user(address.user)
            .pass(address.password)
            .db_name(address.database)
            .ssl_opts(tls)
            .prefer_socket(false)
            .tcp_nodelay(true)
            .stmt_cache_size(0)
            .max_allowed_packet(Some(SOURCE_WIRE_BYTES));
        match timeout(CONNECT_TIMEOUT, Conn::new(options)).await {
            Ok(connected) => connected.map_err(|error| failed(&error)),
            Err(_) => {
                let (host, seconds) = (address.host, CONNECT_TIMEOUT.as_secs());
                let text = format!("no connection to {host} within {seconds} s");
                Err(unreachable(SendError::Timeout(text)))
            }
        }
    }

    fn mysql_tls(&self) -> SslOpts {
        let roots = self.trust().roots.iter();
        SslOpts::default().with_root_certs(roots.map(|root| root.to_vec().into()).collect())
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

/// The answer, and whether the connection has nothing more to say.
async fn converse(session: &mut Conn, ask: &Ask<'_>, sql: &str) -> Result<(Answer, bool), Trouble> {
    let writes = ask.settings.write;
    session.query_drop(settle(ask.settings.rows())).await?;
    if writes {
        session.query_drop("START TRANSACTION READ WRITE").await?;
    } else {
        // The second for the statement; the first for what a procedure would begin after it.
        session.query_drop("SET SESSION TRANSACTION READ ONLY").await?;
        session.query_drop("START TRANSACTION READ ONLY").await?;
    }
    let statement = session.prep(sql).await?;
    let parameters = parameters(ask, statement.num_params())?;
    ask.is_being_sent();
    let mut result = session.exec_iter(&statement, parameters).await?;
    let (mut answer, affected) = read(&mut result, ask).await?;
    let mut is_drained = result.is_empty();
    if writes {
        result.drop_result().await?;
        session.query_drop("COMMIT").await?;
        answer.affected = affected;
        is_drained = true;
    }
    Ok((answer, is_drained))
}

/// One row more than may be taken is all that the server makes, unless the statement has a limit of its
/// own. What MySQL and MariaDB call the time of a statement stands in comments that only they read.
fn settle(rows: usize) -> String {
    let time = SOURCE_STATEMENT_TIME;
    format!(
        "SET SESSION time_zone = '+00:00', sql_select_limit = {} \
         /*!50708 , max_execution_time = {} */ /*M! , max_statement_time = {} */",
        rows + 1,
        time.as_millis(),
        time.as_secs(),
    )
}

fn parameters(ask: &Ask<'_>, places: u16) -> Result<Params, Failure> {
    if let Some(Parameters::Named(named)) = &ask.settings.parameters {
        let named = named.iter().map(|(name, value)| {
            (name.trim_start_matches(':').as_bytes().to_vec(), values::bound(value))
        });
        return Ok(Params::Named(named.collect()));
    }
    let listed = ask.settings.listed()?;
    check_count(listed.len(), usize::from(places))?;
    Ok(match listed {
        [] => Params::Empty,
        listed => Params::Positional(listed.iter().map(values::bound).collect()),
    })
}

/// Takes the rows of the first result; says how many the statement has touched, which a server only
/// counts where there are none.
async fn read<P>(
    result: &mut QueryResult<'_, 'static, P>,
    ask: &Ask<'_>,
) -> Result<(Answer, Option<u64>), Trouble>
where
    P: mysql_async::prelude::Protocol,
{
    let mut answer = ask.answer();
    let columns = result.columns();
    let columns = columns.as_deref().unwrap_or_default();
    let names: Vec<_> = columns.iter().map(|column| column.name_str()).collect();
    answer.name_columns(names.iter().map(|name| &**name));
    while let Some(row) = result.next().await? {
        if answer.is_full() {
            break;
        }
        let given = row.unwrap_raw().into_iter().zip(columns);
        let row = given
            .map(|(value, column)| values::json(value.unwrap_or(mysql_async::Value::NULL), column));
        answer.push_values(row.collect())?;
    }
    // Where there are no more rows this only says so.
    if answer.is_full() && !result.is_empty() {
        let _ = result.next().await?;
    }
    let affected = columns.is_empty().then(|| result.affected_rows());
    Ok((answer, affected))
}

/// A deadlock, or a lock that did not become free: nothing of the transaction remains.
fn is_undone(error: &Error) -> bool {
    matches!(error, Error::Server(told) if matches!(told.code, 1205 | 1213))
}

/// What an error of the client or the server means.
fn failed(error: &Error) -> Failure {
    let told = match error {
        Error::Server(told) => told,
        Error::Driver(DriverError::PacketTooLarge) => return failure::too_much(SOURCE),
        Error::Driver(error @ (DriverError::Params(_) | DriverError::MixedParams)) => {
            return invalid(&format!("parameters: {error}"));
        }
        Error::Io(IoError::Io(error)) => {
            return failure::broken(SOURCE, crate::egress::dial::in_words(error));
        }
        other => return failure::broken(SOURCE, other),
    };
    let text = format!("{} (error {})", told.message, told.code);
    match told.code {
        1792 => failure::read_only(SOURCE, text),
        1969 | 3024 => Failure { code: Code::Timeout, ..failure::refused(SOURCE, text) },
        1044 | 1045 | 1049 | 1698 => failure::locked_out(SOURCE, text),
        1040 | 1053 | 1129 | 1203 | 1317 => failure::broken(SOURCE, text),
        _ if is_undone(error) => failure::undone(SOURCE, text),
        _ => failure::refused(SOURCE, text),
    }
}
