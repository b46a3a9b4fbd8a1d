//! How definitions know `llm`.

use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};

use super::Settings;
use crate::node::model::settings::{model_problems, schema_with_model};
use crate::node::spec::{Category, Effort, Spec, holds_template};
use crate::provider::structured::check_schema;

/// What definitions know about it.
pub(in crate::node) fn spec() -> Spec {
    Spec {
        name: "llm",
        title: "Language model",
        description: include_str!("llm.md"),
        category: Category::Ai,
        schema: schema_with_model::<Settings>,
        example: || json!({ "provider": "echo", "prompt": "Say hello to Ada.", "cache": true }),
        effort: Some(Effort { timeout_ms: 120_000, retries: 2 }),
        lower,
    }
}

fn lower(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    config.retain(|_, value| !value.is_null());
    let mut problems = model_problems(&config);
    if config.contains_key("prompt") == config.contains_key("messages") {
        problems.push("prompt: either `prompt` or `messages` is needed".to_owned());
    }
    let schema = config.get("schema").filter(|schema| !holds_template(schema));
    if let Some(Err(problem)) = schema.map(check_schema) {
        problems.push(format!("schema: {problem}"));
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    config.insert("spread".into(), true.into());
    Ok(Lowered::new("llm", config.into()))
}
