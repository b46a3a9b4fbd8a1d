//! What commands that serve have in common: where they listen, and their log.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use clap::Args;
use tokio::net::TcpListener;
use waystation_core::error::{Code, Error};

use super::terminal;
use crate::auth::Auth;
use crate::config::is_local;
use crate::http;
use crate::settings::Sources;

/// Where to listen, as far as flags say it.
#[derive(Args)]
pub(super) struct Listen {
    /// The address to listen on [default: 127.0.0.1] [env: HOST].
    #[arg(long)]
    host: Option<String>,
    /// The port to listen on; 0 picks a free one [default: 8080] [env: PORT].
    #[arg(long)]
    port: Option<u16>,
    /// Serve other machines also where callers are not asked who they are [env: WAYSTATION_OPEN].
    #[arg(long)]
    open: bool,
}

impl Listen {
    /// The flags that are given, by the names of their variables.
    pub(super) fn flags(&self) -> BTreeMap<&'static str, String> {
        let flags = [
            ("HOST", self.host.clone()),
            ("PORT", self.port.map(|port| port.to_string())),
            ("WAYSTATION_OPEN", self.open.then(|| "true".into())),
        ];
        flags.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// Where to listen.
pub(super) struct Address {
    host: String,
    port: u16,
    open: bool,
}

impl Address {
    /// Reads and checks what is said.
    pub(super) fn read(sources: &Sources) -> Result<Address, Error> {
        let port = sources.lookup("PORT").unwrap_or_else(|| "8080".into());
        let open = sources.lookup("WAYSTATION_OPEN").unwrap_or_default();
        Ok(Address {
            host: sources.lookup("HOST").unwrap_or_else(|| "127.0.0.1".into()),
            port: port.trim().parse().map_err(|_| {
                invalid(format!("PORT must be a whole number up to 65535, not {port:?}"))
            })?,
            open: match open.to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" | "on" => true,
                "" | "false" | "0" | "no" | "off" => false,
                _ => {
                    let text = format!("WAYSTATION_OPEN must be true or false, not {open:?}");
                    return Err(invalid(text));
                }
            },
        })
    }

    /// Whether only this machine will reach the server.
    pub(super) fn is_local(&self) -> bool {
        is_local(&self.host)
    }

    /// Refuses to serve other machines without asking who calls, unless that is wanted.
    pub(super) fn check(&self, auth: &Auth) -> Result<(), Error> {
        if self.is_local() || self.open || auth.is_on() {
            return Ok(());
        }
        let text = format!(
            "{} can be reached by other machines, and callers are not asked who they are",
            self.host
        );
        let hint = "listen on 127.0.0.1, make a key with `waystation key create` or set JWT_SECRET, \
                    or add --open where the network keeps others out";
        Err(invalid(text).with_hint(hint))
    }

    /// Opens the socket.
    pub(super) async fn open(&self) -> Result<(TcpListener, SocketAddr), Error> {
        http::listen(&self.host, self.port).await.map_err(|error| {
            let text = format!("cannot listen on {}:{}: {error}", self.host, self.port);
            invalid(text).with_hint("choose another with --port")
        })
    }
}

fn invalid(text: String) -> Error {
    Error::new(Code::SettingInvalid, text)
}

/// Starts the log, on standard error.
pub(super) fn start_logging(sources: &Sources) -> Result<(), Error> {
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::filter::LevelFilter;
    let level = sources.lookup("LOG_LEVEL").unwrap_or_else(|| "warn".into());
    // A lone word is a level; the filter would take any other for the name of a part of the program.
    if !level.contains(['=', ',']) && level.parse::<LevelFilter>().is_err() {
        let levels = "off, error, warn, info, debug or trace";
        return Err(invalid(format!("LOG_LEVEL must be {levels}, not {level:?}")));
    }
    let filter = EnvFilter::try_new(level.to_lowercase())
        .map_err(|error| invalid(format!("LOG_LEVEL: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(terminal::is_watched())
        .with_writer(std::io::stderr);
    let started = match sources.lookup("LOG_FORMAT").as_deref() {
        Some("json") => builder.json().try_init(),
        Some("pretty") | None => builder.try_init(),
        Some(other) => {
            return Err(invalid(format!("LOG_FORMAT must be json or pretty, not {other:?}")));
        }
    };
    started.map_err(|error| invalid(format!("logging: {error}")))
}
