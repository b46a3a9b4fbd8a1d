//! The load client: connections that each send a request, wait for its answer, and send the next.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::answer::{self, Answer};
use crate::histogram::Histogram;

/// Stands in a body for the number of the run; every request carries another one in its place.
pub(crate) const RUN_NUMBER: &str = "000000000000";
/// Numbers that one connection may use before it would take those of the next.
const NUMBERS_PER_CONNECTION: u64 = 1_000_000_000;
/// The pause after a connection was refused.
const RECONNECT_PAUSE: Duration = Duration::from_millis(1);
/// Larger than any answer expected, so that one read takes all of it.
const READ_BYTES: usize = 64 * 1024;

/// A request as bytes, with a place for the run's number.
#[derive(Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    number_at: Option<usize>,
}

impl Request {
    /// A POST of JSON.
    pub(crate) fn post(path: &str, body: &str) -> Request {
        let length = body.len();
        let mut bytes = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        let number_at = body.find(RUN_NUMBER).map(|position| position + bytes.len());
        bytes.extend_from_slice(body.as_bytes());
        Request { bytes, number_at }
    }

    /// A GET.
    pub(crate) fn get(path: &str) -> Request {
        let bytes = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
        Request { bytes, number_at: None }
    }

    /// Writes the run's number over the digits that are there.
    pub(crate) fn set_number(&mut self, mut number: u64) {
        let Some(start) = self.number_at else { return };
        for digit in self.bytes[start..start + RUN_NUMBER.len()].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    }
}

/// One kept-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
    /// The bytes of the answer last given out, to be dropped before the next.
    given: usize,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> Result<Connection> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, received: Vec::with_capacity(READ_BYTES), given: 0 })
    }

    /// Sends a request and waits for its whole answer.
    pub(crate) async fn exchange(&mut self, request: &Request) -> Result<Answer<'_>> {
        self.stream.write_all(&request.bytes).await.context("send")?;
        self.received.drain(..self.given);
        self.given = 0;
        let layout = loop {
            if let Some(layout) = answer::parse(&self.received)? {
                break layout;
            }
            self.received.reserve(READ_BYTES);
            let count = self.stream.read_buf(&mut self.received).await.context("receive")?;
            ensure!(count > 0, "the server closed the connection");
        };
        self.given = layout.body.end;
        Ok(Answer { status: layout.status, body: &self.received[layout.body] })
    }
}

/// What is asked of a server, by how many at once and for how long.
pub(crate) struct Load {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// What each connection sends.
    pub(crate) request: Request,
    /// Connections at work at the same time.
    pub(crate) connections: usize,
    /// The time before anything is counted.
    pub(crate) warm_up: Duration,
    /// The time that counts.
    pub(crate) measured: Duration,
}

/// What the answers were like.
pub(crate) struct Tally {
    /// The latencies of the successful ones that came in the time that counts.
    pub(crate) latencies: Histogram,
    /// The others.
    pub(crate) errors: u64,
    /// What the first of the others said.
    pub(crate) first_error: Option<String>,
}

impl Tally {
    fn new() -> Tally {
        Tally { latencies: Histogram::new(), errors: 0, first_error: None }
    }

    fn fail(&mut self, error: impl FnOnce() -> String) {
        self.errors += 1;
        self.first_error.get_or_insert_with(error);
    }

    fn merge(&mut self, other: Tally) {
        self.latencies.merge(&other.latencies);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// Connections under way.
pub(crate) struct Running {
    /// When counting begins.
    pub(crate) from: Instant,
    /// When it ends.
    pub(crate) until: Instant,
    connections: JoinSet<Tally>,
}

impl Load {
    /// Sets all connections to work.
    pub(crate) fn start(&self) -> Running {
        let from = Instant::now() + self.warm_up;
        let until = from + self.measured;
        let mut connections = JoinSet::new();
        for index in 0..self.connections as u64 {
            let request = self.request.clone();
            let number = 1 + index * NUMBERS_PER_CONNECTION;
            let asker = Asker { request, number, from, until, tally: Tally::new() };
            connections.spawn(asker.run(self.address));
        }
        Running { from, until, connections }
    }
}

impl Running {
    /// Waits for the last answers and adds everything up.
    pub(crate) async fn finish(mut self) -> Result<Tally> {
        let mut sum = Tally::new();
        while let Some(tally) = self.connections.join_next().await {
            sum.merge(tally.context("a connection's task")?);
        }
        Ok(sum)
    }
}

/// One connection's part of the load.
struct Asker {
    request: Request,
    /// The number of the next run.
    number: u64,
    from: Instant,
    until: Instant,
    tally: Tally,
}

impl Asker {
    /// Asks until the time is up, on a new connection whenever one breaks.
    async fn run(mut self, address: SocketAddr) -> Tally {
        while Instant::now() < self.until {
            let asked = match Connection::open(address).await {
                Ok(mut connection) => self.ask_on(&mut connection).await,
                Err(error) => {
                    sleep(RECONNECT_PAUSE).await;
                    Err(error)
                }
            };
            if let Err(error) = asked {
                self.tally.fail(|| format!("{error:#}"));
            }
        }
        self.tally
    }

    /// Uses one connection until the time is up or it breaks.
    async fn ask_on(&mut self, connection: &mut Connection) -> Result<()> {
        let mut sent = Instant::now();
        while sent < self.until {
            self.request.set_number(self.number);
            self.number += 1;
            let answer = connection.exchange(&self.request).await?;
            let answered = Instant::now();
            if !answer.is_success() {
                self.tally
                    .fail(|| String::from_utf8_lossy(answer.body).chars().take(300).collect());
            } else if answered >= self.from && answered <= self.until {
                self.tally.latencies.record(answered - sent);
            }
            sent = answered;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// Answers each request on one connection with the next of these bodies, then hangs up.
    async fn serve(listener: &TcpListener, bodies: &[&str]) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 1024];
        for body in bodies {
            if stream.read(&mut buffer).await.unwrap() == 0 {
                return;
            }
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    #[test]
    fn a_number_takes_the_place_of_its_digits() {
        let mut request = Request::post("/", r#"{"id":"000000000000"}"#);
        request.set_number(1_000_000_042);
        let text = String::from_utf8(request.bytes).unwrap();
        assert!(text.ends_with("Content-Length: 21\r\n\r\n{\"id\":\"001000000042\"}"), "{text}");
    }

    #[tokio::test]
    async fn successes_refusals_and_broken_connections_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = Connection::open(listener.local_addr().unwrap()).await.unwrap();
        let now = Instant::now();
        let mut asker = Asker {
            request: Request::post("/", "{}"),
            number: 0,
            from: now,
            until: now + Duration::from_secs(60),
            tally: Tally::new(),
        };
        let good = r#"{"success":true}"#;
        let bodies = [good, good, r#"{"success":false}"#, good];
        let (asked, ()) = tokio::join!(asker.ask_on(&mut connection), serve(&listener, &bodies));
        assert!(asked.is_err());
        assert_eq!(asker.tally.latencies.count(), 3);
        assert_eq!(asker.tally.errors, 1);
        assert_eq!(asker.tally.first_error.as_deref(), Some(r#"{"success":false}"#));
    }
}
