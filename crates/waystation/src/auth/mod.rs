//! Who calls, and what they may do: tokens and keys looked at.
//!
//! - `principal`: roles, namespaces, and whoever has them
//! - `token`: signed tokens (JWT); `crypto`: their signatures
//! - `keys`: keys that are kept in the store

mod crypto;
pub mod keys;
pub mod principal;
pub mod token;

use std::sync::Arc;

use waystation_core::error::{Code, Error, nearest};
use waystation_engine::id::now_ms;
use waystation_engine::store::Store;

use self::keys::{Keys, PREFIX};
use self::principal::Principal;
use self::token::Tokens;
use crate::config::Lookup;

/// A part of the server that a setting can open to callers who do not say who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// `/execute`, and what belongs to it.
    Pipelines,
    /// `/` and `/batch`.
    Instructions,
    /// Calls of APIs for others.
    Endpoints,
    /// `/api/v1` and `/ws`.
    Service,
    /// `/workflows` and `/ai`.
    Executions,
    /// `/ready`.
    Ready,
    /// `/metrics`.
    Metrics,
    /// The server's own: runs, secrets, keys. No setting opens it.
    Own,
}

impl Api {
    /// Those that a setting can open, by name.
    pub const OPENABLE: [(&str, Api); 7] = [
        ("pipelines", Api::Pipelines),
        ("instructions", Api::Instructions),
        ("endpoints", Api::Endpoints),
        ("service", Api::Service),
        ("executions", Api::Executions),
        ("ready", Api::Ready),
        ("metrics", Api::Metrics),
    ];
}

/// What the settings say about callers.
#[derive(Default)]
pub struct Settings {
    /// How tokens have to be; none are taken where that is not said.
    pub tokens: Option<Tokens>,
    /// What is open to everybody.
    pub open: Vec<Api>,
}

impl Settings {
    /// Reads and checks them.
    pub fn from_lookup(lookup: Lookup<'_>) -> Result<Settings, Error> {
        let open = lookup("WAYSTATION_OPEN_APIS").unwrap_or_default();
        let names = open.split(',').map(str::trim).filter(|name| !name.is_empty());
        let open = names.map(api).collect::<Result<_, _>>()?;
        Ok(Settings { tokens: Tokens::from_lookup(lookup)?, open })
    }
}

fn api(name: &str) -> Result<Api, Error> {
    let known = || Api::OPENABLE.into_iter();
    let found = known().find(|(known, _)| *known == name).map(|(_, api)| api);
    found.ok_or_else(|| {
        let text = format!("WAYSTATION_OPEN_APIS: there is no {name:?}");
        let near = nearest(name, known().map(|(known, _)| known));
        Error::new(Code::SettingInvalid, text).with_hint(match near.first() {
            Some(near) => format!("did you mean {near}?"),
            None => format!("there are {}", Api::OPENABLE.map(|(name, _)| name).join(", ")),
        })
    })
}

/// Tells who calls.
pub struct Auth {
    tokens: Option<Tokens>,
    open: Vec<Api>,
    /// Keys, where there is a store for them.
    keys: Option<Keys>,
}

impl Auth {
    /// With the keys of a store.
    pub async fn load(settings: Settings, store: Arc<dyn Store>) -> Result<Auth, Error> {
        let Settings { tokens, open } = settings;
        Ok(Auth { tokens, open, keys: Some(Keys::load(store).await?) })
    }

    /// Without a store, and so without keys.
    pub fn without_keys(settings: Settings) -> Auth {
        Auth { tokens: settings.tokens, open: settings.open, keys: None }
    }

    /// Whether callers have to say who they are.
    pub fn is_on(&self) -> bool {
        self.tokens.is_some() || self.keys.as_ref().is_some_and(Keys::are_used)
    }

    /// Whether everybody may use it.
    pub fn is_open(&self, api: Api) -> bool {
        !self.is_on() || self.open.contains(&api)
    }

    /// The keys, which only a server with a store has.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// Whoever shows this. The error says what is wrong with it, and nothing about what would be right.
    pub fn identify(&self, credential: &str) -> Result<Principal, &'static str> {
        if credential.starts_with(PREFIX) {
            let keys = self.keys.as_ref().ok_or("this server takes no keys")?;
            return keys.open(credential, now_ms());
        }
        let tokens = self.tokens.as_ref().ok_or("this server takes only its own keys")?;
        tokens.open(credential, now_ms() / 1_000)
    }
}
