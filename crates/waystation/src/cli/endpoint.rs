//! `waystation endpoint`: an endpoint worker as a server of its own.

use std::sync::Arc;

use clap::Args;

use super::listen::{Address, Listen, start_logging};
use super::signals::Stop;
use super::{Outcome, read_config, terminal};
use crate::app::http_client;
use crate::auth::Auth;
use crate::http::{self, Doors};
use crate::settings::Sources;

#[derive(Args)]
pub(super) struct Endpoint {
    #[command(flatten)]
    pub(super) listen: Listen,
}

impl Endpoint {
    /// The data directory is only named: a worker keeps nothing.
    pub(super) async fn execute(sources: &Sources) -> Outcome {
        start_logging(sources)?;
        let mut signals = Stop::listen()?;
        let address = Address::read(sources)?;
        let is_local = address.is_local();
        let config = read_config(sources, is_local)?;
        let auth = Arc::new(Auth::without_keys(config.auth));
        address.check(&auth)?;
        let client = Arc::new(http_client(config.egress)?);
        let (listener, address) = address.open().await?;
        terminal::say(&format!("Endpoint worker listens on http://{address}  (Ctrl-C stops it)"));

        let (token, pass) = ("".into(), "".into());
        let doors = Doors { auth, settings: config.doors, is_local, token, pass };
        let router = http::endpoint_server(client, config.body_bytes_max, doors);
        let connections = http::serve(listener, router, signals.requested()).await;
        terminal::say("Stopping: calls under way may finish  (Ctrl-C again stops at once)");
        tokio::select! {
            () = connections.drain(config.shutdown_grace) => {}
            () = signals.requested() => {}
        }
        Ok(())
    }
}
