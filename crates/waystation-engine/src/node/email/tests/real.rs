//! The real thing: a mail server in Python, with and without TLS, with and without a login.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use tempfile::TempDir;
use waystation_core::error::{Class, Code};

use super::{by_settings, send};
use crate::node::Outcome;

const PASSWORD: &str = "pw-äö 1";

struct Mail {
    port: String,
    child: Child,
    /// What it says, line by line.
    said: Receiver<String>,
    files: TempDir,
}

impl Mail {
    /// The server's certificate is made for `localhost`, by an authority that nobody else knows.
    fn start(security: &str, password: &str) -> Mail {
        let files = TempDir::new().expect("a directory");
        let [certificate, key] = certify(&files);
        let home = PathBuf::from(std::env::var("HOME").expect("a home"));
        let python = home.join(".cache/waystation/mail-venv/bin/python");
        assert!(python.exists(), "{} is missing: run .ci/tools", python.display());
        let here = std::env::var("CARGO_MANIFEST_DIR").expect("a test's own");
        let script = format!("{here}/../../tests/mail/server.py");
        let mut command = Command::new(python);
        command
            .args([script.as_str(), security, password, &certificate, &key])
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("the mail server starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (tell, said) = channel();
        // It says a message before it has accepted it, and waits until somebody listens.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).all(|line| tell.send(line).is_ok());
        });
        let port = said.recv().expect("its port");
        Mail { port, child, said, files }
    }

    fn authority(&self) -> String {
        self.files.path().join("authority.pem").to_string_lossy().into_owned()
    }

    /// The next message that it took.
    fn message(&self) -> Value {
        let line = self.said.recv().expect("a message");
        serde_json::from_str(&line).expect("JSON")
    }

    fn settings<'a>(&'a self, security: &'a str, authority: &'a str) -> Vec<(&'a str, &'a str)> {
        vec![
            ("SMTP_HOST", "localhost"),
            ("SMTP_PORT", &self.port),
            ("SMTP_SECURITY", security),
            ("SMTP_USERNAME", "ada"),
            ("SMTP_PASSWORD", PASSWORD),
            ("SMTP_FROM", "Flows <flows@x.org>"),
            ("SMTP_CA_FILE", authority),
        ]
    }
}

impl Drop for Mail {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn certify(files: &TempDir) -> [String; 2] {
    let authority_key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key");
    let leaf = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
    let write = |name: &str, text: String| {
        let path = files.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.to_string_lossy().into_owned()
    };
    write("authority.pem", own.pem());
    [write("server.pem", leaf.pem()), write("server.key", key.serialize_pem())]
}

fn letter() -> Value {
    json!({
        "to": "Ada <ada@x.org>, bob@y.org", "bcc": ["eve@z.org"], "subject": "Grüße",
        "body": "First line\n.\n.. dots\nlast", "reply_to": "help@x.org",
    })
}

fn output(outcome: Outcome) -> (Value, Value) {
    let completion = outcome.expect("it is sent");
    (completion.output, completion.details.into())
}

#[tokio::test]
async fn a_message_is_sent_in_every_manner_with_a_login() {
    for security in ["starttls", "tls", "none"] {
        let mail = Mail::start(security, PASSWORD);
        let authority = mail.authority();
        let email = by_settings(&mail.settings(security, &authority));
        let (output, details) = output(send(&email, letter()).await);
        assert_eq!(output, "Email sent to ada@x.org, bob@y.org", "{security}");
        assert_eq!(details["accepted"], json!(["ada@x.org", "bob@y.org", "eve@z.org"]));
        assert_eq!(details["server_response"], "250 2.0.0 kept as 17");
        let message = mail.message();
        assert_eq!((&message["from"], &message["login"]), (&json!("flows@x.org"), &json!("ada")));
        assert_eq!(message["to"], details["accepted"]);
        let data = message["data"].as_str().unwrap();
        let id = details["message_id"].as_str().unwrap();
        assert!(data.contains(&format!("Message-ID: {id}\r\n")), "{data}");
        assert!(data.contains("\r\n\r\nFirst line\r\n.\r\n.. dots\r\nlast\r\n"), "{data}");
        assert!(!data.contains("eve@z.org"), "{data}");
    }
}

#[tokio::test]
async fn a_node_may_have_a_server_of_its_own() {
    let mail = Mail::start("starttls", PASSWORD);
    let authority = mail.authority();
    let email = by_settings(&[("SMTP_CA_FILE", &authority)]);
    let mut config = letter();
    config["from"] = json!("own@x.org");
    let port: u16 = mail.port.parse().unwrap();
    config["smtp"] =
        json!({ "host": "localhost", "port": port, "username": "ada", "password": PASSWORD });
    send(&email, config).await.expect("it is sent");
    assert_eq!(mail.message()["from"], "own@x.org");
}

#[tokio::test]
async fn a_large_attachment_arrives_as_it_is() {
    let mail = Mail::start("tls", "");
    let authority = mail.authority();
    let mut settings = mail.settings("tls", &authority);
    settings.retain(|(name, _)| !["SMTP_USERNAME", "SMTP_PASSWORD"].contains(name));
    let email = by_settings(&settings);
    let text = "0123456789abcde\n".repeat(256 << 10);
    let mut config = letter();
    config["attachments"] = json!([{ "filename": "log.txt", "content": text }]);
    send(&email, config).await.expect("it is sent");
    let message = mail.message();
    let data = message["data"].as_str().unwrap();
    let (_, encoded) = data.split_once("filename=\"log.txt\"").unwrap();
    let (_, encoded) = encoded.split_once("\r\n\r\n").unwrap();
    let encoded: String = encoded.split("\r\n--").next().unwrap().split_whitespace().collect();
    use base64::Engine as _;
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
    assert!(decoded == text.as_bytes());
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_trusted() {
    for security in ["starttls", "tls"] {
        let mail = Mail::start(security, PASSWORD);
        let mut settings = mail.settings(security, "");
        settings.pop();
        let failure = send(&by_settings(&settings), letter()).await.expect_err("untrusted");
        assert!(failure.message.contains("certificate"), "{}", failure.message);
        assert!(failure.hint().unwrap().starts_with("SMTP_CA_FILE"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_wrong_password_is_refused_for_good_and_not_repeated() {
    let mail = Mail::start("starttls", "another");
    let authority = mail.authority();
    let email = by_settings(&mail.settings("starttls", &authority));
    let failure = send(&email, letter()).await.expect_err("refused");
    assert_eq!((failure.code, failure.class), (Code::MailRefused, Class::Fatal));
    assert!(failure.message.contains("refused the login: 535"), "{}", failure.message);
    assert!(!failure.message.contains(PASSWORD));
}
