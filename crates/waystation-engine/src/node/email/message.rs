//! From settings to the message as it goes over the wire. Nothing in a setting can begin a header or a
//! command of its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lettre::address::{Address, Envelope};
use lettre::message::header::{Cc, ContentTransferEncoding, ContentType, From, ReplyTo, To};
use lettre::message::{
    Attachment, Body, Mailbox, Mailboxes, MaybeString, Message, MultiPart, SinglePart,
};
use ring::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use waystation_core::error::{Code, Failure};

use super::address::{mailboxes, only_mailbox};
use super::invalid;
use super::plain::plain;
use super::settings::{Format, Settings};
use crate::limits::{EMAIL_ATTACHMENTS, EMAIL_BYTES_MAX};
use crate::node::model::text_of;

/// Letters of a subject; a header takes no more.
const SUBJECT_LETTERS: usize = 900;
/// Letters of a file's name.
const FILENAME_LETTERS: usize = 255;

/// A message ready to go out.
pub(super) struct Outgoing {
    /// Who gets it, whoever of them is named in it.
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
    /// The same on every attempt.
    pub(super) message_id: String,
    /// The addresses of `to`.
    pub(super) to: Vec<String>,
}

/// A file that goes along.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    /// Its name.
    #[schemars(length(min = 1, max = 255))]
    filename: String,
    /// What is in it: text as it is, any other value as JSON.
    content: Option<Value>,
    /// What is in it, in base64, instead of `content`.
    content_base64: Option<String>,
    /// Its type, as in `text/csv`. By default that of text, of JSON, or of bytes.
    content_type: Option<String>,
}

/// Composes the message. `sender` is who sends it where the settings do not say it.
pub(super) fn compose(
    settings: Settings,
    sender: Option<&str>,
    idempotency_key: &str,
) -> Result<Outgoing, Failure> {
    let to = mailboxes("to", Some(&settings.to))?;
    if to.is_empty() {
        return Err(invalid("`to` is empty"));
    }
    let cc = mailboxes("cc", settings.cc.as_ref())?;
    let bcc = mailboxes("bcc", settings.bcc.as_ref())?;
    let from = from(settings.from.as_deref(), sender)?;
    let reply_to = mailboxes("reply_to", settings.reply_to.as_ref())?;
    let message_id = message_id(idempotency_key, from.email.domain());
    let envelope = envelope(&from.email, [&to, &cc, &bcc])?;
    let addresses = to.iter().map(|mailbox| mailbox.email.to_string()).collect();
    let mut builder = Message::builder()
        .envelope(envelope.clone())
        .message_id(Some(message_id.clone()))
        .header(From::from(Mailboxes::from(from)))
        .header(To::from(Mailboxes::from(to)))
        .subject(subject(settings.subject)?);
    if !cc.is_empty() {
        builder = builder.header(Cc::from(Mailboxes::from(cc)));
    }
    if !reply_to.is_empty() {
        builder = builder.header(ReplyTo::from(Mailboxes::from(reply_to)));
    }
    let files = files(settings.attachments)?;
    let built = match parts(&text_of(settings.body), settings.format, files) {
        Part::Single(part) => builder.singlepart(part),
        Part::Several(parts) => builder.multipart(parts),
    };
    let built = built.map_err(|error| invalid(&format!("no message can be made: {error}")))?;
    let bytes = within_bounds(built.formatted())?;
    Ok(Outgoing { envelope, bytes, message_id, to: addresses })
}

fn from(given: Option<&str>, sender: Option<&str>) -> Result<Mailbox, Failure> {
    let given = given.map(str::trim).filter(|given| !given.is_empty());
    match given.or(sender) {
        Some(text) => only_mailbox("from", text),
        None => Err(invalid("`from` is missing, and SMTP_FROM is not set")),
    }
}

/// Everybody once.
fn envelope(from: &Address, lists: [&Vec<Mailbox>; 3]) -> Result<Envelope, Failure> {
    let mut everybody: Vec<Address> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for Mailbox { email, .. } in lists.into_iter().flatten() {
        if known.insert(email) {
            everybody.push(email.clone());
        }
    }
    let envelope = Envelope::new(Some(from.clone()), everybody);
    envelope.map_err(|_| invalid("`to` is empty"))
}

/// Equal for equal keys, and telling nothing about them.
fn message_id(idempotency_key: &str, domain: &str) -> String {
    let hash = digest(&SHA256, idempotency_key.as_bytes());
    let hash: String = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("<{hash}@{domain}>")
}

fn subject(given: Value) -> Result<String, Failure> {
    let text = text_of(given).trim().to_owned();
    if text.chars().any(char::is_control) {
        return Err(invalid("`subject` has a line break or control character"));
    }
    if text.chars().count() > SUBJECT_LETTERS {
        let text = format!("`subject` is longer than {SUBJECT_LETTERS} letters");
        return Err(Failure::fatal(Code::LimitExceeded, text));
    }
    Ok(text)
}

enum Part {
    Single(SinglePart),
    Several(MultiPart),
}

fn parts(body: &str, format: Format, files: Vec<SinglePart>) -> Part {
    // A lone carriage return or line feed is read as an end of line by some servers only.
    let body = body.replace("\r\n", "\n").replace('\r', "\n");
    let body = match format {
        Format::Text => Part::Single(SinglePart::plain(body)),
        Format::Html => Part::Several(MultiPart::alternative_plain_html(plain(&body), body)),
    };
    if files.is_empty() {
        return body;
    }
    let mixed = MultiPart::mixed();
    let mixed = match body {
        Part::Single(part) => mixed.singlepart(part),
        Part::Several(parts) => mixed.multipart(parts),
    };
    Part::Several(files.into_iter().fold(mixed, MultiPart::singlepart))
}

fn files(given: Vec<File>) -> Result<Vec<SinglePart>, Failure> {
    if given.len() > EMAIL_ATTACHMENTS {
        let text = format!("{} `attachments`: {EMAIL_ATTACHMENTS} at most", given.len());
        return Err(Failure::fatal(Code::LimitExceeded, text));
    }
    given.into_iter().enumerate().map(|(index, file)| file.part(index)).collect()
}

impl File {
    fn part(self, index: usize) -> Result<SinglePart, Failure> {
        let wrong = |what: &str| invalid(&format!("`attachments.{index}` {what}"));
        let File { filename, content, content_base64, content_type } = self;
        let letters = filename.chars().count();
        if filename.chars().any(char::is_control) || !(1..=FILENAME_LETTERS).contains(&letters) {
            return Err(wrong("needs a `filename` of 1 to 255 letters without line breaks"));
        }
        let (bytes, usual) = match (content, content_base64) {
            (Some(Value::String(text)), None) => (text.into_bytes(), "text/plain; charset=utf-8"),
            (Some(value), None) => (value.to_string().into_bytes(), "application/json"),
            (None, Some(text)) => {
                let letters: String = text.split_ascii_whitespace().collect();
                let bytes = STANDARD.decode(letters);
                let bytes = bytes.map_err(|_| wrong("has a `content_base64` that is no base64"))?;
                (bytes, "application/octet-stream")
            }
            _ => return Err(wrong("needs either `content` or `content_base64`")),
        };
        let content_type = content_type.unwrap_or_else(|| usual.to_owned());
        let content_type = Some(content_type).filter(|text| !text.chars().any(char::is_control));
        let content_type = content_type.and_then(|text| ContentType::parse(text.trim()).ok());
        let content_type = content_type.ok_or_else(|| wrong("has a wrong `content_type`"))?;
        // Other encodings change the ends of lines.
        let bytes = MaybeString::Binary(bytes);
        let encoded = Body::new_with_encoding(bytes, ContentTransferEncoding::Base64);
        let encoded = encoded.map_err(|_| wrong("cannot be encoded"))?;
        Ok(Attachment::new(filename).body(encoded, content_type))
    }
}

fn within_bounds(bytes: Vec<u8>) -> Result<Vec<u8>, Failure> {
    if bytes.len() <= EMAIL_BYTES_MAX {
        return Ok(bytes);
    }
    let (size, most) = (bytes.len() >> 20, EMAIL_BYTES_MAX >> 20);
    let text = format!("the message has {size} MiB as it is sent, and {most} MiB are allowed");
    Err(Failure::fatal(Code::LimitExceeded, text))
}
