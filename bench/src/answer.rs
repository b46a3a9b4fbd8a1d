//! Finds where an HTTP/1.1 answer ends in the bytes received so far.

use std::ops::Range;

use anyhow::{Context, Result, bail};

/// Where the parts of a complete answer lie.
#[derive(Debug, PartialEq)]
pub(crate) struct Layout {
    /// The status code.
    pub(crate) status: u16,
    /// The body as it came over the wire, chunk sizes included.
    pub(crate) body: Range<usize>,
}

/// An answer that has arrived completely.
pub(crate) struct Answer<'a> {
    /// The status code.
    pub(crate) status: u16,
    /// The body as it came over the wire, chunk sizes included.
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// Whether a server says that the run went well.
    pub(crate) fn is_success(&self) -> bool {
        self.status == 200 && self.contains(br#""success":true"#)
    }

    /// Whether the body holds these bytes.
    pub(crate) fn contains(&self, wanted: &[u8]) -> bool {
        self.body.windows(wanted.len()).any(|window| window == wanted)
    }
}

/// The first answer in the bytes, or none as long as it is incomplete.
pub(crate) fn parse(received: &[u8]) -> Result<Option<Layout>> {
    let Some(head_length) = received.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&received[..head_length]).context("the head is no text")?;
    let start = head_length + 4;
    let rest = &received[start..];
    let body_length = match framing(head)? {
        Framing::Length(length) => Some(length).filter(|length| *length <= rest.len()),
        Framing::Chunked => chunked_length(rest)?,
    };
    Ok(body_length.map(|length| Layout { status: status(head), body: start..start + length }))
}

/// How the end of a body is told.
enum Framing {
    Length(usize),
    Chunked,
}

fn framing(head: &str) -> Result<Framing> {
    for line in head.split("\r\n").skip(1) {
        let (name, value) = line.split_once(':').context("a header without a colon")?;
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Framing::Length(value.trim().parse().context("a wrong content-length")?));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Framing::Chunked);
        }
    }
    bail!("an answer without a length")
}

fn status(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// The bytes that a chunked body takes, if it is complete. Trailers are not expected.
fn chunked_length(body: &[u8]) -> Result<Option<usize>> {
    let mut position = 0;
    loop {
        let Some(rest) = body.get(position..) else { return Ok(None) };
        let Some(digits) = rest.windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let digits_text =
            std::str::from_utf8(&rest[..digits]).context("a chunk size is no text")?;
        let size = usize::from_str_radix(digits_text, 16).context("a wrong chunk size")?;
        position += digits + 2 + size + 2;
        if size == 0 {
            return Ok(Some(position).filter(|end| *end <= body.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: [&str; 3] = [
        "HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}",
        "HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1a\r\n\
         abcdefghijklmnopqrstuvwxyz\r\n0\r\n\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n",
    ];

    #[test]
    fn an_answer_is_complete_exactly_when_its_last_byte_is_there() {
        for whole in WHOLE {
            for length in 0..whole.len() {
                assert_eq!(parse(&whole.as_bytes()[..length]).unwrap(), None, "{length} {whole}");
            }
            let with_next = format!("{whole}HTTP/1.1 200");
            let answer = parse(with_next.as_bytes()).unwrap().unwrap();
            assert_eq!(answer.body.end, whole.len());
        }
    }

    #[test]
    fn success_needs_the_status_and_the_word() {
        let cases = [
            ("200 OK", r#"{"success":true}"#, true),
            ("200 OK", r#"{"success":false}"#, false),
            ("500 Oops", r#"{"success":true}"#, false),
        ];
        for (status, body, expected) in cases {
            let text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            let layout = parse(text.as_bytes()).unwrap().unwrap();
            let answer = Answer { status: layout.status, body: &text.as_bytes()[layout.body] };
            assert_eq!(answer.is_success(), expected, "{status} {body}");
        }
    }

    #[test]
    fn what_cannot_be_delimited_is_an_error() {
        for head in ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\ncontent-length: many"] {
            assert!(parse(format!("{head}\r\n\r\n").as_bytes()).is_err(), "{head}");
        }
    }
}
