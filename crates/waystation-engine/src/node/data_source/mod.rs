//! `data-source`: asks a database or an API for rows.
//!
//! - `settings`: what a node says; `spec`: what definitions may say, and the documentation
//! - `api`, `postgres`, `mysql`, `sqlite`, `mongodb`, `redis`: the sources
//! - `statement`: what is sent without leave to write
//! - `answer`: rows, up to a number and a size; `failure`: why there are none
//! - `address`, `wire`, `pool`: connections, and how they are kept
//! - `writes`: a write happens once
//!
//! Two rules hold for every source. Values never become part of a query: they travel beside it. And
//! where a node does not say `write`, the source itself refuses to change what it holds; what else a
//! server can do is not asked of it.

mod address;
mod answer;
mod api;
mod failure;
mod mongodb;
mod mysql;
mod pool;
mod postgres;
mod redis;
mod settings;
mod spec;
mod sqlite;
mod statement;
mod wire;
mod writes;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use serde_json::Value;
use tokio::sync::Semaphore;
use waystation_core::error::Failure;

use self::answer::Answer;
use self::pool::Pool;
use self::settings::{Settings, SourceType};
use self::writes::Writes;
use super::{AttemptContext, Call, Effect, Outcome};
use crate::egress::HttpClient;
use crate::egress::tls::Trust;
use crate::secret::{Redactor, Secret};
pub use spec::spec;
pub use sqlite::Files;

/// The node type.
pub struct DataSource {
    client: Arc<HttpClient>,
    trust: OnceLock<Trust>,
    files: Files,
    /// Places of queries on files.
    sqlite: Arc<Semaphore>,
    postgres: Pool<postgres::Session>,
    mysql: Pool<mysql_async::Conn>,
    mongodb: Pool<mongodb::Session>,
    redis: Pool<redis::Session>,
    writes: Writes,
}

/// What a source is asked, and by whom.
struct Ask<'a> {
    settings: &'a Settings,
    connection: &'a str,
    context: &'a AttemptContext,
    is_sent: AtomicBool,
}

impl Ask<'_> {
    /// From here on the source may have done what it is asked.
    fn is_being_sent(&self) {
        self.is_sent.store(true, Ordering::Relaxed);
    }

    /// The source has undone all that it did.
    fn was_undone(&self) {
        self.is_sent.store(false, Ordering::Relaxed);
    }

    fn answer(&self) -> Answer {
        Answer::new(self.settings.source_type, self.settings.rows())
    }
}

impl DataSource {
    /// Reaches sources through the client's policy, and files where the operator lets it.
    pub fn new(client: Arc<HttpClient>, files: Files) -> DataSource {
        DataSource {
            client,
            trust: OnceLock::new(),
            files,
            sqlite: sqlite::places(),
            postgres: Pool::new(),
            mysql: Pool::new(),
            mongodb: Pool::new(),
            redis: Pool::new(),
            writes: Writes::new(),
        }
    }

    /// Whose certificates count. They are read when they are first needed.
    fn trust(&self) -> &Trust {
        self.trust.get_or_init(Trust::of_this_machine)
    }

    async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        check_statement(ask.settings)?;
        match ask.settings.source_type {
            SourceType::Postgres => self.ask_postgres(ask).await,
            SourceType::Mysql => self.ask_mysql(ask).await,
            SourceType::Sqlite => self.ask_sqlite(ask).await,
            SourceType::Mongodb => self.ask_mongodb(ask).await,
            SourceType::Redis => self.ask_redis(ask).await,
            SourceType::Api => Err(settings::invalid("source_type: an API has no connection")),
        }
    }
}

#[async_trait]
impl Effect for DataSource {
    async fn attempt(&self, call: Call) -> Outcome {
        let settings = Settings::read(call.config.clone())?;
        let source = settings.source_type;
        if source == SourceType::Api {
            return api::ask(&self.client, settings, call).await;
        }
        let connection = settings.connection()?;
        if settings.write {
            self.writes.check(source, &call)?;
        }
        let _place = call.context.place().await;
        let is_sent = AtomicBool::new(false);
        let ask = Ask { settings: &settings, connection, context: &call.context, is_sent };
        let answered =
            self.ask(&ask).await.map_err(|failure| without_password(failure, connection));
        let is_sent = ask.is_sent.into_inner();
        let answer = answered.map_err(|failure| match settings.write {
            true => self.writes.judge(failure, is_sent, (source, &call.idempotency_key)),
            false => failure,
        })?;
        Ok(Value::Object(answer.output()).into())
    }
}

/// Refuses what is no question where the node does not say `write`.
fn check_statement(settings: &Settings) -> Result<(), Failure> {
    let source = settings.source_type;
    if settings.write || !source.has_sql() {
        return Ok(());
    }
    let problem = statement::problem(source, settings.sql()?);
    problem.map_or(Ok(()), |problem| Err(failure::read_only(source, problem)))
}

/// A source or its client may quote what it was given. The secret as a whole is taken out anyway; this
/// takes out the password alone.
fn without_password(failure: Failure, connection: &str) -> Failure {
    let password = address::password(connection);
    let secrets: Vec<Secret> = password.into_iter().map(Secret::new).collect();
    let redactor = Redactor::new(&secrets);
    let message = redactor.redact_text(&failure.message).into_owned();
    Failure { message, ..failure }
}

#[cfg(test)]
mod tests;
