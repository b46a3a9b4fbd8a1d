//! `waystation config`: the settings that hold, and where they come from.

use clap::Subcommand;
use serde_json::{Map, Value, json};
use waystation_core::error::Error;

use super::listen::Address;
use super::{Outcome, read_config, terminal};
use crate::settings::table::{Kind, SETTINGS, Setting};
use crate::settings::{Origin, Sources};

/// What is shown of what nobody may see.
const HIDDEN: &str = "********";

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    /// Show all settings as a file of settings, each with its origin; defaults as comments. Secrets are not
    /// shown.
    Show {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl ConfigCommand {
    pub(super) fn execute(self, sources: &Sources) -> Outcome {
        let ConfigCommand::Show { json } = self;
        match json {
            true => terminal::print_json(&as_json(sources)),
            false => lines(sources).iter().for_each(|line| terminal::print(line)),
        }
        Ok(check(sources)?)
    }
}

/// Whether the settings can be worked with.
fn check(sources: &Sources) -> Result<(), Error> {
    let address = Address::read(sources)?;
    read_config(sources, address.is_local()).map(drop)
}

fn lines(sources: &Sources) -> Vec<String> {
    let mut lines = Vec::new();
    let mut table = "";
    for setting in SETTINGS {
        let (of, name) = setting.key.split_once('.').unwrap_or(("", setting.key));
        if of != table {
            let gap = if table.is_empty() { "" } else { "\n" };
            lines.push(format!("{gap}[{of}]"));
            table = of;
        }
        // What nobody has set need not stand in a file, where some of it would count only with more.
        let mut quiet = "";
        let origin = match sources.origin(setting.name) {
            Origin::Default => {
                quiet = "# ";
                "default".to_owned()
            }
            Origin::Flag => "flag".to_owned(),
            Origin::Environment(name) => format!("variable {name}"),
            Origin::File(line) => {
                let path = sources.file().map(|path| path.display().to_string());
                format!("{}:{line}", path.unwrap_or_default())
            }
        };
        lines.push(match shown(sources, setting) {
            Some(value) => format!("{:<48} # {origin}", format!("{quiet}{name} = {value}")),
            None => format!("{:<48} # not set; variable {}", format!("# {name} ="), setting.name),
        });
    }
    lines
}

/// The value as it would stand in a file.
fn shown(sources: &Sources, setting: &Setting) -> Option<String> {
    let text = plain(sources, setting)?;
    Some(match setting.kind {
        // What is set wrongly is shown as it is, as a text.
        Kind::Whole | Kind::Decimal if text.parse::<f64>().is_ok() => text,
        Kind::Switch if text == "true" || text == "false" => text,
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            let items: Vec<String> = items.map(quoted).collect();
            format!("[{}]", items.join(", "))
        }
        _ => quoted(&text),
    })
}

/// As a text of TOML, which JSON's texts are.
fn quoted(text: &str) -> String {
    Value::from(terminal::plain(text).into_owned()).to_string()
}

fn plain(sources: &Sources, setting: &Setting) -> Option<String> {
    let set = sources.value(setting.name);
    match (set, setting.kind, setting.default) {
        (Some(_), Kind::Secret, _) => Some(HIDDEN.to_owned()),
        (Some(value), ..) => Some(without_credentials(&value)),
        (None, _, "") => None,
        (None, _, default) => Some(default.to_owned()),
    }
}

/// A text without what stands before the host in the URLs of it.
fn without_credentials(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', ',', '?', '#', ' ']).unwrap_or(part.len());
        let (authority, rest) = part.split_at(end);
        let host = authority.rsplit_once('@').map(|(_, host)| format!("{HIDDEN}@{host}"));
        shown = format!("{shown}://{}{rest}", host.as_deref().unwrap_or(authority));
    }
    shown
}

fn as_json(sources: &Sources) -> Value {
    let settings = SETTINGS.iter().map(|setting| {
        let origin = match sources.origin(setting.name) {
            Origin::Default => json!({ "from": "default" }),
            Origin::Flag => json!({ "from": "flag" }),
            Origin::Environment(name) => json!({ "from": "environment", "variable": name }),
            Origin::File(line) => json!({ "from": "file", "file": sources.file(), "line": line }),
        };
        let shown = json!({
            "value": plain(sources, setting),
            "variable": setting.name,
            "origin": origin,
        });
        (setting.key.to_owned(), shown)
    });
    Value::Object(settings.collect::<Map<_, _>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_not_shown() {
        for (text, shown) in [
            ("https://a.example/x", "https://a.example/x"),
            ("redis://u:p@h:1/2", "redis://********@h:1/2"),
            ("a=https://k@x,b=https://y/@z", "a=https://********@x,b=https://y/@z"),
            ("plain", "plain"),
        ] {
            assert_eq!(without_credentials(text), shown);
        }
    }
}
