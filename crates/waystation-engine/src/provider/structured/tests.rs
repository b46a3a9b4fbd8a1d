//! What becomes of a model's answers, round by round.

use serde_json::json;
use waystation_core::error::Class;

use super::*;
use crate::provider::scripted::{Line, Scripted};

fn schema() -> Value {
    json!({
        "type": "object",
        "properties": { "city": { "type": "string" }, "degrees": { "type": "integer" } },
        "required": ["city", "degrees"],
        "additionalProperties": false,
    })
}

fn question() -> Ask {
    let message = Message { role: Role::User, text: "How warm is it in Rome?".into() };
    Ask { messages: vec![message], cache: true, ..Ask::default() }
}

async fn ask_script(script: &Arc<Scripted>) -> Result<Structured, Failure> {
    ask(&script.models(), question(), &schema(), &AttemptContext::alone()).await
}

fn conversation(question: &crate::provider::Question) -> String {
    let message = |message: &Message| format!("[{:?}]\n{}\n", message.role, message.text);
    question.messages.iter().map(message).collect::<Vec<_>>().join("\n")
}

const GOOD: &str = r#"{"city": "Rome", "degrees": 21}"#;

#[tokio::test]
async fn a_good_answer_needs_one_round() {
    let script = Scripted::new([GOOD]);
    let structured = ask_script(&script).await.expect("good");
    assert_eq!(structured.value, json!({ "city": "Rome", "degrees": 21 }));
    assert_eq!((structured.rounds, structured.repaired), (1, false));
    let questions = script.questions();
    assert_eq!((questions.len(), &questions[0].schema), (1, &Some(schema())));
    insta::assert_snapshot!(conversation(&questions[0]), @r#"
    [System]
    Answer with one JSON document that follows this JSON Schema, and nothing else: no explanation, no code fence.
    {"type":"object","properties":{"city":{"type":"string"},"degrees":{"type":"integer"}},"required":["city","degrees"],"additionalProperties":false}

    [User]
    How warm is it in Rome?
    "#);
}

#[tokio::test]
async fn what_is_plain_is_mended_without_asking_again() {
    let fenced = format!("Here:\n```json\n{}\n```", GOOD.replace('}', ",}"));
    let script = Scripted::new([fenced.as_str()]);
    let structured = ask_script(&script).await.expect("good");
    assert_eq!(structured.value, json!({ "city": "Rome", "degrees": 21 }));
    assert_eq!((structured.rounds, structured.repaired), (1, true));
}

#[tokio::test]
async fn a_second_round_is_told_what_was_wrong_and_counts() {
    let context = AttemptContext::alone();
    let script = Scripted::new([r#"{"city": 1, "degrees": 21}"#, GOOD]);
    let asked = ask(&script.models(), question(), &schema(), &context).await;
    let structured = asked.expect("good");
    assert_eq!((structured.rounds, structured.repaired), (2, false));
    assert_eq!((structured.answer.usage.calls, context.spent().calls), (2, 2));
    assert_eq!(structured.answer.usage.total_tokens(), 24);
    let questions = script.questions();
    assert_eq!(questions[1].schema, Some(schema()));
    insta::assert_snapshot!(conversation(&questions[1]), @r#"
    [System]
    Answer with one JSON document that follows this JSON Schema, and nothing else: no explanation, no code fence.
    {"type":"object","properties":{"city":{"type":"string"},"degrees":{"type":"integer"}},"required":["city","degrees"],"additionalProperties":false}

    [User]
    How warm is it in Rome?

    [Assistant]
    {"city": 1, "degrees": 21}

    [User]
    Your answer does not follow the schema: /city: the value is not of type "string". Answer again with the corrected JSON document that follows the schema, and nothing else.
    "#);
}

#[tokio::test]
async fn each_unusable_answer_is_named() {
    let long = "x".repeat(5 << 20);
    let many = format!("[{}]", vec!["1"; 1 << 20].join(","));
    let stop = Finish::Stop;
    let mut told = String::new();
    for (text, finish) in [
        ("", stop),
        ("Es ist warm.", stop),
        (r#"{"city": "Rome", "degrees": 2"#, Finish::Length),
        (r#"{"city": "Rome""#, Finish::Filtered),
        (r#"{"city": "Rome""#, stop),
        (r#"{"city": "Rome", "degrees": "21", "sky": "blue"}"#, stop),
        (&long, stop),
        (&many, stop),
    ] {
        let script = Scripted::new([(text, finish), (text, finish)]);
        let failure = ask_script(&script).await.expect_err("of no use");
        assert_eq!((failure.code, script.questions().len()), (Code::ModelAnswer, 2));
        let is_cut = matches!(finish, Finish::Length | Finish::Filtered);
        assert_eq!(failure.class == Class::Fatal, is_cut);
        assert!(failure.message.len() < 600);
        told.push_str(&failure.message);
        told.push('\n');
    }
    insta::assert_snapshot!(told, @r#"
    The model's answer is no JSON document: it is empty
    The model's answer is no JSON document: expected value at line 1 column 1; it begins "Es ist warm."
    The model's answer was cut off at its greatest length
    The model's answer was cut short by the provider's filter
    The model's answer does not follow the schema: "degrees" is a required property
    The model's answer does not follow the schema: /degrees: the value is not of type "integer"; Additional properties are not allowed ('sky' was unexpected)
    The model's answer is no JSON document: expected value at line 1 column 1; it begins "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    The model's answer does not follow the schema: the value is not of type "object"
    "#);
}

#[tokio::test]
async fn what_was_cut_is_asked_for_again_and_not_mended() {
    let cut = (r#"{"city": "Rome", "degrees": 2"#, Finish::Length);
    let script = Scripted::new([cut, (GOOD, Finish::Stop)]);
    let structured = ask_script(&script).await.expect("good");
    assert_eq!(structured.value["degrees"], 21);
    let question = &script.questions()[1];
    let last = &question.messages.last().expect("feedback").text;
    insta::assert_snapshot!(last, @"Your answer was cut off at its greatest length. Answer again with the whole JSON document, as short as the schema allows, and nothing else.");
    let whole = Scripted::new([(GOOD, Finish::Length)]);
    assert_eq!(ask_script(&whole).await.expect("whole").rounds, 1);
}

#[tokio::test]
async fn an_empty_answer_is_not_repeated_to_the_model() {
    let script = Scripted::new(["  ", GOOD]);
    ask_script(&script).await.expect("good");
    let roles: Vec<Role> =
        script.questions()[1].messages.iter().map(|message| message.role).collect();
    assert_eq!(roles, [Role::System, Role::User, Role::User]);
}

#[tokio::test]
async fn failures_of_the_provider_pass_through() {
    let failure = Failure::retryable(Code::HttpStatus, "OpenAI API error: 500 - ", Some(3));
    for lines in [vec![], vec![Line::from("no")]] {
        let lines = lines.into_iter().chain([Line::from(failure.clone())]);
        let script = Scripted::new(lines);
        assert_eq!(ask_script(&script).await, Err(failure.clone()));
    }
}

#[tokio::test]
async fn a_bad_schema_is_refused_before_anything_is_asked() {
    let script = Scripted::new([GOOD]);
    let schema = json!({ "type": "strin" });
    let asked = ask(&script.models(), question(), &schema, &AttemptContext::alone()).await;
    let failure = asked.expect_err("no schema");
    assert_eq!((failure.code, script.questions().len()), (Code::DefinitionInvalid, 0));
}

#[tokio::test]
async fn the_schema_joins_what_the_model_is_told_to_be() {
    let script = Scripted::new([GOOD]);
    let mut question = question();
    question.messages.insert(0, Message { role: Role::System, text: "Be brief.".into() });
    ask(&script.models(), question, &schema(), &AttemptContext::alone()).await.expect("good");
    let messages = &script.questions()[0].messages;
    assert_eq!(messages.len(), 2);
    assert!(messages[0].text.starts_with("Be brief.\n\nAnswer with one JSON document"));
}
