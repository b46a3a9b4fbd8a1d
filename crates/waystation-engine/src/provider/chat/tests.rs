//! Completions to and from the wire.

use super::super::testing::*;
use super::*;
use crate::egress::testing::Server;

async fn ask(body: Vec<u8>, question: &Question, listens: bool) -> Asked {
    let server = Server::start(move |_| body.clone()).await;
    ask_with(|client, url| Chat::new(client, "OpenAI", url, true), &server, question, listens).await
}

async fn ask_whole(body: &Value) -> Asked {
    ask(answer(200, body.to_string()), &question(), false).await
}

async fn ask_stream(events: &[Value]) -> Asked {
    ask(stream(events), &question(), true).await
}

fn says(content: impl Into<Value>) -> Value {
    let content = content.into();
    json!({"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]})
}

fn chunk(text: &str) -> Value {
    json!({"model": "m-2", "choices": [{"delta": {"content": text}, "finish_reason": null}]})
}

fn last(reason: &str) -> Value {
    json!({"choices": [{"delta": {}, "finish_reason": reason}]})
}

fn done() -> Value {
    "data: [DONE]".into()
}

#[tokio::test]
async fn a_plain_question_is_sent_plainly() {
    let asked = ask(answer(200, says("It.").to_string()), &question(), false).await;
    assert_eq!(asked.text(), "It.");
    insta::assert_snapshot!(asked.sent(), @r#"
    POST /chat/completions HTTP/1.1
    authorization: Bearer sk-test-0123456789
    content-type: application/json

    model = "model-1"
    messages = [{"role":"user","content":"What is it?"}]
    temperature = 0.7
    "#);
}

#[tokio::test]
async fn all_that_a_question_says_is_sent() {
    let system = Message { role: Role::System, text: "Be brief.".into() };
    let mut full = Question {
        model: "openai/gpt-5-nano".into(),
        temperature: Some(0.1),
        max_tokens: Some(9),
        schema: Some(closed_schema()),
        ..question()
    };
    full.messages.insert(0, system);
    let asked = ask(answer(200, says("It.").to_string()), &full, true).await;
    assert_eq!(asked.told, ["It."], "an answer that is no stream is told at once");
    insta::assert_snapshot!(asked.sent(), @r#"
    POST /chat/completions HTTP/1.1
    authorization: Bearer sk-test-0123456789
    content-type: application/json

    model = "openai/gpt-5-nano"
    messages = [{"role":"system","content":"Be brief."},{"role":"user","content":"What is it?"}]
    max_completion_tokens = 9
    response_format = {"type":"json_schema","json_schema":{"name":"answer","strict":true,"schema":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}}
    stream = true
    stream_options = {"include_usage":true}
    "#);
}

#[test]
fn parameters_fit_the_model_and_the_provider() {
    let body = |model: &str, is_openai: bool, schema: Value| {
        let client = Arc::new(crate::egress::testing::open_client());
        let chat = Chat::new(client, "X", "http://x.example/v1", is_openai);
        let temperature = Some(0.5);
        let model = model.to_owned();
        let (max_tokens, schema) = (Some(5), Some(schema));
        chat.body(&Question { model, temperature, max_tokens, schema, ..question() }, false)
    };
    for (model, expected) in [
        ("gpt-4o", json!(0.5)),
        ("gpt-5-nano", json!(null)),
        ("gpt-5.2", json!(null)),
        ("o1-mini", json!(null)),
        ("openai/o3", json!(null)),
        ("o4-mini", json!(null)),
        ("olmo", json!(0.5)),
        ("gpt-oss", json!(0.5)),
    ] {
        assert_eq!(body(model, true, closed_schema())["temperature"], expected, "{model}");
    }
    for (is_openai, name) in [(true, "max_completion_tokens"), (false, "max_tokens")] {
        assert_eq!(body("m", is_openai, closed_schema())[name], 5);
    }
    for (schema, strict) in [(closed_schema(), true), (json!({"type": "object"}), false)] {
        let format = &body("m", true, schema)["response_format"];
        assert_eq!(format["json_schema"]["strict"], strict);
    }
}

#[tokio::test]
async fn answers_are_read_in_their_many_forms() {
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 8, "cost": 0.000_012_5});
    let choice = |message: Value, reason: Value| {
        json!({"model": "m-2", "usage": usage,
               "choices": [{"message": message, "finish_reason": reason}]})
    };
    let cases = [
        (choice(json!({"content": "a"}), json!("stop")), "a", Finish::Stop),
        (choice(json!({"content": "a"}), json!("length")), "a", Finish::Length),
        (choice(json!({"content": null}), json!("content_filter")), "", Finish::Filtered),
        (choice(json!({"content": null, "refusal": "no"}), json!("stop")), "no", Finish::Filtered),
        (choice(json!({"content": null}), json!("tool_calls")), "", Finish::Other),
        (choice(json!({}), json!(null)), "", Finish::Other),
        (
            choice(json!({"content": [{"type": "text", "text": "a"}]}), json!("stop")),
            "a",
            Finish::Stop,
        ),
    ];
    for (body, text, finish) in cases {
        let reply = ask_whole(&body).await.reply.expect("an answer");
        let (prompt_tokens, completion_tokens, nano_usd) = (7, 8, Some(12_500));
        let (text, model) = (text.to_owned(), "m-2".to_owned());
        let expected = Reply { text, model, finish, prompt_tokens, completion_tokens, nano_usd };
        assert_eq!(reply, expected, "{body}");
    }
}

#[tokio::test]
async fn what_the_provider_does_not_count_is_estimated() {
    let reply = ask_whole(&says("12345")).await.reply.expect("an answer");
    assert_eq!((reply.prompt_tokens, reply.completion_tokens), (3, 2));
    assert_eq!((reply.model.as_str(), reply.nano_usd), ("model-1", None));
}

#[tokio::test]
async fn useless_answers_may_pass() {
    let page = "<html><title>Sign in</title></html>";
    let cases = [
        (page.to_owned(), "OpenAI gave no JSON: <html><title>Sign in</title></html>"),
        (String::new(), "OpenAI gave JSON that breaks off: "),
        (
            r#"{"choices": [{"mess"#.to_owned(),
            r#"OpenAI gave JSON that breaks off: {"choices": [{"mess"#,
        ),
        ("{}".to_owned(), "OpenAI gave no choices: {}"),
        (r#"{"choices":[]}"#.to_owned(), r#"OpenAI gave no choices: {"choices":[]}"#),
        ("[1]".to_owned(), "OpenAI gave JSON of an unknown form: [1]"),
        (says(json!(1)).to_string(), "OpenAI gave content that is no text: "),
    ];
    for (body, expected) in cases {
        let asked = ask(answer(200, &body), &question(), false).await;
        let (code, may_pass, message) = asked.verdict();
        assert_eq!((code, may_pass), ("model_answer", true), "{body}");
        assert!(message.starts_with(expected), "{body}: {message}");
        assert!(asked.failure().hint().is_some(), "{body}");
    }
}

#[tokio::test]
async fn errors_in_answers_that_promised_success_count() {
    for (error, may_pass, start) in [
        (json!({"code": 429, "message": "slow"}), true, r#"429 - {"code":429,"message":"slow"}"#),
        (json!({"code": 400, "message": "bad"}), false, "400 - "),
        (json!({"code": 502, "metadata": {"raw": "upstream"}}), true, "502 - "),
        (json!({"code": "invalid_api_key"}), false, "invalid_api_key - "),
        (json!({"code": null, "type": "invalid_request_error"}), false, "invalid_request_error - "),
        (json!({"code": "server_error"}), true, "server_error - "),
        (json!("unloaded"), true, r#"error - "unloaded""#),
        (json!({"code": 99_999}), true, "99999 - "),
    ] {
        let inner = json!({"choices": [{"message": {"content": ""}, "error": error}]});
        for body in [json!({"error": error}), inner] {
            for asked in [ask_whole(&body).await, ask_stream(&[chunk("a"), body]).await] {
                let (code, found, message) = asked.verdict();
                assert_eq!((code, found), ("http_status", may_pass), "{error}");
                assert!(message.starts_with(&format!("OpenAI API error: {start}")), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn a_stream_is_told_as_it_comes() {
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, "cost": 0.001}});
    let first = json!({"choices": [{"delta": {"role": "assistant", "content": ""}}]});
    let tool = json!({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]});
    let note = Value::from(": PROCESSING");
    let filters = json!({"choices": [], "prompt_filter_results": []});
    let events = [
        filters,
        first,
        note,
        chunk("He"),
        tool,
        chunk("llo"),
        last("stop"),
        usage,
        done(),
        chunk("!"),
    ];
    let asked = ask_stream(&events).await;
    assert_eq!(asked.told, ["He", "llo"]);
    let expected = Reply {
        text: "Hello".into(),
        model: "m-2".into(),
        finish: Finish::Stop,
        prompt_tokens: 3,
        completion_tokens: 4,
        nano_usd: Some(1_000_000),
    };
    assert_eq!(asked.reply, Ok(expected));
}

#[tokio::test]
async fn a_stream_counts_only_with_its_end() {
    let cases: [(&[Value], Option<&str>); 7] = [
        (&[chunk("a"), done()], Some("a")),
        (&[chunk("a"), last("stop")], Some("a")),
        (&[chunk("a")], None),
        (&[chunk("a"), "data: [DO".into()], Some("gave no JSON")),
        (&[done()], None),
        (&[], None),
        (&[chunk("a"), "data: {\"choices\"".into()], Some("gave JSON that breaks off")),
    ];
    for (events, expected) in cases {
        let asked = ask_stream(events).await;
        match (&asked.reply, expected) {
            (Ok(reply), Some(text)) => assert_eq!(reply.text, text, "{events:?}"),
            (Err(failure), Some(text)) => assert!(failure.message.contains(text), "{failure:?}"),
            (_, None) => {
                let (code, may_pass, message) = asked.verdict();
                assert_eq!((code, may_pass), ("transport", true), "{events:?}");
                let end = "broke off before the answer was complete";
                assert!(message.ends_with(end), "{events:?}: {message}");
            }
        }
    }
}
