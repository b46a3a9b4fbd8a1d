//! `start`, `end` and `merge`: where a graph begins, ends and joins.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, Problems};

use super::spec::{Category, Spec, read_settings, schema_of};
use super::{Outcome, PureCall};

/// `start` as definitions know it.
pub(super) fn start_spec() -> Spec {
    Spec {
        name: "start",
        title: "Start",
        description: "\
Where a workflow begins. It gives the run's input.

A workflow does not need one: nodes that nothing leads to begin at once.",
        category: Category::Flow,
        schema: schema_of::<NoSettings>,
        example: || json!({}),
        effort: None,
        lower: lower_start,
    }
}

/// `end` as definitions know it.
pub(super) fn end_spec() -> Spec {
    Spec {
        name: "end",
        title: "End",
        description: "\
Where a workflow ends, and what it gives.

It gives its `output`. Without that, it gives the result of the node that leads here; where several do, an \
object of their results by node id.",
        category: Category::Flow,
        schema: schema_of::<EndSettings>,
        example: || json!({ "output": { "total": "{{input.total}}" } }),
        effort: None,
        lower: lower_end,
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EndSettings {
    /// What to give: any JSON value, in whose texts templates stand.
    output: Option<Value>,
}

fn lower_start(config: Map<String, Value>) -> Result<Lowered, Problems> {
    let NoSettings {} = read_settings(config.clone(), &[])?;
    Ok(Lowered::new("start", Value::Object(config)))
}

fn lower_end(mut config: Map<String, Value>) -> Result<Lowered, Problems> {
    let settings: EndSettings = read_settings(config.clone(), &["output"])?;
    if settings.output.is_none() {
        config.shift_remove("output");
    }
    Ok(Lowered::new("end", Value::Object(config)))
}

/// Gives the run's input.
pub(super) fn start(call: &mut PureCall<'_>) -> Outcome {
    Ok(call.input.clone().into())
}

/// Gives its `output` setting, else the results that lead here: the only one as it is, several by id.
pub(super) fn end(call: &mut PureCall<'_>) -> Outcome {
    if let Some(output) = call.config.get_mut("output") {
        return Ok(output.take().into());
    }
    Ok(upstream(call).into())
}

/// The results that lead to a node: the only one as it is, several by id.
pub(super) fn upstream(call: &PureCall<'_>) -> Value {
    let mut upstream = (call.upstream)();
    if upstream.len() == 1 {
        return upstream.remove(0).1.as_ref().clone();
    }
    let results = upstream.into_iter().map(|(id, value)| (id, value.as_ref().clone()));
    Value::Object(results.collect())
}

/// Gives nothing: it stands for the end of waiting.
pub(super) fn merge(_: &mut PureCall<'_>) -> Outcome {
    Ok(Value::Null.into())
}

#[cfg(test)]
pub(super) mod testing {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::PureCall;

    /// Evaluates something for a node that these results lead to, in a run with the input
    /// `{"name": "Ada"}`.
    pub(in crate::node) fn call<T>(
        config: Value,
        upstream: &[(&str, Value)],
        node: fn(&mut PureCall<'_>) -> T,
    ) -> T {
        let upstream: Vec<_> =
            upstream.iter().map(|(id, value)| (id.to_string(), Arc::new(value.clone()))).collect();
        let input = json!({ "name": "Ada" });
        let upstream = || upstream.clone();
        let (outputs, names) = (&[], &json!({ "input": input }));
        let input = &input;
        node(&mut PureCall { config, outputs, holds: None, input, names, upstream: &upstream })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::testing::{lowered, problems};
    use super::testing::call;
    use super::*;

    fn output(
        node: fn(&mut PureCall<'_>) -> Outcome,
        config: Value,
        upstream: &[(&str, Value)],
    ) -> Value {
        call(config, upstream, node).unwrap().output
    }

    #[test]
    fn their_settings_are_what_definitions_say() {
        assert_eq!(lowered(start_spec(), &json!({})).unwrap(), Lowered::new("start", json!({})));
        let said = json!({ "output": ["{{a.output}}"] });
        assert_eq!(lowered(end_spec(), &said).unwrap(), Lowered::new("end", said));
        let nothing = lowered(end_spec(), &json!({ "output": null })).unwrap();
        assert_eq!(nothing, Lowered::new("end", json!({})));
        insta::assert_snapshot!(problems(start_spec, &json!({ "input": 1 })), @"there are no settings here");
        insta::assert_snapshot!(problems(end_spec, &json!({ "result": 1 })), @"result: there is no such setting");
    }

    #[test]
    fn each_gives_what_it_stands_for() {
        assert_eq!(output(start, Value::Null, &[]), json!({ "name": "Ada" }));
        assert_eq!(output(merge, Value::Null, &[("a", json!(1))]), Value::Null);
        assert_eq!(output(end, json!({ "output": [1] }), &[("a", json!(1))]), json!([1]));
        assert_eq!(output(end, Value::Null, &[("a", json!(1))]), json!(1));
        let both = [("a", json!(1)), ("b", json!(2))];
        assert_eq!(output(end, Value::Null, &both), json!({ "a": 1, "b": 2 }));
    }
}
