//! `jq`: a value through a jq expression. One result is given as it is, several as a list.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::code::{Size, program};
use super::model::settings::read;
use super::{Call, Effect, Outcome};
use crate::sandbox::{Sandbox, Tool};

/// The node type.
pub(super) struct Jq {
    pub(super) sandbox: Arc<Sandbox>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// Never a template: braces are jq's own.
    expression: String,
    value: Value,
    #[serde(default)]
    memory_mb: Size,
}

#[async_trait]
impl Effect for Jq {
    async fn attempt(&self, call: Call) -> Outcome {
        let Settings { expression, value, memory_mb } = read("jq", call.config)?;
        let program = program("jq", expression, value, memory_mb)?;
        let (memory, output) = (program.memory_bytes, program.output_bytes);
        let result = self.sandbox.run(Tool::Jq, &program, &call.context).await;
        result.map(Into::into).map_err(|stop| stop.into_failure(memory, output))
    }
}
