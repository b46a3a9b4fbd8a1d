//! Why a request came to nothing, in words for people and without anybody's credentials.

use std::error::Error;
use std::{fmt, io};

use super::policy::Refusal;
use super::resolver::Unresolved;
use crate::limits;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The policy forbids the target.
    Refused(Refusal),
    /// The request cannot be made.
    Invalid(String),
    /// No connection, or no sign of life on it, in time.
    Timeout(String),
    /// The target could not be reached or broke off.
    Transport(String),
    /// The answer is larger than it may be.
    TooLarge {
        /// Who answered.
        host: String,
        /// What it may have.
        bytes_max: usize,
    },
    /// The redirects do not end.
    Redirects {
        /// Where the last one led.
        host: String,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Refused(refusal) => refusal.fmt(f),
            SendError::Invalid(text) | SendError::Timeout(text) | SendError::Transport(text) => {
                f.write_str(text)
            }
            SendError::TooLarge { host, bytes_max } => {
                write!(f, "the response of {host} is larger than {bytes_max} bytes")
            }
            SendError::Redirects { host } => {
                write!(f, "more than {} redirects, the last to {host}", limits::REDIRECTS)
            }
        }
    }
}

impl Error for SendError {}

impl SendError {
    /// What the client's error means. Its own text is never used whole, for it quotes the URL.
    pub(super) fn from_client(error: &reqwest::Error, host: &str) -> SendError {
        if let Some(refusal) = causes(error).find_map(|cause| cause.downcast_ref::<Refusal>()) {
            return SendError::Refused(refusal.clone());
        }
        if let Some(unresolved) = causes(error).find_map(|cause| cause.downcast_ref::<Unresolved>())
        {
            return SendError::Transport(unresolved.to_string());
        }
        match (error.is_connect(), error.is_timeout()) {
            (true, true) => {
                let seconds = limits::CONNECT_TIMEOUT.as_secs();
                SendError::Timeout(format!("no connection to {host} within {seconds} s"))
            }
            (false, true) => SendError::Timeout(format!("{host} fell silent")),
            (true, false) => {
                SendError::Transport(format!("cannot connect to {host}: {}", innermost(error)))
            }
            _ if error.is_builder() => {
                SendError::Invalid(format!("no request to {host} is possible"))
            }
            _ if error.is_body() || error.is_decode() => SendError::Transport(format!(
                "the response of {host} broke off: {}",
                innermost(error)
            )),
            _ => SendError::Transport(format!("no response from {host}: {}", innermost(error))),
        }
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&'a (dyn Error + 'static)| (*cause).source())
}

/// The last cause says most; the ones above it only repeat that the request failed.
fn innermost(error: &reqwest::Error) -> String {
    let Some(cause) = causes(error).last() else { return "unknown cause".to_owned() };
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::ConnectionReset) => "connection reset".to_owned(),
        Some(io::ErrorKind::UnexpectedEof) => "unexpected end of data".to_owned(),
        Some(io::ErrorKind::NetworkUnreachable) => "network unreachable".to_owned(),
        Some(io::ErrorKind::HostUnreachable) => "host unreachable".to_owned(),
        _ => cause.to_string(),
    }
}
