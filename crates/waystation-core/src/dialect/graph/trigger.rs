//! What begins a workflow by itself: schedules, and hooks that other programs call.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::issue::{Issue, Issues, Place};
use crate::limits::{NAME_BYTES, TRIGGERS_PER_WORKFLOW};

/// Methods by which a hook may be called.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// The header that holds a hook's signature, where the definition does not say.
const SIGNATURE_HEADER: &str = "x-hub-signature-256";

/// A trigger of a definition.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Where it stands.
    pub place: Place,
    /// Unique within the workflow.
    pub id: String,
    /// Whether it does anything.
    pub is_enabled: bool,
    /// What it waits for.
    pub kind: TriggerKind,
}

/// What a trigger waits for.
#[derive(Clone, Debug, PartialEq)]
pub enum TriggerKind {
    /// Moments.
    Schedule(Schedule),
    /// Calls.
    Hook(Hook),
}

/// Moments at which a workflow begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// A cron expression of five fields, or six with seconds first.
    pub cron: String,
    /// The time zone in which it is read, such as `Europe/Berlin`.
    pub timezone: String,
    /// What is done about moments at which nobody was there.
    pub missed: Missed,
    /// The input of the runs.
    pub input: Value,
}

/// What is done about moments at which the server was not running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Nothing.
    Skip,
    /// One run for all of them.
    Once,
    /// A run for each.
    All,
}

/// An address that other programs call.
#[derive(Clone, Debug, PartialEq)]
pub struct Hook {
    /// What follows `/hooks/`.
    pub path: String,
    /// The methods that it takes.
    pub methods: Vec<String>,
    /// How a call is signed, if it has to be.
    pub signature: Option<Signature>,
    /// Whether the caller waits for the result.
    pub waits: bool,
}

/// How calls of a hook are signed: HMAC-SHA256 over the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The name of the secret that both sides know.
    pub secret: String,
    /// The header that holds the signature, in lower case.
    pub header: String,
    /// Whether the call follows the Standard Webhooks specification instead, with its three headers.
    pub is_standard: bool,
}

/// Reads the triggers of a definition, or those of a stored row of one.
pub fn parse(source: Option<&Value>, issues: &mut Issues) -> Vec<Trigger> {
    let place = Place::default().field("triggers");
    let items = match source {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(items)) if items.len() <= TRIGGERS_PER_WORKFLOW => items,
        Some(_) => {
            let text = format!("must be a list of at most {TRIGGERS_PER_WORKFLOW} triggers");
            issues.error(Issue::new(place, text));
            return Vec::new();
        }
    };
    let mut seen = HashSet::new();
    let mut triggers = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let place = place.index(index);
        let Some(trigger) = Reader { issues, place: place.clone() }.trigger(item, index) else {
            continue;
        };
        if !seen.insert(trigger.id.clone()) {
            let text = format!("there are several triggers {}", trigger.id);
            issues.error(Issue::new(place.field("id"), text));
        }
        triggers.push(trigger);
    }
    triggers
}

struct Reader<'i> {
    issues: &'i mut Issues,
    place: Place,
}

impl Reader<'_> {
    fn trigger(&mut self, item: &Value, index: usize) -> Option<Trigger> {
        let Some(fields) = item.as_object() else {
            self.refuse("", "must be an object");
            return None;
        };
        let kind = match fields.get("type").and_then(Value::as_str) {
            Some("schedule" | "cron") => {
                self.know(fields, &["cron", "timezone", "missed", "input"]);
                TriggerKind::Schedule(self.schedule(fields)?)
            }
            Some("webhook" | "hook") => {
                self.know(fields, &["path", "methods", "signature", "reply"]);
                TriggerKind::Hook(self.hook(fields)?)
            }
            _ => {
                self.refuse("type", "is schedule or webhook");
                return None;
            }
        };
        let id = self.text(fields, "id")?.unwrap_or_else(|| format!("trigger-{}", index + 1));
        let is_enabled = match fields.get("enabled") {
            None | Some(Value::Null) => true,
            Some(Value::Bool(enabled)) => *enabled,
            Some(_) => {
                self.refuse("enabled", "must be true or false");
                return None;
            }
        };
        Some(Trigger { place: self.place.clone(), id, is_enabled, kind })
    }

    fn refuse(&mut self, field: &str, message: &str) {
        let place = if field.is_empty() { self.place.clone() } else { self.place.field(field) };
        self.issues.error(Issue::new(place, message));
    }

    /// Every other field would have no effect.
    fn know(&mut self, fields: &Map<String, Value>, known: &[&str]) {
        let common = ["id", "type", "enabled", "name", "description"];
        for name in fields.keys() {
            if !known.contains(&name.as_str()) && !common.contains(&name.as_str()) {
                let text = format!("has no effect; the settings are {}", known.join(", "));
                self.refuse(name, &text);
            }
        }
    }

    fn text(&mut self, fields: &Map<String, Value>, name: &str) -> Option<Option<String>> {
        match fields.get(name) {
            None | Some(Value::Null) => Some(None),
            Some(Value::String(text)) if !text.is_empty() && text.len() <= NAME_BYTES => {
                Some(Some(text.clone()))
            }
            Some(_) => {
                self.refuse(name, &format!("must be text of 1 to {NAME_BYTES} bytes"));
                None
            }
        }
    }

    fn schedule(&mut self, fields: &Map<String, Value>) -> Option<Schedule> {
        let Some(cron) = self.text(fields, "cron")? else {
            self.refuse("cron", "is needed: five fields such as `0 3 * * *`");
            return None;
        };
        let timezone = self.text(fields, "timezone")?.unwrap_or_else(|| "UTC".into());
        let missed = match self.text(fields, "missed")?.as_deref() {
            None | Some("once") => Missed::Once,
            Some("skip") => Missed::Skip,
            Some("all") => Missed::All,
            Some(_) => {
                self.refuse("missed", "is skip, once or all");
                return None;
            }
        };
        let input = fields.get("input").cloned().unwrap_or_else(|| Value::Object(Map::new()));
        Some(Schedule { cron, timezone, missed, input })
    }

    fn hook(&mut self, fields: &Map<String, Value>) -> Option<Hook> {
        let path = self.text(fields, "path")?.unwrap_or_default();
        let path = path.trim_matches('/').to_owned();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./~".contains(&byte);
        let is_plain = path.split('/').all(|part| !["", ".", ".."].contains(&part));
        if !path.bytes().all(fits) || !is_plain {
            self.refuse("path", "is what follows /hooks/: letters, digits, and - _ . ~ /");
            return None;
        }
        let waits = match self.text(fields, "reply")?.as_deref() {
            None | Some("at_once") => false,
            Some("result") => true,
            Some(_) => {
                self.refuse("reply", "is at_once or result");
                return None;
            }
        };
        let (methods, signature) = (self.methods(fields)?, self.signature(fields)?);
        Some(Hook { path, methods, signature, waits })
    }

    fn methods(&mut self, fields: &Map<String, Value>) -> Option<Vec<String>> {
        let Some(value) = fields.get("methods").filter(|value| !value.is_null()) else {
            return Some(vec!["POST".into()]);
        };
        let names = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let upper = |name: &Value| name.as_str().map(str::to_ascii_uppercase);
        let methods: Option<Vec<String>> = names.iter().map(upper).collect();
        let known = |methods: &Vec<String>| {
            !methods.is_empty() && methods.iter().all(|name| METHODS.contains(&name.as_str()))
        };
        let methods = methods.filter(known);
        if methods.is_none() {
            self.refuse("methods", &format!("is a list of {}", METHODS.join(", ")));
        }
        methods
    }

    fn signature(&mut self, fields: &Map<String, Value>) -> Option<Option<Signature>> {
        let Some(value) = fields.get("signature").filter(|value| !value.is_null()) else {
            return Some(None);
        };
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let secret = text("secret").map(secret_name).filter(|name| !name.is_empty());
        let scheme = text("scheme").unwrap_or("hmac-sha256");
        let header = text("header").unwrap_or(SIGNATURE_HEADER).to_ascii_lowercase();
        let is_known = ["hmac-sha256", "standard-webhooks"].contains(&scheme);
        let (Some(secret), true) = (secret, is_known) else {
            self.refuse(
                "signature",
                "is {secret, header?, scheme?}: the name of a secret, the header that holds the \
                 signature, and hmac-sha256 or standard-webhooks",
            );
            return None;
        };
        let is_standard = scheme == "standard-webhooks";
        Some(Some(Signature { secret: secret.to_owned(), header, is_standard }))
    }
}

/// A secret's name, which may be written as it stands in templates.
fn secret_name(text: &str) -> &str {
    let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let name = inner.unwrap_or(text).trim();
    name.strip_prefix("secrets.").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(source: &Value) -> Result<Vec<Trigger>, Vec<String>> {
        let mut issues = Issues::default();
        let triggers = parse(Some(source), &mut issues);
        let texts: Vec<String> = issues.errors.iter().map(ToString::to_string).collect();
        if texts.is_empty() { Ok(triggers) } else { Err(texts) }
    }

    #[test]
    fn defaults_are_filled_in() {
        let triggers = read(&json!([
            { "type": "schedule", "cron": "0 3 * * *" },
            { "type": "webhook", "path": "/orders/new/" },
        ]));
        let triggers = triggers.unwrap();
        let ids: Vec<&str> = triggers.iter().map(|trigger| trigger.id.as_str()).collect();
        assert_eq!(ids, ["trigger-1", "trigger-2"]);
        let (timezone, missed) = ("UTC".to_owned(), Missed::Once);
        let schedule = Schedule { cron: "0 3 * * *".into(), timezone, missed, input: json!({}) };
        assert_eq!(triggers[0].kind, TriggerKind::Schedule(schedule));
        let (methods, signature) = (vec!["POST".to_owned()], None);
        let hook = Hook { path: "orders/new".into(), methods, signature, waits: false };
        assert_eq!(triggers[1].kind, TriggerKind::Hook(hook));
    }

    #[test]
    fn what_is_wrong_is_said_where() {
        let problems = read(&json!([
            { "type": "timer" },
            { "type": "schedule", "cron": "* * * * *", "missed": "later", "zone": "UTC" },
            { "type": "webhook", "path": "a/../b" },
            { "type": "webhook", "path": "a", "methods": ["CONNECT"] },
            { "type": "webhook", "path": "a", "signature": { "header": "x" } },
            { "type": "webhook", "path": "b", "id": "x" },
            { "type": "webhook", "path": "c", "id": "x", "enabled": "yes" },
            { "type": "webhook", "path": "d", "id": "x" },
        ]));
        insta::assert_snapshot!(problems.unwrap_err().join("\n"));
    }

    #[test]
    fn a_secret_may_be_written_as_in_templates() {
        for text in ["KEY", "secrets.KEY", "{{secrets.KEY}}", "{{ secrets.KEY }}"] {
            assert_eq!(secret_name(text), "KEY");
        }
    }
}
