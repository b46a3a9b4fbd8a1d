//! `waystation endpoint`: an endpoint worker as a server of its own.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::listen::{Listen, start_logging};
use super::signals::Stop;
use super::{Outcome, read_config, terminal};
use crate::app::http_client;
use crate::http::{self, Gate};

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
        let local = self.listen.check()?;
        let config = read_config(data, local)?;
        let client = Arc::new(http_client(config.egress)?);
        let (listener, address) = self.listen.open().await?;
        terminal::say(&format!("Endpoint worker listens on http://{address}  (Ctrl-C stops it)"));

        let gate = Gate::new(local, config.cors_origins);
        let router = http::endpoint_server(client, config.body_bytes_max, &gate);
        let connections = http::serve(listener, router, signals.requested()).await;
        terminal::say("Stopping: calls under way may finish  (Ctrl-C again stops at once)");
        tokio::select! {
            () = connections.drain(config.shutdown_grace) => {}
            () = signals.requested() => {}
        }
        Ok(())
    }
}
