//! Which settings there are, and which choices: walks the schemas as docs/nodes.md does, and reads what
//! docs/workflows.md promises of a document.

use serde_json::Value;

/// A setting as its schema describes it.
pub(super) struct Described {
    /// The type, or one of its forms, as in the headings of docs/nodes.md.
    pub(super) form: String,
    /// The setting, as in docs/nodes.md.
    pub(super) setting: String,
    /// The words of which it has to be one, if it has to be one of some.
    pub(super) choices: Vec<Value>,
}

impl Described {
    pub(super) fn name(&self) -> String {
        format!("{}: {}", self.form, self.setting)
    }
}

/// The settings of a type as the server lists it.
pub(super) fn described(listed: &Value) -> Vec<Described> {
    let (kind, schema) = (listed["type"].as_str().unwrap(), &listed["schema"]);
    let Some(forms) = schema["oneOf"].as_array() else { return of_form(kind, schema) };
    let form = |form: &Value| {
        let fields = form["properties"].as_object().unwrap();
        let name = fields.values().find_map(|field| field["const"].as_str()).unwrap();
        of_form(&format!("{kind}: {name}"), form)
    };
    forms.iter().flat_map(form).collect()
}

/// What stands for the workflow's document where the others have their type.
pub(super) const DOCUMENT: &str = "a workflow's document";

/// What a document may say beside the settings of its nodes.
pub(super) fn described_of_documents() -> Vec<Described> {
    let text = include_str!("../../../../../docs/workflows.md");
    let tables = [("The document", ""), ("Nodes", "nodes[]."), ("Settings", "settings.")];
    let told = tables.iter().flat_map(|(heading, prefix)| {
        let (_, section) = text.split_once(&format!("\n## {heading}\n")).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
        // The code in a cell: each name stands between two ticks.
        let names = cells.flat_map(|cell| cell.split('`').step_by(2));
        names.filter(|name| !name.trim().is_empty()).map(move |name| format!("{prefix}{name}"))
    });
    // Of edges the page tells in words.
    let edges = ["source", "target", "from", "to", "condition", "label", "sourceHandle"];
    let settings = told.chain(edges.map(|name| format!("edges[].{name}")));
    let described = |setting| Described { form: DOCUMENT.to_owned(), setting, choices: Vec::new() };
    settings.map(described).collect()
}

fn of_form(form: &str, schema: &Value) -> Vec<Described> {
    let mut found = Vec::new();
    fields(schema, "", &mut found);
    found
        .into_iter()
        .map(|(setting, choices)| Described { form: form.to_owned(), setting, choices })
        .collect()
}

/// Settings with their choices.
type Found = Vec<(String, Vec<Value>)>;

fn fields(schema: &Value, prefix: &str, found: &mut Found) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let setting = format!("{prefix}{name}");
        let choices = choices(field);
        match found.iter_mut().find(|(known, _)| *known == setting) {
            Some((_, known)) => known.extend(choices),
            None => found.push((setting.clone(), choices)),
        }
        within(field, &setting, found);
    }
}

fn within(field: &Value, setting: &str, found: &mut Found) {
    fields(field, &format!("{setting}."), found);
    if field["items"].is_object() {
        within(&field["items"], &format!("{setting}[]"), found);
    }
    if field["additionalProperties"].is_object() {
        within(&field["additionalProperties"], &format!("{setting}.*"), found);
    }
    forms(field).for_each(|form| within(form, setting, found));
}

fn forms(field: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().flat_map(|name| field[name].as_array().into_iter().flatten())
}

/// The words that a field may have, in whichever way its schema tells them.
fn choices(field: &Value) -> Vec<Value> {
    let words = field["enum"].as_array().into_iter().flatten();
    let own = words.chain(field.get("const")).filter(|word| !word.is_null()).cloned();
    own.chain(forms(field).flat_map(choices)).collect()
}
