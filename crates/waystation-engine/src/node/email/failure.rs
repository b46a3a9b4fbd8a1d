//! What goes wrong with a mail server, in words, and whether another attempt makes sense.

use std::error::Error;
use std::io;

use lettre::transport::smtp;
use waystation_core::error::{Code, Failure};

use super::server::Server;
use crate::egress::dial::in_words;
use crate::secret::Redactor;

/// Letters of a server's answer that are told.
const ANSWER_LETTERS: usize = 500;

/// How messages name a server.
pub(super) fn place(server: &Server) -> String {
    format!("the mail server {}:{}", server.host, server.port)
}

/// A server's words in one line, cut, and without the password that it may have been told.
pub(super) fn words(server: &Server, answer: &str) -> String {
    let answer = answer.split_whitespace().collect::<Vec<_>>().join(" ");
    let password = server.login.iter().map(|(_, password)| password);
    let answer = Redactor::new(password).redact_text(&answer).into_owned();
    answer.chars().take(ANSWER_LETTERS).collect()
}

/// What lettre's error means before the whole message is out.
pub(super) fn refused(server: &Server, what: &str, error: &smtp::Error) -> Failure {
    if let Some(status) = error.status() {
        let said = error.source().map(ToString::to_string).unwrap_or_default();
        return answered(server, what, Some(status.into()), &format!("{status} {said}"));
    }
    let cause = std::iter::successors(error.source(), |cause| (*cause).source());
    let io = cause.filter_map(|cause| cause.downcast_ref::<io::Error>()).last();
    match io {
        Some(error) => lost(server, error),
        None => {
            let text = format!("{} broke off or gave no answer to {what}", place(server));
            Failure::retryable(Code::Transport, text, None)
        }
    }
}

/// What a status that is no success means.
pub(super) fn answered(server: &Server, what: &str, status: Option<u16>, answer: &str) -> Failure {
    let said = words(server, answer);
    let text = format!("{} refused {what}: {said}", place(server));
    match status {
        Some(500..=599) => Failure::fatal(Code::MailRefused, text),
        Some(400..=499) => Failure::retryable(Code::MailRefused, text, None),
        _ => {
            let text = format!("{} does not speak SMTP: {said}", place(server));
            Failure::retryable(Code::Transport, text, None)
        }
    }
}

/// The connection is gone.
pub(super) fn lost(server: &Server, error: &io::Error) -> Failure {
    let text = format!("the connection to {} broke: {}", place(server), in_words(error));
    Failure::retryable(Code::Transport, text, None)
}

/// Adds what may help where the server's certificate is not trusted.
pub(super) fn untrusted(failure: Failure) -> Failure {
    let is_certificate = failure.message.contains("certificate");
    let hint = "SMTP_CA_FILE names a file with certificates to trust besides the usual ones";
    Failure { hint: is_certificate.then(|| hint.to_owned()), ..failure }
}

/// No password goes over an open connection to another machine.
pub(super) fn open_login(server: &Server) -> Failure {
    let text =
        format!("{} is another machine: a login is not sent there in the open", place(server));
    hinted(Failure::fatal(Code::MailRefused, text), "use security starttls or tls")
}

/// The server offers no TLS.
pub(super) fn no_tls(server: &Server) -> Failure {
    let text = format!("{} does not offer STARTTLS", place(server));
    hinted(
        Failure::fatal(Code::MailRefused, text),
        "use security tls, or none in a network of your own",
    )
}

/// The server offers no login that is known here.
pub(super) fn no_login(server: &Server) -> Failure {
    let text = format!("{} offers no login by PLAIN or LOGIN", place(server));
    hinted(
        Failure::fatal(Code::MailRefused, text),
        "leave out username and password, or use starttls or tls",
    )
}

/// The server cannot take an address of another alphabet.
pub(super) fn ascii_only(server: &Server) -> Failure {
    let text = format!("{} takes no addresses with letters beyond ASCII", place(server));
    Failure::fatal(Code::MailRefused, text)
}

/// The message did not go out whole in time.
pub(super) fn stuck(server: &Server) -> Failure {
    let text = format!("{} stopped taking the message", place(server));
    Failure::retryable(Code::Timeout, text, None)
}

/// Nobody knows whether the message was sent.
pub(super) fn unknown(why: &str) -> Failure {
    Failure::fatal(
        Code::DeliveryUnknown,
        format!("It is not known whether the email was sent: {why}"),
    )
}

fn hinted(failure: Failure, hint: &str) -> Failure {
    Failure { hint: Some(hint.to_owned()), ..failure }
}
