//! The one outgoing HTTP client, and the policy of where it may connect.
//!
//! - [`address`]: what kind of place an address is, also when an IPv6 form hides an IPv4 one
//! - [`policy`]: which kinds a server may call, and what the refusal says
//! - [`resolver`]: name lookup that hands out permitted addresses only
//! - `redirect`: what follows from an answer that points elsewhere
//! - [`client`]: requests that keep to the policy
//! - [`incoming`]: their bounded answers, whole or piece by piece
//! - [`dial`]: plain connections for protocols other than HTTP, and `tls` for them
//! - [`error`]: why a request came to nothing, in words for people
//!
//! No address is dialled that the policy has not seen: literal addresses are checked on every hop,
//! and names are resolved by the checking resolver alone. No proxy stands in between.

pub mod address;
pub mod client;
pub mod dial;
pub mod error;
pub mod incoming;
pub mod policy;
mod redirect;
pub mod resolver;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tls;

pub(crate) use client::install_tls;
pub use client::{HttpClient, PASS_HEADER, Request};
pub use error::SendError;
pub use incoming::{Incoming, Response};
pub use policy::{Policy, Reach, Refusal};
