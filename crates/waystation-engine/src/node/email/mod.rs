//! `email`: sends a message over SMTP, at most once after the server has accepted it.
//!
//! - `settings`: what a definition says, and how it is described
//! - `address`: who gets it
//! - `message`: from settings to the message as it goes over the wire, with `plain` beside HTML
//! - [`server`]: the operator's mail server, and a node's own
//! - `session`: the conversation with it, `opening` before TLS, on a `wire` that bounds what it says
//! - `failure`: what goes wrong there

mod address;
mod failure;
mod message;
mod opening;
mod plain;
pub mod server;
mod session;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use async_trait::async_trait;
use rustls::ClientConfig;
use serde_json::{Map, json};
use waystation_core::error::{Code, Failure};

use self::message::{Outgoing, compose};
use self::server::{MailSettings, OwnServer, Server};
use self::settings::{OnInterruption, Settings};
use super::model::settings::{read, read_private};
use super::{Call, Completion, Effect, Outcome};
use crate::egress::HttpClient;
pub(super) use settings::spec;

/// The engine's name of the type.
const KIND: &str = "email";

/// The node type.
pub struct Email {
    /// For servers that nodes name.
    confined: Arc<HttpClient>,
    /// For the server that the operator names.
    trusted: Arc<HttpClient>,
    settings: MailSettings,
    trust: Result<Arc<ClientConfig>, rustls::Error>,
}

impl Email {
    /// The type with an operator's settings.
    pub fn new(
        confined: Arc<HttpClient>,
        trusted: Arc<HttpClient>,
        settings: MailSettings,
    ) -> Email {
        let trust = settings.trust();
        Email { confined, trusted, settings, trust }
    }

    /// The server to use, and the client that may go there.
    fn server(&self, settings: &mut Settings) -> Result<(Server, &HttpClient), Failure> {
        if let Some(own) = settings.smtp.take() {
            let own: OwnServer =
                read_private(KIND, "smtp", own, "{host, port, username, password, security}")?;
            return Ok((own.server()?, &self.confined));
        }
        match &self.settings.server {
            Some(server) => Ok((server.clone(), &self.trusted)),
            None => {
                let text = "There is no mail server: set SMTP_HOST for this program, or `smtp` in the node";
                Err(Failure::fatal(Code::SettingInvalid, text))
            }
        }
    }

    /// Who sends where a node does not say it.
    fn sender(&self, server: &Server) -> Option<String> {
        let login = server.login.as_ref().map(|(username, _)| username);
        let login = login.filter(|username| username.parse::<lettre::Address>().is_ok());
        self.settings.from.as_ref().or(login).cloned()
    }
}

/// Connects to the operator's server and logs in, without sending anything.
pub async fn probe(settings: &MailSettings, client: &HttpClient) -> Result<(), Failure> {
    let Some(server) = &settings.server else { return Ok(()) };
    let trust = settings.trust().map_err(|error| {
        Failure::fatal(Code::SettingInvalid, format!("no certificate can be checked: {error}"))
    })?;
    session::greet(server, client, &trust).await
}

#[async_trait]
impl Effect for Email {
    async fn attempt(&self, call: Call) -> Outcome {
        let mut settings: Settings = read(KIND, call.config)?;
        if call.is_repeated && settings.on_interruption == OnInterruption::Fail {
            return Err(failure::unknown("this program stopped while it was sending it"));
        }
        let (server, client) = self.server(&mut settings)?;
        let sender = self.sender(&server);
        let key = call.idempotency_key;
        // Large attachments take a while to encode.
        let composed =
            tokio::task::spawn_blocking(move || compose(settings, sender.as_deref(), &key)).await;
        let fault = |_| Failure::fatal(Code::NodePanicked, "composing the message hit a fault");
        let outgoing = composed.map_err(fault)??;
        let trust = self.trust.as_ref().map_err(|error| {
            Failure::fatal(Code::SettingInvalid, format!("no certificate can be checked: {error}"))
        })?;
        let _place = call.context.place().await;
        let ready = session::prepare(&server, client, trust, &outgoing).await?;
        // An attempt that runs out of time is made again, so its clock must not run from here on.
        let delivered = ready.deliver(&outgoing.bytes);
        let reason = "waits for the mail server to take the message";
        let response = call.context.waiting(reason, delivered).await?;
        let said = response.message().collect::<Vec<_>>().join(" ");
        let said = failure::words(&server, &format!("{} {said}", response.code()));
        Ok(completion(&outgoing, &said))
    }
}

fn completion(outgoing: &Outgoing, server_response: &str) -> Completion {
    let accepted: Vec<String> = outgoing.envelope.to().iter().map(ToString::to_string).collect();
    let mut details = Map::new();
    details.insert("message_id".into(), json!(outgoing.message_id));
    details.insert("accepted".into(), json!(accepted));
    details.insert("server_response".into(), json!(server_response));
    let output = json!(format!("Email sent to {}", outgoing.to.join(", ")));
    Completion { output, port: None, details }
}

fn invalid(problem: &str) -> Failure {
    super::model::settings::invalid(KIND, problem)
}
