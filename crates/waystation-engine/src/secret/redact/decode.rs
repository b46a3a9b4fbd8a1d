//! A text as a reader of JSON or of a URL would see it, with the way back to where each byte came from.

use std::ops::Range;

/// A decoded text.
pub(super) struct View {
    pub(super) bytes: Vec<u8>,
    /// For each decoded byte, where its spelling starts in the source; then the source's length.
    starts: Vec<usize>,
}

impl View {
    /// Where a part of the decoded text stands in the source.
    pub(super) fn origin(&self, decoded: Range<usize>) -> Range<usize> {
        let start = self.starts[decoded.start];
        // Bytes that came from one escape share its start, and all of it belongs to each of them.
        let last = self.starts[decoded.end - 1];
        let after = self.starts[decoded.end..].iter().find(|start| **start > last);
        start..*after.unwrap_or(&last)
    }
}

/// How often a text may have been written into another: JSON in a string of JSON, which stands in the
/// quotation of an answer, and so on.
const DEPTH: usize = 6;

/// Shows every decoding that changes the text: JSON within JSON as deep as it goes, and at each level
/// what a URL or a form says, which may be JSON again.
pub(super) fn each_view(text: &str, visit: &mut dyn FnMut(&View)) {
    let bytes = text.as_bytes();
    let starts = |at: usize| at;
    descend(bytes, &starts, DEPTH, visit);
}

fn descend(
    bytes: &[u8],
    starts: &dyn Fn(usize) -> usize,
    depth: usize,
    visit: &mut dyn FnMut(&View),
) {
    let ways: [(u8, Escape, usize); 3] = [
        (b'\\', json_escape, depth.saturating_sub(1)),
        (b'%', percent_escape, depth.min(1)),
        (b'+', form_escape, depth.min(1)),
    ];
    for (sign, escape, depth_left) in ways {
        if memchr::memchr(sign, bytes).is_none() {
            continue;
        }
        let view = decode(bytes, starts, escape);
        if view.bytes != bytes {
            visit(&view);
            if depth_left > 0 {
                descend(&view.bytes, &|at| view.starts[at], depth_left, visit);
            }
        }
    }
}

/// What an escape at the start of some bytes stands for, and its length; `None` for any other byte.
type Escape = fn(&[u8]) -> Option<(Decoded, usize)>;

enum Decoded {
    Byte(u8),
    Char(char),
}

/// `starts` tells where each byte of the source comes from.
fn decode(source: &[u8], starts: &dyn Fn(usize) -> usize, escape: Escape) -> View {
    let mut view = View { bytes: Vec::with_capacity(source.len()), starts: Vec::new() };
    let mut at = 0;
    while at < source.len() {
        let (decoded, length) = escape(&source[at..]).unwrap_or((Decoded::Byte(source[at]), 1));
        match decoded {
            Decoded::Byte(byte) => view.bytes.push(byte),
            Decoded::Char(char) => {
                view.bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        view.starts.resize(view.bytes.len(), starts(at));
        at += length;
    }
    view.starts.push(starts(source.len()));
    view
}

fn percent_escape(source: &[u8]) -> Option<(Decoded, usize)> {
    let &[b'%', high, low, ..] = source else { return None };
    let byte = hex(high)? << 4 | hex(low)?;
    Some((Decoded::Byte(u8::try_from(byte).ok()?), 3))
}

fn form_escape(source: &[u8]) -> Option<(Decoded, usize)> {
    match source.first() {
        Some(b'+') => Some((Decoded::Byte(b' '), 1)),
        _ => percent_escape(source),
    }
}

fn json_escape(source: &[u8]) -> Option<(Decoded, usize)> {
    let &[b'\\', letter, ..] = source else { return None };
    let byte = match letter {
        b'"' | b'\\' | b'/' => letter,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'u' => return unicode_escape(source),
        _ => return None,
    };
    Some((Decoded::Byte(byte), 2))
}

/// `\uXXXX`, or two of them where they spell one character.
fn unicode_escape(source: &[u8]) -> Option<(Decoded, usize)> {
    let first = utf16_unit(source)?;
    let second = source.get(6..).and_then(utf16_unit);
    let mut chars = char::decode_utf16([first].into_iter().chain(second));
    let char = chars.next()?.ok()?;
    Some((Decoded::Char(char), 6 * char.len_utf16()))
}

fn utf16_unit(source: &[u8]) -> Option<u16> {
    let &[b'\\', b'u', a, b, c, d, ..] = source else { return None };
    let unit = [a, b, c, d].into_iter().try_fold(0, |sum, digit| Some(sum << 4 | hex(digit)?))?;
    u16::try_from(unit).ok()
}

fn hex(digit: u8) -> Option<u32> {
    (digit as char).to_digit(16)
}
