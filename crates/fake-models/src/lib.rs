//! Model services for tests and for trying things: OpenAI's, Anthropic's, and a plain gateway.
//!
//! What is answered follows from the request alone, mostly from the model's name:
//!
//! | model | what happens |
//! | --- | --- |
//! | `fake`, and any name not listed | an answer by the rule below |
//! | `fake-json` | the prompt's `[[answer: …]]` as it is, whatever schema is asked for |
//! | `fake-empty` | an answer without text |
//! | `fake-length`, `fake-filtered` | half an answer, ended by its length, or withheld |
//! | `fake-slow` | the answer after 300 ms, or `[[delay: ms]]` |
//! | `fake-choppy` | the answer in pieces of seven bytes, wherever that cuts |
//! | `fake-huge` | 5 MB of text |
//! | `fake-endless` | a stream that never ends; without streaming, a body that trickles for ever |
//! | `fake-cut` | the connection breaks in the middle |
//! | `fake-truncated` | the body ends in the middle as if that were all |
//! | `fake-not-json`, `fake-html` | 200 with something else |
//! | `fake-midway` | a stream that begins well and then tells of an error; without streaming, 500 |
//! | `fake-429`, `fake-429-after` | a rate limit, the second with `Retry-After: 1` |
//! | `fake-529` | overloaded |
//! | `fake-500-once` | 500 for the first call with this body, an answer for later ones |
//! | `fake-refused`, and other names that begin with `fake-` | no such model |
//!
//! The rule: the last `[[answer: …]]` in the conversation; once the assistant has spoken, the last
//! `[[then: …]]` before that. Without a marker, a sample of the schema if one is given; `true` where
//! only true or false is wanted; else a sentence about the last message. `[[usage: 100 20]]` says what
//! tokens are counted. The answer is cut at the tokens that it may have.
//!
//! - `service`: the wire formats, and what the real services refuse
//! - `behaviour`, `marker`, `answer`, `sample`: what is said
//! - `reply`, `transport`: how it goes out, broken where that is wanted
//! - [`calls`]: what was asked
//! - `server`: the routes, and the handle for tests

mod answer;
mod behaviour;
pub mod calls;
mod marker;
mod reply;
mod sample;
mod server;
mod service;
mod transport;

pub use server::{FakeModels, Held};
