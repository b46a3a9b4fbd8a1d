//! `jq`: a value through a jq expression. One result is given as it is, several as a list.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;
use waystation_core::error::Failure;

use super::code::{Size, program};
use super::model::settings::read;
use super::subject::subject;
use super::{Call, Effect, Outcome, PureCall};
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
    fn complete(&self, call: &mut PureCall<'_>) -> Result<(), Failure> {
        complete(call)
    }

    async fn attempt(&self, call: Call) -> Outcome {
        let Settings { expression, value, memory_mb } = read("jq", call.config)?;
        let program = program("jq", expression, value, memory_mb)?;
        let (memory, output) = (program.memory_bytes, program.output_bytes);
        let result = self.sandbox.run(Tool::Jq, &program, &call.context).await;
        result.map(Into::into).map_err(|stop| stop.into_failure(memory, output))
    }
}

/// Where nothing is said, it works on what leads to it.
fn complete(call: &mut PureCall<'_>) -> Result<(), Failure> {
    let value = subject(call, "value");
    let value = value.map_err(|several| several.failure("transformer", "items"))?;
    if let Some(config) = call.config.as_object_mut() {
        config.insert("value".to_owned(), Arc::unwrap_or_clone(value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::node::control::testing::call;

    #[test]
    fn it_works_on_what_leads_to_it_where_nothing_is_said() {
        let completed = |config: Value, upstream: &[(&str, Value)]| {
            let work = |call: &mut PureCall<'_>| complete(call).map(|()| call.config.take());
            call(config, upstream, work).map(|config| config["value"].clone())
        };
        let (one, two) = (("a", json!([1])), ("b", json!([2])));
        assert_eq!(
            completed(json!({ "expression": "." }), std::slice::from_ref(&one)),
            Ok(json!([1]))
        );
        let said = json!({ "expression": ".", "value": null });
        assert_eq!(completed(said, std::slice::from_ref(&one)), Ok(json!(null)));
        let several = completed(json!({ "expression": "." }), &[one, two]).unwrap_err();
        assert!(several.message.contains("several nodes lead here"), "{}", several.message);
    }
}
