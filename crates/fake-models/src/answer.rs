//! What is said: a function of the request alone.

use serde_json::Value;

use crate::behaviour::Behaviour;
use crate::service::request::Request;
use crate::{marker, sample};

/// How large the answer of `fake-huge` is, in bytes.
const HUGE: usize = 5 * 1024 * 1024;
/// Characters taken for one token, as everybody estimates.
const TOKEN_LENGTH: usize = 4;
/// Characters of the last message that are repeated.
const REPEATED: usize = 60;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finish {
    Stop,
    Length,
    Filtered,
}

/// An answer, in nobody's wire format.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) finish: Finish,
    pub(crate) prompt_tokens: u64,
    pub(crate) completion_tokens: u64,
}

impl Answer {
    /// The answer of a model that behaves so.
    pub(crate) fn to(request: &Request, behaviour: Behaviour) -> Answer {
        let (text, finish) = match behaviour {
            Behaviour::Empty => (String::new(), Finish::Stop),
            Behaviour::Filtered => (String::new(), Finish::Filtered),
            Behaviour::Length => (half(&said(request)).to_owned(), Finish::Length),
            Behaviour::Huge => ("All work and no play. ".repeat(HUGE / 22 + 1), Finish::Stop),
            Behaviour::Raw => (raw(request), Finish::Stop),
            _ => within(said(request), request.tokens_max),
        };
        let (prompt_tokens, completion_tokens) = tokens(request, &text);
        Answer { text, finish, prompt_tokens, completion_tokens }
    }

    /// The text in the pieces in which it is streamed: words, or large pieces of a large text.
    pub(crate) fn pieces(&self) -> Vec<&str> {
        match self.text.len() {
            0..4096 => self.text.split_inclusive(' ').collect(),
            _ => chunks(&self.text, 16 * 1024),
        }
    }
}

fn chunks(mut text: &str, length: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while !text.is_empty() {
        let (piece, rest) = text.split_at(text.floor_char_boundary(length));
        pieces.push(piece);
        text = rest;
    }
    pieces
}

/// The rule of `fake`.
fn said(request: &Request) -> String {
    let wanted = wanted(request);
    if let Some(schema) = &request.schema {
        let json = wanted.filter(|text| serde_json::from_str::<Value>(text).is_ok());
        return json.map_or_else(|| sample::of(schema).to_string(), str::to_owned);
    }
    wanted.map_or_else(|| unasked(request), str::to_owned)
}

/// The rule of `fake-json`, which minds no schema.
fn raw(request: &Request) -> String {
    wanted(request).map_or_else(|| unasked(request), str::to_owned)
}

/// What the prompt's markers want to be said.
fn wanted(request: &Request) -> Option<&str> {
    let later = request.assistant_spoke.then(|| marker::last(&request.prompt, "then")).flatten();
    later.or_else(|| marker::last(&request.prompt, "answer"))
}

fn unasked(request: &Request) -> String {
    if request.prompt.to_lowercase().contains("true or false") {
        return "true".into();
    }
    let last = &request.last_message;
    let beginning: String = last.chars().take(REPEATED).collect();
    format!("You sent {} characters that begin with: {beginning}", last.chars().count())
}

fn half(text: &str) -> &str {
    &text[..text.floor_char_boundary(text.len() / 2)]
}

fn within(text: String, tokens_max: Option<u64>) -> (String, Finish) {
    let length_max = tokens_max.map_or(usize::MAX, |tokens| tokens as usize * TOKEN_LENGTH);
    if text.len() <= length_max {
        return (text, Finish::Stop);
    }
    (text[..text.floor_char_boundary(length_max)].to_owned(), Finish::Length)
}

/// Tokens of the prompt and of the answer.
fn tokens(request: &Request, text: &str) -> (u64, u64) {
    let count = |text: &str| text.len().div_ceil(TOKEN_LENGTH) as u64;
    let said = marker::last(&request.prompt, "usage").and_then(|usage| {
        let (prompt, completion) = usage.split_once(' ')?;
        Some((prompt.parse().ok()?, completion.trim().parse().ok()?))
    });
    said.unwrap_or_else(|| (count(&request.prompt), count(text)))
}

/// A number in a marker.
pub(crate) fn milliseconds(request: &Request, otherwise: u64) -> u64 {
    marker::last(&request.prompt, "delay").and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}
