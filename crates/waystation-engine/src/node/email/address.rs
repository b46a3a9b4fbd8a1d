//! Addresses as settings give them: several in one text or in a list, with or without names.

use lettre::Address;
use lettre::message::Mailbox;
use schemars::JsonSchema;
use serde::Deserialize;
use url::Host;
use waystation_core::error::{Code, Failure};

use super::invalid;
use crate::limits::EMAIL_RECIPIENTS;

/// Bytes of one address with its name.
const ADDRESS_BYTES: usize = 1_000;

/// One or several addresses.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Addresses {
    /// One, or several separated by commas.
    Text(String),
    /// A list.
    List(Vec<String>),
}

/// What a setting says, in order; nothing where it is empty.
pub(super) fn mailboxes(setting: &str, given: Option<&Addresses>) -> Result<Vec<Mailbox>, Failure> {
    let texts: &[String] = match given {
        None => &[],
        Some(Addresses::Text(text)) => std::slice::from_ref(text),
        Some(Addresses::List(texts)) => texts,
    };
    let parts = texts.iter().flat_map(|text| parts(text)).map(str::trim);
    let parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
    if parts.len() > EMAIL_RECIPIENTS {
        let text = format!("{} addresses in `{setting}`: {EMAIL_RECIPIENTS} at most", parts.len());
        return Err(Failure::fatal(Code::LimitExceeded, text));
    }
    parts.into_iter().map(|part| mailbox(setting, part)).collect()
}

/// The only address of a setting.
pub(super) fn only_mailbox(setting: &str, text: &str) -> Result<Mailbox, Failure> {
    let given = Addresses::Text(text.to_owned());
    let mut found = mailboxes(setting, Some(&given))?;
    match (found.pop(), found.is_empty()) {
        (Some(mailbox), true) => Ok(mailbox),
        _ => Err(invalid(&format!("`{setting}` must be one address"))),
    }
}

/// The pieces between commas that stand neither in quotes nor in angle brackets.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped, mut is_angled) = (false, false, false);
    text.split(move |letter| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match letter {
            _ if was_escaped => {}
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            '<' | '>' if !is_quoted => is_angled = letter == '<',
            ',' => return !is_quoted && !is_angled,
            _ => {}
        }
        false
    })
}

fn mailbox(setting: &str, text: &str) -> Result<Mailbox, Failure> {
    // A line break would begin a header of its own.
    if text.chars().any(char::is_control) {
        return Err(invalid(&format!("`{setting}` has a line break or control character")));
    }
    let parsed = Some(text).filter(|text| text.len() <= ADDRESS_BYTES);
    let parsed = parsed.and_then(|text| text.parse::<Mailbox>().ok());
    let parsed = parsed.and_then(|Mailbox { name, email }| {
        Some(Mailbox {
            name: name.filter(|name| !name.is_empty()),
            email: with_plain_domain(email)?,
        })
    });
    parsed.ok_or_else(|| {
        let shown: String = text.chars().take(100).collect();
        invalid(&format!("`{setting}`: {shown:?} is no email address"))
    })
}

/// Names of other alphabets as the mail system knows them, so that every server takes them.
fn with_plain_domain(email: Address) -> Option<Address> {
    if email.domain().is_ascii() {
        return Some(email);
    }
    match Host::parse(email.domain()).ok()? {
        Host::Domain(domain) => Address::new(email.user(), domain).ok(),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(given: &Addresses) -> Result<Vec<String>, String> {
        let found = mailboxes("to", Some(given)).map_err(|failure| failure.message)?;
        Ok(found.iter().map(ToString::to_string).collect())
    }

    fn text(text: &str) -> Result<Vec<String>, String> {
        shown(&Addresses::Text(text.into()))
    }

    #[test]
    fn addresses_come_as_text_or_as_a_list_with_or_without_names() {
        for (given, expected) in [
            ("ada@x.org", vec!["ada@x.org"]),
            (" ada@x.org , bob@y.org,", vec!["ada@x.org", "bob@y.org"]),
            ("Ada <ada@x.org>, <bob@y.org>", vec!["Ada <ada@x.org>", "bob@y.org"]),
            (r#""Lovelace, Ada" <ada@x.org>"#, vec![r#""Lovelace, Ada" <ada@x.org>"#]),
            (r#""a\", b" <ada@x.org>"#, vec![r#""a\", b" <ada@x.org>"#]),
            ("Ada Lovelace <ada+test@x.org>", vec!["Ada Lovelace <ada+test@x.org>"]),
            ("ada@bücher.example", vec!["ada@xn--bcher-kva.example"]),
            ("", vec![]),
        ] {
            let expected: Vec<String> = expected.into_iter().map(Into::into).collect();
            assert_eq!(text(given), Ok(expected), "{given}");
        }
        let list = Addresses::List(vec!["ada@x.org".into(), "Bob <bob@y.org>, c@z.org".into()]);
        assert_eq!(shown(&list).unwrap(), ["ada@x.org", "Bob <bob@y.org>", "c@z.org"]);
    }

    #[test]
    fn what_is_no_address_is_named() {
        for given in ["ada", "ada@", "@x.org", "ada@x.org bob@y.org", "a@x.org> RCPT", "<a@x.org"] {
            let message = text(given).expect_err(given);
            assert!(message.ends_with("is no email address"), "{given}: {message}");
        }
        let long = format!("{}@x.org", "a".repeat(2_000));
        assert!(text(&long).unwrap_err().len() < 200);
    }

    #[test]
    fn no_address_breaks_a_line() {
        for given in ["ada@x.org\r\nBcc: eve@y.org", "Ada\n<ada@x.org>", "\"a\u{0}b\" <ada@x.org>"]
        {
            let message = text(given).expect_err(given);
            assert_eq!(message, "email settings: `to` has a line break or control character");
        }
    }

    #[test]
    fn there_are_so_many_at_most() {
        let many = vec!["a@x.org".to_owned(); EMAIL_RECIPIENTS + 1];
        let failure = mailboxes("cc", Some(&Addresses::List(many))).unwrap_err();
        assert_eq!(failure.code, Code::LimitExceeded);
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(given in "[ -~\\PC<>\",@.\\\\\r\n]{0,60}") {
            for mailbox in mailboxes("to", Some(&Addresses::Text(given))).into_iter().flatten() {
                let command = mailbox.email.to_string();
                prop_assert!(!command.contains(['\r', '\n']));
            }
        }
    }
}
