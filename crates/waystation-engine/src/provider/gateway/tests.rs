//! What a gateway is sent, and what it may answer.

use serde_json::json;

use super::super::testing::*;
use super::super::{Message, Role};
use super::*;
use crate::egress::testing::Server;

async fn ask(body: Value, question: &Question) -> Asked {
    let body = answer(200, body.to_string());
    let server = Server::start(move |_| body.clone()).await;
    ask_with(|client, url| Gateway::new(client, "Gateway", url), &server, question, true).await
}

#[tokio::test]
async fn all_that_a_question_says_is_sent() {
    let system = Message { role: Role::System, text: "Be brief.".into() };
    let mut full = Question {
        temperature: Some(0.5),
        max_tokens: Some(9),
        schema: Some(json!({"type": "object"})),
        ..question()
    };
    full.messages.insert(0, system);
    let asked = ask(json!({"text": "It."}), &full).await;
    insta::assert_snapshot!(asked.sent(), @r#"
    POST /v1/llm/generate HTTP/1.1
    authorization: Bearer sk-test-0123456789
    content-type: application/json

    model = "model-1"
    messages = [{"role":"system","content":"Be brief."},{"role":"user","content":"What is it?"}]
    prompt = "Be brief.\n\nWhat is it?"
    temperature = 0.5
    max_tokens = 9
    schema = {"type":"object"}
    "#);
}

#[tokio::test]
async fn what_a_question_leaves_open_is_not_sent() {
    let asked = ask(json!({"text": "It."}), &Question { model: String::new(), ..question() }).await;
    insta::assert_snapshot!(asked.sent(), @r#"
    POST /v1/llm/generate HTTP/1.1
    authorization: Bearer sk-test-0123456789
    content-type: application/json

    messages = [{"role":"user","content":"What is it?"}]
    prompt = "What is it?"
    "#);
}

#[tokio::test]
async fn answers_are_read_in_their_many_forms() {
    let usage = json!({"input_tokens": 1, "output_tokens": 2});
    for (body, finish, tokens) in [
        (json!({"text": "a"}), Finish::Stop, (3, 1)),
        (json!({"content": "a", "finish_reason": "length"}), Finish::Length, (3, 1)),
        (json!({"response": "a", "usage": {"total": 3}}), Finish::Stop, (3, 1)),
        (json!({"output": "a", "usage": "none"}), Finish::Stop, (3, 1)),
        (
            json!({"content": [{"type": "text", "text": "a"}], "stop_reason": "max_tokens", "usage": usage}),
            Finish::Length,
            (1, 2),
        ),
        (
            json!({"choices": [{"message": {"content": "a"}, "finish_reason": "content_filter"}],
                   "usage": {"prompt_tokens": 4, "completion_tokens": 5}}),
            Finish::Filtered,
            (4, 5),
        ),
        (json!({"choices": [{"text": "a"}]}), Finish::Stop, (3, 1)),
    ] {
        let asked = ask(body.clone(), &question()).await;
        let reply = asked.reply.expect("an answer");
        assert_eq!((reply.text.as_str(), reply.finish), ("a", finish), "{body}");
        assert_eq!((reply.prompt_tokens, reply.completion_tokens), tokens, "{body}");
        assert_eq!(asked.told, ["a"], "{body}");
    }
}

#[tokio::test]
async fn errors_and_answers_without_a_text_fail() {
    let asked = ask(json!({"error": {"code": 404, "message": "no model"}}), &question()).await;
    let message = r#"Gateway API error: 404 - {"code":404,"message":"no model"}"#;
    assert_eq!(asked.verdict(), ("http_status", false, message));
    let asked = ask(json!({"answer": 1}), &question()).await;
    let message = r#"Gateway gave no text: {"answer":1}"#;
    assert_eq!(asked.verdict(), ("model_answer", true, message));
}
