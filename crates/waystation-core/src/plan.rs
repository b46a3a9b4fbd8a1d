//! The plan: what a run executes, as plain data in nobody's wire format.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::Code;

/// The position of a node in [`Plan::nodes`].
pub type NodeIndex = u32;

/// The plan format that this version writes. Older formats stay readable for ever.
pub const PLAN_FORMAT: u16 = 1;

/// A compiled definition. Runs refer to it by the hash of its serialized form, so it holds nothing
/// that differs from one run of the same definition to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this structure, [`PLAN_FORMAT`] when written.
    pub format: u16,
    /// The wire format it came from.
    pub dialect: Dialect,
    /// How nodes follow one another.
    pub shape: Shape,
    /// The nodes, in the order in which listings show them.
    pub nodes: Vec<Node>,
    /// The nodes whose outputs are the run's result; empty where the format makes its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<NodeIndex>,
    /// Constants that templates see below the run's own values.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub variables: Map<String, Value>,
    /// What a template does with a name that does not exist.
    pub missing: Missing,
    /// What the failure of one node does to the run.
    pub on_failure: OnFailure,
    /// How long the run may take, in milliseconds from its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Where the run's progress is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// What the run may spend on models; what it has spent is in [`crate::run::Run::spent`].
    #[serde(default, skip_serializing_if = "Budget::is_unlimited")]
    pub budget: Budget,
}

/// What may be spent on models. Reaching it stops further calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Prompt and completion tokens together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Billionths of a US dollar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nano_usd: Option<u64>,
}

impl Budget {
    /// Whether nothing is bounded.
    pub fn is_unlimited(&self) -> bool {
        *self == Budget::default()
    }

    /// Both bounds together: of each kind the smaller one.
    #[must_use]
    pub fn and(&self, other: &Budget) -> Budget {
        let smaller = |one: Option<u64>, two: Option<u64>| one.into_iter().chain(two).min();
        Budget {
            tokens: smaller(self.tokens, other.tokens),
            nano_usd: smaller(self.nano_usd, other.nano_usd),
        }
    }
}

/// The wire formats that compile into plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `STEPS_CONFIG`: see [`crate::dialect::pipeline`].
    Pipeline,
    /// `instructions`: see [`crate::dialect::instructions`].
    Instructions,
    /// Node/edge workflows.
    Graph,
}

/// How nodes follow one another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Nodes run as soon as their incoming edges allow it.
    Graph {
        /// All edges, in any order.
        edges: Vec<Edge>,
    },
    /// Items run one after another from a first-in, first-out queue that starts with item 0.
    Queue {
        /// The items, by their index in the source document.
        items: Vec<QueueItem>,
    },
}

/// One dependency of a graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The node that must settle first.
    pub from: NodeIndex,
    /// The node that waits for it.
    pub to: NodeIndex,
    /// When the edge counts as live.
    pub when: When,
    /// The name by which the definition refers to the dependency, for messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
}

/// When a settled edge counts as live.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// The source completed.
    Completed,
    /// The source completed and left by this port.
    Port(String),
    /// The source settled in whatever way: the edge orders and never kills.
    Settled,
    /// The source failed for good, which the edge makes no failure of the run.
    Failed,
    /// In no case: where the edge leads to is not reached.
    Never,
}

/// One position of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueItem {
    /// The nodes that prepare it, one after another; nobody else waits for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<NodeIndex>,
    /// The node to run, whose result is the item's.
    pub node: NodeIndex,
    /// The node that judges the result and leaves by port `true` or `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<NodeIndex>,
    /// The items to queue on `true`; empty means the next item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub if_true: Vec<u32>,
    /// The items to queue on `false`; empty means the next item.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub if_false: Vec<u32>,
}

impl QueueItem {
    /// Its nodes, in the order in which they run.
    pub fn nodes(&self) -> impl Iterator<Item = NodeIndex> {
        self.before.iter().copied().chain([self.node]).chain(self.condition)
    }
}

/// One unit of work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the plan, and chosen by the definition's author.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// The node type, a key of the engine's registry.
    pub kind: String,
    /// The node type's settings; strings may hold templates.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub config: Value,
    /// Settings that are passed on as they stand: no placeholder in them is filled in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub literal: Vec<String>,
    /// A condition on the node's own rendered settings and the names that templates see. The node is
    /// told whether it holds; one that cannot be evaluated fails the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// Settings without which an attempt makes no sense.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<Need>,
    /// A plan of its own that the node runs, once or for each of many items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Box<Plan>>,
    /// The names under which fields of its output object are known to the other nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<String>,
    /// Which incoming edges have to be live.
    pub join: Join,
    /// Lists that must hold this node's name for it to run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub selections: Vec<Selection>,
    /// How often and how fast a failed attempt is repeated.
    pub retry: Retry,
    /// How long one attempt may take, in milliseconds.
    pub timeout_ms: u64,
    /// Part of the plan's mechanics rather than of the definition: listings leave it out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub hidden: bool,
    /// What the definition says beyond what the engine knows.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

impl Node {
    /// The settings in which placeholders are filled in: all but the literal ones.
    pub fn templates(&self) -> Cow<'_, Value> {
        match &self.config {
            Value::Object(fields) if !self.literal.is_empty() => {
                let is_template = |name: &str| !self.literal.iter().any(|literal| literal == name);
                let kept = fields.iter().filter(|(name, _)| is_template(name));
                let kept = kept.map(|(name, value)| (name.clone(), value.clone()));
                Cow::Owned(Value::Object(kept.collect()))
            }
            config => Cow::Borrowed(config),
        }
    }

    /// Adds the literal settings to those that have been filled in.
    pub fn add_literals(&self, rendered: &mut Value) {
        let Value::Object(rendered) = rendered else { return };
        for name in &self.literal {
            if let Some(value) = self.config.get(name) {
                rendered.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A setting that must have a value once it is rendered: neither null nor a placeholder that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Need {
    /// The setting's name.
    pub setting: String,
    /// What the failure is where it has none.
    pub code: Code,
    /// In words for the user.
    pub message: String,
}

/// Which of a node's incoming edges have to be live, once all of them have settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Every one; the first dead edge skips the node.
    Every,
    /// At least one of them.
    All,
    /// As soon as this many are live, without waiting for the rest.
    First(u32),
}

/// A gate: the node runs only if the named output is a list that holds `member`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// The output that holds the list.
    pub output: String,
    /// What the list has to contain.
    pub member: String,
}

/// The one retry policy of every node type and dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// The wait after the first failed attempt, in milliseconds; it doubles each time.
    pub delay_ms: u64,
}

impl Retry {
    /// A single attempt.
    pub const NEVER: Retry = Retry { attempts: 1, delay_ms: 0 };
}

/// What a template does with a name that does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// The placeholder stays in the text and the run's log gets a warning.
    Verbatim,
    /// The node fails before it does anything.
    Fail,
}

/// What the failure of one node does to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// Nothing new starts, what is under way is cancelled, the run has failed.
    Stop,
    /// The node's dependents are skipped and everything else goes on.
    Continue,
}
