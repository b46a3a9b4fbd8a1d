//! The providers as an operator has set them up: connected once, their keys looked up at each call.

use std::collections::BTreeMap;
use std::sync::Arc;

use waystation_core::error::Failure;

use super::Provider;
use super::config::{Providers, Setup};
use super::directory::{Access, Directory, KeyState, Listed, unknown};
use crate::egress::HttpClient;
use crate::secret::Vault;

/// The configured providers.
pub struct Configured {
    setups: BTreeMap<String, (Setup, Arc<dyn Provider>)>,
    vault: Arc<Vault>,
    trusted: Arc<HttpClient>,
    confined: Arc<HttpClient>,
}

impl Configured {
    /// Addresses that the operator names are reached by the trusted client, those that a request
    /// names by the confined one.
    pub fn new(
        providers: Providers,
        vault: Arc<Vault>,
        trusted: Arc<HttpClient>,
        confined: Arc<HttpClient>,
    ) -> Configured {
        let connect = |(name, setup): (String, Setup)| {
            let provider = setup.connect(&trusted, &confined);
            (name, (setup, provider))
        };
        let setups = providers.setups.into_iter().map(connect).collect();
        Configured { setups, vault, trusted, confined }
    }

    fn access(&self, setup: &Setup, provider: Arc<dyn Provider>) -> Access {
        let default_model = setup.default_model.map(str::to_owned);
        Access { provider, default_model, key: setup.key(Some(&self.vault)) }
    }
}

impl Directory for Configured {
    fn find(&self, name: &str) -> Result<Access, Failure> {
        if let Some((setup, provider)) = self.setups.get(name) {
            return Ok(self.access(setup, Arc::clone(provider)));
        }
        if !name.contains("://") {
            return Err(unknown(name, self.setups.keys().map(String::as_str)));
        }
        let setup = Setup::at_url(name)?;
        let provider = setup.connect(&self.trusted, &self.confined);
        Ok(self.access(&setup, provider))
    }

    fn list(&self) -> Vec<Listed> {
        let listed = |(setup, _): &(Setup, _)| Listed {
            name: setup.name.clone(),
            label: setup.label.clone(),
            base_url: Some(setup.base_url.clone()).filter(|url| !url.is_empty()),
            default_model: setup.default_model.map(str::to_owned),
            key: self.key_state(setup),
        };
        self.setups.values().map(listed).collect()
    }
}

impl Configured {
    fn key_state(&self, setup: &Setup) -> KeyState {
        let names = &setup.key_names;
        if let Some(name) = names.iter().find(|name| self.vault.get(name).is_ok()) {
            return KeyState::Secret(name.clone());
        }
        match (setup.key_in_environment(), names.first()) {
            (Some(name), _) => KeyState::Environment(name.to_owned()),
            (None, Some(name)) if setup.needs_key => KeyState::Missing(name.clone()),
            _ => KeyState::NotNeeded,
        }
    }
}
