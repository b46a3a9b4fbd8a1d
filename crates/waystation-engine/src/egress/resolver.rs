//! Name lookup that hands out permitted addresses only: what was checked is what is dialled.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::policy::Policy;

/// Turns a name into addresses.
pub type Lookup =
    Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> + Send + Sync>;

/// Asks the operating system.
pub fn system_lookup() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.collect()) })
    })
}

/// A name without an address.
#[derive(Debug)]
pub struct Unresolved {
    host: String,
    cause: Option<io::Error>,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the name {} has no address", self.host)?;
        self.cause.as_ref().map_or(Ok(()), |cause| write!(f, " ({cause})"))
    }
}

impl Error for Unresolved {}

/// The resolver of the outgoing client.
#[derive(Clone)]
pub(super) struct CheckedResolver {
    pub(super) policy: Arc<Policy>,
    pub(super) lookup: Lookup,
}

impl CheckedResolver {
    /// The permitted addresses of a name, with no port.
    pub(super) async fn addresses(
        &self,
        name: &str,
    ) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
        let found = (self.lookup)(name.to_owned()).await;
        permitted(&self.policy, name, found)
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// The addresses that the policy allows; where there is none, why.
fn permitted(
    policy: &Policy,
    host: &str,
    found: io::Result<Vec<SocketAddr>>,
) -> Result<Vec<SocketAddr>, Box<dyn Error + Send + Sync>> {
    let unresolved = |cause| Unresolved { host: host.to_owned(), cause };
    let mut addresses = found.map_err(|cause| unresolved(Some(cause)))?;
    let mut refusal = None;
    addresses.retain(|address| {
        let verdict = policy.check_named(host, address.ip());
        verdict.map_err(|refused| refusal = Some(refused)).is_ok()
    });
    match refusal {
        _ if !addresses.is_empty() => Ok(addresses),
        Some(refusal) => Err(refusal.into()),
        None => Err(unresolved(None).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::policy::{Reach, Refusal};
    use super::*;

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0)).collect()
    }

    #[test]
    fn only_permitted_addresses_are_handed_out() {
        let policy = Policy::new(Reach::PublicOnly);
        let mixed = addresses(&["10.0.0.1", "93.184.216.34", "::1", "2606:4700::1111"]);
        let given = permitted(&policy, "mixed.example", Ok(mixed)).expect("two are public");
        assert_eq!(given, addresses(&["93.184.216.34", "2606:4700::1111"]));
    }

    #[test]
    fn a_name_with_refused_addresses_alone_is_refused() {
        let policy = Policy::new(Reach::PublicOnly);
        let error = permitted(&policy, "DB.internal.", Ok(addresses(&["10.0.0.1", "::1"])));
        let error = error.expect_err("both are local");
        assert!(error.is::<Refusal>());
        assert!(error.to_string().contains("WAYSTATION_EGRESS_ALLOW=db.internal would"), "{error}");
        assert!(!error.to_string().contains("10.0.0.1"), "{error}");
    }

    #[test]
    fn a_listed_name_may_be_private_but_never_metadata() {
        let policy = Policy::parse("public-only", "db.internal").expect("a policy");
        let found = addresses(&["10.0.0.1", "169.254.169.254", "fe80::1", "100.100.100.200"]);
        let given = permitted(&policy, "db.INTERNAL.", Ok(found)).expect("one is allowed");
        assert_eq!(given, addresses(&["10.0.0.1"]));
    }

    #[test]
    fn a_name_without_addresses_says_so() {
        let policy = Policy::new(Reach::AnyButMetadata);
        for found in [Ok(vec![]), Err(io::Error::other("no such name"))] {
            let error = permitted(&policy, "nowhere.example", found).expect_err("nothing found");
            assert!(error.is::<Unresolved>(), "{error}");
        }
    }
}
