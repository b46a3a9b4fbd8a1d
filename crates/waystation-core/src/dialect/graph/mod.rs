//! Node/edge workflows: the format of `/api/v1/workflows` and `/workflows`.
//!
//! - [`definition`]: what an author writes, with all problems at once
//! - [`trigger`]: what begins a workflow by itself
//! - [`types`]: what the format asks of node types
//! - `wiring`: edges between nodes, by port, by condition, after a failure
//! - `paths`: cycles, what is reached, what comes before what
//! - `mentions`: the nodes that settings refer to
//! - [`compile()`]: a definition into a plan
//! - [`issue`]: what is wrong, and where
//! - [`job`], [`execution`], [`history`], [`event`]: what callers see of a run

mod compile;
pub mod definition;
pub mod event;
pub mod execution;
pub mod history;
pub mod issue;
pub mod job;
mod mentions;
mod paths;
#[cfg(test)]
mod tests;
pub mod trigger;
pub mod types;
mod wiring;

pub use compile::{Compiled, compile};
