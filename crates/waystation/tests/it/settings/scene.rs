//! Where a node stands while its settings are tried: the graph around it, and what happens meanwhile.

use serde_json::{Value, json};

use super::schema::DOCUMENT;
use crate::support::graph::{flow, node};

/// What the runs of all rows are given.
pub(super) fn input() -> Value {
    json!({ "number": 3, "word": "three", "list": [2, 3, 1] })
}

/// The id of the node whose settings are tried.
pub(super) const NODE: &str = "node";

/// A graph, and what happens while it runs.
#[derive(Clone)]
pub(super) struct Scene {
    around: Vec<Value>,
    edges: Vec<&'static str>,
    pub(super) event: Event,
}

/// What happens while the graph runs.
#[derive(Clone, Copy)]
pub(super) enum Event {
    /// Nothing: it runs to its end.
    Nothing,
    /// Nothing, and how long it takes is looked at.
    Timed,
    /// The node comes to stand like this, and is looked at.
    Until(&'static str),
    /// The node of this name waits, and somebody decides for it.
    Decision(&'static str),
    /// As many calls are held at once as the setting `concurrency` says.
    Hold,
    /// The server dies while the mail server has a message and has not said so, and is started again.
    Crash,
}

impl Scene {
    /// After a `start`, alone.
    pub(super) fn alone() -> Scene {
        Scene::with(vec![node("start", "start", json!({}))], &["start -> node"])
    }

    /// Among these nodes.
    pub(super) fn with(around: Vec<Value>, edges: &[&'static str]) -> Scene {
        Scene { around, edges: edges.to_vec(), event: Event::Nothing }
    }

    /// The same, while something happens.
    pub(super) fn during(self, event: Event) -> Scene {
        Scene { event, ..self }
    }

    /// The definition in which a node has these settings.
    pub(super) fn definition(&self, kind: &str, config: Value) -> Value {
        if kind == DOCUMENT {
            return config;
        }
        let mut nodes = self.around.clone();
        let twin = nodes.iter_mut().find(|node| node["type"] == TWIN);
        if let Some(twin) = twin {
            *twin = node("twin", kind, config.clone());
        }
        nodes.push(node(NODE, kind, config));
        flow(&nodes, &self.edges)
    }
}

/// The node after another one.
pub(super) fn after(before: Value) -> Scene {
    let edge = match before["id"].as_str() {
        Some("link") => "link -> node",
        _ => "before -> node",
    };
    Scene::with(vec![before], &[edge])
}

/// The node until it stands like this.
pub(super) fn until(status: &'static str) -> Scene {
    Scene::alone().during(Event::Until(status))
}

/// The type of a node that becomes another one with the very settings that are tried.
const TWIN: &str = "twin";

/// The node after another one with the same settings.
pub(super) fn after_twin() -> Scene {
    Scene::with(vec![node("twin", TWIN, json!({}))], &["twin -> node"])
}
