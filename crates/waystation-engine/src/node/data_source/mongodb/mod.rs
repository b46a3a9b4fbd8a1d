//! MongoDB: one `find` or `aggregate`, or with leave one write.
//!
//! A MongoDB server has no session that only reads. What keeps a question from writing is the command
//! that carries it: `find` has no way to write, and `aggregate` has two stages for it, which are refused.

mod address;
mod forwarder;
mod query;
mod values;

use std::sync::Arc;
use std::time::Duration;

use mongodb::error::{Error, ErrorKind};
use mongodb::options::{Socks5Proxy, Tls};
use mongodb::{Client, Collection, Cursor};
use waystation_core::error::{Code, Failure};

use self::address::Address;
pub(super) use self::address::NO_SRV;
use self::forwarder::Forwarder;
pub(super) use self::query::take_templates;
use self::query::{Deed, Query};
use super::address::invalid as invalid_address;
use super::answer::Answer;
use super::settings::invalid;
use super::wire::Allowance;
use super::{Ask, DataSource, SourceType, failure};
use crate::limits::{CONNECT_TIMEOUT, SOURCE_STATEMENT_TIME};

const SOURCE: SourceType = SourceType::Mongodb;
/// How long a server that can answer is looked for.
const SELECTION_TIME: Duration = Duration::from_secs(5);
/// Documents that a server sends at a time.
const BATCH: u32 = 1_000;

/// Levels of a document; MongoDB itself has no more.
const LEVELS: usize = 100;

type Documents = Collection<bson::Document>;

/// A client of its own for one query at a time; it knows the servers, and the way to them.
pub(super) struct Session {
    client: Client,
    forwarder: Forwarder,
    allowance: Allowance,
}

impl DataSource {
    pub(super) async fn ask_mongodb(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let query = ask.settings.query.as_ref();
        let query = query.ok_or_else(|| invalid("query: is missing"))?;
        let query = Query::read(query, &ask.settings.query_values)?;
        let lease = self.mongodb.lease(ask.connection, ask.context).await;
        let session = match lease.take() {
            Some(session) => session,
            None => self.open_mongodb(ask.connection).await?,
        };
        session.allowance.renew();
        session.forwarder.take_trouble();
        let answered = converse(&session, query, ask).await;
        if session.allowance.is_used_up() {
            return Err(failure::too_much(SOURCE));
        }
        // The library replaces what is broken by itself.
        let trouble = session.forwarder.take_trouble();
        lease.keep(session);
        answered.map_err(|failed| match (failed, trouble) {
            (Trouble::Settings(failure), _) => failure,
            (Trouble::Client(error), Some(trouble)) if is_lost(&error) => {
                failure::unreachable(SOURCE, &trouble)
            }
            (Trouble::Client(error), _) => self::failed(&error),
        })
    }

    async fn open_mongodb(&self, connection: &str) -> Result<Session, Failure> {
        let Address { mut options, hosts, is_private } = Address::parse(connection)?;
        self.check_hosts(&hosts).await?;
        let config = is_private.then(|| Arc::clone(&self.trust().config));
        let allowance = Allowance::new();
        let client = Arc::clone(&self.client);
        let forwarder = Forwarder::start(client, config, allowance.clone()).await;
        let forwarder = forwarder.map_err(|error| failure::broken(SOURCE, error))?;
        let proxy = Socks5Proxy::builder()
            .host("127.0.0.1")
            .port(forwarder.port)
            .authentication((forwarder.user(), forwarder.password.clone()));
        options.socks5_proxy = Some(proxy.build());
        options.tls = Some(Tls::Disabled);
        options.app_name = Some("waystation".to_owned());
        options.max_pool_size = Some(1);
        options.min_pool_size = None;
        options.connect_timeout = Some(CONNECT_TIMEOUT);
        options.server_selection_timeout = Some(SELECTION_TIME);
        options.retry_writes = Some(false);
        let client = Client::with_options(options);
        let client = client.map_err(|_| invalid_address(SOURCE, "has options that contradict"))?;
        Ok(Session { client, forwarder, allowance })
    }

    /// Refuses at once what the forwarder would refuse again and again.
    async fn check_hosts(&self, hosts: &[String]) -> Result<(), Failure> {
        for host in hosts {
            let found = self.client.permitted_addresses(host).await;
            found.map_err(|error| failure::unreachable(SOURCE, &error))?;
        }
        Ok(())
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

async fn converse(session: &Session, query: Query, ask: &Ask<'_>) -> Result<Answer, Trouble> {
    let database = match &query.database {
        Some(name) => session.client.database(name),
        None => session
            .client
            .default_database()
            .ok_or_else(|| invalid("query: neither it nor the address names a `database`"))?,
    };
    let documents: Documents = database.collection(&query.collection);
    let (skip, limit) = (query.skip, ask.settings.limit);
    let deed = query.deed(ask.settings.write)?;
    if ask.settings.write {
        // A server that cannot be reached has done nothing.
        database.run_command(bson::doc! { "ping": 1 }).await?;
    }
    ask.is_being_sent();
    let batch = BATCH.min(limit as u32 + 1);
    match deed {
        Deed::Find { filter, projection, sort } => {
            let mut find = documents.find(filter).limit(limit as i64 + 1).batch_size(batch);
            find = find.max_time(SOURCE_STATEMENT_TIME);
            if let Some(projection) = projection {
                find = find.projection(projection);
            }
            if let Some(sort) = sort {
                find = find.sort(sort);
            }
            if let Some(skip) = skip {
                find = find.skip(skip);
            }
            read(find.await?, ask).await
        }
        Deed::Aggregate { pipeline } => {
            let aggregate = documents.aggregate(pipeline).batch_size(batch);
            read(aggregate.max_time(SOURCE_STATEMENT_TIME).await?, ask).await
        }
        write => {
            let mut answer = ask.answer();
            answer.affected = Some(change(&documents, write).await?);
            Ok(answer)
        }
    }
}

async fn read(mut cursor: Cursor<bson::Document>, ask: &Ask<'_>) -> Result<Answer, Trouble> {
    let mut answer = ask.answer();
    while cursor.advance().await? {
        if answer.is_full() {
            break;
        }
        if !values::is_within(cursor.current(), LEVELS) {
            return Err(failure::refused(SOURCE, "a document has too many levels").into());
        }
        answer.push(values::row(cursor.deserialize_current()?))?;
    }
    Ok(answer)
}

/// Makes a write; says how many documents it has touched.
async fn change(documents: &Documents, write: Deed) -> Result<u64, Error> {
    Ok(match write {
        Deed::Insert { documents: new } => {
            documents.insert_many(new).await?.inserted_ids.len() as u64
        }
        Deed::Update { filter, update, many: true } => {
            documents.update_many(filter, update).await?.modified_count
        }
        Deed::Update { filter, update, many: false } => {
            documents.update_one(filter, update).await?.modified_count
        }
        Deed::Delete { filter, many: true } => documents.delete_many(filter).await?.deleted_count,
        Deed::Delete { filter, many: false } => documents.delete_one(filter).await?.deleted_count,
        Deed::Find { .. } | Deed::Aggregate { .. } => 0,
    })
}

/// Whether the way to the server is what failed.
fn is_lost(error: &Error) -> bool {
    matches!(
        *error.kind,
        ErrorKind::ServerSelection { .. }
            | ErrorKind::ProxyConnect { .. }
            | ErrorKind::Io(_)
            | ErrorKind::ConnectionPoolCleared { .. }
    )
}

/// What an error of the client or the server means.
fn failed(error: &Error) -> Failure {
    match &*error.kind {
        ErrorKind::Authentication { message, .. } => failure::locked_out(SOURCE, message),
        ErrorKind::Command(told) => {
            let text = format!("{} ({} {})", told.message, told.code_name, told.code);
            match told.code {
                13 | 18 => failure::locked_out(SOURCE, text),
                50 => Failure { code: Code::Timeout, ..failure::refused(SOURCE, text) },
                _ if error.contains_label("RetryableWriteError") => failure::broken(SOURCE, text),
                6 | 7 | 89 | 91 | 189 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436 => {
                    failure::broken(SOURCE, text)
                }
                _ => failure::refused(SOURCE, text),
            }
        }
        ErrorKind::Io(cause) => failure::broken(SOURCE, crate::egress::dial::in_words(cause)),
        ErrorKind::ServerSelection { .. } => failure::broken(SOURCE, "no server can be reached"),
        _ if is_lost(error) => failure::broken(SOURCE, "the connection broke"),
        ErrorKind::InvalidArgument { message, .. } => failure::refused(SOURCE, message),
        _ => failure::refused(SOURCE, error),
    }
}
