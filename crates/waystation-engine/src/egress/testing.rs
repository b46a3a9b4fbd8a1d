//! A server for tests that says exactly what it is told, also what no library would.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::resolver::Lookup;
use super::{HttpClient, Policy, Reach, Request, Response, SendError};

pub(crate) const MIB: usize = 1 << 20;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    sent: Arc<AtomicUsize>,
}

impl Server {
    /// Answers each request with these bytes and closes the connection.
    pub(crate) async fn start(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Server {
        Server::start_endless(answer, Vec::new()).await
    }

    /// After the answer, repeats the piece until the other side goes away.
    pub(crate) async fn start_endless(
        answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static,
        piece: Vec<u8>,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = Server { address, requests: Arc::default(), sent: Arc::default() };
        let (requests, sent) = (Arc::clone(&server.requests), Arc::clone(&server.sent));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Some(request) = read_request(&mut stream).await else { continue };
                let reply = answer(&request);
                requests.lock().expect("no panic").push(request);
                let (piece, sent) = (piece.clone(), Arc::clone(&sent));
                tokio::spawn(async move {
                    let mut is_open = stream.write_all(&reply).await.is_ok();
                    while is_open && !piece.is_empty() {
                        is_open = stream.write_all(&piece).await.is_ok();
                        sent.fetch_add(piece.len(), Ordering::Relaxed);
                    }
                    let _ = stream.shutdown().await;
                });
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// All requests so far, as they came over the wire.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }

    /// Bytes sent in pieces so far.
    pub(crate) fn sent(&self) -> usize {
        self.sent.load(Ordering::Relaxed)
    }
}

/// A complete answer.
pub(crate) fn reply(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head =
        format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    [head.as_bytes(), headers.as_bytes(), b"\r\n", body].concat()
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && body.len() >= content_length(head)
        {
            return Some(text.into_owned());
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn content_length(head: &str) -> usize {
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

pub(crate) fn client(reach: Reach, allow: &str) -> HttpClient {
    let reach = match reach {
        Reach::AnyButMetadata => "any-but-metadata",
        Reach::PublicOnly => "public-only",
    };
    HttpClient::new(Policy::parse(reach, allow).expect("a policy")).expect("a client")
}

pub(crate) fn open_client() -> HttpClient {
    client(Reach::AnyButMetadata, "")
}

/// A client for which names mean what the function says; it is given the number of the lookup.
pub(crate) fn named_client(
    addresses: impl Fn(usize) -> &'static [&'static str] + Send + Sync + 'static,
) -> HttpClient {
    let count = AtomicUsize::new(0);
    let lookup: Lookup = Arc::new(move |_| {
        let list = addresses(count.fetch_add(1, Ordering::Relaxed));
        let parse = |ip: &&str| SocketAddr::new(ip.parse().expect("an address"), 0);
        let found = list.iter().map(parse).collect();
        Box::pin(async move { Ok(found) })
    });
    HttpClient::with_lookup(Policy::new(Reach::AnyButMetadata), lookup).expect("a client")
}

pub(crate) async fn get(
    client: &HttpClient,
    url: impl Into<String>,
) -> Result<Response, SendError> {
    client.send(Request::new(Method::GET, url), MIB).await
}
