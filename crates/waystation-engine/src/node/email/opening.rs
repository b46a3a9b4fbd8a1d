//! How a conversation turns private: what is said in the open before TLS, byte by byte, so that nothing
//! that was said in the open is taken for a part of what is private.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use waystation_core::error::{Code, Failure};

use super::failure;
use super::server::Server;
use crate::limits::MAIL_ANSWER_BYTES;

/// What a server says first.
pub(super) const GREETING: &[u8] = b"220 ready\r\n";

/// How the client introduces itself; its name is nobody's business.
const HELLO: &[u8] = b"EHLO [127.0.0.1]\r\n";
/// Asks the server to begin with TLS; without it nothing is said.
pub(super) async fn start_tls(server: &Server, stream: &mut TcpStream) -> Result<(), Failure> {
    expect(server, "the conversation", answer(server, stream).await?)?;
    let offers = expect(server, "the conversation", say(server, stream, HELLO).await?)?;
    let mut offers = offers.lines().filter_map(|line| line.get(4..));
    if !offers.any(|offer| offer.trim().eq_ignore_ascii_case("STARTTLS")) {
        return Err(failure::no_tls(server));
    }
    expect(server, "STARTTLS", say(server, stream, b"STARTTLS\r\n").await?).map(drop)
}

async fn say(server: &Server, stream: &mut TcpStream, command: &[u8]) -> Result<String, Failure> {
    let said = stream.write_all(command).await;
    said.map_err(|error| failure::lost(server, &error))?;
    answer(server, stream).await
}

/// All lines of the next answer; the last one has no dash behind its number.
async fn answer(server: &Server, stream: &mut TcpStream) -> Result<String, Failure> {
    let (mut bytes, mut line_start) = (Vec::new(), 0);
    while bytes.len() < MAIL_ANSWER_BYTES {
        let byte = stream.read_u8().await.map_err(|error| failure::lost(server, &error))?;
        bytes.push(byte);
        if byte == b'\n' {
            let line = &bytes[line_start..];
            if line.get(3) != Some(&b'-') {
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            line_start = bytes.len();
        }
    }
    let text = format!("{} says more than an answer may have", failure::place(server));
    Err(Failure::retryable(Code::Transport, text, None))
}

fn expect(server: &Server, what: &str, answer: String) -> Result<String, Failure> {
    match answer.get(..3).and_then(|digits| digits.parse::<u16>().ok()) {
        Some(200..=299) => Ok(answer),
        status => Err(failure::answered(server, what, status, &answer)),
    }
}
