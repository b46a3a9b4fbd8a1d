//! What a definition says of an email.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::dialect::graph::types::Lowered;

use super::address::Addresses;
use super::message::File;
use super::server::OwnServer;
use crate::node::spec::{Category, Effort, Spec, schema_of};

/// The settings, with all templates rendered.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    /// Who gets it: `ada@example.org`, `Ada <ada@example.org>`, several separated by commas, or a list.
    pub(super) to: Addresses,
    /// The subject. It is one line.
    #[schemars(with = "String")]
    pub(super) subject: Value,
    /// The text, or the HTML where `format` says so. A value that is no text is sent as JSON.
    #[schemars(with = "String")]
    pub(super) body: Value,
    /// Who gets a copy.
    pub(super) cc: Option<Addresses>,
    /// Who gets a copy that the others do not see.
    pub(super) bcc: Option<Addresses>,
    /// Who sends it; by default `SMTP_FROM`, or the name of the login if that is an address.
    pub(super) from: Option<String>,
    /// Who gets the answers.
    pub(super) reply_to: Option<Addresses>,
    /// What `body` is. HTML goes out with a plain text beside it, for readers that show no HTML.
    #[serde(default)]
    pub(super) format: Format,
    /// Files that go along, up to 100, made of the run's values.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub(super) attachments: Vec<File>,
    /// A mail server of this node's own, instead of the one that `SMTP_HOST` names. It has to be within
    /// the egress policy.
    #[schemars(with = "Option<OwnServer>")]
    pub(super) smtp: Option<Value>,
    /// What happens when a crash or restart cut the sending short and nobody knows whether the message
    /// went out: `fail` fails the node, `resend` sends it again, perhaps for the second time.
    #[serde(default)]
    pub(super) on_interruption: OnInterruption,
}

/// What a body is.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    /// Plain text.
    #[default]
    Text,
    /// HTML.
    Html,
}

/// What becomes of an email that may have gone out.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnInterruption {
    /// The node fails.
    #[default]
    Fail,
    /// It is sent again.
    Resend,
}

/// What definitions know about it.
pub(in crate::node) fn spec() -> Spec {
    Spec {
        name: super::KIND,
        title: "Email",
        description: include_str!("description.md"),
        category: Category::Integration,
        schema: schema_of::<Settings>,
        example: || {
            json!({
                "to": "Ada <ada@example.org>",
                "subject": "Your report",
                "body": "<p>It is done.</p>",
                "format": "html",
                "attachments": [{ "filename": "report.json", "content": { "total": 3 } }],
            })
        },
        effort: Some(Effort { timeout_ms: 30_000, retries: 3 }),
        lower: |config| Ok(Lowered::new(super::KIND, config.into())),
    }
}
