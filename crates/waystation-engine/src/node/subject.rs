//! What a node of a graph works on where its settings do not say: the result that leads to it.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;
use waystation_core::error::{Code, Failure};

use super::PureCall;

/// The nodes that lead to one, where it cannot tell which of their results is meant.
#[derive(Debug, PartialEq)]
pub(super) struct Several(Vec<String>);

impl Several {
    /// What fails a node that needs one value, and the setting that would give it.
    pub(super) fn failure(&self, kind: &str, setting: &str) -> Failure {
        let nodes = self.0.join("`, `");
        let text =
            format!("{kind}: several nodes lead here, `{nodes}`; say in `{setting}` what is meant");
        let hint = self
            .0
            .first()
            .map(|node| format!("for example \"{setting}\": \"{{{{outputs.{node}}}}}\""));
        Failure { hint, ..Failure::fatal(Code::ValueInvalid, text) }
    }
}

/// The setting of that name, taken out of the others; else the only result that leads here; where nothing
/// leads here, the run's input. A setting that is null by now is a value like any other.
pub(super) fn subject(call: &mut PureCall<'_>, setting: &str) -> Result<Arc<Value>, Several> {
    let given = call.config.as_object_mut().and_then(|config| config.shift_remove(setting));
    if let Some(value) = given {
        return Ok(Arc::new(value));
    }
    let mut upstream = arrived(call);
    match upstream.pop() {
        None => Ok(Arc::new(call.input.clone())),
        Some((_, result)) if upstream.is_empty() => Ok(result),
        Some((last, _)) => {
            let nodes = upstream.into_iter().map(|(node, _)| node).chain([last]);
            Err(Several(nodes.collect()))
        }
    }
}

/// The results that lead here, each once by the id of its node: two edges may come from the same one.
pub(super) fn arrived(call: &PureCall<'_>) -> Vec<(String, Arc<Value>)> {
    let mut results = (call.upstream)();
    let mut seen = HashSet::with_capacity(results.len());
    results.retain(|(node, _)| seen.insert(node.clone()));
    results
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::testing::evaluate_after;
    use super::super::{Completion, Outcome};
    use super::*;

    fn given(call: &mut PureCall<'_>) -> Outcome {
        let value = subject(call, "items").map_err(|several| several.failure("sample", "items"))?;
        Ok(Completion::from(value.as_ref().clone()))
    }

    #[test]
    fn the_setting_comes_first_then_what_leads_here_then_the_input() {
        let (one, two) = (("a", json!(1)), ("b", json!(2)));
        for (config, upstream, expected) in [
            (json!({ "items": [9] }), vec![one.clone()], json!([9])),
            (json!({ "items": null }), vec![one.clone()], json!(null)),
            (json!({}), vec![one.clone()], json!(1)),
            (json!({}), vec![one.clone(), one.clone()], json!(1)),
            (json!(null), vec![one.clone()], json!(1)),
            (json!({}), vec![], json!({ "name": "Ada" })),
        ] {
            let outcome = evaluate_after(given, config, &json!({ "name": "Ada" }), &upstream);
            assert_eq!(outcome.expect("one value").output, expected);
        }
        let failure =
            evaluate_after(given, json!({}), &json!(null), &[one, two]).expect_err("which?");
        insta::assert_snapshot!(failure.message, @"sample: several nodes lead here, `a`, `b`; say in `items` what is meant");
        insta::assert_snapshot!(failure.hint().unwrap_or_default(), @r#"for example "items": "{{outputs.a}}""#);
    }
}
