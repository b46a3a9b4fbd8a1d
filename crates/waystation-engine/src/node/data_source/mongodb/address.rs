//! The address of MongoDB servers taken apart.
//!
//! The library could read it, too, and would then do much that an author of definitions must not make
//! this machine do: read tokens and keys from its files and environment and send them to a server, ask
//! the DNS for further hosts, trust anybody. So it is never shown the address; it gets the options that
//! are made here, and there are no others.

use std::net::Ipv6Addr;

use mongodb::options::{
    Acknowledgment, AuthMechanism, ClientOptions, Credential, ReadPreference, SelectionCriteria,
    ServerAddress, WriteConcern,
};
use percent_encoding::percent_decode_str;
use url::form_urlencoded;
use waystation_core::error::Failure;

use super::super::address::invalid as invalid_address;
use super::SOURCE;

/// Hosts of one address; more are refused.
const HOSTS: usize = 50;
/// What the address may ask for, as it is told to those who ask for more.
const OPTIONS: &str =
    "tls, authSource, authMechanism, replicaSet, directConnection, readPreference, w";

/// Why the DNS is not asked where the servers are.
pub(in super::super) const NO_SRV: &str = "cannot begin with mongodb+srv://; list the hosts, as in \
    mongodb://user:password@host-1:27017,host-2:27017/database?tls=true&replicaSet=name";

/// Where and how the servers are reached.
pub(super) struct Address {
    /// What the library is told, but for the way to the servers.
    pub(super) options: ClientOptions,
    /// The names of the servers, without their ports.
    pub(super) hosts: Vec<String>,
    /// Whether connections are private.
    pub(super) is_private: bool,
}

/// What the options of an address say.
#[derive(Default)]
struct Said {
    is_private: bool,
    source: Option<String>,
    mechanism: Option<AuthMechanism>,
    replica_set: Option<String>,
    is_direct: Option<bool>,
    preference: Option<ReadPreference>,
    concern: Option<WriteConcern>,
}

impl Address {
    /// Reads `mongodb://user:password@host:port,host:port/database?option=value`. What is wrong is said
    /// without the string, which holds a password.
    pub(super) fn parse(text: &str) -> Result<Address, Failure> {
        parse(text.trim()).map_err(|what| invalid_address(SOURCE, &what))
    }
}

fn parse(text: &str) -> Result<Address, String> {
    let (scheme, rest) = text.split_once("://").ok_or("is no URL")?;
    match scheme.to_ascii_lowercase().as_str() {
        "mongodb" => {}
        "mongodb+srv" => return Err(NO_SRV.to_owned()),
        _ => return Err("begins with another scheme".to_owned()),
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (who, list) = authority.rsplit_once('@').unwrap_or(("", authority));
    let servers = list.split(',').map(server).collect::<Result<Vec<_>, _>>()?;
    if servers.len() > HOSTS {
        return Err(format!("names more than {HOSTS} hosts"));
    }
    let mut said = Said::default();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        said.option(&name, &value)?;
    }
    let database = given(database)?;
    let is_private = said.is_private;
    let hosts = servers.iter().map(|(host, _)| host.clone()).collect();
    let options = said.options(credential(who)?, servers, database)?;
    Ok(Address { options, hosts, is_private })
}

/// A host and its port.
fn server(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, port)) => {
            host.parse::<Ipv6Addr>().map_err(|_| "has a host in brackets that is no address")?;
            (host, port)
        }
        None => text.find(':').map_or((text, ""), |at| text.split_at(at)),
    };
    let port = match port.strip_prefix(':') {
        Some(number) => Some(number.parse().map_err(|_| "has a port that is none")?),
        None if port.is_empty() => None,
        None => return Err("has a host that cannot be read".to_owned()),
    };
    let host = given(host)?.ok_or("names no host")?;
    if host.contains('/') {
        return Err("names a socket file; give a host".to_owned());
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// A user and a password.
fn credential(text: &str) -> Result<Option<Credential>, String> {
    let (user, password) = match text.split_once(':') {
        Some((user, password)) => (user, Some(decoded(password)?)),
        None => (text, None),
    };
    let Some(user) = given(user)? else { return Ok(None) };
    let mut credential = Credential::default();
    (credential.username, credential.password) = (Some(user), password);
    Ok(Some(credential))
}

impl Said {
    fn option(&mut self, name: &str, value: &str) -> Result<(), String> {
        let wrong = |expected: &str| format!("has an option `{name}` that is not {expected}");
        let truth = || value.parse::<bool>().map_err(|_| wrong("true or false"));
        match name.to_ascii_lowercase().as_str() {
            "tls" | "ssl" => self.is_private = truth()?,
            "authsource" => self.source = Some(value.to_owned()),
            "authmechanism" => {
                let known = mechanism(value);
                self.mechanism = Some(known.ok_or_else(|| wrong("SCRAM-SHA-1 or SCRAM-SHA-256"))?);
            }
            "replicaset" => self.replica_set = Some(value.to_owned()),
            "directconnection" => self.is_direct = Some(truth()?),
            "readpreference" => {
                let known = preference(value);
                self.preference = Some(known.ok_or_else(|| wrong("one of MongoDB's modes"))?);
            }
            "w" => {
                let known = acknowledgment(value);
                let w = known.ok_or_else(|| wrong("`majority` or a number from 1"))?;
                self.concern = Some(WriteConcern::builder().w(w).build());
            }
            // Addresses are copied from where they are offered, and have these there.
            "retrywrites" | "appname" => {}
            _ => {
                let name: String = name.chars().take(40).collect();
                return Err(format!("has the option `{name}`; the known ones are {OPTIONS}"));
            }
        }
        Ok(())
    }

    fn options(
        self,
        credential: Option<Credential>,
        servers: Vec<(String, Option<u16>)>,
        database: Option<String>,
    ) -> Result<ClientOptions, String> {
        let mut options = ClientOptions::default();
        let server = |(host, port)| ServerAddress::Tcp { host, port };
        options.hosts = servers.into_iter().map(server).collect();
        options.credential = match credential {
            Some(mut credential) => {
                let source = self.source.or_else(|| database.clone());
                credential.source = Some(source.unwrap_or_else(|| "admin".to_owned()));
                credential.mechanism = self.mechanism;
                Some(credential)
            }
            None if self.mechanism.is_some() => {
                return Err("has an option `authMechanism` and no user".to_owned());
            }
            None => None,
        };
        options.default_database = database;
        options.repl_set_name = self.replica_set;
        options.direct_connection = self.is_direct;
        options.selection_criteria = self.preference.map(SelectionCriteria::ReadPreference);
        options.write_concern = self.concern;
        Ok(options)
    }
}

/// A way to show who one is that needs nothing but the user and the password.
fn mechanism(name: &str) -> Option<AuthMechanism> {
    match name {
        "SCRAM-SHA-1" => Some(AuthMechanism::ScramSha1),
        "SCRAM-SHA-256" => Some(AuthMechanism::ScramSha256),
        _ => None,
    }
}

fn preference(mode: &str) -> Option<ReadPreference> {
    Some(match mode {
        "primary" => ReadPreference::Primary,
        "primaryPreferred" => ReadPreference::PrimaryPreferred { options: None },
        "secondary" => ReadPreference::Secondary { options: None },
        "secondaryPreferred" => ReadPreference::SecondaryPreferred { options: None },
        "nearest" => ReadPreference::Nearest { options: None },
        _ => return None,
    })
}

fn acknowledgment(w: &str) -> Option<Acknowledgment> {
    match w {
        "majority" => Some(Acknowledgment::Majority),
        number => number.parse().ok().filter(|w| *w > 0).map(Acknowledgment::Nodes),
    }
}

fn given(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() { Ok(None) } else { decoded(text).map(Some) }
}

fn decoded(text: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(std::borrow::Cow::into_owned).map_err(|_| "is no UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_read_and_decoded() {
        let text = "mongodb://us%40er:p%2F%25%3A%20w@One:6000,[::1]:7000,two/my%20db?tls=true&\
            authSource=there&authMechanism=SCRAM-SHA-256&replicaSet=rs&readPreference=nearest&\
            w=majority&retryWrites=true&appName=x";
        let Address { options, hosts, is_private } = Address::parse(text).expect("an address");
        assert_eq!(hosts, ["one", "::1", "two"]);
        let ports = options.hosts.iter().map(|host| match host {
            ServerAddress::Tcp { port, .. } => *port,
            other => panic!("{other:?}"),
        });
        assert_eq!(ports.collect::<Vec<_>>(), [Some(6000), Some(7000), None]);
        assert!(is_private);
        let credential = options.credential.expect("a credential");
        assert_eq!(credential.username.as_deref(), Some("us@er"));
        assert_eq!(credential.password.as_deref(), Some("p/%: w"));
        assert_eq!(credential.source.as_deref(), Some("there"));
        assert_eq!(credential.mechanism, Some(AuthMechanism::ScramSha256));
        assert_eq!(credential.mechanism_properties, None);
        assert_eq!(options.default_database.as_deref(), Some("my db"));
        assert_eq!(options.repl_set_name.as_deref(), Some("rs"));
        let few = Address::parse("mongodb://u:p@h").expect("an address").options;
        assert_eq!(few.credential.expect("a credential").source.as_deref(), Some("admin"));
    }

    #[test]
    fn nothing_of_this_machine_is_used_and_nobody_is_asked_for_hosts() {
        for (text, what) in [
            ("hunter2", "is no URL"),
            ("mongodb+srv://u:hunter2@h/d", "list the hosts"),
            ("MongoDB+SRV://u:hunter2@h/d", "list the hosts"),
            ("postgres://u:hunter2@h/d", "another scheme"),
            ("mongodb:///d", "names no host"),
            ("mongodb://h,/d", "names no host"),
            ("mongodb://[h]/d", "in brackets"),
            ("mongodb://h:hunter2/d", "a port"),
            ("mongodb://%2Ftmp%2Fmongodb.sock/d", "socket file"),
            ("mongodb://h/?authMechanism=MONGODB-OIDC", "SCRAM-SHA-1 or SCRAM-SHA-256"),
            ("mongodb://u:hunter2@h/?AUTHMECHANISM=MONGODB-AWS", "SCRAM-SHA-1 or SCRAM-SHA-256"),
            ("mongodb://u:hunter2@h/?authMechanism=MONGODB-X509", "SCRAM-SHA-1 or SCRAM-SHA-256"),
            ("mongodb://u:hunter2@h/?authMechanism=PLAIN", "SCRAM-SHA-1 or SCRAM-SHA-256"),
            ("mongodb://u:hunter2@h/?authMechanism=GSSAPI", "SCRAM-SHA-1 or SCRAM-SHA-256"),
            ("mongodb://h/?authMechanism=SCRAM-SHA-1", "no user"),
            ("mongodb://h/?authMechanismProperties=ENVIRONMENT:k8s", "`authMechanismProperties`"),
            ("mongodb://h/?a%75thMechanismProperties=ENVIRONMENT:k8s", "`authMechanismProperties`"),
            ("mongodb://h/?tls=true&tlsCAFile=/etc/passwd", "`tlsCAFile`"),
            ("mongodb://h/?tlsCertificateKeyFile=/etc/key", "`tlsCertificateKeyFile`"),
            ("mongodb://h/?tlsInsecure=true", "`tlsInsecure`"),
            ("mongodb://h/?tlsAllowInvalidHostnames=true", "`tlsAllowInvalidHostnames`"),
            ("mongodb://h/?proxyHost=other", "`proxyHost`"),
            ("mongodb://h/?compressors=zlib", "`compressors`"),
            ("mongodb://h/?loadBalanced=true", "`loadBalanced`"),
            ("mongodb://h/?srvServiceName=x", "`srvServiceName`"),
            ("mongodb://h/?w=0", "`majority` or a number from 1"),
            ("mongodb://h/?tls=hunter2", "true or false"),
        ] {
            let failure = Address::parse(text).map(drop).expect_err(text);
            assert!(failure.message.contains(what), "{text}: {}", failure.message);
            assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}
