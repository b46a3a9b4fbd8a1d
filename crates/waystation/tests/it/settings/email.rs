//! Settings of `email`, by what mail servers get.

use serde_json::{Value, json};

use super::effort;
use super::row::{Table, row, table};
use super::scene::{Event, Scene};
use super::stage::{CLOSED_PORT, MAIL_PORT};

pub(super) fn tables() -> Vec<Table> {
    let own = |more: Value| {
        let own = json!({ "host": "127.0.0.1", "port": MAIL_PORT, "security": "none" });
        json!({ "smtp": super::leaves::merged(&own, &more) })
    };
    let file = |file: Value| json!({ "attachments": [file] });
    let note = || file(json!({ "filename": "a.txt", "content": "one" }));
    let login = || own(json!({ "username": "ada", "password": "one" }));
    let crash = || Scene::alone().during(Event::Crash);
    let mut rows = vec![
        row("to", json!({ "to": ["bob@x.org", "Eve <eve@x.org>"] })),
        row("subject", json!({ "subject": "Good night" })),
        row("body", json!({ "body": "Sleep well" })),
        row("cc", json!({ "cc": "bob@x.org" })),
        row("bcc", json!({ "bcc": "bob@x.org" })),
        row("from", json!({ "from": "Me <me@x.org>" })),
        row("reply_to", json!({ "reply_to": "help@x.org" })),
        row("format", json!({ "format": "html" })).on(json!({ "format": "text" })),
        row("attachments", note()),
        row("attachments[].filename", file(json!({ "filename": "b.txt", "content": "one" })))
            .on(note()),
        row("attachments[].content", file(json!({ "filename": "a.txt", "content": "two" })))
            .on(note()),
        row(
            "attachments[].content_base64",
            file(json!({ "filename": "a.txt", "content_base64": "dHdv" })),
        )
        .on(file(json!({ "filename": "a.txt", "content_base64": "b25l" }))),
        row(
            "attachments[].content_type",
            file(json!({ "filename": "a.txt", "content": "one", "content_type": "text/csv" })),
        )
        .on(note()),
        row("smtp", own(json!({ "host": "127.0.0.2" }))),
        row("smtp.host", own(json!({ "host": "127.0.0.2" }))).on(own(json!({}))),
        row("smtp.port", own(json!({ "port": CLOSED_PORT }))).on(own(json!({}))),
        row("smtp.username", own(json!({ "username": "grace", "password": "one" }))).on(login()),
        row("smtp.password", own(json!({ "username": "ada", "password": "two" }))).on(login()),
        row("smtp.security", own(json!({ "security": "starttls" }))).on(own(json!({}))),
        row("smtp.security", own(json!({ "security": "tls" }))).on(own(json!({}))),
        row("on_interruption", json!({ "on_interruption": "resend" }))
            .on(json!({ "on_interruption": "fail" }))
            .seen(crash()),
    ];
    rows.extend(effort::rows(&json!({ "from": "silent@x.org" }), &json!({ "from": "busy@x.org" })));
    let base =
        json!({ "to": "ada@x.org", "subject": "Hello", "body": "How are you?", "retries": 0 });
    vec![table("email", &base, rows)]
}
