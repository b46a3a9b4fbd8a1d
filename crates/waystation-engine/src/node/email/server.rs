//! Mail servers: the operator's, from the environment, and a node's own.

use std::path::Path;
use std::sync::Arc;

use lettre::message::Mailbox;
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use schemars::JsonSchema;
use serde::Deserialize;
use waystation_core::error::{Code, Error, Failure};

use super::invalid;
use crate::egress::tls;
use crate::secret::Secret;

/// How a connection is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Security {
    /// It begins in the open and turns private before anything is said that matters, or ends.
    Starttls,
    /// It is private from the start.
    Tls,
    /// It is not.
    None,
}

impl Security {
    fn usual(port: Option<u16>) -> Security {
        if port == Some(465) { Security::Tls } else { Security::Starttls }
    }

    fn port(self) -> u16 {
        match self {
            Security::Starttls => 587,
            Security::Tls => 465,
            Security::None => 25,
        }
    }
}

/// A mail server and who logs in there.
#[derive(Clone, Debug)]
pub struct Server {
    /// A name or an address.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// How the connection is kept private.
    pub security: Security,
    /// Who logs in, and with what; nobody where it is not said.
    pub login: Option<(String, Secret)>,
}

/// What an operator sets for email.
#[derive(Clone, Debug, Default)]
pub struct MailSettings {
    /// The server that is used where a node names none.
    pub server: Option<Server>,
    /// Who sends where a node does not say it.
    pub from: Option<String>,
    /// Certificates that are trusted besides the usual ones.
    pub roots: Vec<CertificateDer<'static>>,
}

impl MailSettings {
    /// Reads `SMTP_HOST` and what belongs to it. Without a host the rest has no effect.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<MailSettings, Error> {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let from = text("SMTP_FROM").or_else(|| text("EMAIL_FROM"));
        if let Some(from) = &from {
            from.parse::<Mailbox>().map_err(|_| {
                setting("SMTP_FROM (or EMAIL_FROM) must be an address, as in Ada <ada@example.org>")
            })?;
        }
        let roots = text("SMTP_CA_FILE").map(|path| certificates(path.as_ref())).transpose()?;
        let roots = roots.unwrap_or_default();
        Ok(MailSettings { server: server(&text)?, from, roots })
    }

    pub(super) fn trust(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        tls::trusting(&self.roots)
    }
}

fn server(text: &dyn Fn(&str) -> Option<String>) -> Result<Option<Server>, Error> {
    let Some(host) = text("SMTP_HOST") else { return Ok(None) };
    let port = text("SMTP_PORT").map(|port| {
        let number = port.parse().ok().filter(|port| *port > 0);
        number.ok_or_else(|| setting("SMTP_PORT must be a port from 1 to 65535"))
    });
    let port = port.transpose()?;
    let security = match text("SMTP_SECURITY").as_deref() {
        None => Security::usual(port),
        Some("starttls") => Security::Starttls,
        Some("tls") => Security::Tls,
        Some("none") => Security::None,
        Some(_) => return Err(setting("SMTP_SECURITY must be starttls, tls or none")),
    };
    let username = text("SMTP_USERNAME").or_else(|| text("SMTP_USER"));
    let login = match (username, text("SMTP_PASSWORD")) {
        (Some(username), Some(password)) => Some((username, Secret::new(password))),
        (None, None) => None,
        _ => return Err(setting("SMTP_USERNAME and SMTP_PASSWORD belong together")),
    };
    let port = port.unwrap_or(security.port());
    Ok(Some(Server { host, port, security, login }))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let problem = |why: &str| setting(&format!("SMTP_CA_FILE: {} {why}", path.display()));
    let found = CertificateDer::pem_file_iter(path);
    let found = found.map_err(|_| problem("cannot be read"))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|_| problem("is no PEM file"))?;
    if found.is_empty() {
        return Err(problem("has no certificate"));
    }
    tls::trusting(&found).map_err(|_| problem("has a certificate that cannot be trusted"))?;
    Ok(found)
}

fn setting(message: &str) -> Error {
    Error::new(Code::SettingInvalid, message)
}

/// A server of the node's own. The operator's login is never used there.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnServer {
    /// The server's name.
    #[schemars(length(min = 1, max = 253))]
    host: String,
    /// Its port. By default 587 for `starttls`, 465 for `tls`, 25 for `none`.
    #[schemars(range(min = 1))]
    port: Option<u16>,
    /// Who logs in. Goes with `password`.
    username: Option<String>,
    /// The password, as in `{{secrets.SMTP_PASSWORD}}`.
    password: Option<String>,
    /// `starttls` (the default), `tls` (the default for port 465) or `none`. A login is never sent with
    /// `none` to another machine.
    security: Option<Security>,
}

impl OwnServer {
    pub(super) fn server(self) -> Result<Server, Failure> {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let login = match (said(self.username), said(self.password)) {
            (Some(username), Some(password)) => Some((username, Secret::new(password))),
            (None, None) => None,
            _ => return Err(invalid("`smtp.username` and `smtp.password` belong together")),
        };
        let host = self.host.trim().to_owned();
        if host.is_empty() || self.port == Some(0) {
            return Err(invalid("`smtp` needs a `host`, and a `port` above 0"));
        }
        let security = self.security.unwrap_or(Security::usual(self.port));
        let port = self.port.unwrap_or(security.port());
        Ok(Server { host, port, security, login })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<MailSettings, String> {
        let lookup = |name: &str| {
            pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        MailSettings::from_lookup(&lookup).map_err(|error| error.message)
    }

    #[test]
    fn each_setting_counts() {
        let none = read(&[("SMTP_PORT", "25"), ("SMTP_PASSWORD", "p")]).unwrap();
        assert!(none.server.is_none() && none.from.is_none() && none.roots.is_empty());
        for (port, security, expected) in [
            ("", "", (587, Security::Starttls)),
            ("465", "", (465, Security::Tls)),
            ("2525", "", (2525, Security::Starttls)),
            ("", "tls", (465, Security::Tls)),
            ("", "none", (25, Security::None)),
            ("465", "starttls", (465, Security::Starttls)),
        ] {
            let settings =
                [("SMTP_HOST", "mail.x"), ("SMTP_PORT", port), ("SMTP_SECURITY", security)];
            let server = read(&settings).unwrap().server.unwrap();
            assert_eq!(
                (server.host.as_str(), server.port, server.security),
                ("mail.x", expected.0, expected.1)
            );
            assert!(server.login.is_none());
        }
        for (user, from) in [("SMTP_USERNAME", "SMTP_FROM"), ("SMTP_USER", "EMAIL_FROM")] {
            let settings = read(&[
                ("SMTP_HOST", "mail.x"),
                (user, "ada"),
                ("SMTP_PASSWORD", "pw-1"),
                (from, "Ada <ada@x.org>"),
            ]);
            let settings = settings.unwrap();
            assert!(!format!("{settings:?}").contains("pw-1"));
            let (username, password) = settings.server.unwrap().login.unwrap();
            assert_eq!((username.as_str(), password.expose()), ("ada", "pw-1"));
            assert_eq!(settings.from.as_deref(), Some("Ada <ada@x.org>"));
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_password_is_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let empty = file.path().to_str().unwrap();
        for (name, value, expected) in [
            ("SMTP_PORT", "0", "SMTP_PORT must be a port from 1 to 65535"),
            ("SMTP_PORT", "mail", "SMTP_PORT must be a port from 1 to 65535"),
            ("SMTP_SECURITY", "ssl", "SMTP_SECURITY must be starttls, tls or none"),
            ("SMTP_PASSWORD", "pw-1", "SMTP_USERNAME and SMTP_PASSWORD belong together"),
            ("SMTP_USER", "ada", "SMTP_USERNAME and SMTP_PASSWORD belong together"),
            ("SMTP_FROM", "ada", "SMTP_FROM (or EMAIL_FROM) must be an address"),
            ("SMTP_CA_FILE", "/nowhere.pem", "SMTP_CA_FILE: /nowhere.pem cannot be read"),
            ("SMTP_CA_FILE", empty, "has no certificate"),
        ] {
            let message = read(&[("SMTP_HOST", "mail.x"), (name, value)]).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
