//! Signs and verifies webhooks as the Standard Webhooks specification says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{self, HMAC_SHA256, Key};
use waystation_core::error::{Code, Error};

use crate::limits::SIGNATURES_PER_WEBHOOK;

/// The header that names the notification.
pub const ID_HEADER: &str = "webhook-id";
/// The header that tells when it was sent.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header that holds the signatures.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

const SECRET_PREFIX: &str = "whsec_";
const VERSION_PREFIX: &str = "v1,";
/// How far the sender's clock may be from ours, either way.
const TOLERANCE_SECONDS: u64 = 5 * 60;

/// The secret that a sender and a receiver share.
pub struct SigningKey(Key);

/// The headers that a notification came with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// The value of [`ID_HEADER`].
    pub id: Option<&'a str>,
    /// The value of [`TIMESTAMP_HEADER`].
    pub timestamp: Option<&'a str>,
    /// The value of [`SIGNATURE_HEADER`].
    pub signature: Option<&'a str>,
}

impl SigningKey {
    /// A key from `whsec_` and base64, or else from the bytes of the text itself.
    pub fn parse(secret: &str) -> Result<SigningKey, Error> {
        let bytes = match secret.strip_prefix(SECRET_PREFIX) {
            Some(encoded) => STANDARD.decode(encoded).unwrap_or_default(),
            None => secret.as_bytes().to_vec(),
        };
        if bytes.is_empty() {
            let message = "the webhook secret is empty or no base64 after `whsec_`";
            return Err(Error::new(Code::SettingInvalid, message)
                .with_hint("make one with `echo whsec_$(openssl rand -base64 32)`"));
        }
        Ok(SigningKey(Key::new(HMAC_SHA256, &bytes)))
    }

    /// The value of [`SIGNATURE_HEADER`] for a notification sent at a moment in Unix seconds.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let tag = hmac::sign(&self.0, &content(id, &timestamp.to_string(), body));
        format!("{VERSION_PREFIX}{}", STANDARD.encode(tag))
    }

    /// Checks that a notification comes from somebody with the key, unchanged and lately. `now` is in
    /// Unix seconds.
    pub fn verify(&self, headers: Headers<'_>, body: &[u8], now: u64) -> Result<(), Error> {
        let id = present(headers.id, ID_HEADER)?;
        let timestamp = present(headers.timestamp, TIMESTAMP_HEADER)?;
        let signatures = present(headers.signature, SIGNATURE_HEADER)?;
        check_age(timestamp, now)?;
        let content = content(id, timestamp, body);
        let mut known = signatures
            .split_ascii_whitespace()
            .filter_map(|signature| signature.strip_prefix(VERSION_PREFIX))
            .take(SIGNATURES_PER_WEBHOOK)
            .peekable();
        if known.peek().is_none() {
            return Err(invalid(format!("{SIGNATURE_HEADER} holds no signature of version v1")));
        }
        let matches = |signature: &str| {
            let tag = STANDARD.decode(signature).unwrap_or_default();
            hmac::verify(&self.0, &content, &tag).is_ok()
        };
        if known.any(matches) {
            Ok(())
        } else {
            Err(invalid("the webhook's signature does not match"))
        }
    }
}

/// Checks the signature of a body alone: HMAC-SHA256 in hexadecimal, perhaps behind `sha256=`, as many
/// services send it.
pub fn verify_body(secret: &str, signature: Option<&str>, body: &[u8]) -> Result<(), Error> {
    let signature = signature.filter(|signature| !signature.is_empty());
    let signature = signature.ok_or_else(|| invalid("the signature is missing"))?.trim();
    let digits = signature.strip_prefix("sha256=").unwrap_or(signature);
    let key = Key::new(HMAC_SHA256, secret.as_bytes());
    let tag = decode_hex(digits).unwrap_or_default();
    hmac::verify(&key, body, &tag).map_err(|_| invalid("the signature does not match the body"))
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    let pair = |place| u8::from_str_radix(&digits[place..place + 2], 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

/// What is signed. The timestamp is taken as it was sent, for its very letters were signed.
fn content(id: &str, timestamp: &str, body: &[u8]) -> Vec<u8> {
    [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat()
}

fn present<'a>(value: Option<&'a str>, header: &str) -> Result<&'a str, Error> {
    value
        .filter(|value| !value.is_empty())
        .ok_or_else(|| invalid(format!("the header {header} is missing")))
}

/// An old notification may be a recorded one that somebody sends again.
fn check_age(timestamp: &str, now: u64) -> Result<(), Error> {
    let sent: u64 = timestamp
        .parse()
        .map_err(|_| invalid(format!("{TIMESTAMP_HEADER} is no time in Unix seconds")))?;
    if now.saturating_sub(sent) > TOLERANCE_SECONDS {
        return Err(invalid("the webhook is older than five minutes"));
    }
    if sent.saturating_sub(now) > TOLERANCE_SECONDS {
        return Err(invalid("the webhook is dated more than five minutes ahead"));
    }
    Ok(())
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::SignatureInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_alone_is_signed_in_hexadecimal() {
        let secret = "It's a Secret to Everybody";
        let good = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let verify = |signature, body: &str| verify_body(secret, signature, body.as_bytes());
        assert!(verify(Some(good), "Hello, World!").is_ok());
        assert!(verify(good.strip_prefix("sha256="), "Hello, World!").is_ok());
        for (signature, body) in [
            (Some(good), "Hello, world!"),
            (Some("sha256="), "Hello, World!"),
            (Some("sha256=zz"), "Hello, World!"),
            (Some("é"), "Hello, World!"),
            (None, "Hello, World!"),
        ] {
            assert_eq!(verify(signature, body).unwrap_err().code, Code::SignatureInvalid);
        }
    }

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SENT: u64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const HEADERS: Headers<'static> =
        Headers { id: Some(ID), timestamp: Some("1614265330"), signature: Some(SIGNATURE) };

    fn key() -> SigningKey {
        SigningKey::parse(SECRET).unwrap()
    }

    #[track_caller]
    fn check(headers: Headers<'_>, body: &[u8], now: u64, expected: &str) {
        let told = match key().verify(headers, body, now) {
            Ok(()) => "ok".to_owned(),
            Err(error) => {
                assert_eq!(error.code, Code::SignatureInvalid);
                error.message
            }
        };
        assert_eq!(told, expected, "{headers:?}");
    }

    #[test]
    fn the_published_example() {
        assert_eq!(key().sign(ID, SENT, BODY), SIGNATURE);
        check(HEADERS, BODY, SENT, "ok");
    }

    #[test]
    fn what_was_changed_does_not_match() {
        let mismatch = "the webhook's signature does not match";
        check(HEADERS, br#"{"test": 2432232315}"#, SENT, mismatch);
        check(Headers { id: Some("msg_other"), ..HEADERS }, BODY, SENT, mismatch);
        check(Headers { timestamp: Some("1614265331"), ..HEADERS }, BODY, SENT, mismatch);
        check(Headers { timestamp: Some("01614265330"), ..HEADERS }, BODY, SENT, mismatch);
        for forged in
            ["v1,", "v1,AAAA", "v1,not base64", &SIGNATURE[..40], &SIGNATURE.replace('g', "h")]
        {
            check(Headers { signature: Some(forged), ..HEADERS }, BODY, SENT, mismatch);
        }
        let other = SigningKey::parse("whsec_AAAA").unwrap().sign(ID, SENT, BODY);
        check(Headers { signature: Some(&other), ..HEADERS }, BODY, SENT, mismatch);
    }

    #[test]
    fn missing_and_malformed_headers_are_named() {
        check(Headers { id: None, ..HEADERS }, BODY, SENT, "the header webhook-id is missing");
        let no_time = Headers { timestamp: Some(""), ..HEADERS };
        check(no_time, BODY, SENT, "the header webhook-timestamp is missing");
        let no_signature = Headers { signature: None, ..HEADERS };
        check(no_signature, BODY, SENT, "the header webhook-signature is missing");
        for time in ["soon", "-1614265330", "1614265330.5", "99999999999999999999"] {
            let headers = Headers { timestamp: Some(time), ..HEADERS };
            check(headers, BODY, SENT, "webhook-timestamp is no time in Unix seconds");
        }
        for unknown in ["v2,g0hM", &SIGNATURE[3..], "V1,g0hM", "  "] {
            let headers = Headers { signature: Some(unknown), ..HEADERS };
            check(headers, BODY, SENT, "webhook-signature holds no signature of version v1");
        }
    }

    #[test]
    fn the_clock_may_be_off_by_five_minutes() {
        for now in [SENT - 300, SENT + 300] {
            check(HEADERS, BODY, now, "ok");
        }
        check(HEADERS, BODY, SENT + 301, "the webhook is older than five minutes");
        check(HEADERS, BODY, SENT - 301, "the webhook is dated more than five minutes ahead");
    }

    #[test]
    fn one_matching_signature_among_several_is_enough() {
        let several = format!("v1a,xyz v1,AAAA {SIGNATURE} v2,zzz");
        check(Headers { signature: Some(&several), ..HEADERS }, BODY, SENT, "ok");
        let many = format!("{}{SIGNATURE}", "v1,AAAA ".repeat(SIGNATURES_PER_WEBHOOK));
        let headers = Headers { signature: Some(&many), ..HEADERS };
        check(headers, BODY, SENT, "the webhook's signature does not match");
    }

    #[test]
    fn a_plain_text_is_a_secret_too() {
        let key = SigningKey::parse("correct horse").unwrap();
        let signature = key.sign(ID, SENT, BODY);
        let headers = Headers { signature: Some(&signature), ..HEADERS };
        assert!(key.verify(headers, BODY, SENT).is_ok());
    }

    #[test]
    fn no_secret_is_refused() {
        for secret in ["", "whsec_", "whsec_***"] {
            let error = SigningKey::parse(secret).err().unwrap();
            assert_eq!(error.code, Code::SettingInvalid, "{secret}");
        }
    }
}
