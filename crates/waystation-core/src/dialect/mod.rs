//! Wire formats: each parses its documents, compiles them into a plan and renders its replies.

mod definition;
pub mod instructions;
pub mod pipeline;
#[cfg(test)]
mod world;
