//! `subworkflow`: a stored workflow as one node of another.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::entry::{Body, BodySource, ItemFailure};
use waystation_core::error::Failure;

use super::PureCall;
use super::complaint::is_template;
use super::model::settings::read;
use super::spec::{Category, Spec, schema_of};
use crate::id::WorkflowId;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The workflow's id.
    #[schemars(length(min = 1, max = 256))]
    workflow_id: String,
    /// Which version of it; the present one where nothing is said.
    #[schemars(range(min = 1))]
    version: Option<u32>,
    /// Its input; this run's own input where nothing is said.
    input: Option<Value>,
}

/// The name of the type.
pub(crate) const KIND: &str = "subworkflow";

/// What definitions know about it.
pub(super) fn spec() -> Spec {
    Spec {
        name: KIND,
        title: "Workflow within a workflow",
        description: "Runs a stored workflow, and waits for it. Cancelling this run cancels that one. \
            Workflows may run one another up to 32 deep.\n\nGives the result of that run; its failure \
            is this node's failure.",
        category: Category::Flow,
        schema: schema_of::<Settings>,
        example: || json!({ "workflow_id": "{{input.workflow_id}}", "input": { "name": "Ada" } }),
        effort: None,
        lower,
    }
}

/// An id that is said as it is can be judged when the definition is saved.
fn lower(config: Map<String, Value>) -> Result<Lowered, Problems> {
    let id = config.get("workflow_id").filter(|id| !is_template(id)).and_then(Value::as_str);
    if id.is_some_and(|id| id.parse::<WorkflowId>().is_err()) {
        let problem =
            "workflow_id: is the id of a stored workflow, which has 24 hexadecimal digits";
        return Err(vec![problem.to_owned()]);
    }
    Ok(Lowered::new(KIND, config.into()))
}

/// The one run and its input.
pub(super) fn subworkflow(call: &mut PureCall<'_>) -> Result<Body, Failure> {
    let settings: Settings = read(KIND, std::mem::take(&mut call.config))?;
    let input = settings.input.unwrap_or_else(|| call.input.clone());
    Ok(Body {
        source: BodySource::Workflow { id: settings.workflow_id, version: settings.version },
        items: Value::Array(vec![input]).into(),
        item_name: String::new(),
        limit: 1,
        on_failure: ItemFailure::Stop,
        outer: Value::Null.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::control::testing::call;
    use crate::node::model::testing::{lowered, problems};

    #[test]
    fn an_id_is_judged_when_it_is_saved() {
        for id in ["sub", "507f1f77bcf86cd79943901", "507f1f77bcf86cd79943901x"] {
            let refused = problems(spec, &json!({ "workflow_id": id }));
            assert!(refused.contains("24 hexadecimal digits"), "{id}: {refused}");
        }
        for id in ["507f1f77bcf86cd799439011", "{{input.workflow_id}}"] {
            let config = json!({ "workflow_id": id });
            assert_eq!(lowered(spec(), &config).expect(id).config, config);
        }
    }

    #[test]
    fn the_input_is_its_own_or_that_of_this_run() {
        let body = |config| call(config, &[], subworkflow).unwrap();
        let own = body(json!({ "workflow_id": "w", "version": 3, "input": 7 }));
        assert_eq!(own.items, json!([7]).into());
        let source = BodySource::Workflow { id: "w".into(), version: Some(3) };
        assert_eq!(own.source, source);
        assert_eq!(body(json!({ "workflow_id": "w" })).items, json!([{ "name": "Ada" }]).into());
    }
}
