//! A connection string taken apart: where a source is, who asks, and the few options that count.

use percent_encoding::percent_decode_str;
use url::Url;
use waystation_core::error::{Code, Failure};

use super::SourceType;

/// Where and how a source is reached. It holds the password, so it is never printed.
#[derive(Default)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    pub(super) database: Option<String>,
    /// Whether the connection is encrypted; where it is not said, only across the internet.
    pub(super) tls: Option<bool>,
}

impl Address {
    /// Reads `scheme://user:password@host:port/database?sslmode=…`. What is wrong is said without
    /// the string, which holds a password.
    pub(super) fn parse(text: &str, source: SourceType, port: u16) -> Result<Address, Failure> {
        let invalid = |what: &str| invalid(source, what);
        let url = Url::parse(text.trim()).map_err(|_| invalid("is no URL"))?;
        if !source.schemes().contains(&url.scheme()) {
            return Err(invalid("begins with another scheme"));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| invalid("names no host"))?;
        let host = decoded(host).ok_or_else(|| invalid("has a host that is no text"))?;
        if host.contains([',', '/']) {
            return Err(invalid("names several hosts or a socket file; give one host"));
        }
        let part = |text: &str| decoded(text).ok_or_else(|| invalid("is no UTF-8 text"));
        let given = |text: &str| (!text.is_empty()).then(|| part(text)).transpose();
        let mut address = Address {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: url.port().unwrap_or(port),
            user: given(url.username())?,
            password: url.password().map(part).transpose()?,
            database: given(url.path().trim_start_matches('/'))?,
            tls: None,
        };
        for (name, value) in url.query_pairs() {
            address.set(&name, &value).map_err(|what| invalid(&what))?;
        }
        Ok(address)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name.to_ascii_lowercase().as_str() {
            "sslmode" | "ssl-mode" => self.tls = encryption(value)?,
            _ => return Err(format!("has the option `{name}`; the only one is `sslmode`")),
        }
        Ok(())
    }
}

/// Whether a mode asks for TLS; the host is verified in any case.
fn encryption(mode: &str) -> Result<Option<bool>, String> {
    match mode.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" => Ok(Some(false)),
        "prefer" | "preferred" | "allow" => Ok(None),
        "require" | "required" | "verify-ca" | "verify-full" | "verify-identity" => Ok(Some(true)),
        _ => Err("has an `sslmode` that is none of disable, prefer, require, verify-full".into()),
    }
}

fn decoded(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The password in a connection string of any kind, as it is when it is decoded.
pub(super) fn password(connection: &str) -> Option<String> {
    let (_, rest) = connection.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (credentials, _) = authority.rsplit_once('@')?;
    let (_, password) = credentials.split_once(':')?;
    decoded(password).filter(|password| !password.is_empty())
}

/// A connection string that is none, and how it should look.
pub(super) fn invalid(source: SourceType, what: &str) -> Failure {
    let message = format!("connection: the address of {} {what}", source.title());
    let mut failure = Failure::fatal(Code::DefinitionInvalid, message);
    failure.hint =
        Some(format!("{}; special characters of the password are written as %XX", source.form()));
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, Failure> {
        Address::parse(text, SourceType::Postgres, 5432)
    }

    #[test]
    fn all_parts_are_read_and_decoded() {
        let address =
            parse("postgres://us%40er:p%2F%25%3A%20w@db.example:6000/my%20db?sslmode=require");
        let address = address.expect("an address");
        assert_eq!((address.host.as_str(), address.port), ("db.example", 6000));
        assert_eq!(address.user.as_deref(), Some("us@er"));
        assert_eq!(address.password.as_deref(), Some("p/%: w"));
        assert_eq!(address.database.as_deref(), Some("my db"));
        assert_eq!(address.tls, Some(true));
        let address = parse("postgresql://[::1]").expect("an address");
        assert_eq!((address.host.as_str(), address.port, address.tls), ("::1", 5432, None));
    }

    #[test]
    fn what_is_wrong_is_said_without_the_string() {
        for (text, what) in [
            ("hunter2", "is no URL"),
            ("mysql://u:hunter2@h/d", "another scheme"),
            ("postgres:///d?password=hunter2", "names no host"),
            ("postgres://u:hunter2@a,b/d", "several hosts"),
            ("postgres://u:hunter2@%2Fvar%2Frun/d", "socket file"),
            ("postgres://u:hunter2@h/d?sslmode=hunter2", "an `sslmode`"),
            ("postgres://u:hunter2@h/d?sslrootcert=/etc/shadow", "the option `sslrootcert`"),
        ] {
            let failure = parse(text).map(drop).expect_err(text);
            assert!(failure.message.contains(what), "{text}: {}", failure.message);
            assert!(!failure.message.contains("hunter2"), "{}", failure.message);
        }
    }
}
