//! What definitions, forms and people know about a node type, and how its settings are read.

use std::fmt;
use std::marker::PhantomData;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use waystation_core::dialect::graph::types::{Lowered, Problems};
use waystation_core::limits::{ATTEMPTS_PER_NODE, RETRY_DELAY_MS_MAX, TIMEOUT_MS_MAX};
use waystation_core::plan::Retry;

use super::complaint::{cut, is_template};

/// The wait after the first failed attempt, where a node does not say.
const RETRY_DELAY_MS: u64 = 1_000;

/// A node type as definitions know it.
#[derive(Clone)]
pub struct Spec {
    /// Its name in definitions.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// What it is for, in Markdown. The first sentence stands alone in lists.
    pub description: &'static str,
    /// Where it stands in a palette.
    pub category: Category,
    /// The JSON Schema of its own settings; `timeout`, `retries` and `retry_delay` are added.
    pub schema: fn() -> Value,
    /// Settings that work as they stand.
    pub example: fn() -> Value,
    /// How long and how often it may be tried, unless it is done at once.
    pub effort: Option<Effort>,
    /// Its settings, already without those of its effort, as the plan has them.
    pub lower: fn(Map<String, Value>) -> Result<Lowered, Problems>,
}

/// Where node types stand in a palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Category {
    /// Where a graph begins, ends, branches, waits and repeats.
    Flow,
    /// Models.
    Ai,
    /// Values.
    Data,
    /// Other systems.
    Integration,
    /// Programs of one's own.
    Code,
}

impl Category {
    /// The word that clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Category::Flow => "flow",
            Category::Ai => "ai",
            Category::Data => "data",
            Category::Integration => "integration",
            Category::Code => "code",
        }
    }
}

/// How long and how often a node is tried where its settings do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Of one attempt, in milliseconds.
    pub timeout_ms: u64,
    /// Further attempts after the first one.
    pub retries: u32,
}

/// The JSON Schema of a type, with everything in place and nothing in definitions.
pub fn schema_of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = SchemaGenerator::new(settings).into_root_schema_for::<T>().to_value();
    if let Value::Object(fields) = &mut schema {
        fields.remove("title");
    }
    schema
}

/// Settings as a type reads them, before a run. Those that are `open` may be templates; what the
/// others say has to be known by then.
pub(super) fn read_settings<T: DeserializeOwned>(
    config: Map<String, Value>,
    open: &[&str],
) -> Result<T, Problems> {
    let closed = config.iter().filter(|(name, _)| !open.contains(&name.as_str()));
    let problem = |name| format!("{name}: a template cannot stand here; say it as it is");
    let templates = closed.filter(|(_, value)| is_template(value));
    let problems: Problems = templates.map(|(name, _)| problem(name)).collect();
    if !problems.is_empty() {
        return Err(problems);
    }
    let read = serde_json::from_value(Value::Object(config));
    read.map_err(|error| vec![cut(&format!("settings: {error}"))])
}

/// Whether a template stands anywhere in a value.
pub(super) fn holds_template(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(holds_template),
        Value::Object(fields) => fields.values().any(holds_template),
        value => is_template(value),
    }
}

/// Reads the fields of an object in the order in which they stand.
pub(super) fn in_order<'de, D, T>(deserializer: D) -> Result<Vec<(String, T)>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Fields<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
        type Value = Vec<(String, T)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
            let mut read = Vec::new();
            while let Some(field) = fields.next_entry()? {
                read.push(field);
            }
            Ok(read)
        }
    }

    deserializer.deserialize_map(Fields(PhantomData))
}

/// A schema with these values as what holds where nothing is said.
pub(super) fn with_defaults(mut schema: Value, defaults: &Map<String, Value>) -> Value {
    for (name, default) in defaults {
        schema["properties"][name]["default"] = default.clone();
    }
    schema
}

/// Adds what is not said.
pub(super) fn add_defaults(config: &mut Map<String, Value>, defaults: Map<String, Value>) {
    for (name, default) in defaults {
        let said = config.entry(name).or_insert(Value::Null);
        if said.is_null() {
            *said = default;
        }
    }
}

/// Takes the settings of the effort out of a configuration.
pub fn take_effort(
    config: &mut Map<String, Value>,
    effort: Effort,
    problems: &mut Problems,
) -> (u64, Retry) {
    let mut seconds = |name: &str, least: u64, most: u64| {
        let value = config.shift_remove(name).filter(|value| !value.is_null())?;
        let ms = value.as_f64().map(|seconds| (seconds * 1_000.0).ceil());
        let fits = ms.filter(|ms| *ms >= least as f64 && *ms <= most as f64);
        if fits.is_none() {
            let bound = if least == 0 { "from 0" } else { "above 0 and" };
            let most = most / 1_000;
            problems.push(format!("{name}: must be a number of seconds {bound} up to {most}"));
        }
        fits.map(|ms| ms as u64)
    };
    let timeout_ms = seconds("timeout", 1, TIMEOUT_MS_MAX).unwrap_or(effort.timeout_ms);
    let delay_ms = seconds("retry_delay", 0, RETRY_DELAY_MS_MAX).unwrap_or(RETRY_DELAY_MS);
    let most = u64::from(ATTEMPTS_PER_NODE - 1);
    let retries = match config.shift_remove("retries") {
        None | Some(Value::Null) => effort.retries,
        Some(value) => match value.as_u64().filter(|retries| *retries <= most) {
            Some(retries) => retries as u32,
            None => {
                problems.push(format!("retries: must be a whole number from 0 to {most}"));
                effort.retries
            }
        },
    };
    (timeout_ms, Retry { attempts: retries + 1, delay_ms })
}
