//! The reference of node types, docs/nodes.md, out of what the types say of themselves.

use std::fmt::Write as _;

use serde_json::Value;

use super::catalog::{Catalog, Known};

const OPENING: &str = "\
# Node types

What the nodes of a workflow can do. A node has a `type` and a `config` with the settings below. Any setting
may hold templates, `{{ }}`, except where it says otherwise or where its kind (a choice, a name of a node) has
to be known when the workflow is saved. [expressions.md](expressions.md) tells what stands between the braces.

This page is made from the types themselves. `GET /api/v1/nodes` gives the same as JSON Schema.
";

/// The reference as Markdown: each type with its settings and an example.
pub fn reference(catalog: &Catalog) -> String {
    let mut text = OPENING.to_owned();
    text.push_str("\n| type | category | what it is for |\n| --- | --- | --- |\n");
    for Known { spec, .. } in catalog.types() {
        let (name, category) = (spec.name, spec.category.as_str());
        let purpose = cell(first_sentence(spec.description));
        line(&mut text, format_args!("| [`{name}`](#{name}) | {category} | {purpose} |"));
    }
    catalog.types().iter().for_each(|known| section(&mut text, known));
    text
}

/// The sentence of a description that stands alone in lists.
fn first_sentence(description: &str) -> &str {
    let ends = [". ", ".\n"].into_iter().filter_map(|end| description.find(end));
    ends.min().map_or(description, |end| &description[..=end])
}

fn section(text: &mut String, known: &Known) {
    let spec = &known.spec;
    line(text, format_args!("\n## {}\n", spec.name));
    line(text, format_args!("**{}**, {}\n", spec.title, spec.category.as_str()));
    line(text, format_args!("{}", spec.description));
    match known.schema.get("oneOf").and_then(Value::as_array) {
        Some(forms) => forms.iter().for_each(|form| {
            let described = form["description"].as_str().unwrap_or_default();
            line(text, format_args!("\n### {}{}\n", spec.name, named_by(form)));
            line(text, format_args!("{described}"));
            settings(text, form);
        }),
        None => settings(text, &known.schema),
    }
    let example = serde_json::to_string_pretty(&(spec.example)()).unwrap_or_default();
    line(text, format_args!("\nExample:\n\n```json\n{example}\n```"));
}

/// The words by which settings say that they have this form.
fn named_by(form: &Value) -> String {
    let fields = form["properties"].as_object().into_iter().flatten();
    let named = fields.filter_map(|(_, field)| field["const"].as_str());
    named.map(|name| format!(": {name}")).collect()
}

/// One setting.
struct Row {
    path: String,
    kind: String,
    default: String,
    is_required: bool,
    description: String,
}

fn settings(text: &mut String, schema: &Value) {
    let mut rows = Vec::new();
    fields(schema, "", &mut rows);
    if rows.is_empty() {
        return line(text, format_args!("\nIt has no settings."));
    }
    line(text, format_args!("\n| setting | type | default | required | what it means |"));
    line(text, format_args!("| --- | --- | --- | --- | --- |"));
    for Row { path, kind, default, is_required, description } in rows {
        let required = if is_required { "yes" } else { "" };
        let described = cell(&description);
        line(text, format_args!("| `{path}` | {kind} | {default} | {required} | {described} |"));
    }
}

/// The fields of an object, and those within them; a field of several forms counts once.
fn fields(schema: &Value, prefix: &str, rows: &mut Vec<Row>) {
    let required = |name: &str| {
        let required = schema["required"].as_array().into_iter().flatten();
        required.filter_map(Value::as_str).any(|required| required == name)
    };
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{prefix}{name}");
        if rows.iter().any(|row| row.path == path) {
            continue;
        }
        rows.push(Row {
            kind: kind(field),
            default: field
                .get("default")
                .filter(|default| !default.is_null())
                .map(code)
                .unwrap_or_default(),
            is_required: required(name),
            description: description(field),
            path: path.clone(),
        });
        within(field, &path, rows);
    }
}

/// What is below a field: of an object, of the items of a list, of values by names of one's own.
fn within(field: &Value, path: &str, rows: &mut Vec<Row>) {
    fields(field, &format!("{path}."), rows);
    if field["items"].is_object() {
        within(&field["items"], &format!("{path}[]"), rows);
    }
    if field["additionalProperties"].is_object() {
        within(&field["additionalProperties"], &format!("{path}.*"), rows);
    }
    forms(field).for_each(|form| within(form, path, rows));
}

fn forms(field: &Value) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].into_iter().flat_map(|name| field[name].as_array().into_iter().flatten())
}

/// The words of a choice, each with what it means.
fn choices(field: &Value) -> Vec<(&Value, &str)> {
    let words = field["enum"].as_array().into_iter().flatten().map(|word| (word, ""));
    let told = forms(field).filter_map(|form| {
        Some((form.get("const")?, form["description"].as_str().unwrap_or_default()))
    });
    words.chain(told).filter(|(word, _)| !word.is_null()).collect()
}

fn kind(field: &Value) -> String {
    if let Some(word) = field.get("const") {
        return code(word);
    }
    let choices = choices(field);
    if !choices.is_empty() {
        return choices.iter().map(|(word, _)| code(word)).collect::<Vec<_>>().join(", ");
    }
    let kinds: Vec<&str> = match &field["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => forms(field).filter_map(|form| form["type"].as_str()).collect(),
    };
    let kinds: Vec<&str> = kinds.into_iter().filter(|kind| *kind != "null").collect();
    if kinds.is_empty() { "any".to_owned() } else { kinds.join(" or ") }
}

fn description(field: &Value) -> String {
    let mut text = field["description"].as_str().unwrap_or_default().to_owned();
    for (word, meaning) in choices(field).into_iter().filter(|(_, meaning)| !meaning.is_empty()) {
        text.push_str(&format!(" {}: {}", code(word), uncapitalised(meaning)));
    }
    text
}

fn uncapitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

fn code(value: &Value) -> String {
    match value {
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    }
}

/// A text as it stands in a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// Writing to a text cannot fail.
fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{words}");
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use waystation_core::dialect::graph::types::NodeTypes;

    use super::*;
    use crate::egress::{HttpClient, Policy, Reach};
    use crate::node::{NodeType, Registry, code};

    fn registry() -> Registry {
        let client = HttpClient::new(Policy::new(Reach::AnyButMetadata)).expect("a client");
        let mut registry = Registry::standard(&Arc::new(client), &Arc::default());
        // The program adds it, with its sandbox.
        registry.describe(code::spec(true));
        registry.add("code", NodeType::Pure(|_| Ok(Value::Null.into())));
        registry
    }

    #[test]
    fn the_reference_is_what_the_types_say() {
        let file =
            Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../docs/nodes.md");
        let made = reference(registry().catalog());
        if std::env::var_os("WAYSTATION_BLESS").is_some() {
            std::fs::write(&file, &made).expect("docs/nodes.md can be written");
        }
        let kept = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(kept, made, "WAYSTATION_BLESS=1 writes docs/nodes.md anew");
    }

    #[test]
    fn every_example_works_as_it_stands() {
        let registry = registry();
        for Known { spec, .. } in registry.catalog().types() {
            let example = (spec.example)();
            let config = example.as_object().expect("settings are an object");
            let lowered = registry.catalog().lower(spec.name, config).expect("the type is known");
            let kind =
                lowered.unwrap_or_else(|problems| panic!("{}: {problems:?}", spec.name)).kind;
            assert!(registry.get(&kind).is_some(), "{}: no type is called {kind}", spec.name);
        }
    }

    #[test]
    fn every_setting_is_described() {
        for Known { spec, schema, .. } in registry().catalog().types() {
            let mut rows = Vec::new();
            match schema["oneOf"].as_array() {
                Some(forms) => forms.iter().for_each(|form| fields(form, "", &mut rows)),
                None => fields(schema, "", &mut rows),
            }
            let silent = rows.iter().filter(|row| row.description.is_empty());
            let silent = silent.filter(|row| !row.kind.starts_with('`'));
            let silent: Vec<&str> = silent.map(|row| row.path.as_str()).collect();
            assert!(silent.is_empty(), "{}: {silent:?}", spec.name);
        }
    }

    #[test]
    fn a_table_tells_nested_settings_by_their_paths() {
        let schema = serde_json::json!({
            "properties": {
                "list": { "type": "array", "description": "a | b", "items": { "anyOf": [
                    { "type": "object", "properties": { "x": { "type": "integer", "default": 1 } } },
                    { "type": "object", "properties": { "x": {}, "y": { "enum": ["p", "q"] } } },
                ]}},
                "map": { "type": ["object", "null"], "additionalProperties": {
                    "type": "object", "required": ["z"], "properties": { "z": { "oneOf": [
                        { "const": "one", "description": "The first." }, { "const": "two" },
                    ]}},
                }},
            },
            "required": ["list"],
        });
        let mut text = String::new();
        settings(&mut text, &schema);
        insta::assert_snapshot!(text, @r"
        | setting | type | default | required | what it means |
        | --- | --- | --- | --- | --- |
        | `list` | array |  | yes | a \| b |
        | `list[].x` | integer | `1` |  |  |
        | `list[].y` | `p`, `q` |  |  |  |
        | `map` | object |  |  |  |
        | `map.*.z` | `one`, `two` |  | yes | `one`: the first. |
        ");
    }
}
