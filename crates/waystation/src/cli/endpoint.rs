//! `waystation endpoint`: an endpoint worker as a server of its own.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::listen::{Listen, start_logging};
use super::signals::Stop;
use super::{Outcome, read_config, terminal};
use crate::app::http_client;
use crate::auth::Auth;
use crate::http::{self, Doors};

#[derive(Args)]
pub(super) struct Endpoint {
    #[command(flatten)]
    listen: Listen,
}

impl Endpoint {
    /// The data directory is only named: a worker keeps nothing.
    pub(super) async fn execute(self, data: PathBuf) -> Outcome {
        start_logging()?;
        let mut signals = Stop::listen()?;
        let is_local = self.listen.is_local();
        let config = read_config(data, is_local)?;
        let auth = Arc::new(Auth::without_keys(config.auth));
        self.listen.check(&auth)?;
        let client = Arc::new(http_client(config.egress)?);
        let (listener, address) = self.listen.open().await?;
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
