//! What the caller of an instruction chain gets.
//!
//! - `status`: the state of an instance, with its steps as far as they are
//! - `steps`: an instance's steps, each with what its nodes tell
//! - `errors`: what failed, in the words of this format
//! - `log`: what happened, line by line
//! - `document`: how to use it

mod document;
mod errors;
mod log;
mod status;
mod steps;

use serde_json::{Value, json};

use crate::run::Run;

pub use document::usage_document;
pub use errors::error_text;
pub use status::{status, usage};

/// The reply to an instance that has begun.
pub fn created(id: &str) -> Value {
    json!({
        "instanceId": id,
        "status": { "status": "queued" },
        "message": "Workflow started successfully",
    })
}

/// The reply to a batch.
pub fn batch(ids: &[String]) -> Value {
    let instance = |id: &String| json!({ "instanceId": id, "status": { "status": "queued" } });
    json!({
        "count": ids.len(),
        "instances": ids.iter().map(instance).collect::<Value>(),
        "message": format!("Successfully created {} workflow instance(s)", ids.len()),
    })
}

/// The result of the last step that has one.
pub fn final_text(run: &Run) -> Option<&str> {
    let mut results = run.scheduler.begun().iter().rev().filter_map(|item| run.item_result(*item));
    results.next().and_then(Value::as_str)
}
