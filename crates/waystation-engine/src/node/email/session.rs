//! A conversation with a mail server, from the connection to its last word on the message.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lettre::Address;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailParameter};
use lettre::transport::smtp::response::Response;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use waystation_core::error::Failure;

use super::failure;
use super::message::Outgoing;
use super::opening::{GREETING, start_tls};
use super::server::{Security, Server};
use super::wire::{Duplex, Wire};
use crate::egress::{HttpClient, tls};
use crate::limits::{MAIL_GOODBYE, MAIL_PATIENCE};
use crate::node::http::send_failure;

/// Bytes of a message between two looks at whether the connection still takes them.
const PIECE_BYTES: usize = 64 << 10;

/// A conversation in which everything is said but the message itself.
pub(super) struct Ready<'a> {
    connection: AsyncSmtpConnection,
    server: &'a Server,
}

/// Connects, logs in and names everybody, up to where the server waits for the message.
pub(super) async fn prepare<'a>(
    server: &'a Server,
    client: &HttpClient,
    trust: &Arc<ClientConfig>,
    outgoing: &Outgoing,
) -> Result<Ready<'a>, Failure> {
    let mut connection = connect(server, client, trust).await?;
    log_in(&mut connection, server).await?;
    address(&mut connection, server, outgoing).await?;
    Ok(Ready { connection, server })
}

/// Connects, logs in if there is a login, and says goodbye.
pub(super) async fn greet(
    server: &Server,
    client: &HttpClient,
    trust: &Arc<ClientConfig>,
) -> Result<(), Failure> {
    let mut connection = connect(server, client, trust).await?;
    log_in(&mut connection, server).await?;
    // That it lets in is what was asked.
    let _ = timeout(MAIL_GOODBYE, connection.quit()).await;
    Ok(())
}

async fn connect(
    server: &Server,
    client: &HttpClient,
    trust: &Arc<ClientConfig>,
) -> Result<AsyncSmtpConnection, Failure> {
    let dialled = client.dial(&server.host, server.port).await;
    let mut plain = dialled.map_err(|error| send_failure(&error))?;
    let peer = plain.peer_addr().map_err(|error| failure::lost(server, &error))?;
    let is_local = peer.ip().to_canonical().is_loopback();
    if server.security == Security::None && server.login.is_some() && !is_local {
        return Err(failure::open_login(server));
    }
    let (stream, first): (Box<dyn Duplex>, &'static [u8]) = match server.security {
        Security::None => (Box::new(plain), b""),
        Security::Tls => (Box::new(private(server, trust, plain).await?), b""),
        Security::Starttls => {
            start_tls(server, &mut plain).await?;
            // The server greets once; the rest of the conversation begins with that.
            (Box::new(private(server, trust, plain).await?), GREETING)
        }
    };
    let wire = Box::new(Wire::new(stream, peer, first));
    let connected = AsyncSmtpConnection::connect_with_transport(wire, &ClientId::default()).await;
    connected.map_err(|error| failure::refused(server, "the conversation", &error))
}

async fn private(
    server: &Server,
    trust: &Arc<ClientConfig>,
    plain: TcpStream,
) -> Result<impl Duplex + use<>, Failure> {
    let secured = tls::secure(trust, &server.host, plain).await;
    secured.map_err(|error| failure::untrusted(send_failure(&error)))
}

async fn log_in(connection: &mut AsyncSmtpConnection, server: &Server) -> Result<(), Failure> {
    let Some((username, password)) = &server.login else { return Ok(()) };
    let known = [Mechanism::Plain, Mechanism::Login];
    if connection.server_info().get_auth_mechanism(&known).is_none() {
        return Err(failure::no_login(server));
    }
    let credentials = Credentials::new(username.clone(), password.expose().to_owned());
    let done = connection.auth(&known, &credentials).await;
    done.map(drop).map_err(|error| failure::refused(server, "the login", &error))
}

/// Says who sends the message and who gets it. Whoever is refused, nobody gets it.
async fn address(
    connection: &mut AsyncSmtpConnection,
    server: &Server,
    outgoing: &Outgoing,
) -> Result<(), Failure> {
    let envelope = &outgoing.envelope;
    let mut parameters = Vec::new();
    let mut named = envelope.from().into_iter().chain(envelope.to());
    if named.any(|address| !address.to_string().is_ascii()) || !outgoing.bytes.is_ascii() {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(failure::ascii_only(server));
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    let sender = envelope.from().cloned();
    let what = sender.as_ref().map_or_else(String::new, |from| format!("mail from {from}"));
    let said = connection.command(Mail::new(sender, parameters)).await;
    said.map_err(|error| failure::refused(server, &what, &error))?;
    for address in envelope.to() {
        recipient(connection, server, address).await?;
    }
    let said = connection.command(Data).await;
    said.map(drop).map_err(|error| failure::refused(server, "the message", &error))
}

async fn recipient(
    connection: &mut AsyncSmtpConnection,
    server: &Server,
    address: &Address,
) -> Result<(), Failure> {
    let said = connection.command(Rcpt::new(address.clone(), Vec::new())).await;
    said.map(drop).map_err(|error| failure::refused(server, &format!("mail to {address}"), &error))
}

impl Ready<'_> {
    /// Sends the message and waits for the server's last word on it. From the moment the message is out
    /// whole, only that word tells whether it was sent.
    pub(super) async fn deliver(mut self, message: &[u8]) -> Result<Response, Failure> {
        let is_out = AtomicBool::new(false);
        let all_out = || {
            is_out.store(true, Ordering::Relaxed);
            None
        };
        // A piece is asked for once the one before it is gone, the end once all of them are.
        let pieces = message.chunks(PIECE_BYTES).chain(std::iter::from_fn(all_out));
        let said = timeout(MAIL_PATIENCE, self.connection.message_iter(pieces)).await;
        let is_out = is_out.load(Ordering::Relaxed);
        match said {
            Ok(Ok(response)) => {
                // The message is accepted, whatever becomes of the goodbye.
                let _ = timeout(MAIL_GOODBYE, self.connection.quit()).await;
                Ok(response)
            }
            Ok(Err(error)) if error.status().is_some() || !is_out => {
                Err(failure::refused(self.server, "the message", &error))
            }
            Ok(Err(_)) => {
                Err(failure::unknown("the connection broke before the mail server's last word"))
            }
            Err(_) if is_out => {
                Err(failure::unknown("the mail server has not said its last word in time"))
            }
            Err(_) => Err(failure::stuck(self.server)),
        }
    }
}
