//! Tests of pipelines, from a request's body to the reply and the notifications.

mod golden;
mod payloads;
mod properties;
mod validation;
mod world;
