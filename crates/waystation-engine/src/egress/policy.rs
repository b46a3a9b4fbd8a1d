//! Which addresses this server may call, and what a refusal says.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::address::{self, Kind};

/// How far requests may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everywhere but to cloud metadata and link-local addresses.
    AnyButMetadata,
    /// Only to public addresses of the internet.
    PublicOnly,
}

/// Where requests may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is allowed to all requests.
    pub reach: Reach,
    /// Networks that are allowed beyond that.
    pub allow: Vec<IpNet>,
    /// Names whose addresses are allowed beyond that; in lower case, without a trailing dot.
    pub allow_hosts: Vec<String>,
}

/// A setting that is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPolicy(String);

impl fmt::Display for InvalidPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for InvalidPolicy {}

impl Policy {
    /// A policy without exceptions.
    pub fn new(reach: Reach) -> Policy {
        Policy { reach, allow: Vec::new(), allow_hosts: Vec::new() }
    }

    /// Reads `WAYSTATION_EGRESS` and `WAYSTATION_EGRESS_ALLOW`: networks, addresses and names,
    /// separated by commas.
    pub fn parse(reach: &str, allow: &str) -> Result<Policy, InvalidPolicy> {
        let mut policy = Policy::new(match reach.trim() {
            "any-but-metadata" => Reach::AnyButMetadata,
            "public-only" => Reach::PublicOnly,
            other => {
                let text = format!(
                    "WAYSTATION_EGRESS is any-but-metadata or public-only, and not `{other}`"
                );
                return Err(InvalidPolicy(text));
            }
        });
        for entry in allow.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            policy.admit(entry)?;
        }
        Ok(policy)
    }

    fn admit(&mut self, entry: &str) -> Result<(), InvalidPolicy> {
        if let Ok(network) = entry.parse::<IpNet>() {
            self.allow.push(network.trunc());
        } else if let Ok(address) = entry.parse::<IpAddr>() {
            self.allow.push(IpNet::from(address));
        } else if is_host_name(entry) {
            self.allow_hosts.push(normal(entry));
        } else {
            return Err(InvalidPolicy(format!(
                "WAYSTATION_EGRESS_ALLOW: `{entry}` is no network (10.0.0.0/8), address or host name"
            )));
        }
        Ok(())
    }

    /// Whether a request may go to this address.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        match self.verdict(address) {
            None => Ok(()),
            Some(kind) => {
                Err(Refusal { target: address.to_canonical().to_string(), named: false, kind })
            }
        }
    }

    /// Whether a request to this name may go to this address of it.
    pub fn check_named(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        match self.verdict(address) {
            Some(kind) if kind.is_never_allowed() || !self.admits_name(host) => {
                Err(Refusal { target: normal(host), named: true, kind })
            }
            _ => Ok(()),
        }
    }

    /// The kind for which the address is refused.
    fn verdict(&self, address: IpAddr) -> Option<Kind> {
        let kind = address::kind(address);
        let plain = address.to_canonical();
        let listed = || self.allow.iter().any(|net| net.contains(&plain) || net.contains(&address));
        let allowed = match self.reach {
            _ if kind.is_never_allowed() => false,
            Reach::AnyButMetadata => true,
            Reach::PublicOnly => kind == Kind::Public || listed(),
        };
        (!allowed).then_some(kind)
    }

    fn admits_name(&self, host: &str) -> bool {
        self.allow_hosts.contains(&normal(host))
    }
}

/// Names are compared without case and without the root's dot.
fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

fn is_host_name(text: &str) -> bool {
    let parsed = url::Host::parse(text);
    matches!(parsed, Ok(url::Host::Domain(domain)) if domain.eq_ignore_ascii_case(text))
        && !text.contains('*')
}

/// A target that the policy refuses, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The address or the name; a name's addresses stay unsaid, for they may be nobody's business.
    target: String,
    named: bool,
    /// What kind of address it is.
    pub kind: Kind,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { target, named, kind } = self;
        let verb = if *named { "resolves to" } else { "is" };
        if kind.is_never_allowed() {
            return write!(f, "{target} {verb} {kind}, which is never called");
        }
        write!(
            f,
            "{target} {verb} {kind}, which this server does not call \
             (WAYSTATION_EGRESS=any-but-metadata or WAYSTATION_EGRESS_ALLOW={target} would allow it)"
        )
    }
}

impl std::error::Error for Refusal {}
