//! The connection to a data source: within the egress policy, and no more comes in than one query may
//! bring.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::egress::HttpClient;
use crate::egress::SendError;
use crate::egress::address::{Kind, kind};
use crate::limits::SOURCE_WIRE_BYTES;

/// How many bytes may still come in; shared with the connection that they come over.
#[derive(Clone)]
pub(super) struct Allowance(Arc<AtomicUsize>);

impl Allowance {
    pub(super) fn new() -> Allowance {
        Allowance(Arc::new(AtomicUsize::new(SOURCE_WIRE_BYTES)))
    }

    /// Starts anew, for the next query on a connection.
    pub(super) fn renew(&self) {
        self.0.store(SOURCE_WIRE_BYTES, Ordering::Relaxed);
    }

    pub(super) fn is_used_up(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// A connection that breaks where its allowance ends.
pub(super) struct Wire {
    stream: TcpStream,
    allowance: Allowance,
}

impl Wire {
    /// Connects to a host, if the policy allows it.
    pub(super) async fn dial(
        client: &HttpClient,
        (host, port): (&str, u16),
        allowance: &Allowance,
    ) -> Result<Wire, SendError> {
        let stream = client.dial(host, port).await?;
        Ok(Wire { stream, allowance: allowance.clone() })
    }

    /// Whether the other end is on the internet.
    pub(super) fn is_public(&self) -> bool {
        // Of an address that cannot be told, the worst is assumed.
        self.stream.peer_addr().map_or(true, |address| kind(address.ip()) == Kind::Public)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.allowance.is_used_up() {
            return Poll::Ready(Err(io::Error::other("more came in than one query may bring")));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        let left = self.allowance.0.load(Ordering::Relaxed);
        self.allowance.0.store(left.saturating_sub(came), Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
