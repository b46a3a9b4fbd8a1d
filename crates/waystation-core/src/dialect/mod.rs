//! Wire formats: each parses its documents, compiles them into a plan and renders its replies.

mod definition;
#[cfg(test)]
mod golden;
pub mod graph;
pub mod instructions;
pub mod pipeline;
mod words;
#[cfg(test)]
mod world;

pub use definition::secret_name;
