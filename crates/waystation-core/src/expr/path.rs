//! Paths: their steps, how a scope resolves their heads, and how the rest descends into a value.

use std::borrow::Cow;

use serde_json::Value;

/// One step of a static path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A field: `.name` or `["name"]`.
    Name(Box<str>),
    /// A position: `[0]` or `.0`; negative ones count from the end. In an object it is a key.
    Index(i64),
}

/// What the head of a path resolved to.
#[derive(Clone, Debug, PartialEq)]
pub struct Found<'a> {
    /// The value of the part that the scope resolved.
    pub value: Cow<'a, Value>,
    /// How many keys that part has, at least one; the rest descends into the value.
    pub used: usize,
}

/// What names mean.
pub trait Scope {
    /// Resolves the head of a path; the whole path is given so that nothing has to be built for it.
    fn lookup<'a>(&'a self, path: &[Key]) -> Option<Found<'a>>;

    /// The names that exist, dotted where the scope resolves more than one key. Only asked for when
    /// a message needs them.
    fn names(&self) -> Vec<String>;

    /// Whether a name exists, be it that of a node: what the parser asks of names with dashes.
    fn knows(&self, name: &str) -> bool {
        let head = Key::Name(name.into());
        let path = [head, Key::Name("output".into())];
        self.lookup(&path[..1]).is_some() || self.lookup(&path).is_some()
    }
}

/// The fields of an object are names.
impl Scope for Value {
    fn lookup<'a>(&'a self, path: &[Key]) -> Option<Found<'a>> {
        let value = child(self, path.first()?)?;
        Some(Found { value: Cow::Borrowed(value), used: 1 })
    }

    fn names(&self) -> Vec<String> {
        self.as_object().map(|fields| fields.keys().cloned().collect()).unwrap_or_default()
    }
}

/// The value one step below.
pub(super) fn descend<'a>(value: Cow<'a, Value>, key: &Key) -> Option<Cow<'a, Value>> {
    match value {
        Cow::Borrowed(value) => child(value, key).map(Cow::Borrowed),
        Cow::Owned(mut value) => child_mut(&mut value, key).map(Value::take).map(Cow::Owned),
    }
}

/// The value one step below a borrowed one.
pub fn child<'a>(value: &'a Value, key: &Key) -> Option<&'a Value> {
    match (value, key) {
        (Value::Object(fields), Key::Name(name)) => fields.get(&**name),
        (Value::Object(fields), Key::Index(index)) => fields.get(&index.to_string()),
        (Value::Array(items), Key::Index(index)) => items.get(position(*index, items.len())?),
        _ => None,
    }
}

fn child_mut<'a>(value: &'a mut Value, key: &Key) -> Option<&'a mut Value> {
    match (value, key) {
        (Value::Object(fields), Key::Name(name)) => fields.get_mut(&**name),
        (Value::Object(fields), Key::Index(index)) => fields.get_mut(&index.to_string()),
        (Value::Array(items), Key::Index(index)) => {
            let position = position(*index, items.len())?;
            items.get_mut(position)
        }
        _ => None,
    }
}

fn position(index: i64, length: usize) -> Option<usize> {
    let distance = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 { length.checked_sub(distance) } else { Some(distance) }
}

/// A path as one would write it.
pub(super) fn display(keys: &[Key]) -> String {
    let mut text = String::new();
    for key in keys {
        push_key(&mut text, key);
    }
    text
}

/// Appends one step to a path.
pub(super) fn push_key(text: &mut String, key: &Key) {
    match key {
        Key::Name(name) => push_name(text, name),
        Key::Index(index) => text.push_str(&format!("[{index}]")),
    }
}

/// Appends a field to a path, quoted if it could be read as something else.
pub(super) fn push_name(text: &mut String, name: &str) {
    let plain = !name.is_empty() && name.chars().all(|c| is_word(c) || c == '-');
    if !plain {
        text.push_str(&format!("[{}]", Value::from(name)));
    } else if text.is_empty() {
        text.push_str(name);
    } else {
        text.push_str(&format!(".{name}"));
    }
}

/// Whether a character can stand in a name without quotes.
pub(super) fn is_word(c: char) -> bool {
    c == '_' || c == '$' || c.is_alphanumeric()
}
/// Whether a path leads to a secret.
pub(super) fn is_secret(path: &[Key]) -> bool {
    matches!(path.first(), Some(Key::Name(name)) if &**name == "secrets")
}
