//! The journal's facts: what happened to a run, in order. Live state is their fold.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Failure;
use crate::plan::NodeIndex;
use crate::usage::Usage;

/// One fact and the moment it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Unix time in milliseconds.
    pub at: u64,
    /// What happened.
    pub fact: Fact,
}

/// What can happen to a run. Facts about a node name it and the attempt, so that a stale or repeated
/// one is recognised and ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// Always the first entry.
    RunStarted(Box<Start>),
    /// An attempt is about to have effects outside. Pure nodes complete without it.
    NodeStarted {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
    },
    /// An attempt produced the node's result; recorded at most once for a node.
    NodeCompleted {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
        /// The node's result.
        output: Data,
        /// The port it left by, where the node type has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
        /// What is worth knowing about the attempt and is no part of the result.
        #[serde(default, skip_serializing_if = "Map::is_empty")]
        details: Map<String, Value>,
    },
    /// An attempt failed; whether it is repeated follows from the failure and the node's policy.
    NodeFailed {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// A random number drawn by the driver; spreads the retries of many runs.
        #[serde(default)]
        jitter: u16,
    },
    /// The node waits, with no attempt under way, for a moment or for somebody.
    NodeSuspended {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
        /// The moment, in Unix milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
        /// How the node ends when the moment comes.
        then: Ending,
    },
    /// The node runs a plan of its own, once for each of its items, each as a run that has this one as
    /// its parent.
    BodyStarted {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
        /// What runs, and how.
        body: Box<Body>,
    },
    /// The run of an item has ended.
    ItemEnded {
        /// Which node.
        node: NodeIndex,
        /// Counted from 1.
        attempt: u32,
        /// Which item, from 0.
        item: u32,
        /// How.
        ending: Ending,
    },
    /// What an attempt has used, whether it went well or not; stands before its end. Changes no state.
    Spent {
        /// Which node.
        node: NodeIndex,
        /// What for.
        usage: Usage,
    },
    /// The node will not run in this run.
    NodeSkipped {
        /// Which node.
        node: NodeIndex,
        /// Why, in words for the user.
        reason: String,
    },
    /// A moment asked for by the scheduler has come.
    TimerFired {
        /// Which one.
        timer: Timer,
    },
    /// Somebody asked for the run to end.
    CancelRequested {
        /// Why, in words for the user.
        reason: String,
    },
    /// A line for the run's log; it changes no state.
    Logged {
        /// The node it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeIndex>,
        /// How serious it is.
        level: Level,
        /// The line.
        message: String,
    },
    /// Always the last entry.
    RunFinished {
        /// How it ended.
        outcome: Outcome,
    },
}

impl Fact {
    /// That a node has ended so.
    pub fn ended(node: NodeIndex, attempt: u32, ending: Ending) -> Fact {
        match ending {
            Ending::Completed { output, port } => {
                Fact::NodeCompleted { node, attempt, output, port, details: Map::new() }
            }
            Ending::Failed(failure) => Fact::NodeFailed { node, attempt, failure, jitter: 0 },
        }
    }

    /// The values that the fact carries.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Data> {
        let values: [Option<&mut Data>; 3] = match self {
            Fact::RunStarted(start) => {
                let Start { input, item, outer, .. } = start.as_mut();
                [Some(input), item.as_mut(), outer.as_mut()]
            }
            Fact::NodeCompleted { output, .. } => [Some(output), None, None],
            Fact::NodeSuspended { then: ending, .. } | Fact::ItemEnded { ending, .. } => {
                match ending {
                    Ending::Completed { output, .. } => [Some(output), None, None],
                    Ending::Failed(_) => [None, None, None],
                }
            }
            Fact::BodyStarted { body, .. } => {
                let Body { items, outer, .. } = body.as_mut();
                [Some(items), Some(outer), None]
            }
            _ => [None, None, None],
        };
        values.into_iter().flatten()
    }
}

/// What a run starts from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The hash of the plan, hexadecimal.
    pub plan: String,
    /// The workflow it belongs to, as the caller named it.
    pub workflow: String,
    /// The namespace of that workflow.
    pub namespace: String,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The run's input, in the shape that its dialect gives it.
    pub input: Data,
    /// The run of which this is another try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
    /// Which version of a stored definition it executes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// The span of the caller that it is a part of, as the header `traceparent` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// What began it, where that was no call: the id of a trigger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trigger: Option<String>,
    /// The run that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// Names that it sees of the item that it is the run of, behind its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Data>,
    /// Names that it sees of the run that it is a part of, behind those; the same for all items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outer: Option<Data>,
}

/// The place of a run within another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The other run.
    pub run: String,
    /// The node of it that waits.
    pub node: NodeIndex,
    /// The item of that node, from 0.
    pub item: u32,
    /// How many runs stand above.
    pub depth: u32,
}

/// How a node or an item of it ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// It has a result.
    Completed {
        /// The result.
        output: Data,
        /// The port it leaves by, where there are several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        port: Option<String>,
    },
    /// It failed for good.
    Failed(Failure),
}

/// What a node with a body runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Body {
    /// The plan.
    pub source: BodySource,
    /// An array: what each run is about.
    pub items: Data,
    /// The name under which a run sees its item.
    pub item_name: String,
    /// Runs under way at once.
    pub limit: u32,
    /// What a failed item does.
    pub on_failure: ItemFailure,
    /// What the runs see of this one, as an object by name.
    pub outer: Data,
}

impl Body {
    /// How many items there are, if they are at hand.
    pub fn count(&self) -> Option<usize> {
        self.items.value().and_then(|items| items.as_array().map(Vec::len))
    }
}

/// Where the plan of a body comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodySource {
    /// The node's own, see [`crate::plan::Node::body`].
    Node,
    /// A stored workflow. There is one item, which is the input, and whose result is the node's.
    Workflow {
        /// Its id.
        id: String,
        /// The version; the present one where none is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u32>,
    },
}

/// What a failed item does to its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemFailure {
    /// The node fails, and what is under way is cancelled.
    Stop,
    /// Its result is null.
    Continue,
    /// Its result is an object that tells the error.
    Collect,
}

/// A value in the journal: in place, or by the hash under which the store keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Data {
    /// The value itself.
    Value(Arc<Value>),
    /// A large value, kept once outside the journal.
    Stored {
        /// SHA-256 of the serialized value, hexadecimal.
        hash: String,
        /// Its serialized size.
        bytes: u64,
    },
}

impl Data {
    /// The value, if it is at hand. The engine resolves stored values before it folds a journal.
    pub fn value(&self) -> Option<&Arc<Value>> {
        match self {
            Data::Value(value) => Some(value),
            Data::Stored { .. } => None,
        }
    }
}

impl Default for Data {
    fn default() -> Data {
        Data::from(Value::Null)
    }
}

impl From<Value> for Data {
    fn from(value: Value) -> Data {
        Data::Value(Arc::new(value))
    }
}

/// A moment that the scheduler waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timer {
    /// The next attempt of a node is due.
    Retry {
        /// Which node.
        node: NodeIndex,
        /// The attempt that is due.
        attempt: u32,
    },
    /// The run has used up its time.
    Deadline,
    /// A suspended node's moment. What then happens to the node is in the journal, see
    /// [`crate::run::Run::due`].
    Wait {
        /// Which node.
        node: NodeIndex,
        /// The attempt that is suspended.
        attempt: u32,
    },
}

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For the curious.
    Info,
    /// Something is not as its author probably meant it.
    Warning,
    /// Something failed.
    Error,
}

impl Level {
    /// The word that people and clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Info => "info",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is left to do.
    Completed,
    /// A node failed for good, or the run's time was up.
    Failed {
        /// The node that failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<NodeIndex>,
        /// Why.
        failure: Failure,
    },
    /// Somebody ended it.
    Cancelled {
        /// Why, in words for the user.
        reason: String,
    },
}
