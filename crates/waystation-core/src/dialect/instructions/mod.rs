//! Instruction chains: a queue of model calls, conditions, endpoints, threads, routers and agents.
//!
//! - [`request`]: the body of `POST /` and `POST /batch`
//! - `fields`: an object's fields, read one by one, with every problem in words
//! - `condition`, `model`, `options`, `instruction`: the wire types of a definition
//! - `template`: the users' texts as templates that always compile
//! - [`compile()`]: a definition into a plan
//! - [`reply`]: what the caller gets

mod compile;
mod condition;
mod fields;
mod instruction;
mod model;
mod options;
pub mod reply;
pub mod request;
mod template;
#[cfg(test)]
mod tests;

pub use compile::{Compiled, Known, compile};
pub use request::Request;
