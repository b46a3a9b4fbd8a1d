//! A plain gateway: `{model, prompt | messages, ...}` in, `{text, ...}` out.

use serde_json::{Value, json};

use super::refusal::Refusal;
use super::request::Request;
use crate::answer::{Answer, Finish};

pub(crate) fn body(request: &Request, answer: &Answer) -> Value {
    let Answer { prompt_tokens, completion_tokens, .. } = answer;
    json!({
        "text": answer.text,
        "model": request.model,
        "finish_reason": match answer.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::Filtered => "content_filter",
        },
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    })
}

pub(crate) fn error(refusal: &Refusal) -> Value {
    json!({"error": refusal.message})
}
