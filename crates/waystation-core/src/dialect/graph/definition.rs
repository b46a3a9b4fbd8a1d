//! A definition as its author wrote it: nodes, edges, variables, settings.

use serde_json::{Map, Value};

use super::super::definition::{is_absolute_address, is_deeper};
use super::issue::{Issue, Issues, Place};
use super::trigger::{self, Trigger};
use crate::limits::{BUDGET_USD, DEFINITION_DEPTH, EDGES_PER_PLAN, NAME_BYTES, TIMEOUT_MS_MAX};
use crate::plan::{Budget, OnFailure};

/// The states of a definition. Only an active one is begun by its triggers.
pub const STATUSES: [&str; 4] = ["active", "draft", "inactive", "archived"];

/// What a definition says.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// One of [`STATUSES`].
    pub status: String,
    /// Constants by name.
    pub variables: Map<String, Value>,
    /// How its runs proceed.
    pub settings: Settings,
    /// What begins it by itself.
    pub triggers: Vec<Trigger>,
    /// Its nodes and edges.
    pub graph: Graph,
}

/// Nodes and edges.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Where they stand in the definition.
    pub place: Place,
    /// The nodes, in order.
    pub nodes: Vec<NodeDefinition>,
    /// The edges, in order.
    pub edges: Vec<EdgeDefinition>,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodeDefinition {
    /// Where it stands.
    pub place: Place,
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// What people call it, where that is not its id.
    pub name: Option<String>,
    /// Its settings.
    pub config: Map<String, Value>,
}

/// One edge.
#[derive(Clone, Debug)]
pub struct EdgeDefinition {
    /// Where it stands.
    pub place: Place,
    /// The id of the node that it leaves.
    pub from: String,
    /// The id of the node that it leads to.
    pub to: String,
    /// What it is called, if anything.
    pub id: Option<String>,
    /// The port that it leaves by, or the condition under which it is followed.
    pub label: Option<Label>,
}

/// What an edge says of when it is followed.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The field that says it.
    pub field: &'static str,
    /// What it says.
    pub text: String,
}

/// How runs proceed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a run may take.
    pub timeout_ms: Option<u64>,
    /// What a failed node does to its run.
    pub on_failure: OnFailure,
    /// What a run may spend on models.
    pub budget: Budget,
    /// Where a run's events are sent.
    pub webhook_url: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            timeout_ms: None,
            on_failure: OnFailure::Stop,
            budget: Budget::default(),
            webhook_url: None,
        }
    }
}

impl Definition {
    /// Reads a definition; what is wrong with it goes to the issues, and is left out.
    pub fn parse(source: &Value, issues: &mut Issues) -> Definition {
        let root = Place::default();
        let Some(fields) = source.as_object() else {
            issues.error(Issue::new(root, "a definition is a JSON object"));
            return Definition::default();
        };
        if is_deeper(source, DEFINITION_DEPTH) {
            let text = format!("values may be nested {DEFINITION_DEPTH} levels deep at most");
            issues.error(Issue::new(root, text));
            return Definition::default();
        }
        Definition {
            name: name(fields, issues),
            description: optional_text(fields, "description", &root, issues),
            status: status(fields, issues),
            variables: variables(fields.get("variables"), issues),
            settings: Settings::parse(fields.get("settings"), issues),
            triggers: trigger::parse(fields.get("triggers"), issues),
            graph: Graph::parse(fields, root, issues),
        }
    }
}

fn name(fields: &Map<String, Value>, issues: &mut Issues) -> String {
    let place = Place::default().field("name");
    match fields.get("name") {
        Some(Value::String(name)) if !name.trim().is_empty() && name.len() <= NAME_BYTES => {
            return name.clone();
        }
        Some(Value::String(_)) => {
            let text = format!("a name has 1 to {NAME_BYTES} bytes");
            issues.error(Issue::new(place, text));
        }
        None | Some(Value::Null) => issues.error(Issue::missing(place, "a workflow needs a name")),
        Some(_) => issues.error(Issue::new(place, "a name is text")),
    }
    String::new()
}

fn status(fields: &Map<String, Value>, issues: &mut Issues) -> String {
    match fields.get("status") {
        None | Some(Value::Null) => STATUSES[0].to_owned(),
        Some(Value::String(status)) if STATUSES.contains(&status.as_str()) => status.clone(),
        Some(_) => {
            let text = format!("a status is one of {}", STATUSES.join(", "));
            issues.error(Issue::new(Place::default().field("status"), text));
            String::new()
        }
    }
}

fn optional_text(
    fields: &Map<String, Value>,
    name: &str,
    place: &Place,
    issues: &mut Issues,
) -> Option<String> {
    match fields.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            issues.error(Issue::new(place.field(name), "must be text"));
            None
        }
    }
}

/// Variables are an object by name, or a list of `{name, value}`.
fn variables(source: Option<&Value>, issues: &mut Issues) -> Map<String, Value> {
    let place = Place::default().field("variables");
    match source {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(fields)) => fields.clone(),
        Some(Value::Array(items)) => {
            let mut variables = Map::new();
            for (index, item) in items.iter().enumerate() {
                let place = place.index(index);
                let Some((name, value)) = variable(item, &place, issues) else { continue };
                if variables.insert(name, value).is_some() {
                    let text = "there are several of this name; the last one counts";
                    issues.warn(place.field("name"), text);
                }
            }
            variables
        }
        Some(_) => {
            issues.error(Issue::new(place, "variables are a list of {name, value}, or an object"));
            Map::new()
        }
    }
}

fn variable(item: &Value, place: &Place, issues: &mut Issues) -> Option<(String, Value)> {
    let Some(name) = item.get("name").and_then(Value::as_str) else {
        issues.error(Issue::missing(place.field("name"), "a variable needs a name"));
        return None;
    };
    let value = item.get("value").cloned().unwrap_or_default();
    let is_secret = item.get("secret").and_then(Value::as_bool).unwrap_or_default();
    let is_given = !value.is_null() && value.as_str() != Some("");
    if is_secret && is_given {
        let text = format!(
            "a secret's value does not belong into a definition, which everybody may read: run \
             `waystation secret set {name}` and write {{{{secrets.{name}}}}} where it is used"
        );
        issues.error(Issue::new(place.field("value"), text));
        return None;
    }
    (!is_secret).then(|| (name.to_owned(), value))
}

impl Graph {
    /// Reads nodes and edges out of the fields of a definition or a body.
    pub(super) fn parse(fields: &Map<String, Value>, place: Place, issues: &mut Issues) -> Graph {
        let nodes = list(fields, "nodes", &place, true, issues);
        let nodes: Vec<_> = nodes.filter_map(|(place, item)| node(item, place, issues)).collect();
        let edges = list(fields, "edges", &place, false, issues);
        let edges = edges.filter_map(|(place, item)| edge(item, place, issues)).collect();
        Graph { place, nodes, edges }
    }
}

fn list<'a>(
    fields: &'a Map<String, Value>,
    name: &str,
    place: &Place,
    is_needed: bool,
    issues: &mut Issues,
) -> impl Iterator<Item = (Place, &'a Value)> + use<'a> {
    let place = place.field(name);
    let items = match fields.get(name) {
        Some(Value::Array(items)) if !(is_needed && items.is_empty()) => items.as_slice(),
        None | Some(Value::Null) if !is_needed => &[],
        None => {
            issues.error(Issue::missing(place.clone(), "must be a list with at least one item"));
            &[]
        }
        Some(_) => {
            let text =
                if is_needed { "must be a list with at least one item" } else { "must be a list" };
            issues.error(Issue::new(place.clone(), text));
            &[]
        }
    };
    let items = if items.len() > EDGES_PER_PLAN {
        let text = format!("has {} items; at most {EDGES_PER_PLAN} are allowed", items.len());
        issues.error(Issue::new(place.clone(), text));
        &[]
    } else {
        items
    };
    items.iter().enumerate().map(move |(index, item)| (place.index(index), item))
}

fn node(item: &Value, place: Place, issues: &mut Issues) -> Option<NodeDefinition> {
    let id = id_of(item, "id", &place, issues);
    let kind = id_of(item, "type", &place, issues);
    let config = match item.get("config") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(config)) => config.clone(),
        Some(_) => {
            issues.error(Issue::new(place.field("config"), "must be an object"));
            Map::new()
        }
    };
    let name = item.get("name").or_else(|| item.get("label")).and_then(Value::as_str);
    let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
    Some(NodeDefinition { id: id?, kind: kind?, name, config, place })
}

/// A name of something: text, or a number as its digits.
fn id_of(item: &Value, field: &str, place: &Place, issues: &mut Issues) -> Option<String> {
    let place = place.field(field);
    match item.get(field) {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= NAME_BYTES => Some(id.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        None | Some(Value::Null) => {
            issues.error(Issue::missing(place, "is needed"));
            None
        }
        Some(_) => {
            issues.error(Issue::new(place, format!("must be text of 1 to {NAME_BYTES} bytes")));
            None
        }
    }
}

fn edge(item: &Value, place: Place, issues: &mut Issues) -> Option<EdgeDefinition> {
    let from = end_of(item, ("source", "from"), &place, issues);
    let to = end_of(item, ("target", "to"), &place, issues);
    let fields = ["condition", "label", "sourceHandle"].into_iter();
    let mut labels = fields.filter_map(|field| label(item, field, &place, issues));
    let label = labels.next();
    let id = item.get("id").and_then(Value::as_str).map(str::to_owned);
    Some(EdgeDefinition { from: from?, to: to?, id, label, place })
}

/// A node that an edge names, in either spelling. Both may be there where they agree.
fn end_of(
    item: &Value,
    (field, other): (&'static str, &'static str),
    place: &Place,
    issues: &mut Issues,
) -> Option<String> {
    let said = |field: &str| item.get(field).filter(|value| !value.is_null());
    if let (Some(one), Some(another)) = (said(field), said(other))
        && one != another
    {
        let text = format!("contradicts `{other}`");
        issues.error(Issue::new(place.field(field), text));
        return None;
    }
    id_of(item, if said(other).is_some() { other } else { field }, place, issues)
}

fn label(item: &Value, field: &'static str, place: &Place, issues: &mut Issues) -> Option<Label> {
    let text = match item.get(field)? {
        Value::Null => return None,
        Value::String(text) => text.trim().to_owned(),
        Value::Bool(holds) => holds.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Array(_) | Value::Object(_) => {
            issues.error(Issue::new(place.field(field), "must be text"));
            return None;
        }
    };
    (!text.is_empty()).then_some(Label { field, text })
}

impl Settings {
    fn parse(source: Option<&Value>, issues: &mut Issues) -> Settings {
        let place = Place::default().field("settings");
        let mut settings = Settings::default();
        let fields = match source {
            None | Some(Value::Null) => return settings,
            Some(Value::Object(fields)) => fields,
            Some(_) => {
                issues.error(Issue::new(place, "must be an object"));
                return settings;
            }
        };
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let place = place.field(name);
            match name.as_str() {
                "timeout" => settings.timeout_ms = timeout(value, place, issues),
                "on_error" => settings.on_failure = on_error(value, place, issues),
                "budget_usd" | "budget_tokens" => settings.spend(name, value, place, issues),
                "notifications" => settings.webhook_url = webhook_url(value, &place, issues),
                _ => issues.warn(place, "has no effect: no such setting"),
            }
        }
        settings
    }

    fn spend(&mut self, name: &str, value: &Value, place: Place, issues: &mut Issues) {
        let amount = value.as_f64().filter(|amount| (0.0..=BUDGET_USD).contains(amount));
        match (name, amount) {
            ("budget_usd", Some(usd)) => self.budget.nano_usd = Some((usd * 1e9).round() as u64),
            (_, Some(_)) if value.is_u64() => self.budget.tokens = value.as_u64(),
            _ => issues.error(Issue::new(place, "must be a number that is not negative")),
        }
    }
}

fn timeout(value: &Value, place: Place, issues: &mut Issues) -> Option<u64> {
    let ms = value.as_f64().map(|seconds| (seconds * 1_000.0).ceil());
    let fits = ms.filter(|ms| *ms >= 1.0 && *ms <= TIMEOUT_MS_MAX as f64);
    if fits.is_none() {
        let most = TIMEOUT_MS_MAX / 1_000;
        let text = format!("must be a number of seconds above 0 and up to {most}");
        issues.error(Issue::new(place, text));
    }
    fits.map(|ms| ms as u64)
}

fn webhook_url(value: &Value, place: &Place, issues: &mut Issues) -> Option<String> {
    let Value::Object(fields) = value else {
        issues.error(Issue::new(place.clone(), "must be an object"));
        return None;
    };
    for name in fields.keys().filter(|name| *name != "webhook_url") {
        issues.warn(place.field(name), "has no effect: no such setting");
    }
    let url = fields.get("webhook_url").filter(|url| !url.is_null() && *url != "")?;
    let usable = url.as_str().filter(|url| is_absolute_address(url) && !url.contains("{{"));
    if usable.is_none() {
        let text = "must be an http or https URL without a template";
        issues.error(Issue::new(place.field("webhook_url"), text));
    }
    usable.map(str::to_owned)
}

fn on_error(value: &Value, place: Place, issues: &mut Issues) -> OnFailure {
    match value.as_str() {
        Some("stop") => OnFailure::Stop,
        Some("continue") => OnFailure::Continue,
        _ => {
            issues.error(Issue::new(place, "must be stop or continue"));
            OnFailure::Stop
        }
    }
}
