//! `waystation serve`: the server.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use rustix::process::{Resource, Rlimit};
use serde_json::json;
use waystation_engine::secret::new_token;

use super::listen::{Address, Listen, start_logging};
use super::metrics;
use super::signals::Stop;
use super::{Outcome, read_config, terminal};
use crate::app::App;
use crate::http::{self, Context, Doors};
use crate::settings::Sources;

/// The file in the data directory that tells other commands where the server listens.
pub(super) const ADDRESS_FILE: &str = "server.json";
/// How long connections may take to end after the engine has stopped.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) listen: Listen,
}

impl Serve {
    /// Where to listen is said by its flags, and by all other sources.
    pub(super) async fn execute(sources: &Sources) -> Outcome {
        start_logging(sources)?;
        let mut signals = Stop::listen()?;
        raise_open_files();
        let address = Address::read(sources)?;
        let (is_local, data) = (address.is_local(), sources.data());
        let mut config = read_config(sources, is_local)?;
        let (grace, settings) = (config.shutdown_grace, std::mem::take(&mut config.doors));
        let metrics = metrics::start()?;
        let (listener, bound) = address.open().await?;
        let app = Arc::new(App::open(config, true).await?);
        address.check(&app.auth)?;
        if app.auth.opens_in_vain() {
            tracing::warn!(
                "WAYSTATION_OPEN_APIS has no effect yet: no caller is asked who they are"
            );
        }
        let address = bound;
        let (token, pass): (Arc<str>, Arc<str>) = (new_token().into(), new_token().into());
        app.start(address, &pass).await?;
        let context = Context::new(Arc::clone(&app), Some(metrics));
        let instance = context.instance();
        let _address_file = AddressFile::write(&data, &address.to_string(), instance, &token);
        let auth = Arc::clone(&app.auth);
        let doors = Doors { auth, settings, is_local, token, pass };
        tracing::info!(%address, data = %data.display(), "listening");
        terminal::say(&format!("Waystation listens on http://{address}  (Ctrl-C stops it)"));

        let connections =
            http::serve(listener, http::router(context, doors), signals.requested()).await;
        tracing::info!("shutting down");
        terminal::say(
            "Stopping: steps under way may finish, the rest resumes at the next start  \
             (Ctrl-C again stops at once)",
        );
        let gently = async {
            app.engine.shutdown(grace).await;
            connections.drain(DRAIN).await;
        };
        tokio::select! {
            () = gently => {}
            () = signals.requested() => app.engine.shutdown(Duration::ZERO).await,
        }
        Ok(())
    }
}

/// Each connection is an open file. Systems allow few at first, and more to whoever asks.
fn raise_open_files() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the bound on open files stays as it is");
    }
}

/// Tells other commands where the server listens, as long as it does.
struct AddressFile(PathBuf);

impl AddressFile {
    /// Only the user who runs the server may read it: whoever shows the token may do all that an admin may.
    fn write(data: &Path, address: &str, instance: &str, token: &str) -> AddressFile {
        let path = data.join(ADDRESS_FILE);
        let text = json!({ "address": address, "instance": instance, "token": token });
        // One that a killed server left may be open to others.
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        if let Err(error) = file.and_then(|mut file| file.write_all(text.to_string().as_bytes())) {
            tracing::warn!(%error, "{ADDRESS_FILE} cannot be written");
        }
        AddressFile(path)
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        // A file that stays is only stale: nothing listens there.
        let _ = std::fs::remove_file(&self.0);
    }
}
