//! What the graph format asks of node types: their names, and what a node's settings come to.

use serde_json::{Map, Value};

use crate::plan::{Join, Retry};

/// The node types that a definition may use.
pub trait NodeTypes {
    /// Their names, in listing order.
    fn names(&self) -> Vec<&str>;
    /// What a node of a known type with these settings comes to; all problems at once. `None` where no
    /// type has that name.
    fn lower(&self, name: &str, config: &Map<String, Value>) -> Option<Result<Lowered, Problems>>;
}

/// What is wrong with settings, each in words that begin with the setting's name.
pub type Problems = Vec<String>;

/// A node's settings as the plan has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Lowered {
    /// The engine's type.
    pub kind: String,
    /// Its settings.
    pub config: Value,
    /// Settings that are passed on as they stand, with no placeholder filled in.
    pub literal: Vec<String>,
    /// A condition on the run's names; the node is told whether it holds.
    pub condition: Option<String>,
    /// The ports by which the node may leave; empty where it has only one way out. An edge without a
    /// label follows the first.
    pub ports: Vec<String>,
    /// Nodes that the settings themselves name as where a port leads: port, node id.
    pub targets: Vec<(String, String)>,
    /// Which incoming edges have to be live, where the type lets the author choose.
    pub join: Option<Join>,
    /// How often and how fast a failed attempt is repeated.
    pub retry: Retry,
    /// How long one attempt may take, in milliseconds; 0 for what is done at once.
    pub timeout_ms: u64,
    /// A graph of its own that the node runs, as the settings give it: `{nodes, edges}`.
    pub body: Option<Value>,
}

impl Lowered {
    /// Settings passed on as they are, to a type that is done at once.
    pub fn new(kind: &str, config: Value) -> Lowered {
        Lowered {
            kind: kind.to_owned(),
            config,
            literal: Vec::new(),
            condition: None,
            ports: Vec::new(),
            targets: Vec::new(),
            join: None,
            retry: Retry::NEVER,
            timeout_ms: 0,
            body: None,
        }
    }
}
