//! The pure half of Waystation: facts go in, actions come out.
//!
//! - [`plan`]: what a run executes, as plain data
//! - [`program`]: a plan made ready to run: templates compiled, edges indexed
//! - [`expr`]: templates and conditions
//! - [`entry`]: the journal's facts
//! - [`scheduler`]: the state machine that folds facts into actions
//! - [`run`]: everything known about one run, folded from its journal
//! - [`scope`]: what names mean inside a running node
//! - [`item`]: what names mean where a node looks at one item of a list
//! - [`extract`]: named outputs out of a response
//! - [`dialect`]: wire formats: parse, compile into a plan, render replies
//! - [`prepare`]: a node's settings made ready for an attempt
//! - [`error`]: the one table of errors
//! - [`time`]: moments as text
//! - [`usage`]: what calls of models use and cost
//! - [`limits`]: every bound that a definition or a value must respect
//!
//! Nothing here reads a clock, a file, a socket, the environment or a source of randomness.

pub mod dialect;
pub mod entry;
pub mod error;
pub mod expr;
pub mod extract;
pub mod item;
pub mod limits;
pub mod plan;
pub mod prepare;
pub mod program;
pub mod run;
pub mod scheduler;
pub mod scope;
pub mod time;
pub mod usage;
