//! The file of settings: TOML, in which every key has to be known and of its kind.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use waystation_core::error::{Code, Error, nearest};

use super::table::{Kind, SETTINGS, Setting};

/// The largest file.
const BYTES_MAX: u64 = 1 << 20;

/// What a file says, by the name of the variable that would say the same.
#[derive(Debug, Default)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Values as the variable would have them, and the line of each, from 1.
    pub values: BTreeMap<&'static str, (String, usize)>,
}

impl File {
    /// Reads and checks a file. All that is wrong with it is told at once.
    pub fn read(path: &Path) -> Result<File, Error> {
        let unreadable = |why: String| setting(format!("{} {why}", path.display()));
        let about = std::fs::metadata(path)
            .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        if about.len() > BYTES_MAX {
            return Err(unreadable(format!("has more than {BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| unreadable(format!("cannot be read: {error}")))?;
        let file = File { path: path.to_owned(), values: parse(&text, path)? };
        // Whoever reads the file would know the secrets.
        let is_shared = about.permissions().mode() & 0o077 != 0;
        let mut secrets = SETTINGS.iter().filter(|setting| setting.kind == Kind::Secret);
        let secret = secrets.find(|setting| file.values.contains_key(setting.name));
        match secret.filter(|_| is_shared) {
            Some(secret) => {
                Err(unreadable(format!("holds {}, and others may read it", secret.key))
                    .with_hint(format!("chmod 600 {}", path.display())))
            }
            None => Ok(file),
        }
    }
}

fn parse(text: &str, path: &Path) -> Result<BTreeMap<&'static str, (String, usize)>, Error> {
    let place = |at: usize| {
        let line = text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1;
        (format!("{}:{line}", path.display()), line)
    };
    let table = DeTable::parse(text).map_err(|error| {
        let (place, _) = place(error.span().map_or(0, |span| span.start));
        setting(format!("{place}: {}", error.message()))
    })?;
    let (mut values, mut problems) = (BTreeMap::new(), Vec::new());
    for (key, value, at) in leaves(table.get_ref()) {
        let (place, line) = place(at);
        match known(&key).and_then(|setting| Ok((setting, as_text(setting, value)?))) {
            Ok((setting, text)) => drop(values.insert(setting.name, (text, line))),
            Err(problem) => problems.push(format!("{place}: {problem}")),
        }
    }
    match problems.is_empty() {
        true => Ok(values),
        false => Err(setting(problems.join("\n"))),
    }
}

/// The values of all tables, each with its key and where it begins.
fn leaves<'t>(root: &'t DeTable<'_>) -> Vec<(String, &'t DeValue<'t>, usize)> {
    let mut leaves = Vec::new();
    for (name, value) in root {
        match value.get_ref() {
            DeValue::Table(table) => {
                for (inner, value) in table {
                    let key = format!("{}.{}", name.get_ref(), inner.get_ref());
                    leaves.push((key, value.get_ref(), inner.span().start));
                }
            }
            value => leaves.push((name.get_ref().to_string(), value, name.span().start)),
        }
    }
    leaves.sort_by_key(|(_, _, at)| *at);
    leaves
}

fn known(key: &str) -> Result<&'static Setting, String> {
    SETTINGS.iter().find(|setting| setting.key == key).ok_or_else(|| {
        let near = nearest(key, SETTINGS.iter().map(|setting| setting.key));
        let by_variable = SETTINGS.iter().find(|setting| setting.name == key);
        match near.first().copied().or(by_variable.map(|setting| setting.key)) {
            Some(near) => format!("there is no setting {key}; did you mean {near}?"),
            None => format!("there is no setting {key}"),
        }
    })
}

/// A value as its variable would have it.
fn as_text(setting: &Setting, value: &DeValue<'_>) -> Result<String, String> {
    let (kind, wanted) = (setting.kind, wanted(setting.kind));
    let wrong = || Err(format!("{} must be {wanted}", setting.key));
    match (kind, value) {
        (Kind::Text | Kind::Secret, DeValue::String(text)) => Ok(text.to_string()),
        (Kind::Switch, DeValue::Boolean(is)) => Ok(is.to_string()),
        (Kind::Whole | Kind::Decimal, DeValue::Integer(number)) if number.radix() == 10 => {
            Ok(number.as_str().to_owned())
        }
        (Kind::Decimal, DeValue::Float(number)) => Ok(number.as_str().to_owned()),
        (Kind::List, DeValue::Array(items)) => {
            let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
                // A comma would make two of it.
                DeValue::String(text) if !text.contains(',') => Some(text.to_string()),
                _ => None,
            };
            match items.iter().map(text).collect::<Option<Vec<String>>>() {
                Some(items) => Ok(items.join(",")),
                None => wrong(),
            }
        }
        _ => wrong(),
    }
}

fn wanted(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Secret => "a text in quotation marks",
        Kind::Whole => "a whole number",
        Kind::Decimal => "a number",
        Kind::Switch => "true or false",
        Kind::List => "a list of texts without commas, in brackets",
    }
}

fn setting(message: String) -> Error {
    Error::new(Code::SettingInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<&'static str, (String, usize)>, String> {
        parse(text, Path::new("w.toml")).map_err(|error| error.message)
    }

    #[test]
    fn values_are_what_their_variables_would_be() {
        let text = "[server]\nport = 8_080\nopen = true\ncors_origins = [\"https://a\", 'https://b']\n\
                    [models]\nrun_usd = 0.5\nworkflow_usd = 3\n[log]\nlevel = \"info\"\n";
        let values = read(text).unwrap();
        let shown: Vec<String> =
            values.iter().map(|(name, (value, line))| format!("{name}={value} {line}")).collect();
        assert_eq!(
            shown,
            [
                "LOG_LEVEL=info 9",
                "PORT=8080 2",
                "WAYSTATION_CORS_ORIGINS=https://a,https://b 4",
                "WAYSTATION_OPEN=true 3",
                "WAYSTATION_RUN_USD=0.5 6",
                "WAYSTATION_WORKFLOW_USD=3 7",
            ]
        );
        assert_eq!(read("server.port = 1").unwrap()["PORT"], ("1".into(), 1));
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_place() {
        let text = "colour = 1\n[server]\nprot = 1\nport = \"80\"\nopen = 1\ncors_origins = \"*\"\n\
                    trusted_proxies = [\"a,b\"]\n[store.more]\nx = 1\nport = 0x10\n";
        insta::assert_snapshot!("unknown_keys_and_wrong_values", read(text).unwrap_err());
        insta::assert_snapshot!("no_toml", read("[server\nport = 1").unwrap_err());
        insta::assert_snapshot!("a_variable_is_no_key", read("HOST = \"x\"").unwrap_err());
    }

    #[test]
    fn secrets_are_taken_only_from_a_file_of_ones_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("w.toml");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            File::read(&path).map(|file| file.values.len())
        };
        assert_eq!(write("[redis]\npassword = \"x\"", 0o600), Ok(1));
        assert_eq!(write("[redis]\nhost = \"x\"", 0o644), Ok(1));
        let refused = write("[redis]\npassword = \"x\"", 0o640).unwrap_err();
        assert!(refused.message.ends_with("holds redis.password, and others may read it"));
        assert!(refused.hint().unwrap().starts_with("chmod 600 "));
        assert!(File::read(Path::new("/no/such")).unwrap_err().message.contains("cannot be read"));
    }
}
