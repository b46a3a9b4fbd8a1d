//! Connections: accepted within bounds, each with a time limit for its requests' heads, ended gently.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt;

use super::patience::Patient;
use super::peer::Peer;

/// Connections at once; a further one waits to be accepted.
const CONNECTIONS_MAX: u32 = 10_000;
/// How long a caller may take for the head of a request, and between two requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(60);
/// How long a caller may go without reading any of what is written for it.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);
/// The pause after the system refused to accept, for want of file descriptors perhaps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens the listening socket.
pub async fn listen(host: &str, port: u16) -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((host, port)).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Connections that are open.
pub struct Connections {
    graceful: GracefulShutdown,
    places: Arc<Semaphore>,
}

impl Connections {
    /// Ends them as soon as they have their replies, or after this time without. WebSockets end by
    /// themselves, and are waited for: cut off, a client would lose even what it had been sent.
    pub async fn drain(self, patience: Duration) {
        let all_closed = async {
            self.graceful.shutdown().await;
            let _ = self.places.acquire_many(CONNECTIONS_MAX).await;
        };
        if tokio::time::timeout(patience, all_closed).await.is_err() {
            tracing::warn!("connections were cut off");
        }
    }
}

/// Accepts and serves connections until `stop` is done. Those that are open then go on.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
) -> Connections {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HEAD_PATIENCE);
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    tokio::pin!(stop);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("the semaphore is never closed");
            (place, accept(&listener).await)
        };
        let (place, (stream, peer)) = tokio::select! {
            next = next => next,
            () = &mut stop => return Connections { graceful, places },
        };
        let stream = TokioIo::new(Patient::new(stream, WRITE_PATIENCE, place));
        let service = router.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            request
        });
        let service = TowerToHyperService::new(service);
        let connection = builder.serve_connection_with_upgrades(stream, service);
        let connection = graceful.watch(connection.into_owned());
        tokio::spawn(async move {
            // A caller that breaks off is nobody's fault here.
            let _ = connection.await;
        });
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Small replies must not wait for more to come; without it they are merely later.
                let _ = stream.set_nodelay(true);
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
