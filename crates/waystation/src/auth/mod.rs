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
use std::time::Duration;

use tokio::time::{sleep, timeout};
use waystation_core::error::{Code, Error, nearest};
use waystation_engine::id::now_ms;
use waystation_engine::store::Store;

use self::keys::{Keys, PREFIX};
use self::principal::{Ground, Principal};
use self::token::Tokens;
use crate::config::Lookup;

/// How long nobody looks whether somebody may stay: clocks are set, and machines sleep.
const RECHECK: Duration = Duration::from_secs(60);

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

    /// Whether parts are named as open where everything is.
    pub fn opens_in_vain(&self) -> bool {
        !self.is_on() && !self.open.is_empty()
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

    /// Until when somebody may stay whom this let in, in Unix milliseconds; for as long as no key changes
    /// if absent.
    fn good_until(&self, ground: &Ground, now_ms: u64) -> Result<Option<u64>, &'static str> {
        match (ground, &self.keys) {
            (Ground::Own, _) => Ok(None),
            (Ground::Open(api), _) if self.is_open(*api) => Ok(None),
            (Ground::Open(_), _) => Err("this server asks callers who they are by now"),
            (Ground::Token(end), _) if *end <= now_ms => Err("the token has expired"),
            (Ground::Token(end), _) => Ok(Some(*end)),
            (Ground::Key(id), Some(keys)) => keys.good_until(id, now_ms),
            (Ground::Key(_), None) => Err("this server takes no keys"),
        }
    }

    /// Waits until somebody could not come in again whom this let in, and tells why.
    pub async fn lapse(&self, ground: &Ground) -> &'static str {
        let mut changes = self.keys.as_ref().map(Keys::changes);
        loop {
            let now = now_ms();
            let end = match self.good_until(ground, now) {
                Ok(end) => end,
                Err(why) => return why,
            };
            let wait = end.map_or(RECHECK, |end| Duration::from_millis(end - now).min(RECHECK));
            match &mut changes {
                // A change and the end of the wait come to the same: it is looked at again.
                Some(changes) => drop(timeout(wait, changes.changed()).await),
                None => sleep(wait).await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use waystation_engine::store::sqlite::{Options, SqliteStore};

    use super::keys::NewKey;
    use super::principal::Role;
    use super::*;

    #[tokio::test]
    async fn what_lets_somebody_in_lapses_when_it_ends_or_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(directory.path(), &Options::default()).unwrap();
        let settings = Settings { tokens: None, open: vec![Api::Metrics] };
        let auth = Auth::load(settings, Arc::new(store)).await.unwrap();
        let soon = now_ms() + 30;
        assert_eq!(auth.lapse(&Ground::Token(soon)).await, "the token has expired");
        assert!(now_ms() >= soon);

        let keys = auth.keys().unwrap();
        let new =
            |expires| NewKey { name: "x".into(), role: Role::Viewer, namespaces: None, expires };
        let open = Ground::Open(Api::Service);
        let (why, made) = tokio::join!(auth.lapse(&open), keys.create(new(None)));
        assert_eq!(why, "this server asks callers who they are by now");
        let first = Ground::Key(made.unwrap().1.id.into());
        let made = keys.create(new(Some(now_ms() + 30))).await;
        let ending = Ground::Key(made.unwrap().1.id.into());
        assert_eq!(auth.lapse(&ending).await, "the key has expired");

        let Ground::Key(id) = &first else { unreachable!() };
        tokio::select! {
            why = auth.lapse(&Ground::Open(Api::Metrics)) => panic!("what is opened stays: {why}"),
            why = auth.lapse(&Ground::Own) => panic!("the operator stays: {why}"),
            (why, revoked) = async { tokio::join!(auth.lapse(&first), keys.revoke(id)) } => {
                assert_eq!((why, revoked), ("the key has been revoked", Ok(())));
            }
        }
    }
}
