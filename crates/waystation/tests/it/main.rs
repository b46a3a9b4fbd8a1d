//! The program from the outside: real processes, real requests, local services to call.

mod blocks;
mod cli;
mod decisions;
mod documents;
mod endpoints;
mod execute;
mod executions;
mod graphs;
mod hostile;
mod instructions;
mod jobs;
mod lifecycle;
mod models;
mod outgoing;
mod programs;
mod recovery;
mod redis;
mod runs;
mod secrets;
mod status;
mod steps;
mod support;
mod tidy;
mod triggers;
mod webhooks;
mod workflows;
