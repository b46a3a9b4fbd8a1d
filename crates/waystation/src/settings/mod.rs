//! Where settings come from: flags, the environment, and a file, in this order.
//!
//! - `table`: every setting there is
//! - `file`: the file of settings

pub mod file;
pub mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use waystation_core::error::Error;

use self::file::File;
use self::table::{ALIASES, FILE_NAME, SETTINGS};
use crate::config::check_names;

/// The file that is read where none is named, if it is in the data directory.
const FILE: &str = "waystation.toml";

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing is set.
    Default,
    /// A flag of the command.
    Flag,
    /// This variable.
    Environment(&'static str),
    /// This line of the file.
    File(usize),
}

/// All that has been said.
#[derive(Debug, Default)]
pub struct Sources {
    flags: BTreeMap<&'static str, String>,
    environment: BTreeMap<String, String>,
    file: Option<File>,
}

impl Sources {
    /// Reads the environment, and the file that it or a flag names or that is in the data directory.
    pub fn read(
        flags: BTreeMap<&'static str, String>,
        environment: BTreeMap<String, String>,
        file: Option<&Path>,
    ) -> Result<Sources, Error> {
        check_names(environment.keys().cloned())?;
        let mut sources = Sources { flags, environment, file: None };
        let named = file.map(Path::to_owned).or_else(|| sources.text(FILE_NAME).map(PathBuf::from));
        let path = named.or_else(|| {
            let in_data = sources.data().join(FILE);
            in_data.exists().then_some(in_data)
        });
        sources.file = path.map(|path| File::read(&path)).transpose()?;
        Ok(sources)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.environment.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// What is said, under the name of its variable.
    pub fn lookup(&self, name: &str) -> Option<String> {
        if let Some(value) = self.flags.get(name) {
            return Some(value.clone());
        }
        self.text(name).or_else(|| self.in_file(name).map(|(value, _)| value.clone()))
    }

    /// What the file says, unless a variable says it by another name.
    fn in_file(&self, name: &str) -> Option<&(String, usize)> {
        let mut aliases = ALIASES.iter().filter(|(_, of)| *of == name);
        let is_said = aliases.any(|(alias, _)| self.text(alias).is_some());
        let file = self.file.as_ref().filter(|_| !is_said)?;
        file.values.get(name)
    }

    /// Where it is said.
    pub fn origin(&self, name: &'static str) -> Origin {
        if self.flags.contains_key(name) {
            return Origin::Flag;
        }
        let names = ALIASES.iter().filter(|(_, of)| *of == name).map(|(alias, _)| *alias);
        if let Some(said) = [name].into_iter().chain(names).find(|name| self.text(name).is_some()) {
            return Origin::Environment(said);
        }
        self.in_file(name).map_or(Origin::Default, |(_, line)| Origin::File(*line))
    }

    /// What holds, also under other names; nothing where nothing is set.
    pub fn value(&self, name: &str) -> Option<String> {
        let alias =
            || ALIASES.iter().find(|(_, of)| *of == name).and_then(|(one, _)| self.text(one));
        self.lookup(name).or_else(alias)
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        let default = || SETTINGS.iter().find(|setting| setting.name == "WAYSTATION_DATA");
        let data = self.lookup("WAYSTATION_DATA");
        data.or_else(|| default().map(|setting| setting.default.to_owned()))
            .unwrap_or_default()
            .into()
    }

    /// The file that was read.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| file.path.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        std::fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn flags_win_over_variables_and_these_over_the_file() {
        let (_directory, path) = file("[server]\nhost = 'f'\nport = 1\nopen = true\n");
        let flags = BTreeMap::from([("HOST", "flag".to_owned())]);
        let environment = environment(&[("HOST", "e"), ("PORT", "2"), ("WAYSTATION_OPEN", "")]);
        let sources = Sources::read(flags, environment, Some(&path)).unwrap();
        for (name, value, origin) in [
            ("HOST", Some("flag"), Origin::Flag),
            ("PORT", Some("2"), Origin::Environment("PORT")),
            ("WAYSTATION_OPEN", Some("true"), Origin::File(4)),
            ("LOG_LEVEL", None, Origin::Default),
        ] {
            assert_eq!(sources.lookup(name).as_deref(), value, "{name}");
            assert_eq!(sources.origin(name), origin, "{name}");
        }
    }

    #[test]
    fn a_variable_by_another_name_wins_over_the_file_too() {
        let (_directory, path) = file("[smtp]\nusername = 'f'\nfrom = 'f@x'\n");
        let sources =
            Sources::read(BTreeMap::new(), environment(&[("SMTP_USER", "e")]), Some(&path))
                .unwrap();
        assert_eq!(sources.lookup("SMTP_USERNAME"), None);
        assert_eq!(sources.value("SMTP_USERNAME").as_deref(), Some("e"));
        assert_eq!(sources.origin("SMTP_USERNAME"), Origin::Environment("SMTP_USER"));
        assert_eq!(sources.lookup("SMTP_FROM").as_deref(), Some("f@x"));
    }

    #[test]
    fn the_file_is_named_or_in_the_data_directory() {
        let (directory, path) = file("[log]\nlevel = 'info'\n");
        let data = directory.path().to_str().unwrap();
        for named in [("WAYSTATION_DATA", data), (FILE_NAME, path.to_str().unwrap())] {
            let sources = Sources::read(BTreeMap::new(), environment(&[named]), None).unwrap();
            assert_eq!(sources.lookup("LOG_LEVEL").as_deref(), Some("info"), "{named:?}");
            assert_eq!(sources.file(), Some(path.as_path()));
        }
        let missing = environment(&[(FILE_NAME, "/no/such")]);
        assert!(Sources::read(BTreeMap::new(), missing, None).is_err());
        let (_other, elsewhere) = file("[store]\ndata = '/srv/flows'\n");
        let sources = Sources::read(BTreeMap::new(), BTreeMap::new(), Some(&elsewhere)).unwrap();
        assert_eq!(sources.data(), Path::new("/srv/flows"));
    }
}
