//! The way of the MongoDB library to its servers: through this process.
//!
//! The library finds servers by itself: from the address, from DNS, and from what servers tell about
//! each other. It would dial whatever it finds. So it is told to use a SOCKS5 proxy, which is here: it
//! looks up each name, asks the egress policy, dials the address that was checked, and makes the
//! connection private with the name that the library asked for. It listens on the loopback interface
//! for one session alone, and takes nobody without that session's password.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::super::pool::Key;
use super::super::wire::{Allowance, Wire};
use crate::egress::{HttpClient, SendError, tls};
use crate::limits::{CONNECT_TIMEOUT, SOURCE_FORWARDED};

const USER: &str = "waystation";
const VERSION: u8 = 5;
/// The method of the greeting that asks for a name and a password, and its own version.
const BY_PASSWORD: u8 = 2;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;
const DONE: u8 = 0;
const FAILED: u8 = 1;
const FORBIDDEN: u8 = 2;

/// A proxy for one session; it ends with it.
pub(super) struct Forwarder {
    pub(super) port: u16,
    pub(super) password: String,
    shared: Arc<Shared>,
    task: AbortHandle,
}

struct Shared {
    client: Arc<HttpClient>,
    /// How connections are made private, where they are.
    tls: Option<Arc<ClientConfig>>,
    allowance: Allowance,
    password: String,
    /// Why the last connection did not come about.
    trouble: Mutex<Option<SendError>>,
}

impl Forwarder {
    pub(super) async fn start(
        client: Arc<HttpClient>,
        tls: Option<Arc<ClientConfig>>,
        allowance: Allowance,
    ) -> io::Result<Forwarder> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let mut random = [0; 32];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
        let password = URL_SAFE_NO_PAD.encode(random);
        let trouble = Mutex::default();
        let shared =
            Arc::new(Shared { client, tls, allowance, password: password.clone(), trouble });
        let task = tokio::spawn(serve(listener, Arc::clone(&shared))).abort_handle();
        Ok(Forwarder { port, password, shared, task })
    }

    pub(super) fn user(&self) -> String {
        USER.to_owned()
    }

    /// Why the last connection did not come about, since this was last asked.
    pub(super) fn take_trouble(&self) -> Option<SendError> {
        self.shared.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves connections until it is dropped, and they with it.
async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if connections.len() < SOURCE_FORWARDED {
            let shared = Arc::clone(&shared);
            // What ends it is seen by those at its ends.
            connections.spawn(async move { forward(stream, &shared).await.ok() });
        }
    }
}

async fn forward(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let request = timeout(CONNECT_TIMEOUT, request(&mut stream, &shared.password));
    let (host, port) = request.await.map_err(|_| invalid("the request is incomplete"))??;
    match shared.dial(&host, port).await {
        Ok(mut wire) => {
            answer(&mut stream, DONE).await?;
            copy_bidirectional(&mut stream, &mut wire).await.map(drop)
        }
        Err(error) => {
            let code = if matches!(error, SendError::Refused(_)) { FORBIDDEN } else { FAILED };
            *shared.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            answer(&mut stream, code).await
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Shared {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Duplex>, SendError> {
        let wire = Wire::dial(&self.client, (host, port), &self.allowance).await?;
        match &self.tls {
            Some(config) => Ok(Box::new(tls::secure(config, host, wire).await?)),
            None => Ok(Box::new(wire)),
        }
    }
}

/// Greets, asks for the password, and reads where to go.
async fn request(stream: &mut TcpStream, password: &str) -> io::Result<(String, u16)> {
    let [version, count] = read(stream).await?;
    let mut methods = vec![0; usize::from(count)];
    stream.read_exact(&mut methods).await?;
    if version != VERSION || !methods.contains(&BY_PASSWORD) {
        return Err(invalid("this is no SOCKS5 with a password"));
    }
    stream.write_all(&[VERSION, BY_PASSWORD]).await?;
    let [_] = read(stream).await?;
    let user = text(stream).await?;
    let is_known = user == USER && Key::of(&text(stream).await?) == Key::of(password);
    stream.write_all(&[PASSWORD_VERSION, if is_known { DONE } else { FAILED }]).await?;
    if !is_known {
        return Err(invalid("the password is wrong"));
    }
    let [_, command, _, kind] = read(stream).await?;
    let host = match kind {
        IPV4 => Ipv4Addr::from(read::<4>(stream).await?).to_string(),
        IPV6 => std::net::Ipv6Addr::from(read::<16>(stream).await?).to_string(),
        NAME => text(stream).await?,
        _ => return Err(invalid("the address is of no known kind")),
    };
    let port = u16::from_be_bytes(read(stream).await?);
    if command == CONNECT { Ok((host, port)) } else { Err(invalid("only CONNECT is known")) }
}

async fn answer(stream: &mut TcpStream, code: u8) -> io::Result<()> {
    stream.write_all(&[VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0]).await
}

async fn read<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

/// A text of up to 255 bytes after its length.
async fn text(stream: &mut TcpStream) -> io::Result<String> {
    let [length] = read(stream).await?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await?;
    String::from_utf8(bytes).map_err(|_| invalid("a text is no UTF-8"))
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::egress::Reach;
    use crate::egress::testing::{client, named_client, open_client};
    use crate::node::data_source::tests::servers::Certificate;

    async fn start(client: HttpClient, tls: Option<Arc<ClientConfig>>) -> Forwarder {
        let started = Forwarder::start(Arc::new(client), tls, Allowance::new()).await;
        started.expect("a forwarder")
    }

    /// Asks for a connection as a client does; gives the forwarder's answer.
    async fn ask(
        forwarder: &Forwarder,
        password: &str,
        (host, port): (&str, u16),
    ) -> io::Result<(u8, TcpStream)> {
        let mut stream = TcpStream::connect(("127.0.0.1", forwarder.port)).await?;
        let length = |text: &str| u8::try_from(text.len()).expect("a short text");
        let mut greeting = vec![VERSION, 1, BY_PASSWORD, PASSWORD_VERSION, length(USER)];
        greeting.extend_from_slice(USER.as_bytes());
        greeting.push(length(password));
        greeting.extend_from_slice(password.as_bytes());
        stream.write_all(&greeting).await?;
        let [_, _, _, is_known] = read(&mut stream).await?;
        if is_known != DONE {
            return Err(invalid("not known"));
        }
        let mut request = vec![VERSION, CONNECT, 0, NAME, length(host)];
        request.extend_from_slice(host.as_bytes());
        request.extend_from_slice(&port.to_be_bytes());
        stream.write_all(&request).await?;
        let [_, code, ..] = read::<10>(&mut stream).await?;
        Ok((code, stream))
    }

    /// Says what it hears.
    async fn echo(certificate: Option<&Certificate>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let acceptor = certificate.map(|certificate| TlsAcceptor::from(certificate.server()));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream: Box<dyn Duplex> = match &acceptor {
                    None => Box::new(stream),
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                };
                let [byte] = [stream.read_u8().await.expect("a byte")];
                stream.write_u8(byte).await.expect("an open connection");
            }
        });
        port
    }

    #[tokio::test]
    async fn names_are_looked_up_and_judged_here() {
        let port = echo(None).await;
        let named =
            named_client(|count| if count == 0 { &["127.0.0.1"] } else { &["169.254.169.254"] });
        let forwarder = start(named, None).await;
        let (code, mut stream) =
            ask(&forwarder, &forwarder.password, ("db.example", port)).await.unwrap();
        assert_eq!(code, DONE);
        stream.write_u8(7).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 7);
        let (code, _) = ask(&forwarder, &forwarder.password, ("db.example", port)).await.unwrap();
        assert_eq!(code, FORBIDDEN);
        assert!(matches!(forwarder.take_trouble(), Some(SendError::Refused(_))));
        let confined = start(client(Reach::PublicOnly, ""), None).await;
        let (code, _) = ask(&confined, &confined.password, ("127.0.0.1", port)).await.unwrap();
        assert_eq!(code, FORBIDDEN);
    }

    #[tokio::test]
    async fn nobody_else_is_served() {
        let port = echo(None).await;
        let forwarder = start(open_client(), None).await;
        let other = start(open_client(), None).await;
        for password in ["", "x", &other.password] {
            assert!(ask(&forwarder, password, ("127.0.0.1", port)).await.is_err());
        }
        let (_, mut stream) =
            ask(&forwarder, &forwarder.password, ("127.0.0.1", port)).await.unwrap();
        drop(forwarder);
        // The connection ends with its session.
        assert!(stream.read_u8().await.is_err());
    }

    #[tokio::test]
    async fn connections_are_made_private_with_the_named_host_alone() {
        let certificate = Certificate::for_localhost();
        let port = echo(Some(&certificate)).await;
        let forwarder = start(open_client(), Some(certificate.trust().config)).await;
        let (code, mut stream) =
            ask(&forwarder, &forwarder.password, ("localhost", port)).await.unwrap();
        assert_eq!(code, DONE);
        stream.write_u8(7).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 7);
        let (code, _) = ask(&forwarder, &forwarder.password, ("127.0.0.1", port)).await.unwrap();
        assert_eq!(code, FAILED);
        let trouble = forwarder.take_trouble().expect("an error").to_string();
        assert!(trouble.contains("certificate"), "{trouble}");
    }
}
