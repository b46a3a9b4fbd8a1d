//! `start`, `end` and `merge`: where a graph begins, ends and joins.

use serde_json::Value;

use super::{Outcome, PureCall};

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
    fn each_gives_what_it_stands_for() {
        assert_eq!(output(start, Value::Null, &[]), json!({ "name": "Ada" }));
        assert_eq!(output(merge, Value::Null, &[("a", json!(1))]), Value::Null);
        assert_eq!(output(end, json!({ "output": [1] }), &[("a", json!(1))]), json!([1]));
        assert_eq!(output(end, Value::Null, &[("a", json!(1))]), json!(1));
        let both = [("a", json!(1)), ("b", json!(2))];
        assert_eq!(output(end, Value::Null, &both), json!({ "a": 1, "b": 2 }));
    }
}
