//! `condition`: its own condition's truth; leaves by port `true` or `false`.

use serde_json::Value;

use super::model::settings::invalid;
use super::{Completion, Outcome, PureCall};

/// Gives whether the node's condition holds.
pub(super) fn condition(call: &mut PureCall<'_>) -> Outcome {
    let holds = call.holds.ok_or_else(|| invalid("condition", "the node has no condition"))?;
    Ok(Completion {
        output: Value::Bool(holds),
        port: Some(holds.to_string()),
        ..Completion::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::testing::evaluate;
    use super::*;

    #[test]
    fn it_leaves_by_the_port_of_its_condition() {
        for holds in [true, false] {
            let completion = evaluate(condition, json!({ "result": "r" }), Some(holds));
            let completion = completion.expect("a boolean");
            assert_eq!(completion.output, json!(holds));
            assert_eq!(completion.port, Some(holds.to_string()));
        }
        let failure = evaluate(condition, Value::Null, None).expect_err("nothing to tell");
        assert_eq!(failure.message, "condition settings: the node has no condition");
    }
}
