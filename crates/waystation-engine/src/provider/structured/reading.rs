//! From a model's text to a value: as it is, or with what models put around JSON and get wrong in it
//! mended. Nothing is guessed: what could mean two things is not read.

use serde_json::{Deserializer, Value};

use super::lenient;

const OPENING: [char; 2] = ['{', '['];
const FENCE: &str = "```";

/// What a text says.
#[derive(Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) value: Value,
    /// Whether the text is not the value's JSON alone.
    pub(super) is_repaired: bool,
}

/// The object or list that the whole text, fences aside, spells out.
pub(super) fn whole(text: &str) -> Option<Reading> {
    let text = trimmed(text);
    let body = unfenced(text);
    let value: Value = serde_json::from_str(body).ok()?;
    let is_closed = value.is_object() || value.is_array();
    is_closed.then_some(Reading { value, is_repaired: body.len() != text.len() })
}

/// The one value that the text means, or why there is none.
pub(super) fn read(text: &str) -> Result<Reading, String> {
    let text = trimmed(text);
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let problem = match serde_json::from_str(text) {
        Ok(value) => return Ok(Reading { value, is_repaired: false }),
        Err(problem) => problem,
    };
    let body = unfenced(text);
    let value = match serde_json::from_str(body) {
        Ok(value) => value,
        Err(_) => embedded(body).ok_or_else(|| problem.to_string())??,
    };
    Ok(Reading { value, is_repaired: true })
}

fn trimmed(text: &str) -> &str {
    text.trim_start_matches('\u{feff}').trim()
}

/// What stands in a code fence that comes before any bracket.
fn unfenced(text: &str) -> &str {
    let bracket = text.find(OPENING).unwrap_or(text.len());
    let Some(fence) = text[..bracket].find(FENCE) else { return text };
    let inside = &text[fence + FENCE.len()..];
    let inside = inside.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric());
    inside.rfind(FENCE).map_or(inside, |end| &inside[..end]).trim()
}

/// The object or list that stands in prose, mended if need be; nothing where none begins.
fn embedded(text: &str) -> Option<Result<Value, String>> {
    let span = &text[text.find(OPENING)?..];
    let mut values = Deserializer::from_str(span).into_iter::<Value>();
    if let Some(Ok(value)) = values.next() {
        return Some(only(value, &span[values.byte_offset()..]));
    }
    let (value, rest) = lenient::parse(span)?;
    Some(only(value, rest))
}

/// The value, if no other follows it.
fn only(value: Value, rest: &str) -> Result<Value, String> {
    let is_only = !rest.contains(OPENING);
    is_only.then_some(value).ok_or_else(|| "it has several parts".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_models_put_around_json_and_get_wrong_is_mended() {
        for (text, expected) in [
            ("```json\n{\"a\": 1}\n```", json!({ "a": 1 })),
            ("```\n[1]\n```", json!([1])),
            ("```json {\"a\": 1}", json!({ "a": 1 })),
            (
                "Here it is:\n```json\n{\"a\": [1, 2,],}\n```\nHope it helps!",
                json!({ "a": [1, 2] }),
            ),
            ("Sure! {\"a\": 1} That is all.", json!({ "a": 1 })),
            ("{\"a\": 1} (one)", json!({ "a": 1 })),
            ("{'a': 'it is'}", json!({ "a": "it is" })),
            ("{a: 1}", json!({ "a": 1 })),
            ("{\"a\": 1, // why\n \"b\": /* how */ 2}", json!({ "a": 1, "b": 2 })),
            ("{\"a\": True, \"b\": None}", json!({ "a": true, "b": null })),
            ("{\"a\": 1 \"b\": 2}", json!({ "a": 1, "b": 2 })),
            ("{\"a\": [1, {\"b\": 2", json!({ "a": [1, { "b": 2 }] })),
            ("{\"a\": [1, 2], \"b\": {\"c\": 3", json!({ "a": [1, 2], "b": { "c": 3 } })),
            ("{\"a\": \"line\nbreak\"}", json!({ "a": "line\nbreak" })),
            ("{\"a\": [1,],} Hope it helps!", json!({ "a": [1] })),
            ("```json\n\"text\"\n```", json!("text")),
            ("{\"code\": \"```x```\",}", json!({ "code": "```x```" })),
        ] {
            let reading = read(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(reading, Reading { value: expected, is_repaired: true }, "{text}");
        }
    }

    #[test]
    fn what_is_json_is_left_alone() {
        for text in ["{\"a\": 1}", " [1]\n", "\u{feff}null", "\"{'a'\"", "true", "{\"a\": \"```\"}"]
        {
            let reading = read(text).expect("JSON");
            let expected: Value = serde_json::from_str(trimmed(text)).expect("JSON");
            assert_eq!(reading, Reading { value: expected, is_repaired: false }, "{text}");
        }
    }

    #[test]
    fn what_is_none_or_several_is_not_read() {
        for (text, expected) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("I cannot do that.", "expected value at line 1 column 1"),
            ("Das weiß ich nicht", "expected value at line 1 column 1"),
            ("{\"a\": 1} or {\"a\": 2}", "it has several parts"),
            ("[1] says {\"a\": 2}", "it has several parts"),
            ("```json\n{\"a\": 1}\n```\nor\n```json\n{\"a\": 2}\n```", "it has several parts"),
            ("{\"a\": 1,}\n{\"a\": 2,}", "it has several parts"),
            ("<answer>1</answer>", "expected value at line 1 column 1"),
        ] {
            assert_eq!(read(text).expect_err(text), expected, "{text}");
        }
    }

    #[test]
    fn a_text_that_was_cut_counts_only_whole() {
        for (text, expected) in [
            ("{\"a\": 1}", Some(json!({ "a": 1 }))),
            ("```json\n[1]\n```", Some(json!([1]))),
            ("{\"a\": 1", None),
            ("{\"a\": 1,}", None),
            ("{\"a\": 1} and", None),
            // Who knows whether more digits were to come.
            ("12", None),
        ] {
            assert_eq!(whole(text).map(|reading| reading.value), expected, "{text}");
        }
    }

    #[test]
    fn hostile_text_takes_no_longer_than_its_length() {
        let pieces = [
            "[",
            "{",
            "\"",
            "\\",
            "'",
            "{\"a\":",
            "[\"",
            "/*",
            "```",
            "a ",
            "1,",
            "\":\"",
            "(",
            "+\"",
            "[,",
            "...",
            "“",
            "[\"a\n",
            "{\"a\":\"b",
            "[a\" ",
            ",\"",
            "\"\n\"",
            "{a:b ",
            "] ",
            "\"a\"     ",
            "é",
            "\\u",
            "{},",
            "[1,2,",
            "//\n",
            "#",
            "“,",
            "{'a' ",
            "\n'a#",
            "\r\n“-",
        ];
        for (index, piece) in pieces.into_iter().enumerate() {
            let bytes = if index % 8 == 0 { 4 << 20 } else { 256 << 10 };
            for before in ["", "[\"", "{"] {
                let text =
                    format!("{before}{}", piece.repeat((bytes - before.len()) / piece.len()));
                let began = Instant::now();
                let _ = read(&text);
                let _ = whole(&text);
                let took = began.elapsed();
                // A fraction of a second; work that grew with the square would take minutes.
                assert!(took.as_secs() < 10, "{piece:?} after {before:?}: {took:?}");
            }
        }
    }

    fn json_like() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            "\"",
            "'",
            ":",
            ",",
            "\\",
            "\n",
            " ",
            "a",
            "1",
            "-",
            ".",
            "e",
            "true",
            "null",
            "```",
            "```json\n",
            "//",
            "/*",
            "*/",
            "#",
            "(",
            ")",
            "+",
            "é",
            "\u{feff}",
            "\\u12",
            "“",
            "”",
            "/",
            "None",
            "...",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::hash_map("\\PC{0,6}", inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]
        #[test]
        fn no_text_is_too_odd(text in prop_oneof![json_like(), any::<String>()]) {
            let _ = read(&text);
            let _ = whole(&text);
        }

        #[test]
        fn json_means_itself_and_fences_change_nothing(value in any_json()) {
            let text = format!("{value:#}");
            prop_assert_eq!(&read(&text).expect("JSON").value, &value);
            let fenced = format!("```json\n{text}\n```");
            prop_assert_eq!(read(&fenced).expect("JSON").value, value);
        }
    }
}
