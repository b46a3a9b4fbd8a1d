//! Emails against a real mail server, and against one that fails at every point of a conversation.

mod compose;
mod fake;
mod faults;
mod real;

use std::sync::Arc;

use serde_json::{Value, json};

use super::Email;
use super::server::MailSettings;
use crate::egress::testing::open_client;
use crate::node::Outcome;
use crate::node::model::testing::attempt;

/// The type with these settings, and nothing that it may not reach.
fn by_settings(pairs: &[(&str, &str)]) -> Email {
    let lookup = |name: &str| {
        pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
    };
    let settings = MailSettings::from_lookup(&lookup).expect("settings");
    Email::new(Arc::new(open_client()), Arc::new(open_client()), settings)
}

/// The type with a server without TLS that listens there.
fn at_port(port: u16) -> Email {
    by_settings(&[
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", &port.to_string()),
        ("SMTP_SECURITY", "none"),
        ("SMTP_FROM", "flows@x.org"),
    ])
}

async fn send(email: &Email, config: Value) -> Outcome {
    attempt(email, config).await
}

fn letter() -> Value {
    json!({ "to": "ada@x.org", "subject": "Hello", "body": "How are you?" })
}
