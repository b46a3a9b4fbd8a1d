//! `thread`: the results of earlier steps as one text.

use serde::Deserialize;
use serde_json::{Value, json};
use waystation_core::error::{Code, Failure};

use super::model::settings::read;
use super::model::text_of;
use super::{Outcome, PureCall};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    collected: Vec<Step>,
    output_format: Format,
    complete: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    step: u64,
    instruction: Option<Value>,
    result: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Json,
    Markdown,
    Numbered,
}

/// What one step has come to.
struct Part {
    step: u64,
    instruction: Value,
    result: Value,
}

/// Gives the steps that have a result, written in the format. One that has none is tolerated only
/// where a model has called the collection complete.
pub(super) fn thread(call: &mut PureCall<'_>) -> Outcome {
    let Settings { collected, output_format, complete } = read("thread", call.config.take())?;
    let missing: Vec<u64> =
        collected.iter().filter(|step| step.result.is_none()).map(|step| step.step).collect();
    if !missing.is_empty() && complete != Some(true) {
        return Err(incomplete(&missing));
    }
    let parts: Vec<Part> = collected.into_iter().filter_map(Step::part).collect();
    let text = match output_format {
        Format::Json => as_json(parts),
        Format::Markdown => joined(parts, "\n\n---\n\n", markdown),
        Format::Numbered => joined(parts, "\n\n", numbered),
    };
    Ok(json!({ "text": text }).into())
}

impl Step {
    fn part(self) -> Option<Part> {
        let (step, instruction) = (self.step, self.instruction.unwrap_or_default());
        self.result.map(|result| Part { step, instruction, result })
    }
}

fn incomplete(missing: &[u64]) -> Failure {
    let missing: Vec<String> = missing.iter().map(u64::to_string).collect();
    let text = format!("Thread incomplete: missing results from steps {}", missing.join(", "));
    Failure::fatal(Code::ThreadIncomplete, text)
}

fn as_json(parts: Vec<Part>) -> String {
    let steps: Vec<u64> = parts.iter().map(|part| part.step).collect();
    let result = |part: Part| json!({ "step": part.step, "instruction": part.instruction, "result": part.result });
    let results: Vec<Value> = parts.into_iter().map(result).collect();
    format!("{:#}", json!({ "collectedSteps": steps, "results": results }))
}

fn joined(parts: Vec<Part>, between: &str, write: fn(usize, Part) -> String) -> String {
    let parts = parts.into_iter().enumerate().map(|(index, part)| write(index + 1, part));
    parts.collect::<Vec<String>>().join(between)
}

fn markdown(_: usize, Part { step, instruction, result }: Part) -> String {
    let instruction = if instruction.is_null() { String::new() } else { text_of(instruction) };
    let result = text_of(result);
    format!("## Step {step}\n**Instruction:** {instruction}\n\n**Result:**\n{result}")
}

fn numbered(number: usize, Part { step, result, .. }: Part) -> String {
    format!("{number}. [Step {step}] {}", text_of(result))
}

#[cfg(test)]
mod tests {
    use super::super::model::testing::evaluate;
    use super::*;

    fn collected() -> Value {
        json!([
            { "step": 2, "instruction": "Sum it up", "result": "short\ntext" },
            { "step": 1, "instruction": "Fetch", "result": { "a": [1] } },
        ])
    }

    fn text(config: Value) -> Result<String, Failure> {
        evaluate(thread, config, None).map(|completion| text_of(completion.output["text"].clone()))
    }

    #[test]
    fn json_has_the_values_as_they_are() {
        let config = json!({ "collected": collected(), "output_format": "json" });
        insta::assert_snapshot!(text(config).unwrap(), @r#"
        {
          "collectedSteps": [
            2,
            1
          ],
          "results": [
            {
              "step": 2,
              "instruction": "Sum it up",
              "result": "short\ntext"
            },
            {
              "step": 1,
              "instruction": "Fetch",
              "result": {
                "a": [
                  1
                ]
              }
            }
          ]
        }
        "#);
    }

    #[test]
    fn markdown_has_a_section_for_each() {
        let config = json!({ "collected": collected(), "output_format": "markdown" });
        insta::assert_snapshot!(text(config).unwrap(), @r#"
        ## Step 2
        **Instruction:** Sum it up

        **Result:**
        short
        text

        ---

        ## Step 1
        **Instruction:** Fetch

        **Result:**
        {"a":[1]}
        "#);
    }

    #[test]
    fn numbered_has_a_line_for_each() {
        let config = json!({ "collected": collected(), "output_format": "numbered" });
        assert_eq!(text(config).unwrap(), "1. [Step 2] short\ntext\n\n2. [Step 1] {\"a\":[1]}");
    }

    #[test]
    fn what_is_missing_is_named_unless_a_model_lets_it_pass() {
        let collected = json!([
            { "step": 1, "instruction": "a", "result": "x" },
            { "step": 4, "instruction": null, "result": null },
            { "step": 7 },
        ]);
        for complete in [json!(null), json!(false)] {
            let config =
                json!({ "collected": collected, "output_format": "json", "complete": complete });
            let failure = text(config).expect_err("something is missing");
            assert_eq!(failure.message, "Thread incomplete: missing results from steps 4, 7");
            assert_eq!(failure.code, Code::ThreadIncomplete);
        }
        let config =
            json!({ "collected": collected, "output_format": "numbered", "complete": true });
        assert_eq!(text(config).unwrap(), "1. [Step 1] x");
        // Whatever a model says, nothing is missing from what is whole.
        let whole = json!([{ "step": 1, "instruction": "a", "result": "x" }]);
        let config = json!({ "collected": whole, "output_format": "numbered", "complete": false });
        assert_eq!(text(config).unwrap(), "1. [Step 1] x");
    }

    #[test]
    fn an_unknown_format_is_refused() {
        let failure = text(json!({ "collected": [], "output_format": "html" })).unwrap_err();
        assert_eq!(failure.code, Code::DefinitionInvalid);
        assert!(failure.message.starts_with("thread settings: unknown variant `html`"));
    }
}
