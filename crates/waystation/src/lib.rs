//! Waystation: a durable workflow engine in one program.
//!
//! - [`config`]: settings, read once
//! - [`app`]: the program put together
//! - [`pipeline`]: what it takes to run a pipeline, for HTTP and the command line
//! - [`blocks`]: workflows made of blocks
//! - [`view`]: a run as JSON, for people and programs that look it up
//! - [`http`]: routes, one file per API
//! - [`cli`]: commands, one file each

pub mod app;
pub mod blocks;
pub mod cli;
pub mod config;
pub mod http;
pub mod pipeline;
pub mod view;
