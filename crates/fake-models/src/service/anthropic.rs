//! Anthropic's messages.

use serde_json::{Value, json};

use super::refusal::{Kind, Refusal};
use super::request::Request;
use crate::answer::{Answer, Finish};

pub(crate) fn body(request: &Request, answer: &Answer) -> Value {
    let mut message = envelope(request);
    let block = (!answer.text.is_empty()).then(|| block(request, &answer.text));
    message["content"] = json!(Vec::from_iter(block));
    message["stop_reason"] = json!(stop_reason(request, answer));
    message["stop_details"] = stop_details(answer);
    message["usage"] = usage(answer, answer.completion_tokens);
    message
}

pub(crate) fn events(request: &Request, answer: &Answer) -> Vec<String> {
    let mut start = envelope(request);
    start["usage"] = usage(answer, 1);
    let mut events = vec![event(&json!({"type": "message_start", "message": start}))];
    if !answer.text.is_empty() {
        let block = empty_block(request);
        events.push(event(
            &json!({"type": "content_block_start", "index": 0, "content_block": block}),
        ));
        events.push(event(&json!({"type": "ping"})));
        events.extend(answer.pieces().into_iter().map(|text| piece(request, text)));
        events.push(event(&json!({"type": "content_block_stop", "index": 0})));
    }
    events.push(event(&json!({
        "type": "message_delta",
        "delta": {
            "stop_reason": stop_reason(request, answer),
            "stop_sequence": null,
            "stop_details": stop_details(answer),
        },
        "usage": {"output_tokens": answer.completion_tokens},
    })));
    events.push(event(&json!({"type": "message_stop"})));
    events
}

pub(crate) fn piece(request: &Request, text: &str) -> String {
    let delta = match request.tool {
        None => json!({"type": "text_delta", "text": text}),
        Some(_) => json!({"type": "input_json_delta", "partial_json": text}),
    };
    event(&json!({"type": "content_block_delta", "index": 0, "delta": delta}))
}

/// What a message has before there is an answer.
fn envelope(request: &Request) -> Value {
    json!({
        "id": format!("msg_{}", request.digest),
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "stop_details": null,
    })
}

fn block(request: &Request, text: &str) -> Value {
    let mut block = empty_block(request);
    match request.tool {
        None => block["text"] = json!(text),
        // A tool's input is an object, whatever was wanted of it.
        Some(_) => block["input"] = Value::Object(serde_json::from_str(text).unwrap_or_default()),
    }
    block
}

fn empty_block(request: &Request) -> Value {
    match &request.tool {
        None => json!({"type": "text", "text": ""}),
        Some(name) => {
            let id = format!("toolu_{}", request.digest);
            json!({"type": "tool_use", "id": id, "name": name, "input": {}})
        }
    }
}

fn event(value: &Value) -> String {
    let name = value["type"].as_str().unwrap_or_default();
    format!("event: {name}\ndata: {value}\n\n")
}

pub(crate) fn error(refusal: &Refusal, digest: &str) -> Value {
    let kind = match refusal.kind {
        Kind::Invalid => "invalid_request_error",
        Kind::Authentication => "authentication_error",
        Kind::NotFound => "not_found_error",
        Kind::RateLimit => "rate_limit_error",
        Kind::Internal => "api_error",
        Kind::Overloaded => "overloaded_error",
    };
    json!({
        "type": "error",
        "error": {"type": kind, "message": refusal.message},
        "request_id": format!("req_{digest}"),
    })
}

fn stop_reason(request: &Request, answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop if request.tool.is_some() => "tool_use",
        Finish::Stop => "end_turn",
        Finish::Length => "max_tokens",
        Finish::Filtered => "refusal",
    }
}

fn stop_details(answer: &Answer) -> Value {
    match answer.finish {
        Finish::Filtered => json!({"type": "refusal", "category": null, "explanation": null}),
        _ => Value::Null,
    }
}

fn usage(answer: &Answer, output_tokens: u64) -> Value {
    json!({
        "input_tokens": answer.prompt_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output_tokens,
        "service_tier": "standard",
    })
}
