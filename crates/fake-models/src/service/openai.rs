//! OpenAI's chat completions.

use serde_json::{Value, json};

use super::Service;
use super::refusal::{Kind, Refusal};
use super::request::Request;
use crate::answer::{Answer, Finish};

/// When all answers were made, so that equal questions have equal answers.
const CREATED: u64 = 1_760_000_000;

pub(crate) fn body(service: Service, request: &Request, answer: &Answer) -> Value {
    json!({
        "id": id(request),
        "object": "chat.completion",
        "created": CREATED,
        "model": request.model,
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": answer.text, "refusal": null, "annotations": []},
            "logprobs": null,
            "finish_reason": finish(answer),
        }],
        "usage": usage(service, answer),
        "service_tier": "default",
        "system_fingerprint": null,
    })
}

pub(crate) fn events(service: Service, request: &Request, answer: &Answer) -> Vec<String> {
    let mut events = Vec::new();
    if service == Service::OpenRouter {
        events.push(": OPENROUTER PROCESSING\n\n".into());
    }
    events.push(chunk(
        request,
        &json!({"role": "assistant", "content": "", "refusal": null}),
        None,
    ));
    events.extend(answer.pieces().into_iter().map(|text| piece(request, text)));
    events.push(chunk(request, &json!({}), Some(finish(answer))));
    if request.stream_usage || service == Service::OpenRouter {
        let mut last = envelope(request);
        last["usage"] = usage(service, answer);
        events.push(event(&last));
    }
    events.push("data: [DONE]\n\n".into());
    events
}

pub(crate) fn piece(request: &Request, text: &str) -> String {
    chunk(request, &json!({"content": text}), None)
}

fn chunk(request: &Request, delta: &Value, finish: Option<&str>) -> String {
    let mut chunk = envelope(request);
    let choice = json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish});
    chunk["choices"] = json!([choice]);
    if request.stream_usage {
        chunk["usage"] = Value::Null;
    }
    // The service pads its events, so that their lengths tell nothing.
    chunk["obfuscation"] = json!("PGnQ3vLm");
    event(&chunk)
}

/// What every event of a stream has.
fn envelope(request: &Request) -> Value {
    json!({
        "id": id(request),
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": null,
        "choices": [],
    })
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

pub(crate) fn error(refusal: &Refusal) -> Value {
    let kind = match refusal.kind {
        Kind::Invalid | Kind::Authentication | Kind::NotFound => "invalid_request_error",
        Kind::RateLimit => "requests",
        Kind::Internal | Kind::Overloaded => "server_error",
    };
    let Refusal { message, param, code, .. } = refusal;
    json!({"error": {"message": message, "type": kind, "param": param, "code": code}})
}

fn id(request: &Request) -> String {
    format!("chatcmpl-{}", request.digest)
}

fn finish(answer: &Answer) -> &'static str {
    match answer.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Filtered => "content_filter",
    }
}

fn usage(service: Service, answer: &Answer) -> Value {
    let Answer { prompt_tokens, completion_tokens, .. } = answer;
    let mut usage = json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    });
    if service == Service::OpenRouter {
        // A millionth of a dollar a token.
        usage["cost"] = json!((prompt_tokens + completion_tokens) as f64 / 1e6);
    }
    usage
}
