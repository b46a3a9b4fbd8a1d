//! What commands that serve have in common: where they listen, and their log.

use std::net::SocketAddr;

use clap::Args;
use clap::builder::BoolishValueParser;
use tokio::net::TcpListener;
use waystation_core::error::{Code, Error};

use super::terminal;
use crate::auth::Auth;
use crate::config::is_local;
use crate::http;

/// Where to listen.
#[derive(Args)]
pub(super) struct Listen {
    /// The address to listen on.
    #[arg(long, env = "HOST", default_value = "127.0.0.1")]
    host: String,
    /// The port to listen on; 0 picks a free one.
    #[arg(long, env = "PORT", default_value_t = 8080)]
    port: u16,
    /// Serve other machines also where callers are not asked who they are.
    #[arg(long, env = "WAYSTATION_OPEN", value_parser = BoolishValueParser::new())]
    open: bool,
}

impl Listen {
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
        Err(Error::new(Code::SettingInvalid, text).with_hint(hint))
    }

    /// Opens the socket.
    pub(super) async fn open(&self) -> Result<(TcpListener, SocketAddr), Error> {
        http::listen(&self.host, self.port).await.map_err(|error| {
            let text = format!("cannot listen on {}:{}: {error}", self.host, self.port);
            Error::new(Code::SettingInvalid, text).with_hint("choose another with --port")
        })
    }
}

/// Starts the log, on standard error.
pub(super) fn start_logging() -> Result<(), Error> {
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::filter::LevelFilter;
    let invalid = |text: String| Error::new(Code::SettingInvalid, text);
    let text = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    let level = text("LOG_LEVEL").unwrap_or_else(|| "warn".into());
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
    let started = match text("LOG_FORMAT").as_deref() {
        Some("json") => builder.json().try_init(),
        Some("pretty") | None => builder.try_init(),
        Some(other) => {
            return Err(invalid(format!("LOG_FORMAT must be json or pretty, not {other:?}")));
        }
    };
    started.map_err(|error| invalid(format!("logging: {error}")))
}
