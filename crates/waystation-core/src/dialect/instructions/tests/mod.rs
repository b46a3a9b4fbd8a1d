//! Tests of instruction chains, from a request's body to the status.

mod golden;
mod order;
mod payloads;
mod properties;
mod status;
mod validation;
mod world;
