//! One connection to a PostgreSQL server.

use std::error::Error as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Connection, Error, NoTls};
use tokio_rustls::client::TlsStream as RustlsStream;
use waystation_core::error::Failure;

use super::super::address::Address;
use super::super::wire::{Allowance, Wire};
use super::super::{DataSource, failure};
use super::SOURCE;
use crate::egress::{SendError, tls};

const PORT: u16 = 5432;

/// The server looks from time to time whether anybody still waits for an answer, where it knows how.
const NOTICE_ABSENCE: &str = "SELECT set_config(name, '5s', false) FROM pg_settings \
    WHERE name = 'client_connection_check_interval'";

/// Undoes what a statement may have left in the session: what `DISCARD ALL` does, less the prepared
/// statements, which the client has some of.
const FORGET: &str = "ROLLBACK; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; \
    SELECT pg_advisory_unlock_all(); DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES";

/// A session with a server; its connection ends with it.
pub(in super::super) struct Session {
    pub(super) client: Client,
    pub(super) allowance: Allowance,
    work: AbortHandle,
}

impl Drop for Session {
    /// Otherwise the connection would stay to hear the rest of an answer that nobody wants.
    fn drop(&mut self) {
        self.work.abort();
    }
}

impl Session {
    pub(super) async fn open(source: &DataSource, connection: &str) -> Result<Session, Failure> {
        let address = Address::parse(connection, SOURCE, PORT)?;
        let allowance = Allowance::new();
        let place = (address.host.as_str(), address.port);
        let wire = Wire::dial(&source.client, place, &allowance).await;
        let wire = wire.map_err(|error| failure::unreachable(SOURCE, &error))?;
        let mut config = Config::new();
        config.user(address.user.as_deref().unwrap_or("postgres")).application_name("waystation");
        address.password.as_ref().map(|password| config.password(password));
        address.database.as_ref().map(|database| config.dbname(database));
        let connected = if address.tls.unwrap_or_else(|| wire.is_public()) {
            config.ssl_mode(SslMode::Require);
            let private =
                Private { config: Arc::clone(&source.trust().config), host: address.host };
            config.connect_raw(wire, private).await.map(drive)
        } else {
            config.ssl_mode(SslMode::Disable);
            config.connect_raw(wire, NoTls).await.map(drive)
        };
        let (client, work) = connected.map_err(|error| super::failed(&error))?;
        let session = Session { client, allowance, work };
        // A server that refuses this is as good without.
        let _ = session.client.batch_execute(NOTICE_ABSENCE).await;
        Ok(session)
    }

    /// Whether the server is still there, and ready for another query.
    pub(super) async fn is_well(&self) -> bool {
        self.allowance.renew();
        !self.client.is_closed() && self.client.check_connection().await.is_ok()
    }

    /// Makes the session as good as new.
    pub(super) async fn reset(&self) -> bool {
        self.allowance.renew();
        self.client.batch_execute(FORGET).await.is_ok()
            && self.client.batch_execute(NOTICE_ABSENCE).await.is_ok()
    }
}

/// Lets a connection do its work.
fn drive<S, T>((client, connection): (Client, Connection<S, T>)) -> (Client, AbortHandle)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // Its error also reaches the query that is under way.
    let work = tokio::spawn(connection.map(drop));
    (client, work.abort_handle())
}

/// The cause says most; what stands above it only tells that something failed.
pub(super) fn in_words(error: &Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| (*cause).source());
    causes.last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Makes connections private.
struct Private {
    config: Arc<ClientConfig>,
    host: String,
}

impl TlsConnect<Wire> for Private {
    type Stream = PrivateStream;
    type Error = SendError;
    type Future = BoxFuture<'static, Result<PrivateStream, SendError>>;

    fn connect(self, wire: Wire) -> Self::Future {
        Box::pin(
            async move { tls::secure(&self.config, &self.host, wire).await.map(PrivateStream) },
        )
    }
}

/// A private connection as the client wants it.
struct PrivateStream(RustlsStream<Wire>);

impl TlsStream for PrivateStream {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for PrivateStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for PrivateStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
