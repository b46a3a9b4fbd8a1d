//! Many clients that watch one job, half of them by WebSocket, half by server-sent events: a process of its
//! own, which tells on its standard output when all of them have heard something, and what they heard.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// What an event begins with, by either way.
const ID: &[u8] = br#"{"id":"#;
/// In the event that is the last of a job which is cancelled.
const LAST: &[u8] = b"workflow_cancelled";
/// More than what an event of the watched job can be cut in.
const READ_BYTES: usize = 4 << 10;

/// Watches until the job is cancelled.
pub(crate) async fn run(
    address: SocketAddr,
    job: &str,
    clients: usize,
    out: &mut impl Write,
) -> Result<()> {
    let (first, mut heard) = mpsc::channel(clients.max(1));
    let mut watching = JoinSet::new();
    for client in 0..clients {
        let mut stream = TcpStream::connect(address).await.context("connect")?;
        stream.write_all(request(job, client % 2 == 0).as_bytes()).await?;
        watching.spawn(listen(stream, first.clone()));
    }
    drop(first);
    for _ in 0..clients {
        tokio::select! {
            biased;
            first = heard.recv() => first.context("a client has heard nothing")?,
            Some(ended) = watching.join_next() => {
                ended??;
                bail!("a client has ended before all have heard something");
            }
        }
    }
    writeln!(out, "ready")?;
    out.flush()?;
    let mut events = Vec::with_capacity(clients);
    while let Some(client) = watching.join_next().await {
        events.push(client??);
    }
    events.sort_unstable();
    let (least, most) = (events.first().copied(), events.last().copied());
    ensure!(least == most, "some heard {least:?} events, some {most:?}");
    writeln!(out, "{}", least.unwrap_or_default())?;
    Ok(out.flush()?)
}

fn request(job: &str, is_socket: bool) -> String {
    if is_socket {
        format!(
            "GET /ws/job/{job} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
    } else {
        format!("GET /api/v1/jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    }
}

/// Reads to the last event; answers how many there were, each the next one.
async fn listen(mut stream: TcpStream, first: mpsc::Sender<()>) -> Result<u64> {
    let (mut received, mut ids) = (Vec::with_capacity(READ_BYTES), Ids::default());
    loop {
        received.reserve(READ_BYTES);
        let count = stream.read_buf(&mut received).await.context("receive")?;
        let shown = || String::from_utf8_lossy(&received).chars().take(300).collect::<String>();
        ensure!(count > 0, "cut off after {} events: {}", ids.last, shown());
        let before = ids.last;
        let is_last = ids.take(&mut received)?;
        if before == 0 && ids.last > 0 {
            first.send(()).await?;
        }
        if is_last {
            return Ok(ids.last);
        }
    }
}

/// The events that a client has heard.
#[derive(Default)]
struct Ids {
    last: u64,
}

impl Ids {
    /// Takes all whole ids out of what was received; answers whether the last event is among them.
    fn take(&mut self, received: &mut Vec<u8>) -> Result<bool> {
        let mut done = 0;
        while let Some(at) = find(&received[done..], ID) {
            let digits = &received[done + at + ID.len()..];
            let Some(length) = digits.iter().position(|byte| !byte.is_ascii_digit()) else { break };
            let id: u64 = std::str::from_utf8(&digits[..length])?.parse().context("an id")?;
            ensure!(id == self.last + 1, "event {id} came after {}", self.last);
            self.last = id;
            done += at + ID.len() + length;
        }
        let is_last = find(received, LAST).is_some();
        // What is looked for may lie across two pieces.
        let kept = received.len().saturating_sub(ID.len().max(LAST.len()) + 20);
        received.drain(..done.max(kept));
        Ok(is_last)
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_wherever_the_pieces_are_cut() {
        let text =
            br#"data: {"id":1,"event_type":"a"}  {"id":2,"event_type":"workflow_cancelled"}"#;
        for cut in 0..text.len() {
            let (mut ids, mut received) = (Ids::default(), text[..cut].to_vec());
            let first = ids.take(&mut received).unwrap();
            received.extend_from_slice(&text[cut..]);
            assert!(first || ids.take(&mut received).unwrap(), "{cut}");
            assert_eq!(ids.last, 2, "{cut}");
        }
        let mut ids = Ids { last: 3 };
        assert!(ids.take(&mut br#"{"id":5,"#.to_vec()).is_err(), "a gap");
    }
}
