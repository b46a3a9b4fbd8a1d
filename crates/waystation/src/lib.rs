//! Waystation: a durable workflow engine in one program.
//!
//! - [`settings`]: where settings come from; [`config`]: what they mean
//! - [`origins`]: which web pages may use the routes that are open to browsers
//! - [`auth`]: who calls, and what they may do
//! - [`app`]: the program put together
//! - [`begin`]: what it takes to begin a run, in every format
//! - [`chain`]: what it takes to run an instruction chain, for HTTP and the command line
//! - [`pipeline`]: what it takes to run a pipeline, for HTTP and the command line
//! - [`blocks`]: workflows made of blocks
//! - [`workflows`]: stored workflows: checked, kept and run
//! - [`triggers`]: what begins them by itself
//! - [`links`]: links by which somebody ends a wait
//! - [`generate`]: a workflow out of a description
//! - [`view`]: a run as JSON, for people and programs that look it up
//! - [`http`]: routes, one file per API
//! - [`cli`]: commands, one file each

pub mod app;
pub mod auth;
pub mod begin;
pub mod blocks;
pub mod chain;
pub mod cli;
pub mod config;
pub mod generate;
pub mod http;
pub mod links;
pub mod origins;
pub mod pipeline;
pub mod settings;
pub mod triggers;
pub mod view;
pub mod workflows;
