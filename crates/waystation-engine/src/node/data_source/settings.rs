//! The settings of a `data-source`, as the node reads them and as definitions may have them.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use waystation_core::error::{Code, Failure};

use crate::limits::{SOURCE_PARAMETERS, SOURCE_QUERY_BYTES, SOURCE_ROWS, SOURCE_ROWS_MAX};
use crate::node::http;
use crate::node::rendered::from_rendered;

/// What kind of source it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum SourceType {
    Api,
    Postgres,
    Mysql,
    Sqlite,
    Mongodb,
    Redis,
}

impl SourceType {
    /// What people call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            SourceType::Api => "the API",
            SourceType::Postgres => "PostgreSQL",
            SourceType::Mysql => "MySQL",
            SourceType::Sqlite => "SQLite",
            SourceType::Mongodb => "MongoDB",
            SourceType::Redis => "Redis",
        }
    }

    /// How its connection strings begin.
    pub(super) fn schemes(self) -> &'static [&'static str] {
        match self {
            SourceType::Api => &["http", "https"],
            SourceType::Postgres => &["postgres", "postgresql"],
            SourceType::Mysql => &["mysql", "mariadb"],
            SourceType::Sqlite => &["sqlite"],
            SourceType::Mongodb => &["mongodb"],
            SourceType::Redis => &["redis", "rediss"],
        }
    }

    /// How its connection strings look.
    pub(super) fn form(self) -> &'static str {
        match self {
            SourceType::Api => "https://host/path",
            SourceType::Postgres => "postgres://user:password@host:5432/database?sslmode=require",
            SourceType::Mysql => "mysql://user:password@host:3306/database?sslmode=require",
            SourceType::Sqlite => {
                "sqlite:folder/file.db, below the directory of the server's setting"
            }
            SourceType::Mongodb => "mongodb://user:password@host:27017/database?tls=true",
            SourceType::Redis => "redis://user:password@host:6379/0, or rediss:// for TLS",
        }
    }

    /// Whether its query is a text in SQL.
    pub(super) fn has_sql(self) -> bool {
        matches!(self, SourceType::Postgres | SourceType::Mysql | SourceType::Sqlite)
    }
}

/// A value for each place in the query.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Parameters {
    /// By position.
    Listed(Vec<Value>),
    /// By name, for MySQL and SQLite.
    Named(Map<String, Value>),
}

/// A text in SQL, a command, or an object.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only described")]
enum Query {
    Sql(String),
    Command(Vec<Value>),
    Document(Map<String, Value>),
}

/// Which source is asked for what.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// What kind of source it is.
    pub(super) source_type: SourceType,
    /// `api`: the URL. A path alone means this very server.
    pub(super) endpoint: Option<String>,
    /// Databases: the connection string, such as `postgres://user:password@host/database`; for
    /// `sqlite` the path of a file. One that holds a password is a secret: `{{secrets.NAME}}`.
    pub(super) connection: Option<String>,
    /// Databases: what to ask. A text in SQL, with `$1` (PostgreSQL), `?` or `:name` (MySQL, SQLite) in
    /// the place of values; a command as an array (Redis); an object (MongoDB). No template is filled in
    /// in SQL: values are `parameters`.
    #[schemars(with = "Option<Query>")]
    pub(super) query: Option<Value>,
    /// SQL: a value for each place in the query, in order, or by name for MySQL and SQLite. They
    /// are sent beside the query and never become part of it.
    pub(super) parameters: Option<Parameters>,
    /// The most rows to read.
    #[serde(default = "default_limit")]
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) limit: u64,
    /// Whether the query may change something. Without it only questions are sent, and in such a way
    /// that the database itself refuses to change what it holds.
    #[serde(default)]
    pub(super) write: bool,
    /// `api`: the method, by default GET. Any but GET and HEAD needs `write`.
    pub(super) method: Option<String>,
    /// `api`: the headers.
    pub(super) headers: Option<Map<String, Value>>,
    /// `api`: what is added to the URL's query.
    pub(super) params: Option<Map<String, Value>>,
    /// `api`: the body, sent as JSON where the headers name no other type.
    #[serde(default)]
    pub(super) body: Value,
    /// `api`: who asks.
    #[schemars(with = "Option<http::Auth>")]
    pub(super) auth: Option<Value>,
    /// `mongodb`: the values that the templates of the query have; made when a definition is read.
    #[serde(default)]
    #[schemars(skip)]
    pub(super) query_values: Vec<Value>,
}

fn default_limit() -> u64 {
    SOURCE_ROWS
}

impl Settings {
    /// Reads what a node is given, and checks what its templates have become.
    pub(super) fn read(config: Value) -> Result<Settings, Failure> {
        let settings: Settings = from_rendered(config)
            .map_err(|error| invalid(&format!("data-source settings: {error}")))?;
        if !(1..=SOURCE_ROWS_MAX).contains(&settings.limit) {
            return Err(invalid(&format!("limit: must be from 1 to {SOURCE_ROWS_MAX}")));
        }
        Ok(settings)
    }

    /// The most rows to read.
    pub(super) fn rows(&self) -> usize {
        self.limit as usize
    }

    /// The connection string.
    pub(super) fn connection(&self) -> Result<&str, Failure> {
        let connection = self.connection.as_deref().map(str::trim);
        connection.filter(|text| !text.is_empty()).ok_or_else(|| {
            let form = self.source_type.form();
            invalid(&format!("connection: is missing or empty; it looks like {form}"))
        })
    }

    /// The text of a query in SQL.
    pub(super) fn sql(&self) -> Result<&str, Failure> {
        match &self.query {
            Some(Value::String(text)) if text.len() > SOURCE_QUERY_BYTES => {
                Err(invalid(&format!("query: is longer than {SOURCE_QUERY_BYTES} bytes")))
            }
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text),
            _ => Err(invalid("query: must be a text in SQL")),
        }
    }

    /// The values by position, where there is no other way.
    pub(super) fn listed(&self) -> Result<&[Value], Failure> {
        match &self.parameters {
            None => Ok(&[]),
            Some(Parameters::Listed(values)) if values.len() > SOURCE_PARAMETERS => {
                Err(invalid(&format!("parameters: are more than {SOURCE_PARAMETERS}")))
            }
            Some(Parameters::Listed(values)) => Ok(values),
            Some(Parameters::Named(_)) => {
                let title = self.source_type.title();
                Err(invalid(&format!("parameters: {title} takes an array, in the order of places")))
            }
        }
    }
}

/// Settings that cannot be followed.
pub(super) fn invalid(message: &str) -> Failure {
    Failure::fatal(Code::DefinitionInvalid, message)
}

/// As many values as the query has places for.
pub(super) fn check_count(given: usize, places: usize) -> Result<(), Failure> {
    if given == places {
        return Ok(());
    }
    let text = format!("parameters: the query has {places} places, and {given} values are given");
    Err(invalid(&text))
}
