//! `waystation key`: keys by which callers say who they are.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use waystation_core::error::Error;
use waystation_engine::id::now_ms;
use waystation_engine::store::KeyStore;
use waystation_engine::store::sqlite::{Options, SqliteStore};

use super::local::Server;
use super::{Outcome, terminal};
use crate::auth::keys::{Keys, NewKey};
use crate::auth::principal::Role;
use crate::config::Config;
use crate::http::view_key;

#[derive(Subcommand)]
pub(super) enum Key {
    /// Make a key. It is printed, once: only a digest of it is kept.
    Create(Create),
    /// List all keys.
    List {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take a key back, at once.
    Revoke {
        /// Its id, the part between the underscores.
        id: String,
    },
}

#[derive(Args)]
pub(super) struct Create {
    /// What it is for.
    name: String,
    /// What its holder may do: viewer, runner, editor or admin.
    #[arg(long)]
    role: Role,
    /// A namespace that its holder may act in; may be given several times. All, if none is given.
    #[arg(long = "namespace", value_name = "NAMESPACE")]
    namespaces: Vec<String>,
    /// How long it is good for, as 90d or 12h. Until it is revoked, if that is not given.
    #[arg(long, value_parser = humantime::parse_duration)]
    expires_in: Option<Duration>,
}

impl Key {
    pub(super) async fn execute(self, config: &Config) -> Outcome {
        match self {
            Key::Create(create) => create.execute(config).await?,
            Key::List { json } => list(config, json).await?,
            Key::Revoke { id } => {
                revoke(config, &id).await?;
                terminal::say(&format!("Key {id} opens nothing any more"));
            }
        }
        Ok(())
    }
}

impl Create {
    async fn execute(self, config: &Config) -> Result<(), Error> {
        let namespaces = (!self.namespaces.is_empty()).then_some(self.namespaces);
        let made = match Server::of(&config.data).await {
            Some(server) => {
                let body = json!({
                    "name": self.name,
                    "role": self.role.as_str(),
                    "namespaces": namespaces,
                    "expires_in_seconds": self.expires_in.map(|time| time.as_secs()),
                });
                server.call(Method::POST, "/keys", Some(body.to_string())).await?
            }
            None => {
                let expires = self.expires_in.map(|time| now_ms() + time.as_secs() * 1_000);
                let new = NewKey { name: self.name, role: self.role, namespaces, expires };
                let (key, row) = open(config).await?.create(new).await?;
                let mut made = view_key(&row, row.created);
                made["key"] = key.into();
                made
            }
        };
        terminal::print(made["key"].as_str().unwrap_or_default());
        terminal::say(&format!(
            "This is the key {}. It is not shown again: keep it where secrets are kept.\n\
             Callers send it as   x-api-key: <key>   or   Authorization: Bearer <key>",
            made["id"].as_str().unwrap_or_default()
        ));
        Ok(())
    }
}

async fn open(config: &Config) -> Result<Keys, Error> {
    let store = SqliteStore::open(&config.data, &Options::default())?;
    Keys::load(Arc::new(store)).await
}

async fn list(config: &Config, as_json: bool) -> Result<(), Error> {
    let store = SqliteStore::open_read_only(&config.data).map_err(Error::from)?;
    let now = now_ms();
    let rows = store.keys().await.map_err(Error::from)?;
    let rows: Vec<Value> = rows.iter().map(|row| view_key(row, now)).collect();
    if as_json {
        terminal::print_json(&rows.into());
        return Ok(());
    }
    if rows.is_empty() {
        terminal::say("There are no keys. Make one:  waystation key create NAME --role editor");
    }
    rows.iter().for_each(|row| terminal::print(&line(row)));
    Ok(())
}

/// `id  status  role  namespaces  until  name`
fn line(row: &Value) -> String {
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    let namespaces = match &row["namespaces"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
        _ => "all".into(),
    };
    let until = row["expires_at"].as_str().map_or("for ever".into(), |at| format!("until {at}"));
    let (id, status, role) = (text("id"), text("status"), text("role"));
    let name = terminal::plain(text("name"));
    let namespaces = terminal::plain(&namespaces);
    format!("{id}  {status:<7}  {role:<6}  {namespaces}  {until}  {name}")
}

async fn revoke(config: &Config, id: &str) -> Result<(), Error> {
    match Server::of(&config.data).await {
        Some(server) => {
            let path = format!("/keys/{}", percent(id));
            server.call(Method::DELETE, &path, None).await.map(drop)
        }
        None => open(config).await?.revoke(id).await,
    }
}

/// An id that is none must not lead to another path.
fn percent(id: &str) -> String {
    url::form_urlencoded::byte_serialize(id.as_bytes()).collect()
}
