//! Messages to and from the wire.

use super::super::Message as Said;
use super::super::testing::*;
use super::*;
use crate::egress::testing::Server;

async fn ask(body: Vec<u8>, question: &Question, listens: bool) -> Asked {
    let server = Server::start(move |_| body.clone()).await;
    ask_with(|client, url| Messages::new(client, "Anthropic", url), &server, question, listens)
        .await
}

fn message(content: &Value, reason: &str) -> Vec<u8> {
    let usage = json!({"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 10});
    let body = json!({"type": "message", "role": "assistant", "model": "claude-2", "usage": usage,
                      "content": content, "stop_reason": reason, "stop_sequence": null});
    answer(200, body.to_string())
}

fn text(text: &str) -> Value {
    json!([{"type": "text", "text": text}])
}

fn open_schema() -> Question {
    Question { schema: Some(json!({"type": "object"})), ..question() }
}

#[tokio::test]
async fn a_plain_question_is_sent_plainly() {
    let asked = ask(message(&text("It."), "end_turn"), &question(), false).await;
    assert_eq!(asked.text(), "It.");
    insta::assert_snapshot!(asked.sent(), @r#"
    POST /v1/messages HTTP/1.1
    anthropic-version: 2023-06-01
    content-type: application/json
    x-api-key: sk-test-0123456789

    model = "model-1"
    max_tokens = 4096
    messages = [{"role":"user","content":"What is it?"}]
    "#);
}

#[tokio::test]
async fn all_that_a_question_says_is_sent() {
    let said = |role, text: &str| Said { role, text: text.into() };
    let full = Question {
        messages: vec![
            said(Role::System, "Be brief."),
            said(Role::User, "What?"),
            said(Role::Assistant, "It."),
            said(Role::System, "Be kind."),
            said(Role::User, "Why?"),
        ],
        temperature: Some(0.2),
        max_tokens: Some(9),
        schema: Some(closed_schema()),
        ..question()
    };
    let asked = ask(message(&text("{}"), "end_turn"), &full, true).await;
    insta::assert_snapshot!(asked.sent(), @r#"
    POST /v1/messages HTTP/1.1
    anthropic-version: 2023-06-01
    content-type: application/json
    x-api-key: sk-test-0123456789

    model = "model-1"
    max_tokens = 9
    system = "Be brief.\n\nBe kind."
    messages = [{"role":"user","content":"What?"},{"role":"assistant","content":"It."},{"role":"user","content":"Why?"}]
    temperature = 0.2
    output_config = {"format":{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}}
    stream = true
    "#);
}

#[tokio::test]
async fn a_schema_beyond_the_guarantee_becomes_a_tool() {
    let content = json!([{"type": "text", "text": "Here:"},
                         {"type": "tool_use", "id": "t", "name": "answer", "input": {"a": [1]}}]);
    let asked = ask(message(&content, "tool_use"), &open_schema(), false).await;
    let reply = asked.reply.as_ref().expect("an answer");
    assert_eq!((reply.text.as_str(), reply.finish), (r#"{"a":[1]}"#, Finish::Stop));
    insta::assert_snapshot!(asked.sent(), @r#"
    POST /v1/messages HTTP/1.1
    anthropic-version: 2023-06-01
    content-type: application/json
    x-api-key: sk-test-0123456789

    model = "model-1"
    max_tokens = 4096
    messages = [{"role":"user","content":"What is it?"}]
    tools = [{"name":"answer","description":"Gives the answer in the form that is asked for.","input_schema":{"type":"object"}}]
    tool_choice = {"type":"tool","name":"answer"}
    "#);
}

#[tokio::test]
async fn answers_are_read() {
    let two = json!([{"type": "thinking", "thinking": "hm", "signature": "s"},
                     {"type": "text", "text": "a", "citations": null}, {"type": "text", "text": "b"}]);
    for (content, reason, expected, finish) in [
        (two, "end_turn", "ab", Finish::Stop),
        (text("a"), "max_tokens", "a", Finish::Length),
        (text("a"), "stop_sequence", "a", Finish::Stop),
        (json!([]), "refusal", "", Finish::Filtered),
        (text("a"), "pause_turn", "a", Finish::Other),
    ] {
        let reply = ask(message(&content, reason), &question(), false).await.reply;
        let expected = Reply {
            text: expected.into(),
            model: "claude-2".into(),
            finish,
            prompt_tokens: 15,
            completion_tokens: 6,
            nano_usd: None,
        };
        assert_eq!(reply, Ok(expected), "{reason}");
    }
}

#[tokio::test]
async fn useless_answers_may_pass() {
    for (body, expected) in [
        ("no", "Anthropic gave no JSON: no"),
        ("{}", "Anthropic gave JSON of an unknown form: {}"),
        (r#"{"type": "message"}"#, "Anthropic gave no message: "),
        (r#"{"type": "ping"}"#, "Anthropic gave no message: "),
    ] {
        let asked = ask(answer(200, body), &question(), false).await;
        let (code, may_pass, message) = asked.verdict();
        assert_eq!((code, may_pass), ("model_answer", true), "{body}");
        assert!(message.starts_with(expected), "{message}");
    }
}

/// The events before those of the content.
fn start() -> Vec<Value> {
    let usage = json!({"input_tokens": 5, "output_tokens": 1});
    let message = json!({"type": "message", "model": "claude-2", "content": [], "usage": usage});
    let block = json!({"type": "text", "text": ""});
    vec![
        json!({"type": "message_start", "message": message}),
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "ping"}),
    ]
}

fn delta(delta: &Value) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": delta})
}

fn piece(text: &str) -> Value {
    delta(&json!({"type": "text_delta", "text": text}))
}

fn end(reason: &str) -> Vec<Value> {
    let usage = json!({"output_tokens": 9});
    vec![
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}),
        json!({"type": "message_stop"}),
    ]
}

async fn ask_stream(question: &Question, parts: &[&[Value]]) -> Asked {
    ask(stream(&parts.concat()), question, true).await
}

#[tokio::test]
async fn a_stream_is_told_as_it_comes() {
    let thought = delta(&json!({"type": "thinking_delta", "thinking": "hm"}));
    let pieces = [thought, piece("He"), json!({"type": "new_kind"}), piece("llo")];
    let asked = ask_stream(&question(), &[&start(), &pieces, &end("end_turn")]).await;
    assert_eq!(asked.told, ["He", "llo"]);
    let expected = Reply {
        text: "Hello".into(),
        model: "claude-2".into(),
        finish: Finish::Stop,
        prompt_tokens: 5,
        completion_tokens: 9,
        nano_usd: None,
    };
    assert_eq!(asked.reply, Ok(expected));
}

#[tokio::test]
async fn the_input_of_a_tool_is_told_as_it_comes() {
    let part = |json: &str| delta(&json!({"type": "input_json_delta", "partial_json": json}));
    let pieces = [piece("Here:"), part(""), part("{\"a\""), part(":1}")];
    let asked = ask_stream(&open_schema(), &[&start(), &pieces, &end("tool_use")]).await;
    assert_eq!(
        (asked.text(), &asked.told[..]),
        ("{\"a\":1}", &["{\"a\"".into(), ":1}".into()][..])
    );
}

#[tokio::test]
async fn errors_in_a_stream_count_by_their_kind() {
    for (kind, expected) in [
        ("overloaded_error", true),
        ("api_error", true),
        ("rate_limit_error", true),
        ("invalid_request_error", false),
        ("authentication_error", false),
    ] {
        let error = json!({"type": "error", "error": {"type": kind, "message": "Oh"}});
        let asked = ask_stream(&question(), &[&start(), &[piece("a"), error]]).await;
        let message =
            format!(r#"Anthropic API error: {kind} - {{"type":"{kind}","message":"Oh"}}"#);
        assert_eq!(asked.verdict(), ("http_status", expected, message.as_str()));
    }
}

#[tokio::test]
async fn a_stream_without_its_end_may_pass() {
    let cut = &end("end_turn")[..2];
    for parts in [&[&start()[..]][..], &[&start(), &[piece("a")]], &[&start(), cut], &[]] {
        let asked = ask_stream(&question(), parts).await;
        assert_eq!(asked.verdict().0, "transport", "{parts:?}");
        assert!(asked.verdict().1, "{parts:?}");
    }
}
