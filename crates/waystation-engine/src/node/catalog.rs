//! The node types that definitions may use: settings checked against schemas, and made part of plans.

use jsonschema::Validator;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::{Lowered, NodeTypes, Problems};
use waystation_core::plan::Retry;

use super::spec::{Spec, take_effort};

/// Problems of one node that are listed.
const PROBLEMS: usize = 50;
/// Letters of one problem: it may quote a setting, which may be long.
const PROBLEM_LETTERS: usize = 300;

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
    validator: Validator,
}

impl Catalog {
    /// Adds a type, or replaces the one of its name.
    pub(super) fn add(&mut self, spec: Spec) {
        let schema = full_schema(&spec);
        let validator = jsonschema::validator_for(&schema);
        let validator = validator.expect("the schema of a built-in type is one");
        self.types.retain(|known| known.spec.name != spec.name);
        self.types.push(Known { spec, schema, validator });
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
        let mut problems = self.schema_problems(config);
        let mut own = config.clone();
        let effort = self.spec.effort.map(|effort| take_effort(&mut own, effort, &mut problems));
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut lowered = (self.spec.lower)(own)?;
        (lowered.timeout_ms, lowered.retry) = effort.unwrap_or((0, Retry::NEVER));
        Ok(lowered)
    }

    /// What the schema says against the settings. What is a template has its value only when the node
    /// runs, and is judged then.
    fn schema_problems(&self, config: &Map<String, Value>) -> Problems {
        let config = Value::Object(config.clone());
        let errors = self.validator.iter_errors(&config);
        let errors = errors.filter(|error| !is_template(error.instance()));
        let text = |error: jsonschema::ValidationError<'_>| {
            let path = error.instance_path().to_string();
            let place = path.trim_start_matches('/').replace('/', ".");
            let message: String = error.to_string().chars().take(PROBLEM_LETTERS).collect();
            if place.is_empty() { message } else { format!("{place}: {message}") }
        };
        errors.take(PROBLEMS).map(text).collect()
    }
}

fn is_template(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.contains("{{"))
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
