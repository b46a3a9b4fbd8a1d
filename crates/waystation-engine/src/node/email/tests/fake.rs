//! A mail server that does what a test tells it, also what no mail server would.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What is done about a line of the client's.
pub(super) enum Act {
    /// This is said; a line may be several.
    Say(&'static str),
    /// The connection is closed.
    Cut,
    /// This is said, and the connection is closed after so many bytes of what follows.
    SayAndCut(&'static str, usize),
}

/// What a server that is in order says.
pub(super) fn usual(line: &str) -> Act {
    Act::Say(match line.split_whitespace().next().unwrap_or_default() {
        "" => "220 fake.test ready",
        "EHLO" => "250-fake.test\r\n250-AUTH PLAIN LOGIN\r\n250 SMTPUTF8",
        "DATA" => "354 go on",
        "AUTH" => "235 welcome",
        "." => "250 2.0.0 kept as 42",
        "QUIT" => "221 bye",
        _ => "250 fine",
    })
}

/// The server.
pub(super) struct Fake {
    pub(super) port: u16,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    /// The function is given each command; for the greeting the empty line, for the end of the message a
    /// dot.
    pub(super) async fn start(act: impl Fn(&str) -> Act + Send + Sync + 'static) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (seen, act) = (Arc::clone(&lines), Arc::new(act));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, act) = (Arc::clone(&seen), Arc::clone(&act));
                tokio::spawn(async move { converse(stream, &*act, &seen).await });
            }
        });
        Fake { port, lines }
    }

    /// All lines that clients have said, those of messages too.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// How many connections have begun with a hello.
    pub(super) fn count(&self, start: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(start)).count()
    }
}

async fn converse(
    stream: TcpStream,
    act: &(dyn Fn(&str) -> Act + Sync),
    seen: &Mutex<Vec<String>>,
) {
    let mut stream = BufReader::new(stream);
    let (mut line, mut is_message) = (String::new(), false);
    loop {
        let is_quiet = is_message && line != ".";
        if !is_quiet {
            let done = act(&line);
            is_message =
                matches!(done, Act::Say(said) if line == "DATA" && said.starts_with("354"));
            match done {
                Act::Say(said) => {
                    let _ = stream.get_mut().write_all(format!("{said}\r\n").as_bytes()).await;
                }
                Act::Cut => return,
                Act::SayAndCut(said, bytes) => {
                    let _ = stream.get_mut().write_all(format!("{said}\r\n").as_bytes()).await;
                    let _ = stream.read_exact(&mut vec![0; bytes]).await;
                    return;
                }
            }
        }
        line.clear();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        line.truncate(line.trim_end().len());
        seen.lock().expect("no panic").push(line.clone());
    }
}
