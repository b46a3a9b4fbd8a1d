//! The half of Waystation that touches the world.
//!
//! - [`driver`]: appends facts, applies them, performs the actions that follow; recovery, timers, cancellation
//! - [`node`]: node types and their registry, one file a type
//! - [`provider`]: models and who gives access to them
//! - [`store`]: the journal and everything else that lasts, behind one trait
//! - [`event`]: readers of the journal that tell others: webhooks, Redis
//! - [`egress`]: the one outgoing HTTP client and the policy of where it may connect
//! - [`sandbox`]: user code, run where it can do no harm
//! - [`secret`]: values that are sealed at rest and redacted on every way out
//! - [`worker`]: calls made for others, with retries, by one request and one reply
//! - [`id`]: run ids
//! - [`limits`]: every queue's and resource's bound

pub mod driver;
pub mod egress;
pub mod event;
pub mod id;
pub mod limits;
pub mod node;
pub mod provider;
pub mod sandbox;
pub mod secret;
pub mod store;
pub mod worker;
