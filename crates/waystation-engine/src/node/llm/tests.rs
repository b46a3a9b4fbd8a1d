//! What `llm` asks and gives.

use waystation_core::error::{Class, Code};

use super::super::model::testing::{attempt, prompt};
use super::*;
use crate::provider::Finish;
use crate::provider::scripted::Scripted;

async fn ask(script: &Arc<Scripted>, config: Value) -> Outcome {
    attempt(&Llm { models: script.models() }, config).await
}

#[tokio::test]
async fn an_answer_becomes_the_result() {
    let script = Scripted::new(["Hello"]);
    let config =
        json!({ "prompt": "Say hello", "temperature": 0.5, "max_tokens": 9, "model": "m" });
    let mut output = ask(&script, config).await.expect("an answer").output;
    output["latency_ms"] = json!(0);
    let expected = json!({
        "text": "Hello", "provider": "openai", "model": "scripted-1", "finish_reason": "stop",
        "usage": {
            "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "cost_usd": 0.000003,
        },
        "cached": false, "latency_ms": 0,
    });
    assert_eq!(output, expected);
    let question = script.questions().remove(0);
    assert_eq!((question.model.as_str(), question.max_tokens), ("m", Some(9)));
    assert_eq!((question.temperature, question.schema), (Some(0.5), None));
}

#[tokio::test]
async fn a_prompt_or_a_conversation_is_asked() {
    let script = Scripted::new(["a", "b"]);
    let config = json!({ "prompt": { "a": 1 }, "system_prompt": "Be brief." });
    ask(&script, config).await.expect("an answer");
    insta::assert_snapshot!(prompt(&script), @r#"
    [System]
    Be brief.

    [User]
    {"a":1}
    "#);
    let messages = json!([
        { "role": "system", "content": "s" },
        { "role": "user", "content": "u" },
        { "role": "assistant", "content": [1] },
    ]);
    ask(&script, json!({ "messages": messages })).await.expect("an answer");
    insta::assert_snapshot!(prompt(&script), @"
    [System]
    s

    [User]
    u

    [Assistant]
    [1]
    ");
}

#[tokio::test]
async fn settings_that_say_nothing_or_too_much_are_refused() {
    let either = "llm settings: either `prompt` or `messages` is needed";
    for (config, expected) in [
        (json!({}), either),
        (json!({ "messages": [] }), either),
        (json!({ "prompt": "a", "messages": [{ "role": "user", "content": "b" }] }), either),
        (json!({ "promt": "a" }), "llm settings: unknown field `promt`, expected one of"),
        (
            json!({ "messages": [{ "role": "robot", "content": "b" }] }),
            "llm settings: unknown variant `robot`",
        ),
        (json!({ "prompt": "a", "schema": 1 }), "schema: a JSON Schema is an object"),
    ] {
        let script = Scripted::new([""; 0]);
        let failure = ask(&script, config).await.expect_err(expected);
        assert!(failure.message.starts_with(expected), "{}", failure.message);
        assert_eq!((failure.code, failure.class), (Code::DefinitionInvalid, Class::Fatal));
        assert!(script.questions().is_empty());
    }
}

#[tokio::test]
async fn an_answer_without_text_is_worth_another_attempt_unless_the_question_is_why() {
    let mut told = String::new();
    for (text, finish) in
        [("", Finish::Stop), (" \n", Finish::Length), ("", Finish::Filtered), ("", Finish::Other)]
    {
        let script = Scripted::new([(text, finish)]);
        let failure = ask(&script, json!({ "prompt": "p" })).await.expect_err("empty");
        assert_eq!(failure.code, Code::ModelAnswer);
        let (class, hint) = (failure.class, failure.hint().unwrap_or("no hint"));
        told.push_str(&format!("{} ({hint}, {class:?})\n", failure.message));
    }
    insta::assert_snapshot!(told, @"
    The model's answer is empty (no hint, Retryable { after_ms: None })
    The model's answer is empty: it reached its greatest length before it had any text (raise max_tokens, Fatal)
    The model's answer is empty: the provider withheld it (no hint, Fatal)
    The model's answer is empty (no hint, Retryable { after_ms: None })
    ");
}

#[tokio::test]
async fn a_cut_answer_is_kept_and_says_so() {
    let script = Scripted::new([("Once upon", Finish::Length)]);
    let output = ask(&script, json!({ "prompt": "p" })).await.expect("a part").output;
    assert_eq!(
        (&output["text"], &output["finish_reason"]),
        (&json!("Once upon"), &json!("length"))
    );
}

#[tokio::test]
async fn with_a_schema_the_fields_are_there_but_take_no_others_place() {
    let answer =
        "```json\n{\"city\": \"Rome\", \"model\": \"Fiat\", \"text\": \"t\", \"rounds\": 9}\n```";
    let script = Scripted::new([answer]);
    let config = json!({ "prompt": "p", "schema": { "type": "object", "required": ["city"] } });
    let output = ask(&script, config).await.expect("an answer").output;
    let value = json!({ "city": "Rome", "model": "Fiat", "text": "t", "rounds": 9 });
    assert_eq!((&output["json"], &output["city"]), (&value, &json!("Rome")));
    assert_eq!((&output["model"], &output["rounds"]), (&json!("scripted-1"), &json!(1)));
    assert_eq!(output["text"], json!(value.to_string()));
}

#[tokio::test]
async fn with_a_schema_a_list_is_known_as_a_whole() {
    let script = Scripted::new(["[1, 2]"]);
    let config = json!({ "prompt": "p", "schema": { "type": "array" } });
    let output = ask(&script, config).await.expect("an answer").output;
    assert_eq!((&output["json"], &output["text"]), (&json!([1, 2]), &json!("[1, 2]")));
}
