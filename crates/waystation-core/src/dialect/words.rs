//! What all formats say in the same words.

use crate::entry::Outcome;
use crate::error::Failure;
use crate::plan::NodeIndex;

/// Why a run has not completed; a failed node's words are the format's own.
pub(super) fn error_text(
    outcome: &Outcome,
    node_error: impl FnOnce(NodeIndex, &Failure) -> String,
) -> String {
    match outcome {
        Outcome::Completed => String::new(),
        Outcome::Cancelled { reason } => format!("Run cancelled: {reason}"),
        Outcome::Failed { node: None, failure } => failure.message.clone(),
        Outcome::Failed { node: Some(node), failure } => node_error(*node, failure),
    }
}
