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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn settings_are_read() {
        let policy = Policy::parse(" public-only ", "10.1.2.3/8, ::1,, DB.Internal. ,127.0.0.1");
        let policy = policy.expect("a policy");
        let networks = ["10.0.0.0/8", "::1/128", "127.0.0.1/32"];
        assert_eq!(policy.reach, Reach::PublicOnly);
        assert_eq!(policy.allow, networks.map(|net| net.parse::<IpNet>().expect("a network")));
        assert_eq!(policy.allow_hosts, ["db.internal"]);
    }

    #[test]
    fn wrong_settings_are_named() {
        for (reach, allow, named) in [
            ("all", "", "`all`"),
            ("", "", "``"),
            ("public-only", "10.0.0.0/33", "`10.0.0.0/33`"),
            ("public-only", "http://a", "`http://a`"),
            ("public-only", "*.internal", "`*.internal`"),
            ("public-only", "a:80", "`a:80`"),
        ] {
            let error = Policy::parse(reach, allow).expect_err(named).to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_allow_the_target() {
        let policy = Policy::new(Reach::PublicOnly);
        let text = |ip: &str| policy.check(ip.parse().expect("ip")).expect_err(ip).to_string();
        insta::assert_snapshot!(text("::ffff:10.0.0.5"), @"10.0.0.5 is a private address, which this server does not call (WAYSTATION_EGRESS=any-but-metadata or WAYSTATION_EGRESS_ALLOW=10.0.0.5 would allow it)");
        insta::assert_snapshot!(text("::ffff:169.254.169.254"), @"169.254.169.254 is a cloud metadata address, which is never called");
    }

    #[test]
    fn no_list_opens_metadata() {
        let policy = Policy::parse("any-but-metadata", "0.0.0.0/0,::/0,metadata.google.internal");
        let policy = policy.expect("a policy");
        for ip in ["169.254.169.254", "169.254.1.1", "fe80::1", "fd00:ec2::254", "192.0.0.192"] {
            let ip = ip.parse().expect("an address");
            assert!(policy.check(ip).is_err(), "{ip}");
            assert!(policy.check_named("metadata.google.internal", ip).is_err(), "{ip}");
        }
    }

    #[test]
    fn a_list_opens_what_it_names() {
        let policy = Policy::parse("public-only", "10.0.0.0/8,fd12::/16").expect("a policy");
        for (ip, allowed) in [
            ("10.255.0.1", true),
            ("::ffff:10.255.0.1", true),
            ("fd12::1", true),
            ("11.0.0.1", true),
            ("fd13::1", false),
            ("192.168.0.1", false),
        ] {
            assert_eq!(policy.check(ip.parse().expect("ip")).is_ok(), allowed, "{ip}");
        }
    }

    /// Every IPv6 form that stands for an IPv4 address.
    fn forms(inner: Ipv4Addr, noise: u128) -> Vec<Ipv6Addr> {
        let v4 = u128::from(inner.to_bits());
        let [a, b, c, d] = inner.octets().map(u128::from);
        let prefix = |start: [u16; 4]| {
            u128::from(Ipv6Addr::new(start[0], start[1], start[2], start[3], 0, 0, 0, 0))
        };
        let (low_32, low_64) = (noise & 0xffff_ffff, noise & (u128::MAX >> 64));
        let local = prefix([0x64, 0xff9b, 1, 0]);
        let forms = [
            0xffff << 32 | v4,
            0xffff << 48 | v4,
            v4,
            prefix([0x64, 0xff9b, 0, 0]) | v4,
            local | low_64 << 16 & !0xffff_ffff | v4,
            local | a << 72 | b << 64 | c << 48 | d << 40 | noise & 0xff_ffff_ffff,
            local | (noise & 0xff) << 72 | a << 64 | b << 48 | c << 40 | d << 32 | low_32,
            local | v4 << 24 | noise & 0xff_ffff,
            0x2002 << 112 | v4 << 80 | noise >> 48,
            0x2001_0000 << 96 | v4 << 64 | low_64,
            0x2001_0000 << 96 | low_32 << 64 | (!v4 & 0xffff_ffff),
            (noise >> 64) << 64 | 0x0200_5efe << 32 | v4,
            (noise >> 64) << 64 | 0x0000_5efe << 32 | v4,
        ];
        forms.map(Ipv6Addr::from_bits).to_vec()
    }

    fn policies() -> [Policy; 3] {
        let listed = Policy::parse("public-only", "10.0.0.0/8,2606:4700::/32").expect("a policy");
        [Policy::new(Reach::AnyButMetadata), Policy::new(Reach::PublicOnly), listed]
    }

    proptest! {
        #[test]
        fn no_form_hides_a_refused_address(
            inner in prop_oneof![
                any::<u32>(),
                (0xa9fe_0000..=0xa9fe_ffffu32),
                Just(0x6464_64c8), Just(0xc000_00c0), Just(0xa83f_8110),
                (0x7f00_0000..=0x7fff_ffffu32),
                (0x0a00_0000..=0x0aff_ffffu32),
                (0u32..=0x00ff_ffff),
            ],
            noise in any::<u128>(),
        ) {
            let inner = Ipv4Addr::from_bits(inner);
            for policy in policies() {
                if policy.check(inner.into()).is_ok() {
                    continue;
                }
                for form in forms(inner, noise) {
                    // These two are the loopback and unspecified addresses themselves.
                    let is_own = form.is_loopback() || form.is_unspecified();
                    let is_refused = policy.check(form.into()).is_err();
                    prop_assert!(is_refused || is_own, "{form} hides {inner}: {policy:?}");
                }
            }
        }

        #[test]
        fn public_only_allows_no_more_than_any_but_metadata(address in any::<u128>()) {
            let [any, public, _] = policies();
            let address = IpAddr::from(Ipv6Addr::from_bits(address));
            prop_assert!(public.check(address).is_err() || any.check(address).is_ok());
        }
    }
}
