//! What kind of place an address is, seen through every form that hides an IPv4 address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// Where an address leads, from the most harmless to the most dangerous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The internet.
    Public,
    /// Multicast, documentation, benchmarks and whatever else is no host on the internet.
    Reserved,
    /// A private network or a carrier's.
    Private,
    /// This machine.
    Loopback,
    /// The local link; clouds put their metadata services there.
    LinkLocal,
    /// A cloud's metadata service, which hands out credentials.
    Metadata,
}

impl Kind {
    /// No setting opens these.
    pub fn is_never_allowed(self) -> bool {
        self >= Kind::LinkLocal
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Public => "a public address",
            Kind::Reserved => "a reserved address",
            Kind::Private => "a private address",
            Kind::Loopback => "a loopback address",
            Kind::LinkLocal => "a link-local address",
            Kind::Metadata => "a cloud metadata address",
        })
    }
}

/// The kind of an address; of one that embeds others, the worst of all of them.
pub fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => {
            embedded(address).map(kind_v4).fold(kind_v6(address), |worst, inner| worst.max(inner))
        }
    }
}

fn kind_v4(address: Ipv4Addr) -> Kind {
    let row = V4.iter().find(|(net, _)| net.contains(&address));
    row.map_or(Kind::Public, |(_, kind)| *kind)
}

/// Only 2000::/3 and the forms that stand for IPv4 addresses lead to the internet.
fn kind_v6(address: Ipv6Addr) -> Kind {
    let row = V6.iter().find(|(net, _)| net.contains(&address));
    row.map_or(Kind::Reserved, |(_, kind)| *kind)
}

/// The IPv4 addresses to which a packet for this IPv6 address may be delivered.
fn embedded(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let octets = address.octets();
    let at = move |places: [usize; 4]| Ipv4Addr::from(places.map(|place| octets[place]));
    let last = [12, 13, 14, 15];
    let teredo_client = Ipv4Addr::from(last.map(|place| !octets[place]));

    let found = match octets {
        _ if address.is_loopback() || address.is_unspecified() => vec![],
        // Mapped, compatible, translated, and the well-known NAT64 prefix.
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..]
        | [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, ..]
        | [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, ..]
        | [0, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, ..] => vec![at(last)],
        // Local NAT64 (RFC 8215): a network may choose any of RFC 6052's prefix lengths inside.
        [0, 0x64, 0xff, 0x9b, 0, 1, ..] => {
            vec![at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), at(last)]
        }
        // 6to4.
        [0x20, 0x02, ..] => vec![at([2, 3, 4, 5])],
        // Teredo names its server, and its client with all bits flipped.
        [0x20, 0x01, 0, 0, ..] => vec![at([4, 5, 6, 7]), teredo_client],
        // ISATAP marks the interface identifier under any prefix.
        [_, _, _, _, _, _, _, _, 0 | 2, 0, 0x5e, 0xfe, ..] => vec![at(last)],
        _ => vec![],
    };
    found.into_iter()
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6(start: [u16; 4], end: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = start;
    let [e, f, g, h] = end;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), prefix)
}

/// The first row that fits decides.
const V4: &[(Ipv4Net, Kind)] = &[
    // Alibaba, Oracle Classic and Azure keep metadata outside the link-local range.
    (v4(100, 100, 100, 200, 32), Kind::Metadata),
    (v4(192, 0, 0, 192, 32), Kind::Metadata),
    (v4(168, 63, 129, 16, 32), Kind::Metadata),
    (v4(169, 254, 169, 254, 32), Kind::Metadata),
    (v4(169, 254, 0, 0, 16), Kind::LinkLocal),
    // Connecting to 0.0.0.0 reaches this machine.
    (v4(0, 0, 0, 0, 32), Kind::Loopback),
    (v4(127, 0, 0, 0, 8), Kind::Loopback),
    (v4(10, 0, 0, 0, 8), Kind::Private),
    (v4(100, 64, 0, 0, 10), Kind::Private),
    (v4(172, 16, 0, 0, 12), Kind::Private),
    (v4(192, 168, 0, 0, 16), Kind::Private),
    (v4(0, 0, 0, 0, 8), Kind::Reserved),
    (v4(192, 0, 0, 0, 24), Kind::Reserved),
    (v4(192, 0, 2, 0, 24), Kind::Reserved),
    (v4(192, 88, 99, 0, 24), Kind::Reserved),
    (v4(198, 18, 0, 0, 15), Kind::Reserved),
    (v4(198, 51, 100, 0, 24), Kind::Reserved),
    (v4(203, 0, 113, 0, 24), Kind::Reserved),
    (v4(224, 0, 0, 0, 3), Kind::Reserved),
];

/// The first row that fits decides; what fits none is reserved.
const V6: &[(Ipv6Net, Kind)] = &[
    // Amazon, Google and Scaleway.
    (v6([0xfd00, 0xec2, 0, 0], [0; 4], 32), Kind::Metadata),
    (v6([0xfd20, 0xce, 0, 0], [0; 4], 32), Kind::Metadata),
    (v6([0xfd00, 0x42, 0, 0], [0, 0, 0, 0x42], 128), Kind::Metadata),
    (v6([0xfe80, 0, 0, 0], [0; 4], 10), Kind::LinkLocal),
    (v6([0; 4], [0; 4], 128), Kind::Loopback),
    (v6([0; 4], [0, 0, 0, 1], 128), Kind::Loopback),
    (v6([0xfc00, 0, 0, 0], [0; 4], 7), Kind::Private),
    (v6([0xfec0, 0, 0, 0], [0; 4], 10), Kind::Private),
    // Protocol assignments with Teredo, and documentation.
    (v6([0x2001, 0, 0, 0], [0; 4], 23), Kind::Reserved),
    (v6([0x2001, 0xdb8, 0, 0], [0; 4], 32), Kind::Reserved),
    (v6([0x3fff, 0, 0, 0], [0; 4], 20), Kind::Reserved),
    (v6([0x2000, 0, 0, 0], [0; 4], 3), Kind::Public),
    // Forms whose embedded IPv4 address decides.
    (v6([0; 4], [0, 0xffff, 0, 0], 96), Kind::Public),
    (v6([0; 4], [0xffff, 0, 0, 0], 96), Kind::Public),
    (v6([0; 4], [0; 4], 96), Kind::Public),
    (v6([0x64, 0xff9b, 0, 0], [0; 4], 96), Kind::Public),
];
