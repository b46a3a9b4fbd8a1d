//! Which Redis to write to, from the names under which an operator sets it.

use std::fmt;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};
use url::Url;
use waystation_core::error::{Code, Error};

use super::transport::{Rest, Transport};

const PORT: u16 = 6379;

/// Where and how to reach Redis.
#[derive(Clone)]
pub struct RedisConfig {
    pub(super) transport: Transport,
    /// Host and port, for the log.
    pub(super) place: String,
}

impl RedisConfig {
    /// Connects and asks for a sign of life; tells what is wrong.
    pub async fn probe(&self) -> Result<(), String> {
        self.transport.connect().await.map(drop)
    }

    /// Where it is, without its password.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Reads `REDIS_URL`, or `REDIS_HOST`, `REDIS_PORT` and `REDIS_PASSWORD`, or `UPSTASH_REST_URL` and
    /// `UPSTASH_REST_TOKEN`: the first that is there. Empty ones count as absent, and so does a
    /// `REDIS_PORT` alone, which some platforms set for reasons of their own.
    pub fn from_lookup(
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<RedisConfig>, Error> {
        let lookup = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let upstash = pair(lookup, "UPSTASH_REST_URL", "UPSTASH_REST_TOKEN")?;
        let password = lookup("REDIS_PASSWORD");
        match (lookup("REDIS_URL"), lookup("REDIS_HOST"), upstash) {
            (Some(url), _, _) => RedisConfig::from_url(url.trim()).map(Some),
            (None, Some(host), _) => {
                let port = lookup("REDIS_PORT").map_or(Ok(PORT), |port| parse_port(port.trim()))?;
                RedisConfig::from_host(host.trim(), port, password).map(Some)
            }
            (None, None, _) if password.is_some() => {
                Err(invalid("REDIS_PASSWORD is set without REDIS_HOST")
                    .with_hint("set REDIS_HOST too, or unset REDIS_PASSWORD"))
            }
            (None, None, Some((url, token))) => {
                RedisConfig::from_rest(url.trim(), token.trim()).map(Some)
            }
            (None, None, None) => Ok(None),
        }
    }

    fn from_url(url: &str) -> Result<RedisConfig, Error> {
        let hint = "redis://[user][:password]@host[:port][/database], rediss:// for TLS; write special \
                    characters of the password as %XX";
        let info = url
            .into_connection_info()
            // The error's own text might repeat the password.
            .map_err(|_| invalid("REDIS_URL is no address of a Redis").with_hint(hint))?;
        RedisConfig::from_info(info)
    }

    fn from_host(host: &str, port: u16, password: Option<String>) -> Result<RedisConfig, Error> {
        if host.contains("://") {
            return Err(invalid("REDIS_HOST holds an address").with_hint("set REDIS_URL instead"));
        }
        let mut settings = RedisConnectionInfo::default();
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        let info = ConnectionAddr::Tcp(host.to_owned(), port)
            .into_connection_info()
            .map_err(|error| invalid(format!("REDIS_HOST is no host: {error}")))?;
        RedisConfig::from_info(info.set_redis_settings(settings))
    }

    fn from_info(info: redis::ConnectionInfo) -> Result<RedisConfig, Error> {
        let place = info.addr().to_string();
        let client = redis::Client::open(info)
            .map_err(|error| invalid(format!("Redis at {place} cannot be used: {error}")))?;
        Ok(RedisConfig { transport: Transport::Protocol(client), place })
    }

    fn from_rest(url: &str, token: &str) -> Result<RedisConfig, Error> {
        let url = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                invalid("UPSTASH_REST_URL is no http or https address")
                    .with_hint("https://NAME.upstash.io, as the console shows it")
            })?;
        let place = url.host_str().unwrap_or_default().to_owned();
        let rest = Rest::new(url, token)?;
        Ok(RedisConfig { transport: Transport::Rest(rest), place })
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Protocol(_) => "redis protocol",
            Transport::Rest(_) => "upstash rest",
        };
        write!(f, "RedisConfig({transport}, {})", self.place)
    }
}

/// Two settings that make sense only together.
fn pair(
    lookup: impl Fn(&str) -> Option<String>,
    first: &str,
    second: &str,
) -> Result<Option<(String, String)>, Error> {
    let missing = |there: &str, absent: &str| {
        invalid(format!("{there} is set without {absent}")).with_hint("set both, or neither")
    };
    match (lookup(first), lookup(second)) {
        (Some(one), Some(two)) => Ok(Some((one, two))),
        (None, None) => Ok(None),
        (Some(_), None) => Err(missing(first, second)),
        (None, Some(_)) => Err(missing(second, first)),
    }
}

fn parse_port(text: &str) -> Result<u16, Error> {
    text.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
        let error = invalid(format!("REDIS_PORT is no port: {text}"));
        match text.contains("://") {
            true => error.with_hint("Kubernetes sets it for a service named redis: set REDIS_URL"),
            false => error.with_hint("give a number from 1 to 65535"),
        }
    })
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::SettingInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(settings: &[(&str, &str)]) -> String {
        let lookup = |name: &str| {
            let setting = settings.iter().find(|(known, _)| *known == name);
            setting.map(|(_, value)| (*value).to_owned())
        };
        match RedisConfig::from_lookup(lookup) {
            Ok(None) => "none".into(),
            Ok(Some(config)) => format!("{config:?}"),
            Err(error) => {
                assert_eq!(error.code, Code::SettingInvalid);
                assert!(error.hint().is_some());
                error.message
            }
        }
    }

    #[test]
    fn the_first_complete_setting_wins() {
        let upstash = [("UPSTASH_REST_URL", "https://a.upstash.io"), ("UPSTASH_REST_TOKEN", "t")];
        let host = ("REDIS_HOST", "cache");
        let url = ("REDIS_URL", "redis://u:p%40%2F%23@elsewhere:7000/2");
        for (settings, expected) in [
            (vec![], "none"),
            (vec![("REDIS_URL", " "), ("REDIS_PASSWORD", "")], "none"),
            (vec![("REDIS_PORT", "tcp://10.0.0.1:6379")], "none"),
            (upstash.to_vec(), "RedisConfig(upstash rest, a.upstash.io)"),
            (vec![upstash[0], upstash[1], host], "RedisConfig(redis protocol, cache:6379)"),
            (vec![host, ("REDIS_PORT", "7001")], "RedisConfig(redis protocol, cache:7001)"),
            (vec![host, url], "RedisConfig(redis protocol, elsewhere:7000)"),
            (vec![("REDIS_URL", "rediss://host")], "RedisConfig(redis protocol, host:6379)"),
        ] {
            assert_eq!(read(&settings), expected, "{settings:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        let host = ("REDIS_HOST", "cache");
        for (settings, expected) in [
            (
                vec![("UPSTASH_REST_URL", "https://a")],
                "UPSTASH_REST_URL is set without UPSTASH_REST_TOKEN",
            ),
            (
                vec![("UPSTASH_REST_TOKEN", "t")],
                "UPSTASH_REST_TOKEN is set without UPSTASH_REST_URL",
            ),
            (
                vec![("UPSTASH_REST_URL", "a.upstash.io"), ("UPSTASH_REST_TOKEN", "t")],
                "UPSTASH_REST_URL is no http or https address",
            ),
            (
                vec![("UPSTASH_REST_URL", "https://a"), ("UPSTASH_REST_TOKEN", "a\nb")],
                "UPSTASH_REST_TOKEN cannot stand in a header",
            ),
            (vec![("REDIS_PASSWORD", "hunter22")], "REDIS_PASSWORD is set without REDIS_HOST"),
            (vec![host, ("REDIS_PORT", "0")], "REDIS_PORT is no port: 0"),
            (vec![host, ("REDIS_PORT", "70000")], "REDIS_PORT is no port: 70000"),
            (
                vec![host, ("REDIS_PORT", "tcp://1.2.3.4:5")],
                "REDIS_PORT is no port: tcp://1.2.3.4:5",
            ),
            (vec![("REDIS_HOST", "redis://cache")], "REDIS_HOST holds an address"),
            (vec![("REDIS_URL", "cache:6379")], "REDIS_URL is no address of a Redis"),
            (vec![("REDIS_URL", "redis://:hunter22#@cache")], "REDIS_URL is no address of a Redis"),
        ] {
            assert_eq!(read(&settings), expected, "{settings:?}");
        }
    }
}
