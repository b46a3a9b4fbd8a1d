//! Pipelines: `STEPS_CONFIG`, a graph of HTTP steps with selections and progress webhooks.
//!
//! - [`request`]: the body of `POST /execute`, taken apart without parsing the steps
//! - `step`, `settings`: the wire types of a definition, with all problems at once
//! - `order`: dependencies resolved, cycles found, the topological order
//! - [`compile()`]: a definition into a plan
//! - [`reply`]: what the caller gets
//! - [`notify`]: what the webhook gets
//! - [`block`]: blocks of a namespace into a definition

pub mod block;
mod compile;
pub mod notify;
mod order;
pub mod reply;
pub mod request;
mod settings;
mod step;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, compile};
pub use request::Request;
