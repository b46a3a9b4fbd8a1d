//! Readers of the journal that tell others.
//!
//! - [`redis`]: writes outputs to Redis
//! - [`signature`]: signs and verifies webhooks

pub mod redis;
pub mod signature;
