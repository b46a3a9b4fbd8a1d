//! The node types that definitions may use: settings checked against schemas, and made part of plans.

use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, NodeTypes, Problems};

use super::complaint::Checker;
use super::spec::{Spec, take_effort};

/// The types by name, each with its schema compiled.
#[derive(Default)]
pub struct Catalog {
    types: Vec<Known>,
}

/// One type of the catalog.
pub struct Known {
    /// What is known about it.
    pub spec: Spec,
    /// The JSON Schema of its settings, those of its effort included.
    pub schema: Value,
    checker: Checker,
}

impl Catalog {
    /// Adds a type, or replaces the one of its name.
    pub(super) fn add(&mut self, spec: Spec) {
        let schema = full_schema(&spec);
        let checker = Checker::new(&schema);
        self.types.retain(|known| known.spec.name != spec.name);
        self.types.push(Known { spec, schema, checker });
    }

    /// All types, in listing order.
    pub fn types(&self) -> &[Known] {
        &self.types
    }

    /// A type by its name.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.types.iter().find(|known| known.spec.name == name)
    }
}

impl NodeTypes for Catalog {
    fn names(&self) -> Vec<&str> {
        self.types.iter().map(|known| known.spec.name).collect()
    }

    fn lower(&self, name: &str, config: &Map<String, Value>) -> Option<Result<Lowered, Problems>> {
        self.get(name).map(|known| known.lower(config))
    }
}

impl Known {
    fn lower(&self, config: &Map<String, Value>) -> Result<Lowered, Problems> {
        let mut problems = self.checker.problems(config);
        let mut own = config.clone();
        let effort = self.spec.effort.map(|effort| take_effort(&mut own, effort, &mut problems));
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut lowered = (self.spec.lower)(own)?;
        if let Some(effort) = effort {
            (lowered.timeout_ms, lowered.retry) = effort;
        }
        Ok(lowered)
    }
}

/// The type's own schema and that of its effort.
fn full_schema(spec: &Spec) -> Value {
    let mut schema = (spec.schema)();
    let Some(effort) = spec.effort else { return schema };
    let timeout = effort.timeout_ms as f64 / 1_000.0;
    let settings = json!({
        "timeout": {
            "type": "number", "exclusiveMinimum": 0, "default": timeout,
            "description": "How long one attempt may take, in seconds.",
        },
        "retries": {
            "type": "integer", "minimum": 0, "maximum": 100, "default": effort.retries,
            "description": "Further attempts after one that failed for a reason that may pass.",
        },
        "retry_delay": {
            "type": "number", "minimum": 0, "default": 1,
            "description": "The wait after the first failed attempt, in seconds; it doubles each time.",
        },
    });
    if let (Some(own), Value::Object(settings)) = (schema["properties"].as_object_mut(), settings) {
        own.extend(settings);
    }
    schema
}
