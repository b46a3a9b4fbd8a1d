//! Who is at the other end of a connection, also where a proxy stands between.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;
use waystation_core::error::{Code, Error};

use crate::config::Lookup;

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// Proxies whose word for whom they speak is taken.
#[derive(Clone, Debug, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Reads the setting: networks and addresses, by comma.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Proxies, Error> {
        let name = "WAYSTATION_TRUSTED_PROXIES";
        let text = lookup(name).unwrap_or_default();
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let nets = parts.map(|part| {
            let net = part.parse::<IpNet>().or_else(|_| part.parse::<IpAddr>().map(IpNet::from));
            net.map_err(|_| {
                let text = format!("{name}: {part:?} is neither a network nor an address");
                Error::new(Code::SettingInvalid, text)
            })
        });
        Ok(Proxies(nets.collect::<Result<_, _>>()?))
    }

    /// The address that a request comes from: the last one that no trusted proxy has.
    pub(super) fn caller(&self, peer: &Peer, headers: &HeaderMap) -> IpAddr {
        let mut caller = peer.0.ip().to_canonical();
        let told = headers.get_all("x-forwarded-for").into_iter();
        let told: Vec<&str> =
            told.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(',')).collect();
        for address in told.into_iter().rev() {
            if !self.0.iter().any(|net| net.contains(&caller)) {
                break;
            }
            let Ok(address) = address.trim().parse::<IpAddr>() else { break };
            caller = address.to_canonical();
        }
        network_of(caller)
    }
}

/// Who has an address of version 6 has 2⁶⁴ of them.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let bits = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(bits.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let proxies = Proxies::from_lookup(&|_| Some("10.0.0.0/8, 192.168.1.1".into())).unwrap();
        for (peer, forwarded, caller) in [
            ("10.0.0.1:5", "203.0.113.7", "203.0.113.7"),
            ("10.0.0.1:5", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("192.168.1.1:5", "203.0.113.7, 10.2.3.4", "203.0.113.7"),
            ("203.0.113.9:5", "198.51.100.1", "203.0.113.9"),
            ("10.0.0.1:5", "nonsense", "10.0.0.1"),
            ("10.0.0.1:5", "", "10.0.0.1"),
            ("[::ffff:10.0.0.1]:5", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-forwarded-for", forwarded.parse().unwrap());
            let found = proxies.caller(&Peer(peer.parse().unwrap()), &headers);
            assert_eq!(found, caller.parse::<IpAddr>().unwrap(), "{peer} {forwarded}");
        }
        let error = Proxies::from_lookup(&|_| Some("10.0.0.0/8,proxy".into())).unwrap_err();
        assert!(error.message.contains("\"proxy\""), "{}", error.message);
    }
}
