//! Redis: one command, of which the server itself says that it only reads.
//!
//! The server is asked for the flags of the command before it is sent (`COMMAND INFO`). No list of
//! commands stands here, so that modules and later versions are judged as well as the rest.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError,
    RetryMethod, Value as Reply,
};
use serde_json::{Map, Value, json};
use tokio::time::timeout;
use waystation_core::dialect::graph::types::Problems;
use waystation_core::error::Failure;

use super::address::{Address, invalid as invalid_address};
use super::answer::{Answer, float};
use super::settings::invalid;
use super::wire::{Allowance, Wire};
use super::{Ask, DataSource, SourceType, failure};
use crate::egress::{SendError, tls};
use crate::limits::{CONNECT_TIMEOUT, SOURCE_PARAMETERS};

const SOURCE: SourceType = SourceType::Redis;
const PORT: u16 = 6379;
/// Flags of commands that hold a connection, or concern the server and not its data.
const NEVER: [&str; 3] = ["blocking", "admin", "pubsub"];

/// A connection; it ends with its last user.
pub(super) struct Session {
    connection: MultiplexedConnection,
    allowance: Allowance,
}

/// Whether the query has the form of a command.
pub(super) fn check_command(query: &Value) -> Problems {
    let form = || "query: must be an array of a command and its arguments: [\"GET\", \"key\"]";
    let problem = match query.as_array().and_then(|parts| parts.first()) {
        Some(Value::String(name)) if name.contains("{{") => {
            "query: the name of the command must be no template"
        }
        Some(Value::String(name)) if !name.trim().is_empty() => return Problems::new(),
        _ => form(),
    };
    vec![problem.to_owned()]
}

impl DataSource {
    pub(super) async fn ask_redis(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let parts = parts(ask.settings.query.as_ref())?;
        let lease = self.redis.lease(ask.connection, ask.context).await;
        let mut session = match lease.take() {
            Some(session) => session,
            None => self.open_redis(ask.connection).await?,
        };
        session.allowance.renew();
        let mut flags = session.flags(&parts).await;
        if flags.as_ref().is_err_and(RedisError::is_io_error) {
            // A kept connection may have been closed at its other end meanwhile.
            session = self.open_redis(ask.connection).await?;
            flags = session.flags(&parts).await;
        }
        let flags = flags.map_err(|error| failed(&error))?;
        judge(&parts, flags.as_deref(), ask.settings.write)?;
        ask.is_being_sent();
        let reply: Result<Reply, RedisError> =
            command(&parts).query_async(&mut session.connection).await;
        if session.allowance.is_used_up() {
            return Err(failure::too_much(SOURCE));
        }
        let is_whole = !reply.as_ref().is_err_and(RedisError::is_unrecoverable_error);
        if is_whole {
            lease.keep(session);
        }
        let mut answer = ask.answer();
        rows(reply.map_err(|error| failed(&error))?, &mut answer)?;
        Ok(answer)
    }

    async fn open_redis(&self, connection: &str) -> Result<Session, Failure> {
        let address = Address::parse(connection, SOURCE, PORT)?;
        let is_private =
            connection.trim().get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("rediss:"));
        let allowance = Allowance::new();
        let unreachable = |error: SendError| failure::unreachable(SOURCE, &error);
        let place = (address.host.as_str(), address.port);
        let wire = Wire::dial(&self.client, place, &allowance).await.map_err(unreachable)?;
        let settings = settings(&address)?;
        let connection = if is_private {
            let config = &self.trust().config;
            let wire = tls::secure(config, &address.host, wire).await.map_err(unreachable)?;
            connect(&settings, wire).await
        } else {
            connect(&settings, wire).await
        };
        Ok(Session { connection: connection?, allowance })
    }
}

fn settings(address: &Address) -> Result<RedisConnectionInfo, Failure> {
    // The third version of the protocol tells maps from lists.
    let mut settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3);
    if let Some(user) = &address.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &address.password {
        settings = settings.set_password(password);
    }
    if let Some(database) = &address.database {
        let number = database.parse();
        let number = number.map_err(|_| invalid_address(SOURCE, "names no database by its number"));
        settings = settings.set_db(number?);
    }
    Ok(settings)
}

async fn connect<S>(
    settings: &RedisConnectionInfo,
    stream: S,
) -> Result<MultiplexedConnection, Failure>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    // An attempt has a time of its own.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let opening = MultiplexedConnection::new_with_config(settings, stream, config);
    let opened = timeout(CONNECT_TIMEOUT, opening).await;
    let opened = opened.map_err(|_| failure::broken(SOURCE, "the server fell silent"))?;
    let (connection, work) = opened.map_err(|error| failed(&error))?;
    tokio::spawn(work);
    Ok(connection)
}

impl Session {
    /// What the server says of a command; `None` where it knows none of that name.
    async fn flags(&mut self, parts: &[String]) -> Result<Option<Vec<String>>, RedisError> {
        let mut question = redis::cmd("COMMAND");
        question.arg("INFO").arg(&parts[0]);
        let reply: Reply = question.query_async(&mut self.connection).await?;
        let command = items(&reply).first();
        // Some names stand for a family; the second word tells which of them is meant.
        let family = command.map(|command| items_at(command, 9)).unwrap_or_default();
        let member = parts.get(1).and_then(|second| {
            let name = format!("{}|{second}", parts[0]);
            family.iter().find(|one| {
                items(one).first().and_then(text).is_some_and(|own| own.eq_ignore_ascii_case(&name))
            })
        });
        let command = if family.is_empty() { command } else { member };
        let flags = command.filter(|command| !items(command).is_empty()).map(|command| {
            items_at(command, 2).iter().filter_map(text).map(str::to_owned).collect()
        });
        Ok(flags)
    }
}

/// Whether the flags allow the command to this node.
fn judge(parts: &[String], flags: Option<&[String]>, writes: bool) -> Result<(), Failure> {
    let name = &parts[0];
    let Some(flags) = flags else {
        return Err(failure::refused(SOURCE, format!("the server knows no command {name}")));
    };
    let has = |flag: &str| flags.iter().any(|own| own == flag);
    if let Some(flag) = NEVER.into_iter().find(|flag| has(flag)) {
        let text = format!("{name} is a command that the server calls {flag}; it is never sent");
        return Err(failure::refused(SOURCE, text));
    }
    match (has("readonly"), has("write")) {
        (true, _) => Ok(()),
        (false, true) if writes => Ok(()),
        (false, true) => {
            Err(failure::read_only(SOURCE, format!("the server says that {name} writes")))
        }
        (false, false) => {
            let text = format!("the server does not say that {name} only reads or writes data");
            Err(failure::refused(SOURCE, text))
        }
    }
}

/// The command and its arguments as text.
fn parts(query: Option<&Value>) -> Result<Vec<String>, Failure> {
    let part = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(invalid("query: each argument of a command is a text, a number or a boolean")),
    };
    match query {
        Some(Value::Array(parts)) if parts.len() > SOURCE_PARAMETERS => {
            Err(invalid(&format!("query: has more than {SOURCE_PARAMETERS} arguments")))
        }
        Some(Value::Array(parts)) if !parts.is_empty() => parts.iter().map(part).collect(),
        _ => Err(invalid("query: must be an array of a command and its arguments")),
    }
}

fn command(parts: &[String]) -> Cmd {
    let mut command = Cmd::new();
    for part in parts {
        command.arg(part);
    }
    command
}

/// A list gives a row for each item, a map gives one row with its fields, anything else one row.
fn rows(reply: Reply, answer: &mut Answer) -> Result<(), Failure> {
    let items = match reply {
        Reply::Nil => Vec::new(),
        Reply::Array(items) | Reply::Set(items) => items,
        one => vec![one],
    };
    for item in items {
        if answer.is_full() {
            break;
        }
        let row = value(item).map_err(|error| failed(&error))?;
        answer.push(if row.is_object() { row } else { json!({ "value": row }) })?;
    }
    Ok(())
}

fn value(reply: Reply) -> Result<Value, RedisError> {
    let list = |items: Vec<Reply>| items.into_iter().map(value).collect::<Result<Vec<Value>, _>>();
    Ok(match reply {
        Reply::Nil => Value::Null,
        Reply::Okay => "OK".into(),
        Reply::Int(whole) => json!(whole),
        Reply::Double(number) => float(number),
        Reply::Boolean(truth) => json!(truth),
        Reply::BulkString(bytes) | Reply::BigNumber(bytes) => match String::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(error) => STANDARD.encode(error.into_bytes()).into(),
        },
        Reply::SimpleString(text) | Reply::VerbatimString { text, .. } => text.into(),
        Reply::Array(items) | Reply::Set(items) => Value::Array(list(items)?),
        Reply::Push { data, .. } => Value::Array(list(data)?),
        Reply::Attribute { data, .. } => value(*data)?,
        Reply::Map(pairs) => {
            let mut fields = Map::new();
            for (name, field) in pairs {
                let name = match value(name)? {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                fields.insert(name, value(field)?);
            }
            Value::Object(fields)
        }
        Reply::ServerError(error) => return Err(error.into()),
        _ => Value::Null,
    })
}

fn items(reply: &Reply) -> &[Reply] {
    match reply {
        Reply::Array(items) | Reply::Set(items) => items,
        _ => &[],
    }
}

fn items_at(reply: &Reply, at: usize) -> &[Reply] {
    items(reply).get(at).map(items).unwrap_or_default()
}

fn text(reply: &Reply) -> Option<&str> {
    match reply {
        Reply::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Reply::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// What an error of the client or the server means.
fn failed(error: &RedisError) -> Failure {
    use RetryMethod::{Reconnect, RefreshSlotsAndRetry, WaitAndRetry};
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (None, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    };
    match (error.kind(), error.code()) {
        (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
            failure::locked_out(SOURCE, text)
        }
        (ErrorKind::RESP3NotSupported, _) => {
            failure::refused(SOURCE, "the server is older than Redis 6")
        }
        _ if error.is_io_error() => failure::broken(SOURCE, text),
        _ => match error.retry_method() {
            Reconnect | RefreshSlotsAndRetry | WaitAndRetry => failure::broken(SOURCE, text),
            _ => failure::refused(SOURCE, text),
        },
    }
}
