//! `set`: a node whose result is its rendered `value`. With output names, each gets the field of its
//! name, else the whole value.

use serde_json::Value;
use waystation_core::extract::by_name;

use super::{Outcome, PureCall};

/// Gives the `value` setting.
pub(super) fn set(call: &mut PureCall<'_>) -> Outcome {
    let value = call.config.get_mut("value").map(Value::take).unwrap_or_default();
    if call.outputs.is_empty() {
        return Ok(value.into());
    }
    Ok(Value::Object(by_name(call.outputs, &value)?).into())
}
