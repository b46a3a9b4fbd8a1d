//! `waystation secret`: values that steps use and nobody sees.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Subcommand;
use reqwest::Method;
use waystation_core::error::{Code, Error};
use waystation_engine::secret::{Vault, check_name};
use waystation_engine::store::Store;
use waystation_engine::store::sqlite::{Options, SqliteStore};

use super::local::Server;
use super::{Outcome, terminal};
use crate::app::open_vault;
use crate::config::Config;

#[derive(Subcommand)]
pub(super) enum Secret {
    /// Set a secret; its value is read from standard input.
    Set {
        /// Its name, as in {{secrets.NAME}}.
        name: String,
    },
    /// List the names of all secrets.
    List,
    /// Remove a secret.
    Rm {
        /// Its name.
        name: String,
    },
}

impl Secret {
    pub(super) async fn execute(self, config: Config) -> Outcome {
        match self {
            Secret::Set { name } => {
                check_name(&name)?;
                let value = read_value(&name)?;
                set(config, &name, value).await?;
                terminal::say(&format!("Steps can use it as {{{{secrets.{name}}}}}"));
            }
            Secret::List => {
                let store = SqliteStore::open_read_only(&config.data).map_err(Error::from)?;
                let secrets = store.secrets().await.map_err(Error::from)?;
                secrets.iter().for_each(|(name, _)| terminal::print(name));
            }
            Secret::Rm { name } => {
                check_name(&name)?;
                remove(config, &name).await?;
            }
        }
        Ok(())
    }
}

async fn set(config: Config, name: &str, value: String) -> Result<(), Error> {
    match Server::of(&config.data).await {
        Some(server) => server.call(Method::PUT, &path(name), Some(value)).await.map(drop),
        None => open(&config).await?.set(name, &value).await,
    }
}

async fn remove(config: Config, name: &str) -> Result<(), Error> {
    if let Some(server) = Server::of(&config.data).await {
        return server.call(Method::DELETE, &path(name), None).await.map(drop);
    }
    match open(&config).await?.remove(name).await? {
        true => Ok(()),
        false => Err(Error::new(Code::NotFound, format!("There is no secret {name}"))),
    }
}

async fn open(config: &Config) -> Result<Vault, Error> {
    let store = SqliteStore::open(&config.data, &Options::default())?;
    open_vault(config, Arc::new(store)).await
}

/// Names hold nothing that a path could mistake.
fn path(name: &str) -> String {
    format!("/secrets/{name}")
}

/// The value, typed unseen or piped in. Arguments would show it to other users of the machine.
fn read_value(name: &str) -> Result<String, Error> {
    let unreadable =
        |error: std::io::Error| Error::new(Code::RequestInvalid, format!("no value: {error}"));
    if std::io::stdin().is_terminal() {
        terminal::say(&format!("Value of {name} (not shown):"));
        return console::Term::stderr().read_secure_line().map_err(unreadable);
    }
    let text = std::io::read_to_string(std::io::stdin()).map_err(unreadable)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
