//! What the engine and a worker say to each other: frames of a length, a tag and bytes.
//!
//! The engine writes one request and reads frames until the result or the reason why there is none. A
//! worker is not trusted: every frame has a bound, and what does not fit ends the worker.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt};
use waystation_core::entry::Level;

use super::{Stop, Tool};

/// One program to run, as the engine writes it.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) tool: Tool,
    pub(super) code: &'a str,
    pub(super) input: &'a Value,
    pub(super) memory_bytes: usize,
    pub(super) output_bytes: usize,
}

/// One program to run, as a worker reads it: the input stays text, for the interpreter to read.
#[derive(Deserialize)]
pub(super) struct Work {
    pub(super) tool: Tool,
    pub(super) code: String,
    pub(super) input: Box<RawValue>,
    pub(super) memory_bytes: usize,
    pub(super) output_bytes: usize,
}

/// What a worker says.
#[derive(Debug, PartialEq)]
pub(super) enum Frame {
    /// A line for the run's log; the program goes on.
    Log(Level, String),
    /// The result, as JSON text.
    Result(String),
    /// Why there is no result.
    Stopped(Stop),
}

/// The tags of frames.
mod tag {
    pub(super) const INFO: u8 = b'i';
    pub(super) const WARNING: u8 = b'w';
    pub(super) const ERROR: u8 = b'e';
    pub(super) const RESULT: u8 = b'r';
    pub(super) const STOPPED: u8 = b's';
}

/// The length of a frame's head.
const HEAD_BYTES: usize = 5;

/// The bytes of a frame, its head included.
pub(super) fn frame(tag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut whole = Vec::with_capacity(HEAD_BYTES + bytes.len());
    whole.extend_from_slice(&length.to_le_bytes());
    whole.push(tag);
    whole.extend_from_slice(bytes);
    whole
}

/// The bytes of a request.
pub(super) fn request(request: &Request<'_>) -> serde_json::Result<Vec<u8>> {
    Ok(frame(tag::RESULT, &serde_json::to_vec(request)?))
}

/// Reads the next request; `None` where the engine has gone.
pub(super) fn read_work(input: &mut impl Read) -> Option<Work> {
    let mut head = [0; HEAD_BYTES];
    input.read_exact(&mut head).ok()?;
    let mut bytes = vec![0; length_of(head)];
    input.read_exact(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Says something to the engine.
pub(super) fn write(output: &mut impl Write, what: &Frame) -> io::Result<()> {
    let bytes = match what {
        Frame::Log(level, line) => frame(tag_of(*level), line.as_bytes()),
        Frame::Result(json) => frame(tag::RESULT, json.as_bytes()),
        Frame::Stopped(stop) => frame(tag::STOPPED, &serde_json::to_vec(stop)?),
    };
    output.write_all(&bytes)?;
    output.flush()
}

/// Reads what a worker says next.
pub(super) async fn read(output: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Frame> {
    let mut head = [0; HEAD_BYTES];
    output.read_exact(&mut head).await?;
    if length_of(head) > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; length_of(head)];
    output.read_exact(&mut bytes).await?;
    let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    match head[HEAD_BYTES - 1] {
        tag::INFO => Ok(Frame::Log(Level::Info, text)),
        tag::WARNING => Ok(Frame::Log(Level::Warning, text)),
        tag::ERROR => Ok(Frame::Log(Level::Error, text)),
        tag::RESULT => Ok(Frame::Result(text)),
        tag::STOPPED => Ok(Frame::Stopped(serde_json::from_str(&text)?)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn length_of(head: [u8; HEAD_BYTES]) -> usize {
    let [a, b, c, d, _] = head;
    u32::from_le_bytes([a, b, c, d]) as usize
}

fn tag_of(level: Level) -> u8 {
    match level {
        Level::Info => tag::INFO,
        Level::Warning => tag::WARNING,
        Level::Error => tag::ERROR,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
    }

    #[test]
    fn frames_arrive_as_they_were_said() {
        let stop = Stop::exception("TypeError: x").at(Some(3));
        for said in [
            Frame::Log(Level::Warning, "ünï".into()),
            Frame::Result("[1]".into()),
            Frame::Stopped(stop),
        ] {
            let mut bytes = Vec::new();
            write(&mut bytes, &said).expect("memory");
            assert_eq!(block_on(read(&mut bytes.as_slice(), 1_000)).expect("a frame"), said);
        }
    }

    proptest! {
        #[test]
        fn whatever_a_worker_says_is_a_frame_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = block_on(read(&mut bytes.as_slice(), 32));
        }

        #[test]
        fn no_frame_is_read_that_is_too_long(length in 33u32..) {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.push(tag::RESULT);
            let error = block_on(read(&mut bytes.as_slice(), 32)).expect_err("too long");
            prop_assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        }
    }
}
