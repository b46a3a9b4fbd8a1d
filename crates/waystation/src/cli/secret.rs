//! `waystation secret`: values that steps use and nobody sees.

use std::io::IsTerminal;
use std::sync::Arc;

use clap::Subcommand;
use waystation_core::error::{Code, Error};
use waystation_engine::store::Store;
use waystation_engine::store::sqlite::{Options, SqliteStore};

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
        let store: Arc<dyn Store> = match self {
            Secret::List => {
                Arc::new(SqliteStore::open_read_only(&config.data).map_err(Error::from)?)
            }
            _ => {
                Arc::new(SqliteStore::open(&config.data, &Options::default()).map_err(Error::from)?)
            }
        };
        if let Secret::List = self {
            let secrets = store.secrets().await.map_err(Error::from)?;
            secrets.iter().for_each(|(name, _)| terminal::print(name));
            return Ok(());
        }
        let vault = open_vault(&config, store).await?;
        match self {
            Secret::Set { name } => {
                vault.set(&name, &read_value(&name)?).await?;
                terminal::say(&format!("Steps can use it as {{{{secrets.{name}}}}}"));
            }
            Secret::Rm { name } => {
                if !vault.remove(&name).await? {
                    let text = format!("There is no secret {name}");
                    return Err(Error::new(Code::NotFound, text).into());
                }
            }
            Secret::List => {}
        }
        Ok(())
    }
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
