//! `code`: calls `process` of a program that the author wrote, in Python or JavaScript.

use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::error::{Code as ErrorCode, Failure};
use waystation_core::extract::bytes_about;

use super::model::settings::{invalid, read};
use super::spec::{Category, Effort, Spec, schema_of};
use super::{Call, Effect, Outcome};
use crate::limits::{
    PROGRAM_CODE_BYTES, PROGRAM_INPUT_BYTES, PROGRAM_MEMORY_MB, PROGRAM_MEMORY_MB_MAX,
    PROGRAM_MEMORY_MB_MIN, PROGRAM_OUTPUT_BYTES,
};
use crate::sandbox::python::COMMAND;
use crate::sandbox::{Program, Sandbox, Tool};

/// How long a program may take where its node does not say. It computes only: a second attempt would
/// come to the same end.
const EFFORT: Effort = Effort { timeout_ms: 10_000, retries: 0 };

/// The node type.
pub struct Code {
    /// Where programs run.
    pub sandbox: Arc<Sandbox>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The language of the code.
    language: Language,
    /// A program that defines a function `process`. It is never filled in: `{{` and `}}` are its own.
    /// What it needs from the run comes by `input_mapping`.
    #[schemars(length(min = 1))]
    code: String,
    /// What `process` is called with: in Python each entry as an argument of its name, in JavaScript
    /// all of them as one object.
    #[serde(default)]
    input_mapping: Map<String, Value>,
    /// Megabytes of memory that the program may use; 64 where it is not said.
    #[serde(default)]
    #[schemars(extend("default" = PROGRAM_MEMORY_MB))]
    memory_mb: Size,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Language {
    Python,
    Javascript,
}

/// Megabytes of memory of a program.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct Size(
    #[schemars(range(min = PROGRAM_MEMORY_MB_MIN, max = PROGRAM_MEMORY_MB_MAX))] Option<u32>,
);

#[async_trait]
impl Effect for Code {
    async fn attempt(&self, call: Call) -> Outcome {
        let Settings { language, code, input_mapping, memory_mb } = read("code", call.config)?;
        let program = program("code", code, Value::Object(input_mapping), memory_mb)?;
        let (memory, output) = (program.memory_bytes, program.output_bytes);
        let result = match language {
            Language::Python => self.sandbox.run_python(program, &call.context).await,
            Language::Javascript => {
                self.sandbox.run(Tool::Javascript, &program, &call.context).await
            }
        };
        result.map(Into::into).map_err(|stop| stop.into_failure(memory, output))
    }
}

/// A program with its bounds.
pub(super) fn program(
    kind: &str,
    code: String,
    input: Value,
    Size(memory_mb): Size,
) -> Result<Program, Failure> {
    let memory_mb = memory_mb.unwrap_or(PROGRAM_MEMORY_MB);
    if !(PROGRAM_MEMORY_MB_MIN..=PROGRAM_MEMORY_MB_MAX).contains(&memory_mb) {
        let range = format!("from {PROGRAM_MEMORY_MB_MIN} to {PROGRAM_MEMORY_MB_MAX}");
        return Err(invalid(kind, &format!("memory_mb must be a whole number {range}")));
    }
    if code.len() > PROGRAM_CODE_BYTES {
        return Err(invalid(kind, &format!("the program {}", too_long(code.len()))));
    }
    if bytes_about(&input) > PROGRAM_INPUT_BYTES {
        let text = format!("What the code works on takes more than {PROGRAM_INPUT_BYTES} bytes");
        return Err(Failure::fatal(ErrorCode::LimitExceeded, text));
    }
    let (memory_bytes, output_bytes) = ((memory_mb as usize) << 20, PROGRAM_OUTPUT_BYTES);
    Ok(Program { code, input, memory_bytes, output_bytes })
}

fn too_long(bytes: usize) -> String {
    format!("must not be longer than {PROGRAM_CODE_BYTES} bytes; it has {bytes}")
}

/// What definitions know about the type. Without an interpreter of Python, nodes in it are refused
/// when they are saved.
pub fn spec(has_python: bool) -> Spec {
    Spec {
        name: "code",
        title: "Code",
        description: include_str!("code.md"),
        category: Category::Code,
        schema: schema_of::<Settings>,
        example,
        effort: Some(EFFORT),
        lower: if has_python { lower } else { lower_without_python },
    }
}

fn example() -> Value {
    json!({
        "language": "javascript",
        "code": "function process({ numbers }) {\n  return { sum: numbers.reduce((sum, n) => sum + n, 0) };\n}",
        "input_mapping": { "numbers": [1, 2, 39] },
    })
}

fn lower(config: Map<String, Value>) -> Result<Lowered, Problems> {
    let problems = problems(&config, true);
    if !problems.is_empty() {
        return Err(problems);
    }
    let lowered = Lowered::new("code", Value::Object(config));
    Ok(Lowered { literal: vec!["code".to_owned()], ..lowered })
}

fn lower_without_python(config: Map<String, Value>) -> Result<Lowered, Problems> {
    let problems = problems(&config, false);
    if problems.is_empty() { lower(config) } else { Err(problems) }
}

/// What can be told before the node runs. The code's syntax is for its interpreter, in the sandbox.
fn problems(config: &Map<String, Value>, has_python: bool) -> Problems {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or_default();
    let (language, code) = (text("language"), text("code"));
    let mut problems = Vec::new();
    if language == "python" && !has_python {
        problems.push(format!(
            "language: this server has no Python; `{COMMAND}` in Waystation's source directory builds it, \
             then start the server again"
        ));
    }
    if language == "javascript" && !cfg!(target_os = "linux") {
        problems.push("language: JavaScript runs on Linux only, where it can be confined".into());
    }
    if code.len() > PROGRAM_CODE_BYTES {
        problems.push(format!("code: {}", too_long(code.len())));
    } else if !code.contains("process") {
        problems.push("code: must define a function `process`".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lowered(has_python: bool, config: &Value) -> Result<Lowered, Problems> {
        (spec(has_python).lower)(config.as_object().expect("an object").clone())
    }

    #[test]
    fn the_code_stays_as_it_is_and_the_rest_is_for_templates() {
        let config = json!({
            "language": "python", "code": "def process(a):\n    return f'{{{a}}}'",
            "input_mapping": { "a": "{{input.a}}" },
        });
        let lowered = lowered(true, &config).expect("good settings");
        assert_eq!((lowered.kind.as_str(), lowered.literal), ("code", vec!["code".to_owned()]));
        assert_eq!(lowered.config, config);
    }

    #[test]
    fn what_cannot_run_is_refused_with_a_reason() {
        let python = json!({ "language": "python", "code": "def process(): pass" });
        let problems = lowered(false, &python).expect_err("no Python");
        assert!(problems[0].starts_with("language: this server has no Python; `make python`"));
        let nothing = json!({ "language": "javascript", "code": "1 + 1" });
        let problems = lowered(false, &nothing).expect_err("no process");
        assert_eq!(problems, ["code: must define a function `process`"]);
        let long = format!("function process() {{}}{}", " ".repeat(PROGRAM_CODE_BYTES));
        let long = json!({ "language": "javascript", "code": long });
        let problems = lowered(true, &long).expect_err("too long");
        assert_eq!(problems, ["code: must not be longer than 262144 bytes; it has 262165"]);
    }

    #[test]
    fn the_schema_tells_the_bounds_and_the_languages() {
        let schema = schema_of::<Settings>();
        let memory = &schema["properties"]["memory_mb"];
        assert_eq!((&memory["minimum"], &memory["maximum"]), (&json!(32), &json!(512)));
        assert_eq!(
            (&memory["type"], &memory["default"]),
            (&json!(["integer", "null"]), &json!(64))
        );
        assert_eq!(schema["required"], json!(["language", "code"]));
        assert_eq!(schema["properties"]["language"]["enum"], json!(["python", "javascript"]));
    }

    #[test]
    fn memory_and_input_are_bounded_when_the_node_runs_too() {
        let run = |memory, input| program("code", "process".into(), input, Size(memory));
        for memory in [0, 31, 513, u32::MAX] {
            let failure = run(Some(memory), Value::Null).expect_err("out of bounds");
            assert_eq!(
                failure.message,
                "code settings: memory_mb must be a whole number from 32 to 512"
            );
        }
        assert_eq!(run(None, Value::Null).expect("good").memory_bytes, 64 << 20);
        let large = Value::String("x".repeat(PROGRAM_INPUT_BYTES));
        assert_eq!(run(None, large).expect_err("too large").code, ErrorCode::LimitExceeded);
    }
}
