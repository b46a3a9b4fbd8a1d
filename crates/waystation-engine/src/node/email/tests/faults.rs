//! What fails, when, and whether it is tried again.

use std::sync::Arc;

use serde_json::json;
use waystation_core::error::{Class, Code, Failure};

use super::fake::{Act, Fake, usual};
use super::{at_port, by_settings, letter, send};
use crate::egress::Reach;
use crate::egress::testing::{client, open_client};
use crate::node::email::Email;
use crate::node::email::server::MailSettings;
use crate::node::{AttemptContext, Call, Effect};

const RETRYABLE: Class = Class::Retryable { after_ms: None };
/// Each step of a conversation, by how the client's line begins.
const STEPS: [&str; 6] = ["", "EHLO", "MAIL", "RCPT", "DATA", "."];

async fn failing(step: &'static str, fault: fn() -> Act) -> (Failure, Fake) {
    let is_step = move |line: &str| line.split_whitespace().next().unwrap_or_default() == step;
    let fake = Fake::start(move |line| if is_step(line) { fault() } else { usual(line) }).await;
    let failure = send(&at_port(fake.port), letter()).await.expect_err(step);
    (failure, fake)
}

#[tokio::test]
async fn a_refusal_for_now_is_tried_again_and_one_for_good_is_not() {
    for step in STEPS {
        let (failure, _) = failing(step, || Act::Say("451 4.7.1 come back")).await;
        assert_eq!((failure.code, failure.class), (Code::MailRefused, RETRYABLE), "{step}");
        assert!(failure.message.ends_with(": 451 4.7.1 come back"), "{}", failure.message);
        let (failure, _) = failing(step, || Act::Say("554-5.7.1 never\r\n554 5.7.1 spam")).await;
        assert_eq!((failure.code, failure.class), (Code::MailRefused, Class::Fatal), "{step}");
        assert!(failure.message.contains("5.7.1 never"), "{}", failure.message);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_message_is_out_is_made_again() {
    for step in ["", "EHLO", "MAIL", "RCPT", "DATA"] {
        let (failure, _) = failing(step, || Act::Cut).await;
        assert_eq!((failure.code, failure.class), (Code::Transport, RETRYABLE), "{step}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_within_the_message_is_made_again() {
    let fake = Fake::start(|line| match line {
        "DATA" => Act::SayAndCut("354 go on", 100),
        line => usual(line),
    });
    let fake = fake.await;
    let mut config = letter();
    // More than the buffers between take.
    config["body"] = json!("x".repeat(12 << 20));
    let failure = send(&at_port(fake.port), config).await.expect_err("it broke");
    assert_eq!((failure.code, failure.class), (Code::Transport, RETRYABLE), "{}", failure.message);
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again() {
    for fault in [|| Act::Cut, || Act::Say("what?"), || Act::SayAndCut("250-and", 0)] {
        let (failure, fake) = failing(".", fault).await;
        assert_eq!((failure.code, failure.class), (Code::DeliveryUnknown, Class::Fatal));
        assert!(failure.message.starts_with("It is not known whether the email was sent"));
        assert_eq!(fake.count("."), 1);
    }
}

#[tokio::test]
async fn once_accepted_no_goodbye_matters() {
    let fake = Fake::start(|line| if line == "QUIT" { Act::Cut } else { usual(line) }).await;
    let completion = send(&at_port(fake.port), letter()).await.expect("it is sent");
    assert_eq!(completion.output, "Email sent to ada@x.org");
}

#[tokio::test]
async fn one_refused_recipient_keeps_the_message_from_all() {
    let fake = Fake::start(|line| match line {
        "RCPT TO:<bob@y.org>" => Act::Say("550 5.1.1 no such user"),
        line => usual(line),
    });
    let fake = fake.await;
    let mut config = letter();
    config["cc"] = json!("bob@y.org");
    let failure = send(&at_port(fake.port), config).await.expect_err("refused");
    assert!(
        failure.message.contains("refused mail to bob@y.org: 550 5.1.1"),
        "{}",
        failure.message
    );
    assert_eq!((failure.class, fake.count("DATA")), (Class::Fatal, 0));
}

#[tokio::test]
async fn an_attempt_that_a_crash_cut_short_fails_unless_told_otherwise() {
    let fake = Fake::start(usual).await;
    for (setting, is_sent) in
        [(json!(null), false), (json!("fail"), false), (json!("resend"), true)]
    {
        let mut config = letter();
        if !setting.is_null() {
            config["on_interruption"] = setting;
        }
        let call = Call {
            idempotency_key: "run:node".into(),
            config,
            outputs: Vec::new(),
            is_repeated: true,
            context: AttemptContext::alone(),
        };
        let outcome = at_port(fake.port).attempt(call).await;
        assert_eq!(outcome.is_ok(), is_sent);
        if let Err(failure) = outcome {
            assert_eq!((failure.code, failure.class), (Code::DeliveryUnknown, Class::Fatal));
        }
    }
    assert_eq!(fake.count("EHLO"), 1);
}

#[tokio::test]
async fn without_tls_nothing_is_said_where_it_is_asked_for() {
    let fake = Fake::start(usual).await;
    let port = fake.port.to_string();
    let email = by_settings(&[
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", &port),
        ("SMTP_USERNAME", "ada"),
        ("SMTP_PASSWORD", "pw"),
        ("SMTP_FROM", "flows@x.org"),
    ]);
    let failure = send(&email, letter()).await.expect_err("no TLS");
    assert!(failure.message.ends_with("does not offer STARTTLS"), "{}", failure.message);
    assert_eq!((failure.class, fake.lines()), (Class::Fatal, vec!["EHLO [127.0.0.1]".to_owned()]));
}

#[tokio::test]
async fn what_is_said_in_the_open_is_not_taken_for_private() {
    let fake = Fake::start(|line| match line {
        "EHLO [127.0.0.1]" => Act::Say("250-fake.test\r\n250 STARTTLS"),
        "STARTTLS" => Act::Say("220 go on\r\n250-fake.test\r\n250 AUTH PLAIN"),
        line => usual(line),
    });
    let fake = fake.await;
    let port = fake.port.to_string();
    let email = by_settings(&[
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", &port),
        ("SMTP_FROM", "flows@x.org"),
    ]);
    let failure = send(&email, letter()).await.expect_err("no TLS");
    assert!(failure.message.starts_with("TLS with 127.0.0.1: "), "{}", failure.message);
    assert_eq!(fake.count("MAIL"), 0);
}

#[tokio::test]
async fn a_server_that_a_node_names_has_to_be_within_the_policy() {
    let fake = Fake::start(usual).await;
    let lookup = |name: &str| match name {
        "SMTP_HOST" => Some("127.0.0.1".to_owned()),
        "SMTP_PORT" => Some(fake.port.to_string()),
        "SMTP_SECURITY" => Some("none".to_owned()),
        "SMTP_FROM" => Some("flows@x.org".to_owned()),
        _ => None,
    };
    let settings = MailSettings::from_lookup(&lookup).expect("settings");
    let confined = Arc::new(client(Reach::PublicOnly, ""));
    let email = Email::new(confined, Arc::new(open_client()), settings);
    let mut config = letter();
    config["smtp"] = json!({ "host": "127.0.0.1", "port": fake.port, "security": "none" });
    let failure = send(&email, config).await.expect_err("refused");
    assert_eq!((failure.code, failure.class), (Code::EgressRefused, Class::Fatal));
    assert!(fake.lines().is_empty());
    send(&email, letter()).await.expect("the operator's own server is trusted");
}

#[tokio::test]
async fn a_server_that_talks_without_end_is_hung_up_on() {
    let endless: &'static str = Box::leak("250-x\r\n".repeat(100_000).into_boxed_str());
    let line: &'static str = Box::leak("x".repeat(1 << 20).into_boxed_str());
    for said in [endless, line] {
        let fake = Fake::start(move |line| match line {
            "EHLO [127.0.0.1]" => Act::Say(said),
            line => usual(line),
        });
        let failure = send(&at_port(fake.await.port), letter()).await.expect_err("too much");
        assert_eq!((failure.code, failure.class), (Code::Transport, RETRYABLE));
    }
}

#[tokio::test]
async fn the_wait_for_the_last_word_does_not_use_up_the_attempts_time() {
    let (asked, mut is_asked) = tokio::sync::mpsc::unbounded_channel();
    let context = AttemptContext::alone();
    let seen = context.clone();
    let fake = Fake::start(move |line| {
        if line == "." {
            // The client cannot have gone on: it waits for what is said now.
            let _ = asked.send(seen.reasons());
        }
        usual(line)
    });
    let fake = fake.await;
    let (config, outputs) = (letter(), Vec::new());
    let idempotency_key = "run:node".into();
    let call = Call { idempotency_key, config, outputs, is_repeated: false, context };
    at_port(fake.port).attempt(call).await.expect("it is sent");
    let reasons = is_asked.recv().await.expect("the message's end");
    assert_eq!(reasons, ["waits for the mail server to take the message"]);
}

#[tokio::test]
async fn without_a_server_the_settings_are_named() {
    let failure = send(&by_settings(&[]), letter()).await.expect_err("nowhere to send");
    assert_eq!(failure.code, Code::SettingInvalid);
    assert!(failure.message.contains("SMTP_HOST") && failure.message.contains("`smtp`"));
}

#[tokio::test]
async fn what_is_wrong_with_a_nodes_server_is_told_without_its_password() {
    for smtp in [
        json!({ "host": "mail.x", "password": 12345 }),
        json!({ "host": "mail.x", "username": "ada", "pasword": "12345" }),
        json!({ "host": "mail.x", "password": "12345" }),
        json!({ "host": "", "username": "ada", "password": "12345" }),
        json!("12345"),
    ] {
        let mut config = letter();
        config["smtp"] = smtp;
        let failure = send(&by_settings(&[]), config).await.expect_err("wrong");
        assert_eq!(failure.code, Code::DefinitionInvalid);
        assert!(failure.message.contains("`smtp"), "{}", failure.message);
        assert!(!failure.message.contains("12345"), "{}", failure.message);
    }
}
