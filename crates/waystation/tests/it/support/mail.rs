//! A mail server that keeps what it gets, and holds back its last word where a test wants it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A letter as it arrived.
#[derive(Clone, Debug, Default)]
pub(crate) struct Letter {
    /// The credentials of the login, as they were sent.
    pub(crate) login: Option<String>,
    /// The sender and the recipients, as the commands `MAIL` and `RCPT` name them.
    pub(crate) envelope: Vec<String>,
    /// The message, line by line.
    pub(crate) lines: Vec<String>,
}

/// The server; gone with the test.
pub(crate) struct Mail {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    letters: Mutex<Vec<Letter>>,
    connections: Mutex<usize>,
    is_held: watch::Sender<bool>,
}

impl Mail {
    /// A server at an address of this machine; port 0 takes a free one.
    pub(crate) async fn start(address: IpAddr, port: u16) -> Mail {
        let listener = TcpListener::bind((address, port)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Shared {
            letters: Mutex::default(),
            connections: Mutex::default(),
            is_held: watch::Sender::new(false),
        };
        let shared = Arc::new(shared);
        let seen = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *seen.connections.lock().unwrap() += 1;
                let seen = Arc::clone(&seen);
                // The client may go away whenever it likes.
                tokio::spawn(async move { converse(stream, &seen).await.ok() });
            }
        });
        Mail { port, shared, task }
    }

    /// The letters so far.
    pub(crate) fn letters(&self) -> Vec<Letter> {
        self.shared.letters.lock().unwrap().clone()
    }

    /// How many connections there were.
    pub(crate) fn connections(&self) -> usize {
        *self.shared.connections.lock().unwrap()
    }

    /// Whether letters are taken without a word about it, from now on.
    pub(crate) fn hold(&self, is_held: bool) {
        self.shared.is_held.send_replace(is_held);
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(b"220 mail.test ready\r\n").await?;
    let mut letter = Letter::default();
    while let Some(line) = line(&mut stream).await? {
        let answer = match line.split_whitespace().next().unwrap_or_default() {
            "EHLO" => "250-mail.test\r\n250 AUTH PLAIN",
            "AUTH" => {
                letter.login = line.split_whitespace().last().map(str::to_owned);
                "235 welcome"
            }
            "MAIL" if line.contains("<busy@") => "451 come back later",
            // It says nothing, as long as the client stays.
            "MAIL" if line.contains("<silent@") => return ignore(&mut stream).await,
            "MAIL" | "RCPT" => {
                letter.envelope.push(line);
                "250 fine"
            }
            "DATA" => {
                stream.get_mut().write_all(b"354 go on\r\n").await?;
                letter.lines = message(&mut stream).await?;
                shared.letters.lock().unwrap().push(std::mem::take(&mut letter));
                // The sender lives as long as what is shared, so waiting cannot fail.
                let _ = shared.is_held.subscribe().wait_for(|is_held| !is_held).await;
                "250 kept"
            }
            "QUIT" => "221 bye",
            _ => "250 fine",
        };
        stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

async fn ignore(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    while line(stream).await?.is_some() {}
    Ok(())
}

/// The lines up to the one with a dot alone.
async fn message(stream: &mut BufReader<TcpStream>) -> std::io::Result<Vec<String>> {
    let mut lines = Vec::new();
    while let Some(line) = line(stream).await?.filter(|line| line != ".") {
        lines.push(line);
    }
    Ok(lines)
}

async fn line(stream: &mut BufReader<TcpStream>) -> std::io::Result<Option<String>> {
    let mut line = String::new();
    let count = stream.read_line(&mut line).await?;
    Ok((count > 0).then(|| line.trim_end().to_owned()))
}
