//! What redaction finds, what it leaves alone, and that nothing slips through.

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn redactor(secrets: &[&str]) -> Redactor {
    let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new((*text).into())).collect();
    Redactor::new(&secrets)
}

#[test]
fn every_spelling_of_a_value_goes() {
    let secret = "pä/s\"w? +\u{1f600}\n%41";
    let redactor = redactor(&[secret]);
    let escaped_ascii = r#"p\u00e4/s\"w? +\ud83d\ude00\n%41"#;
    let encoded = URL_SAFE.encode(secret);
    let spellings = [
        secret,
        r#"pä/s\"w? +😀\n%41"#,
        r#"p\u00E4\/s\u0022w?\u0020+\uD83D\uDE00\u000a%41"#,
        escaped_ascii,
        "p%C3%A4%2Fs%22w%3F%20%2B%F0%9F%98%80%0A%2541",
        "p%c3%a4/s%22w?%20+%f0%9f%98%80%0a%2541",
        "p%C3%A4%2Fs%22w%3F+%2B%F0%9F%98%80%0A%2541",
        &STANDARD.encode(secret),
        &encoded,
        encoded.trim_end_matches('='),
    ];
    for spelling in spellings {
        let text = format!("é: {spelling}; é");
        assert_eq!(redactor.redact_text(&text), "é: [redacted]; é", "{spelling}");
    }
}

#[test]
fn a_value_goes_from_documents_within_documents() {
    let secret = "-----BEGIN KEY-----\nab/c+\"ä\"\n-----END KEY-----";
    let redactor = redactor(&[secret]);
    let form = format!("q={}", spell(&json!({ "key": secret }).to_string(), 6));
    assert!(!redactor.redact_text(&form).contains("KEY"), "{form}");
    let mut text = secret.to_owned();
    for level in 1..=5 {
        text = json!({ "level": level, "body": text }).to_string();
        assert!(!redactor.redact_text(&text).contains("KEY"), "{level}: {text}");
        let quoted = format!("Endpoint worker error: 500 - {text}");
        assert!(!redactor.redact_text(&quoted).contains("KEY"), "{level}");
        let link = json!({ "link": spell(secret, 4), "body": text }).to_string();
        assert!(!redactor.redact_text(&link).contains("KEY"), "{level}: {link}");
    }
}

#[test]
fn the_rest_of_a_document_within_a_document_stays() {
    let inner = json!({ "a": "\\ é", "k": "two\nlines", "z": "\"" }).to_string();
    let text = json!({ "before": "\n", "body": inner, "after": 1 }).to_string();
    let expected = text.replace(r"two\\nlines", REDACTED);
    assert_eq!(redactor(&["two\nlines"]).redact_text(&text), expected);
}

#[test]
fn credentials_within_base64_go_with_the_letters_that_share_their_bits() {
    let redactor = redactor(&["hunter22"]);
    for (around, left) in [
        (("", ""), "[redacted]"),
        (("u:", ""), "dT[redacted]"),
        (("a:", ":z"), "YT[redacted]p6"),
        (("user:", ""), "dXNlcj[redacted]"),
        (("user:x", ""), "dXNlcjp4[redacted]"),
    ] {
        let text = STANDARD.encode(format!("{}hunter22{}", around.0, around.1));
        assert_eq!(redactor.redact_text(&format!("Basic {text}")), format!("Basic {left}"));
    }
}

#[test]
fn overlapping_secrets_become_one_hole() {
    let redactor = redactor(&["abcd", "cdefgh", "abcdef"]);
    for (text, expected) in [
        ("xabcdefghx", "x[redacted]x"),
        ("abcdabcd", "[redacted][redacted]"),
        ("abcdefcdefgh", "[redacted][redacted]"),
    ] {
        assert_eq!(redactor.redact_text(text), expected);
    }
}

#[test]
fn a_short_secret_counts_only_as_the_whole_text() {
    let redactor = redactor(&["a", "é\""]);
    for text in ["a", "%61", "\\u0061", "YQ==", "é\"", "%C3%A9%22", "é\\\""] {
        assert_eq!(redactor.redact_text(text), REDACTED, "{text}");
    }
    assert_eq!(redactor.redact_text("banana"), "banana");
}

#[test]
fn what_holds_no_secret_is_borrowed() {
    let redactor = redactor(&["hunter22"]);
    for text in ["", "hunter2", "100% of a+b \\ \\u12 \\ud800 %", "%zz%4", "\\"] {
        assert!(matches!(redactor.redact_text(text), Cow::Borrowed(_)), "{text}");
    }
    assert!(Redactor::new([]).is_empty());
    assert_eq!(Redactor::default().redact_text("hunter22"), "hunter22");
}

#[test]
fn values_are_redacted_in_depth() {
    let mut value = json!({
        "keep": [1, true, null, "plain"],
        "token hunter22": {"deep": ["x hunter22 y", "hunter22"]},
        "pin": 12345678, "part": -1234567812345678_i64, "sum": 1.5,
    });
    redactor(&["hunter22", "12345678"]).redact_value(&mut value);
    let expected = json!({
        "keep": [1, true, null, "plain"],
        "token [redacted]": {"deep": ["x [redacted] y", "[redacted]"]},
        "pin": "[redacted]", "part": "-[redacted][redacted]", "sum": 1.5,
    });
    assert_eq!(value, expected);
    assert_eq!(value.to_string(), expected.to_string(), "the order of keys stays");
}

#[test]
fn a_line_break_at_the_end_of_a_secret_is_not_needed() {
    assert_eq!(redactor(&["hunter22\n"]).redact_text("Bearer hunter22"), "Bearer [redacted]");
}

/// How different encoders spell a value, alone or within something larger.
fn spell(value: &str, how: usize) -> String {
    let percent = |keep: &str, upper: bool| -> String {
        let byte =
            |byte: u8| match (byte.is_ascii_alphanumeric() || keep.contains(byte as char), upper) {
                (true, _) if byte.is_ascii() => (byte as char).to_string(),
                (_, true) => format!("%{byte:02X}"),
                (_, false) => format!("%{byte:02x}"),
            };
        value.bytes().map(byte).collect()
    };
    let json = serde_json::to_string(value).unwrap_or_default();
    let json = &json[1..json.len() - 1];
    let units = |char: char| -> String {
        char.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    };
    match how {
        0 => value.into(),
        1 => json.into(),
        2 => json.replace('/', "\\/"),
        3 => value.chars().map(units).collect(),
        4 => percent("-._~", true),
        5 => percent("-._~/:", false),
        6 => percent("*-._", true).replace("%20", "+"),
        7 => STANDARD.encode(value),
        8 => URL_SAFE.encode(value).trim_end_matches('=').into(),
        9 => STANDARD.encode(format!("u:{value}")).trim_end_matches('=').into(),
        _ => STANDARD.encode(format!("name:{value}:")),
    }
}

fn secret() -> impl Strategy<Value = String> {
    let letters = "[a-cA-Z0-9 +/%\\\\\":=_~?é😀\n-]{4,24}";
    letters.prop_filter("a client trims it", |text| text.trim() == text && text.len() >= 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn no_spelling_survives(
        secrets in prop::collection::vec(secret(), 1..4),
        // Without \ and %, which before a spelling would change what it means.
        parts in prop::collection::vec(("[a-c0-9 +é=/]{0,6}", any::<prop::sample::Index>(), 0..11usize), 1..6),
    ) {
        let references: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let redactor = redactor(&references);
        let mut text = String::new();
        for (noise, which, how) in parts {
            text.push_str(&noise);
            text.push_str(&spell(&secrets[which.index(secrets.len())], how));
            text.push(' ');
        }
        let redacted = redactor.redact_text(&text);
        for secret in &secrets {
            for how in 0..9 {
                let spelling = spell(secret, how);
                prop_assert!(!redacted.contains(&spelling), "{spelling:?} in {redacted:?} of {text:?}");
            }
        }
    }

    #[test]
    fn any_text_is_taken(secrets in prop::collection::vec("\\PC{1,6}", 0..4), text in "([%+\\\\u=0-9a-f]|\\PC){0,60}") {
        let references: Vec<&str> = secrets.iter().map(String::as_str).collect();
        let redactor = redactor(&references);
        let redacted = redactor.redact_text(&text);
        for secret in secrets.iter().filter(|secret| secret.len() >= LENGTH_MIN) {
            let part_of_hole = secret.contains(['[', ']']) || REDACTED.contains(secret.as_str());
            prop_assert!(part_of_hole || !redacted.contains(secret.as_str()));
        }
    }
}
