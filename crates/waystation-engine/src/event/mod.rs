//! Readers of the journal that tell others.
//!
//! - [`signature`]: signs and verifies webhooks

pub mod signature;
