//! The providers that an operator has set up, connected, with their keys as they are at each call.

use std::collections::BTreeMap;
use std::sync::Arc;

use url::Url;
use waystation_core::error::{Code, Failure};

use super::Provider;
use super::config::{Providers, Setup};
use super::directory::{Access, Directory, KeyState, Listed, unknown};
use crate::egress::HttpClient;
use crate::secret::Vault;

/// The providers of this installation, and those that requests name by their address.
pub struct Installed {
    named: BTreeMap<String, (Setup, Arc<dyn Provider>)>,
    /// Where keys are kept besides the environment.
    vault: Option<Arc<Vault>>,
    /// For addresses that the operator names.
    trusted: Arc<HttpClient>,
    /// For addresses that requests name.
    confined: Arc<HttpClient>,
}

impl Installed {
    /// Connects the providers.
    pub fn new(
        providers: Providers,
        vault: Option<Arc<Vault>>,
        trusted: Arc<HttpClient>,
        confined: Arc<HttpClient>,
    ) -> Installed {
        let connected = |(name, setup): (String, Setup)| {
            let provider = setup.connect(&trusted, &confined);
            (name, (setup, provider))
        };
        let named = providers.setups.into_iter().map(connected).collect();
        Installed { named, vault, trusted, confined }
    }

    fn access(&self, setup: &Setup, provider: Arc<dyn Provider>) -> Access {
        let default_model = setup.default_model.map(str::to_owned);
        Access { provider, default_model, key: setup.key(self.vault.as_deref()) }
    }

    fn key_state(&self, setup: &Setup) -> KeyState {
        let is_secret = |name: &&String| {
            let kept = self.vault.as_deref().map(|vault| vault.get(name));
            kept.is_some_and(|kept| kept.map_or_else(|e| e.code != Code::SecretUnknown, |_| true))
        };
        if let Some(name) = setup.key_names.iter().find(is_secret) {
            return KeyState::Secret(name.clone());
        }
        match (setup.environment_key(), setup.key_names.first()) {
            (Some(name), _) => KeyState::Environment(name.to_owned()),
            (None, Some(name)) if setup.needs_key => KeyState::Missing(name.clone()),
            _ => KeyState::NotNeeded,
        }
    }
}

impl Directory for Installed {
    fn find(&self, name: &str) -> Result<Access, Failure> {
        if let Some((setup, provider)) = self.named.get(name) {
            return Ok(self.access(setup, Arc::clone(provider)));
        }
        if !name.contains("://") {
            return Err(unknown(name, self.named.keys().map(String::as_str)));
        }
        let setup = Setup::at_url(name)?;
        let provider = setup.connect(&self.trusted, &self.confined);
        Ok(self.access(&setup, provider))
    }

    fn list(&self) -> Vec<Listed> {
        let listed = |(name, (setup, _)): (&String, &(Setup, _))| Listed {
            name: name.clone(),
            label: setup.label.clone(),
            base_url: presentable(&setup.base_url),
            default_model: setup.default_model.map(str::to_owned),
            key: self.key_state(setup),
        };
        self.named.iter().map(listed).collect()
    }
}

/// An address without what may be a key in it.
fn presentable(address: &str) -> Option<String> {
    let mut url = Url::parse(address).ok()?;
    // An http address can always be without them.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    Some(url.to_string().trim_end_matches('/').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::egress::{Policy, Reach};

    fn installed(settings: &[(&str, &str)]) -> Installed {
        let lookup = |name: &str| {
            settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let client = Arc::new(HttpClient::new(Policy::new(Reach::PublicOnly)).unwrap());
        let providers = Providers::from_lookup(&lookup).unwrap();
        Installed::new(providers, None, Arc::clone(&client), client)
    }

    #[test]
    fn lists_say_where_keys_are_and_never_show_one() {
        let installed = installed(&[
            ("GOOGLE_API_KEY", "sk-google"),
            ("WAYSTATION_PROVIDERS", "mine=https://user:sk-mine@models.example/v1/?key=sk-query"),
        ]);
        let list = installed.list();
        let key = |name: &str| list.iter().find(|one| one.name == name).unwrap().key.clone();
        assert_eq!(key("openai"), KeyState::Missing("OPENAI_API_KEY".into()));
        assert_eq!(key("gemini"), KeyState::Environment("GOOGLE_API_KEY".into()));
        assert_eq!(key("echo"), KeyState::NotNeeded);
        assert_eq!(key("mine"), KeyState::NotNeeded);
        let mine = list.iter().find(|one| one.name == "mine").unwrap();
        assert_eq!(mine.base_url.as_deref(), Some("https://models.example/v1"));
        assert!(!format!("{list:?}").contains("sk-"));
    }

    #[test]
    fn a_provider_is_found_by_name_or_address() {
        let installed = installed(&[]);
        assert!(installed.find("echo").unwrap().key.unwrap().is_none());
        assert!(installed.find("https://models.example/v1").is_ok());
        let failure = installed.find("opneai").err().unwrap();
        assert_eq!(failure.hint.as_deref(), Some("did you mean openai?"));
        let missing = installed.find("openai").unwrap().key.unwrap_err();
        assert_eq!(missing.message, "Missing OPENAI_API_KEY");
    }
}
