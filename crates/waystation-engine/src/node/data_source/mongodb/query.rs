//! What MongoDB is asked: an object of a definition, whose templates give values and nothing else.
//!
//! When a definition is saved, its templates are taken out of the query and replaced by marks. When the
//! node runs, what they have become is put in the place of the marks, if it can be nothing but a value:
//! an operator out of somebody's input would turn `{"password": "{{input.password}}"}` into a question
//! that any password answers.

use bson::{Bson, Document};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::dialect::graph::types::Problems;
use waystation_core::error::Failure;

use super::super::settings::invalid;

/// Stands for the template of a number.
const MARK: &str = "$bound";
/// Operators that run programs on the server.
const PROGRAMS: [&str; 5] = ["$where", "$function", "$accumulator", "$code", "$scope"];
/// Stages that write.
const WRITES: [&str; 2] = ["$out", "$merge"];

/// A question or a write.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The database, where the address names none.
    pub(super) database: Option<String>,
    pub(super) collection: String,
    #[serde(default)]
    filter: Map<String, Value>,
    projection: Option<Map<String, Value>>,
    sort: Option<Map<String, Value>>,
    pub(super) skip: Option<u64>,
    pipeline: Option<Vec<Map<String, Value>>>,
    insert: Option<Vec<Map<String, Value>>>,
    update: Option<Update>,
    delete: Option<Delete>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    filter: Map<String, Value>,
    update: Map<String, Value>,
    #[serde(default)]
    many: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    filter: Map<String, Value>,
    #[serde(default)]
    many: bool,
}

/// What is to be done, in the form of the library.
pub(super) enum Deed {
    Find { filter: Document, projection: Option<Document>, sort: Option<Document> },
    Aggregate { pipeline: Vec<Document> },
    Insert { documents: Vec<Document> },
    Update { filter: Document, update: Document, many: bool },
    Delete { filter: Document, many: bool },
}

/// Takes the templates out of a query of a definition, and says what is wrong with it.
pub(in super::super) fn take_templates(query: &mut Value, problems: &mut Problems) -> Vec<Value> {
    let mut templates = Vec::new();
    for name in ["collection", "database"] {
        if query.get(name).and_then(Value::as_str).is_some_and(is_template) {
            problems.push(format!("query: `{name}` must be no template"));
            query[name] = "".into();
        }
    }
    if let Some(key) = forbidden_key(query, &PROGRAMS).or_else(|| forbidden_key(query, &[MARK])) {
        problems.push(format!("query: `{key}` is not sent; no program runs on the server"));
        return templates;
    }
    mark(query, &mut templates);
    if let Err(error) = serde_json::from_value::<Query>(query.clone()) {
        let form =
            "an object with `collection` and `filter`, `pipeline`, `insert`, `update` or `delete`";
        problems.push(format!("query: must be {form}: {error}"));
    }
    templates
}

fn mark(value: &mut Value, templates: &mut Vec<Value>) {
    match value {
        Value::String(text) if is_template(text) => {
            let number = templates.len();
            templates.push(std::mem::replace(value, json!({ MARK: number })));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| mark(item, templates)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mark(field, templates)),
        _ => (),
    }
}

fn is_template(text: &str) -> bool {
    text.contains("{{")
}

/// The first of these keys that stands anywhere in a value.
fn forbidden_key<'a>(value: &'a Value, keys: &[&str]) -> Option<&'a str> {
    match value {
        Value::Array(items) => items.iter().find_map(|item| forbidden_key(item, keys)),
        Value::Object(fields) => fields.iter().find_map(|(key, value)| match keys {
            keys if keys.contains(&key.as_str()) => Some(key.as_str()),
            keys => forbidden_key(value, keys),
        }),
        _ => None,
    }
}

impl Query {
    /// Reads a query with the values of its templates.
    pub(super) fn read(query: &Value, values: &[Value]) -> Result<Query, Failure> {
        let mut query = query.clone();
        if let Value::Object(fields) = &mut query {
            for (name, part) in fields {
                let is_expression = matches!(name.as_str(), "pipeline" | "projection");
                bind(part, values, is_expression)?;
            }
        }
        serde_json::from_value(query).map_err(|error| invalid(&format!("query: {error}")))
    }

    /// What is to be done. What writes needs leave to do so.
    pub(super) fn deed(self, writes: bool) -> Result<Deed, Failure> {
        let count = [
            self.pipeline.is_some(),
            self.insert.is_some(),
            self.update.is_some(),
            self.delete.is_some(),
        ];
        if count.into_iter().filter(|given| *given).count() > 1 {
            return Err(invalid("query: can do one thing only"));
        }
        let needs_leave = self.insert.is_some() || self.update.is_some() || self.delete.is_some();
        let stage = self
            .pipeline
            .iter()
            .flatten()
            .find_map(|stage| WRITES.into_iter().find(|name| has_key(stage, name)));
        if (needs_leave || stage.is_some()) && !writes {
            let what = stage.unwrap_or("a write");
            let failure = invalid(&format!("query: {what} needs leave to change something"));
            return Err(Failure { hint: Some("set `write: true`".to_owned()), ..failure });
        }
        if let Some(pipeline) = self.pipeline {
            return Ok(Deed::Aggregate { pipeline: documents(pipeline)? });
        }
        if let Some(insert) = self.insert {
            return Ok(Deed::Insert { documents: documents(insert)? });
        }
        if let Some(Update { filter, update, many }) = self.update {
            return Ok(Deed::Update { filter: document(filter)?, update: document(update)?, many });
        }
        if let Some(Delete { filter, many }) = self.delete {
            return Ok(Deed::Delete { filter: document(filter)?, many });
        }
        Ok(Deed::Find {
            filter: document(self.filter)?,
            projection: self.projection.map(document).transpose()?,
            sort: self.sort.map(document).transpose()?,
        })
    }
}

/// Whether a stage, or a pipeline within it, has a key.
fn has_key(stage: &Map<String, Value>, key: &str) -> bool {
    stage.contains_key(key) || stage.values().any(|value| forbidden_key(value, &[key]).is_some())
}

/// Puts values in the place of their marks. In an expression a text that begins with `$` names a field.
fn bind(part: &mut Value, values: &[Value], is_expression: bool) -> Result<(), Failure> {
    match part {
        Value::Array(items) => {
            items.iter_mut().try_for_each(|item| bind(item, values, is_expression))
        }
        Value::Object(fields) => {
            if let Some(number) = fields.get(MARK).and_then(Value::as_u64) {
                let value = usize::try_from(number).ok().and_then(|number| values.get(number));
                let value = value.ok_or_else(|| invalid("query: a template has no value"))?;
                check_value(value, is_expression)?;
                *part = value.clone();
                return Ok(());
            }
            fields.iter_mut().try_for_each(|(key, field)| match key.as_str() {
                "$match" | "$literal" => bind(field, values, false),
                "$expr" => bind(field, values, true),
                _ => bind(field, values, is_expression),
            })
        }
        _ => Ok(()),
    }
}

/// Refuses what would be more than a value.
fn check_value(value: &Value, is_expression: bool) -> Result<(), Failure> {
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_value(item, is_expression)),
        Value::Object(fields) => fields.iter().try_for_each(|(key, field)| match key {
            key if key.starts_with('$') => {
                let text =
                    format!("query: a template gives the field `{key}`, which is an operator");
                Err(invalid(&text))
            }
            _ => check_value(field, is_expression),
        }),
        Value::String(text) if is_expression && text.starts_with('$') => {
            let text =
                "query: a template gives a text that begins with `$`, which would name a field";
            let hint = "write {\"$literal\": \"{{…}}\"}".to_owned();
            Err(Failure { hint: Some(hint), ..invalid(text) })
        }
        _ => Ok(()),
    }
}

fn documents(list: Vec<Map<String, Value>>) -> Result<Vec<Document>, Failure> {
    list.into_iter().map(document).collect()
}

/// An object in BSON; `{"$oid": …}`, `{"$date": …}` and their like are the values that they stand for.
fn document(fields: Map<String, Value>) -> Result<Document, Failure> {
    match Bson::try_from(Value::Object(fields)) {
        Ok(Bson::Document(document)) => Ok(document),
        Ok(_) => Err(invalid("query: an object is expected where a single value stands")),
        Err(error) => Err(invalid(&format!("query: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut query: Value, values: &[Value]) -> Result<Deed, Failure> {
        let mut problems = Problems::new();
        let templates = take_templates(&mut query, &mut problems);
        assert_eq!((problems.len(), templates.len()), (0, values.len()), "{problems:?}");
        Query::read(&query, values)?.deed(false)
    }

    fn problems(mut query: Value) -> String {
        let mut problems = Problems::new();
        take_templates(&mut query, &mut problems);
        problems.join("\n")
    }

    #[test]
    fn templates_give_values_and_nothing_else() {
        let login =
            || json!({ "collection": "users", "filter": { "password": "{{input.password}}" } });
        let plain = |value: Value| match read(login(), &[value]) {
            Ok(Deed::Find { filter, .. }) => Ok(Value::from(Bson::Document(filter))),
            Ok(_) => panic!("a question"),
            Err(failure) => Err(failure.message),
        };
        for value in [json!("$ne"), json!("'; --"), json!({ "a": [1] }), json!(null)] {
            assert_eq!(plain(value.clone()), Ok(json!({ "password": value })));
        }
        for value in
            [json!({ "$ne": null }), json!([{ "a": { "$gt": "" } }]), json!({ "$where": "1" })]
        {
            assert!(plain(value.clone()).unwrap_err().contains("an operator"), "{value}");
        }
    }

    #[test]
    fn in_an_expression_no_value_names_a_field() {
        let expression = |stage: Value| json!({ "collection": "c", "pipeline": [stage] });
        for (stage, is_taken) in [
            (json!({ "$set": { "x": "{{v}}" } }), false),
            (json!({ "$match": { "$expr": { "$eq": ["$x", "{{v}}"] } } }), false),
            (json!({ "$set": { "x": { "$literal": "{{v}}" } } }), true),
            (json!({ "$match": { "x": "{{v}}" } }), true),
        ] {
            let given = read(expression(stage.clone()), &[json!("$password")]);
            assert_eq!(given.is_ok(), is_taken, "{stage}");
            assert!(read(expression(stage), &[json!("password")]).is_ok());
        }
        let projection = json!({ "collection": "c", "projection": { "x": "{{v}}" } });
        assert!(read(projection, &[json!("$password")]).is_err());
    }

    #[test]
    fn no_program_is_sent_and_nothing_written_without_leave() {
        for query in [
            json!({ "collection": "c", "filter": { "$where": "sleep(1000)" } }),
            json!({ "collection": "c", "filter": { "$or": [{ "a": { "$where": "1" } }] } }),
            json!({ "collection": "c", "pipeline": [{ "$set": { "x": { "$function": {} } } }] }),
            json!({ "collection": "c", "pipeline": [{ "$group": { "x": { "$accumulator": {} } } }] }),
            json!({ "collection": "c", "filter": { "a": { "$bound": 0 } } }),
        ] {
            assert!(problems(query.clone()).contains("is not sent"), "{query}");
        }
        for query in [
            json!({ "collection": "c", "pipeline": [{ "$out": "x" }] }),
            json!({ "collection": "c", "pipeline": [{ "$merge": { "into": "x" } }] }),
            json!({ "collection": "c", "pipeline": [{ "$facet": { "a": [{ "$out": "x" }] } }] }),
            json!({ "collection": "c", "insert": [{ "a": 1 }] }),
            json!({ "collection": "c", "update": { "filter": {}, "update": { "$set": { "a": 1 } } } }),
            json!({ "collection": "c", "delete": { "filter": {} } }),
        ] {
            let failure = read(query.clone(), &[]).map(drop).expect_err("no leave");
            assert_eq!(failure.hint(), Some("set `write: true`"), "{query}");
        }
        insta::assert_snapshot!(problems(json!({ "collection": "{{c}}", "find": {} })), @"
        query: `collection` must be no template
        query: must be an object with `collection` and `filter`, `pipeline`, `insert`, `update` or `delete`: unknown field `find`, expected one of `database`, `collection`, `filter`, `projection`, `sort`, `skip`, `pipeline`, `insert`, `update`, `delete`
        ");
    }
}
