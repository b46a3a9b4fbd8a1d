//! Who gives access to models, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use waystation_core::error::{Code, Failure, nearest};

use super::Provider;
use crate::secret::Secret;

/// The providers of an installation.
pub trait Directory: Send + Sync + 'static {
    /// How to reach the provider of a name, as things are now.
    fn find(&self, name: &str) -> Result<Access, Failure>;
    /// All providers that have a name, in order.
    fn list(&self) -> Vec<Listed>;
}

/// How to reach a provider.
#[derive(Clone)]
pub struct Access {
    /// Speaks to it.
    pub provider: Arc<dyn Provider>,
    /// The model where none is said.
    pub default_model: Option<String>,
    /// Its key where it has one, or why it cannot be asked without the caller's own.
    pub key: Result<Option<Secret>, Failure>,
}

/// A provider as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name that requests use.
    pub name: String,
    /// The name for people.
    pub label: String,
    /// Where it is.
    pub base_url: Option<String>,
    /// The model where none is said.
    pub default_model: Option<String>,
    /// What is known of its key.
    pub key: KeyState,
}

/// What is known of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It needs none.
    NotNeeded,
    /// There is none under this name.
    Missing(String),
    /// It is a secret of this name.
    Secret(String),
    /// It is in the environment under this name.
    Environment(String),
}

/// A provider under its name, with no key and no address to tell of: enough for tests.
pub struct Entry {
    /// Speaks to it.
    pub provider: Arc<dyn Provider>,
    /// The model where none is said.
    pub default_model: Option<String>,
}

impl Directory for BTreeMap<String, Entry> {
    fn find(&self, name: &str) -> Result<Access, Failure> {
        let unknown = || unknown(name, self.keys().map(String::as_str));
        let Entry { provider, default_model } = self.get(name).ok_or_else(unknown)?;
        let (provider, default_model) = (Arc::clone(provider), default_model.clone());
        Ok(Access { provider, default_model, key: Ok(None) })
    }

    fn list(&self) -> Vec<Listed> {
        let listed = |(name, entry): (&String, &Entry)| Listed {
            name: name.clone(),
            label: name.clone(),
            base_url: None,
            default_model: entry.default_model.clone(),
            key: KeyState::NotNeeded,
        };
        self.iter().map(listed).collect()
    }
}

/// The failure for a provider that is not there.
pub fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
    let near = nearest(name, known).join(" or ");
    let mut failure = Failure::fatal(Code::ProviderUnknown, format!("Unknown provider: {name}"));
    failure.hint = (!near.is_empty()).then(|| format!("did you mean {near}?"));
    failure
}
