//! A stand-in for Upstash's REST interface: one command a POST, a bearer token, JSON answers.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

const TOKEN: &str = "token";
/// The name of an output over which the service stumbles.
pub(super) const POISON: &str = "poison";

pub(super) struct Upstash {
    port: u16,
    state: Arc<Mutex<State>>,
}

struct State {
    commands: Vec<Value>,
    status: u16,
    body: String,
}

impl Upstash {
    pub(super) async fn start() -> Upstash {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { commands: Vec::new(), status: 200, body: r#"{"result":"OK"}"#.into() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Upstash { port, state }
    }

    pub(super) fn settings(&self, token: &str) -> [(&'static str, String); 2] {
        let url = format!("http://127.0.0.1:{}", self.port);
        [("UPSTASH_REST_URL", url), ("UPSTASH_REST_TOKEN", token.into())]
    }

    pub(super) fn answer_all(&self, status: u16, body: &str) {
        let mut state = self.state.lock().unwrap();
        state.status = status;
        state.body = body.into();
    }

    /// The last command about a key.
    pub(super) fn last(&self, key: &str) -> Value {
        let state = self.state.lock().unwrap();
        state.commands.iter().rfind(|command| command[1] == key).cloned().unwrap_or_default()
    }
}

/// Answers the requests of one connection.
async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let head = read_head(&mut stream).await?;
        let header = |name: &str| {
            let line = head.iter().find(|line| line.to_lowercase().starts_with(name))?;
            line.split_once(": ").map(|(_, value)| value.to_owned())
        };
        let mut body = vec![0; header("content-length:")?.parse().ok()?];
        stream.read_exact(&mut body).await.ok()?;
        let authorized = header("authorization:")? == format!("Bearer {TOKEN}");
        assert_eq!(head[0], "POST / HTTP/1.1");
        let command: Value = serde_json::from_slice(&body).ok()?;
        let (status, answer) = answer(&state, command, authorized);
        let length = answer.len();
        let reply = format!("HTTP/1.1 {status} .\r\ncontent-length: {length}\r\n\r\n{answer}");
        stream.write_all(reply.as_bytes()).await.ok()?;
    }
}

fn answer(state: &Mutex<State>, command: Value, authorized: bool) -> (u16, String) {
    let mut state = state.lock().unwrap();
    if !authorized {
        return (401, r#"{"error":"Unauthorized"}"#.into());
    }
    if command[1].as_str().is_some_and(|key| key.ends_with(POISON)) {
        return (500, String::new());
    }
    state.commands.push(command);
    (state.status, state.body.clone())
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|length| *length > 0)?;
        match line.trim_end() {
            "" => return Some(lines),
            line => lines.push(line.to_owned()),
        }
    }
}
