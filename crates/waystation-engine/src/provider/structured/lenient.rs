//! JSON as models misspell it, read in one pass. Beside JSON it takes comments, trailing and missing
//! commas, other quotation marks, bare keys, Python's literals, line breaks in strings, unknown escapes,
//! and brackets left open at the end. A string left open is none of these: its end is unknown.

use std::str::CharIndices;

use serde_json::{Map, Number, Value};

/// Nesting of a value.
const DEPTH: usize = 128;

/// The value that begins the text, and what follows it.
pub(super) fn parse(text: &str) -> Option<(Value, &str)> {
    let mut parser = Parser { rest: text };
    let value = parser.value(DEPTH)?;
    Some((value, parser.rest))
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        match self.next_letter()? {
            '{' => self.object(depth).map(Value::Object),
            '[' => self.array(depth).map(Value::Array),
            letter if closing(letter).is_some() => self.string().map(Value::String),
            _ => scalar(self.word()?),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Map<String, Value>> {
        let mut fields = Map::new();
        self.take('{');
        while !self.ends('}') {
            let is_quoted = self.next_letter().is_some_and(|letter| closing(letter).is_some());
            let name = if is_quoted { self.string()? } else { self.word()?.to_owned() };
            if !self.take(':') {
                return None;
            }
            fields.insert(name, self.value(depth)?);
            self.take(',');
        }
        Some(fields)
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Value>> {
        let mut items = Vec::new();
        self.take('[');
        while !self.ends(']') {
            items.push(self.value(depth)?);
            self.take(',');
        }
        Some(items)
    }

    /// Whether the bracket closes here, or the text is over.
    fn ends(&mut self, bracket: char) -> bool {
        self.take(bracket) || self.rest.is_empty()
    }

    /// Goes past a letter, if it is next.
    fn take(&mut self, letter: char) -> bool {
        let is_next = self.next_letter() == Some(letter);
        if is_next {
            self.rest = &self.rest[letter.len_utf8()..];
        }
        is_next
    }

    /// The next letter that is neither space nor comment.
    fn next_letter(&mut self) -> Option<char> {
        loop {
            self.rest = self.rest.trim_start();
            let end = match self.rest {
                rest if rest.starts_with("//") || rest.starts_with('#') => rest.find('\n'),
                rest if rest.starts_with("/*") => rest.find("*/").map(|at| at + "*/".len()),
                rest => return rest.chars().next(),
            };
            self.rest = &self.rest[end.unwrap_or(self.rest.len())..];
        }
    }

    fn word(&mut self) -> Option<&'a str> {
        let is_part = |letter: char| letter.is_alphanumeric() || "_$+-.".contains(letter);
        let end = self.rest.find(|letter| !is_part(letter)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    fn string(&mut self) -> Option<String> {
        let mut letters = self.rest.char_indices();
        let end = closing(letters.next()?.1)?;
        let mut text = String::new();
        while let Some((at, letter)) = letters.next() {
            match letter {
                '\\' => escape(&mut letters, &mut text)?,
                _ if letter == end => {
                    self.rest = &self.rest[at + end.len_utf8()..];
                    return Some(text);
                }
                _ => text.push(letter),
            }
        }
        None
    }
}

/// The mark that ends what a quotation mark begins.
fn closing(mark: char) -> Option<char> {
    match mark {
        '"' | '\'' => Some(mark),
        '“' => Some('”'),
        _ => None,
    }
}

fn scalar(word: &str) -> Option<Value> {
    match word {
        "true" | "True" => Some(Value::Bool(true)),
        "false" | "False" => Some(Value::Bool(false)),
        "null" | "None" => Some(Value::Null),
        _ => serde_json::from_str::<Number>(word).ok().map(Value::Number),
    }
}

fn escape(letters: &mut CharIndices<'_>, text: &mut String) -> Option<()> {
    let letter = match letters.next()?.1 {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'u' => unicode(letters)?,
        letter @ ('"' | '\'' | '\\' | '/') => letter,
        letter => {
            text.push('\\');
            letter
        }
    };
    text.push(letter);
    Some(())
}

fn unicode(letters: &mut CharIndices<'_>) -> Option<char> {
    let first = code_unit(letters)?;
    let is_half = (0xd800..0xdc00).contains(&first);
    let second = match is_half && letters.next()?.1 == '\\' && letters.next()?.1 == 'u' {
        true => Some(code_unit(letters)?),
        false => None,
    };
    char::decode_utf16([first].into_iter().chain(second)).next()?.ok()
}

fn code_unit(letters: &mut CharIndices<'_>) -> Option<u16> {
    (0..4).try_fold(0, |unit, _| {
        let digit = letters.next()?.1.to_digit(16)?;
        Some(unit << 4 | u16::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn misspellings_are_read() {
        for (text, expected) in [
            ("{'a': 'it\\'s'}", json!({ "a": "it's" })),
            ("{“a”: “b”}", json!({ "a": "b" })),
            ("{a_b: 1, $c: -2.5e3}", json!({ "a_b": 1, "$c": -2.5e3 })),
            ("[1, 2,]", json!([1, 2])),
            ("[1 2 [3]]", json!([1, 2, [3]])),
            (
                "[True, False, None, true, false, null]",
                json!([true, false, null, true, false, null]),
            ),
            ("{/* a */ 'a': 1, // b\n# c\n'd': 2}", json!({ "a": 1, "d": 2 })),
            ("[\"a\nb\", \"\\d\\_\"]", json!(["a\nb", "\\d\\_"])),
            ("[\"\\u00e9\\ud83d\\ude00\\/\\t\"]", json!(["é😀/\t"])),
            ("{\"a\": [1, {\"b\": 2", json!({ "a": [1, { "b": 2 }] })),
            ("[1, 2 // and so on", json!([1, 2])),
            ("{", json!({})),
        ] {
            assert_eq!(parse(text), Some((expected, "")), "{text}");
        }
        assert_eq!(parse("[1,] and"), Some((json!([1]), " and")));
    }

    #[test]
    fn what_is_unclear_is_not_read() {
        let deep = "[".repeat(DEPTH + 1);
        for text in [
            "",
            "{this is prose}",
            "[word]",
            "{\"a\"",
            "{\"a\":",
            "{\"a\": \"b",
            "['a]",
            "{\"a\": 1]}",
            "[1}",
            "{\"a\": 1 and \"b\": 2}",
            "[\"\\ud800\"]",
            "[\"\\ud800x\"]",
            "[\"\\u12\"]",
            "[01]",
            "[1.]",
            "[NaN]",
            "{,}",
            "[,1]",
            "[1,,2]",
            "{\"a\": \"it is \"so\" so\"}",
            "\\",
            &deep,
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
