//! What each setting does to the message.

use lettre::Address;
use serde_json::{Value, json};
use waystation_core::error::{Code, Failure};

use super::letter;
use crate::limits::EMAIL_BYTES_MAX;
use crate::node::email::message::{Outgoing, compose};

fn composed(config: Value) -> Result<Outgoing, Failure> {
    let settings = serde_json::from_value(config).expect("settings");
    compose(settings, Some("Flows <flows@x.org>"), "run:node")
}

/// The letter with other settings, as it is sent, without its date and what is drawn by lot.
fn sent(settings: &Value) -> String {
    let mut config = letter();
    for (name, value) in settings.as_object().expect("settings") {
        config[name] = value.clone();
    }
    let text = String::from_utf8(composed(config).expect("a message").bytes).expect("ASCII");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.retain(|line| !line.starts_with("Date: "));
    let text = lines.join("\n");
    let boundaries: Vec<String> = text
        .split("boundary=\"")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
        .collect();
    let named = boundaries.iter().enumerate();
    named.fold(text, |text, (index, boundary)| text.replace(boundary, &format!("B{index}")))
}

fn refused(settings: &Value) -> String {
    let mut config = letter();
    for (name, value) in settings.as_object().expect("settings") {
        config[name] = value.clone();
    }
    composed(config).err().expect("refused").message
}

#[test]
fn a_plain_letter() {
    insta::assert_snapshot!(sent(&json!({})));
}

#[test]
fn everybody_named_and_some_unnamed() {
    let settings = json!({
        "to": ["Ada <ada@x.org>", "bob@y.org"], "cc": "Carl Ö <carl@y.org>", "bcc": "eve@z.org, bob@y.org",
        "from": "Other <other@x.org>", "reply_to": "help@x.org", "subject": "Grüße an alle\n",
        "body": "Schöne Grüße",
    });
    insta::assert_snapshot!(sent(&settings));
    let outgoing = composed(settings).unwrap();
    let to: Vec<String> = outgoing.envelope.to().iter().map(Address::to_string).collect();
    assert_eq!(to, ["ada@x.org", "bob@y.org", "carl@y.org", "eve@z.org"]);
    assert_eq!(outgoing.envelope.from().unwrap().to_string(), "other@x.org");
}

#[test]
fn html_has_a_text_beside_it() {
    insta::assert_snapshot!(sent(
        &json!({ "body": "<p>Hi <b>Ada</b></p><p>Bye</p>", "format": "html" })
    ));
}

#[test]
fn attachments_are_made_of_values() {
    insta::assert_snapshot!(sent(&json!({
        "body": { "a": 1 },
        "attachments": [
            { "filename": "a.txt", "content": "text\n" },
            { "filename": "b.json", "content": { "rows": [1, 2] } },
            { "filename": "ü \"c\".bin", "content_base64": "AAEC\n/w==", "content_type": "image/png" },
        ],
    })));
}

#[test]
fn the_id_is_that_of_the_key() {
    let id = |key: &str| {
        let settings = serde_json::from_value(letter()).unwrap();
        compose(settings, Some("flows@x.org"), key).unwrap().message_id
    };
    assert_eq!(id("run:node"), id("run:node"));
    assert_ne!(id("run:node"), id("run:other"));
    assert!(id("run:node").ends_with("@x.org>") && !id("run:node").contains("run"));
}

#[test]
fn nothing_begins_a_header_or_a_command() {
    for (settings, expected) in [
        (json!({ "subject": "a\r\nBcc: eve@z.org" }), "`subject` has a line break"),
        (json!({ "to": "ada@x.org\r\nRCPT TO:<eve@z.org>" }), "`to` has a line break"),
        (json!({ "cc": ["a\n <a@x.org>"] }), "`cc` has a line break"),
        (json!({ "bcc": "a\n@x.org" }), "`bcc` has a line break"),
        (json!({ "from": "a@x.org\nX: y" }), "`from` has a line break"),
        (json!({ "reply_to": "a\u{0}@x.org" }), "`reply_to` has a line break"),
        (
            json!({ "attachments": [{ "filename": "a\r\nb", "content": "" }] }),
            "`attachments.0` needs a `filename` of 1 to 255 letters without line breaks",
        ),
        (
            json!({ "attachments": [{ "filename": "a", "content": "", "content_type": "a/b\r\nX: y" }] }),
            "`attachments.0` has a wrong `content_type`",
        ),
    ] {
        let message = refused(&settings);
        assert!(message.contains(expected), "{message}");
    }
    // What ends a message on the wire does not end it in its text.
    let text = sent(&json!({ "body": "a\r.\rb\n.\nMAIL FROM:<eve@z.org>" }));
    assert!(text.ends_with("\n\na\n.\nb\n.\nMAIL FROM:<eve@z.org>"), "{text}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    for (settings, expected) in [
        (json!({ "to": " , " }), "`to` is empty"),
        (json!({ "to": "ada" }), "`to`: \"ada\" is no email address"),
        (json!({ "from": "a@x.org, b@x.org" }), "`from` must be one address"),
        (
            json!({ "attachments": [{ "filename": "a" }] }),
            "needs either `content` or `content_base64`",
        ),
        (
            json!({ "attachments": [{ "filename": "a", "content": "b", "content_base64": "YQ==" }] }),
            "needs either `content` or `content_base64`",
        ),
        (json!({ "attachments": [{ "filename": "a", "content_base64": "?" }] }), "is no base64"),
        (json!({ "attachments": [{ "filename": "", "content": "b" }] }), "needs a `filename`"),
    ] {
        let message = refused(&settings);
        assert!(message.contains(expected), "{message}");
    }
    let settings = serde_json::from_value(letter()).unwrap();
    let message = compose(settings, None, "key").err().expect("no sender").message;
    assert!(message.ends_with("`from` is missing, and SMTP_FROM is not set"), "{message}");
}

#[test]
fn messages_and_their_parts_are_bounded() {
    for settings in [
        json!({ "body": "x".repeat(EMAIL_BYTES_MAX) }),
        json!({ "attachments": [{ "filename": "a", "content": "x".repeat(EMAIL_BYTES_MAX / 4 * 3) }] }),
        json!({ "attachments": vec![json!({ "filename": "a", "content": "" }); 101] }),
        json!({ "subject": "x".repeat(901) }),
        json!({ "to": vec!["a@x.org"; 501] }),
    ] {
        let mut config = letter();
        for (name, value) in settings.as_object().unwrap() {
            config[name] = value.clone();
        }
        assert_eq!(composed(config).err().expect("too much").code, Code::LimitExceeded);
    }
}
