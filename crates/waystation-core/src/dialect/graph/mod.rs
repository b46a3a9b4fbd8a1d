//! Node/edge workflows: the format of `/api/v1/workflows` and `/workflows`.
//!
//! - [`types`]: what the format asks of node types

pub mod types;
