//! Readers of the journal that tell others.
//!
//! - [`webhook`]: progress to a run's receiver, in order, until it has it
//! - [`hub`]: events to those who watch a run or a workflow
//! - [`redis`]: outputs to Redis, when it is there
//! - [`trace`]: spans to a collector
//! - [`signature`]: how webhooks are signed and verified

pub mod hub;
pub mod redis;
pub mod signature;
pub mod trace;
pub mod webhook;

use std::sync::Arc;

use waystation_core::entry::{Entry, Fact};
use waystation_core::run::Run;

use self::redis::OutputSink;

/// Hands the named outputs among these entries to Redis.
pub(crate) fn publish_outputs(sink: &OutputSink, run: &Run, entries: &[Entry]) {
    let Some(start) = &run.start else { return };
    for entry in entries {
        let Fact::NodeCompleted { node, output, .. } = &entry.fact else { continue };
        for name in &run.program.plan.nodes[*node as usize].outputs {
            if let Some(value) = output.value().and_then(|output| output.get(name)) {
                sink.put(&start.workflow, name, Arc::new(value.clone()));
            }
        }
    }
}
