//! Rows of the table: a setting, and the settings of a node before and after its change.

use serde_json::{Value, json};

use super::leaves::{changed, merged};
use super::scene::Scene;

/// The rows of a type, or of one of its forms.
pub(super) struct Table {
    /// Its name, as in the headings of docs/nodes.md.
    pub(super) form: String,
    pub(super) rows: Vec<Row>,
}

/// A setting and its change.
#[derive(Clone)]
pub(super) struct Row {
    /// The setting, as in docs/nodes.md.
    pub(super) setting: &'static str,
    /// The type.
    pub(super) kind: String,
    /// Settings without the change.
    pub(super) base: Value,
    /// Settings with the change.
    pub(super) changed: Value,
    /// Where the node stands.
    pub(super) scene: Scene,
    on: Vec<Value>,
    patch: Value,
}

/// A row that changes the table's settings so; `null` takes a setting away.
pub(super) fn row(setting: &'static str, patch: Value) -> Row {
    let nothing = || json!({});
    Row {
        setting,
        kind: String::new(),
        base: nothing(),
        changed: nothing(),
        scene: Scene::alone(),
        on: Vec::new(),
        patch,
    }
}

impl Row {
    /// What the table's settings have besides, before and after the change.
    pub(super) fn on(mut self, on: Value) -> Row {
        self.on.push(on);
        self
    }

    /// The same, beneath what the row has already.
    pub(super) fn under(mut self, on: Value) -> Row {
        self.on.insert(0, on);
        self
    }

    /// Where the node stands.
    pub(super) fn seen(self, scene: Scene) -> Row {
        Row { scene, ..self }
    }

    /// The change, in words.
    pub(super) fn change(&self) -> String {
        let said = |config: &Value| {
            let values = values_at(config, self.setting);
            let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
        };
        format!("{}: {} → {}", self.setting, said(&self.base), said(&self.changed))
    }

    /// The settings that differ, without the places in lists.
    pub(super) fn changed_settings(&self) -> Vec<String> {
        changed(&self.base, &self.changed).iter().map(|way| without_places(way)).collect()
    }

    /// Whether a setting is the row's own, or within it.
    pub(super) fn covers(&self, other: &str) -> bool {
        let own = parts(self.setting);
        let other = parts(other);
        own.len() <= other.len()
            && own.iter().zip(&other).all(|(own, other)| *own == "*" || own == other)
    }

    /// Whether a setting has this value before or after the change, and changes.
    pub(super) fn shows(&self, setting: &str, value: &Value) -> bool {
        let [before, after] = [&self.base, &self.changed].map(|one| values_at(one, setting));
        before != after && (before.contains(value) || after.contains(value))
    }
}

/// A table whose rows change these settings.
pub(super) fn table(form: &str, base: &Value, rows: Vec<Row>) -> Table {
    // `transformer: map` is a form of `transformer`.
    let kind = form.split(':').next().unwrap_or_default();
    let complete = |row: Row| {
        let base = row.on.iter().fold(base.clone(), |base, on| merged(&base, on));
        Row { kind: kind.to_owned(), changed: merged(&base, &row.patch), base, ..row }
    };
    Table { form: form.to_owned(), rows: rows.into_iter().map(complete).collect() }
}

/// What stands at a setting: one value, or one for each item or entry that has it.
fn values_at(config: &Value, setting: &str) -> Vec<Value> {
    parts(setting).iter().fold(vec![config.clone()], |values, part| {
        let within = |value: Value| match (*part, value) {
            ("[]", Value::Array(items)) => items,
            ("*", Value::Object(fields)) => fields.into_iter().map(|(_, field)| field).collect(),
            (name, value) => value.get(name).cloned().into_iter().collect(),
        };
        values.into_iter().flat_map(within).collect()
    })
}

fn parts(setting: &str) -> Vec<&str> {
    let names = setting.split('.');
    names
        .flat_map(|name| {
            let (name, lists) = name.split_at(name.find('[').unwrap_or(name.len()));
            std::iter::once(name).chain(std::iter::repeat_n("[]", lists.len() / 2))
        })
        .collect()
}

/// `cases[0].port` as `cases[].port`.
fn without_places(way: &str) -> String {
    let mut text = String::new();
    let mut is_place = false;
    for letter in way.chars() {
        is_place = letter == '[' || (is_place && letter != ']');
        if !is_place || letter == '[' {
            text.push(letter);
        }
    }
    text
}

#[test]
fn ways_and_settings_fit_together() {
    let config = json!({ "cases": [{ "port": "a" }, { "port": "b" }], "f": { "x": { "op": 1 } } });
    assert_eq!(values_at(&config, "cases[].port"), [json!("a"), json!("b")]);
    assert_eq!(values_at(&config, "f.*.op"), [json!(1)]);
    let ways: Vec<String> =
        changed(&json!({}), &config).iter().map(|way| without_places(way)).collect();
    assert_eq!(ways, ["cases[].port", "cases[].port", "f.x.op"]);
    assert!(row("f.*", json!({})).covers("f.x.op") && !row("cases", json!({})).covers("f.x.op"));
}
