//! Keys that callers show: made here, shown once, and known afterwards by their digests alone.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use ring::digest::{SHA256, digest};
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use waystation_core::error::{Code, Error};
use waystation_engine::id::now_ms;
use waystation_engine::secret::new_token;
use waystation_engine::store::{KeyRow, Store};

use super::principal::{Ground, Principal, Role, Scope};

/// What every key begins with, so that scanners for secrets know one when they see it.
pub const PREFIX: &str = "way_";
/// Letters of the part that names a key.
const ID_LETTERS: usize = 12;
/// Letters of what a key is for.
const NAME_LETTERS: usize = 100;
/// Namespaces of one key.
const NAMESPACES_MAX: usize = 100;

/// A key to be made.
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// Where; everywhere if absent.
    pub namespaces: Option<Vec<String>>,
    /// When it ends, in Unix milliseconds; never if absent.
    pub expires: Option<u64>,
}

/// The keys of a store, as they are now. Only this program changes them while it has the store.
pub struct Keys {
    store: Arc<dyn Store>,
    rows: RwLock<HashMap<String, KeyRow>>,
    changes: watch::Sender<()>,
}

impl Keys {
    /// Loads what is stored.
    pub async fn load(store: Arc<dyn Store>) -> Result<Keys, Error> {
        let rows = store.keys().await?;
        let rows = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        Ok(Keys { store, rows: RwLock::new(rows), changes: watch::Sender::new(()) })
    }

    /// Whether there has ever been one: taking the last one back must not open the server.
    pub fn are_used(&self) -> bool {
        !self.rows.read().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// All keys, also those that have ended, the oldest first.
    pub fn all(&self) -> Vec<KeyRow> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let mut rows: Vec<KeyRow> = rows.values().cloned().collect();
        rows.sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
        rows
    }

    /// The holder of a key.
    pub fn open(&self, shown: &str, now_ms: u64) -> Result<Principal, &'static str> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let id = shown.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).map(|(id, _)| id);
        let row = id.and_then(|id| rows.get(id)).ok_or("no such key")?;
        let shown = digest(&SHA256, shown.as_bytes());
        if !bool::from(shown.as_ref().ct_eq(&row.digest)) {
            return Err("no such key");
        }
        check_good(row, now_ms)?;
        // What is stored was a role when it was stored; one that is none now lets nobody in.
        let role = row.role.parse().map_err(|_| "the key has a role that is none")?;
        let scope = Scope::of(row.namespaces.clone());
        let ground = Ground::Key(row.id.as_str().into());
        Ok(Principal { name: format!("key:{}", row.id).into(), role, scope, ground })
    }

    /// Until when a key that has been shown is good, in Unix milliseconds; for ever if absent.
    pub fn good_until(&self, id: &str, now_ms: u64) -> Result<Option<u64>, &'static str> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let row = rows.get(id).ok_or("no such key")?;
        check_good(row, now_ms).map(|()| row.expires)
    }

    /// Tells of every key that is made or taken back from now on.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Makes a key and gives it, for the only time, with what is known of it.
    pub async fn create(&self, new: NewKey) -> Result<(String, KeyRow), Error> {
        check(&new)?;
        let (id, key) = fresh();
        if key.is_empty() {
            return Err(Error::new(Code::Internal, "this machine gives no randomness"));
        }
        let row = KeyRow {
            digest: digest(&SHA256, key.as_bytes()).as_ref().to_vec(),
            id,
            name: new.name,
            role: new.role.to_string(),
            namespaces: new.namespaces,
            created: now_ms(),
            expires: new.expires,
            revoked: None,
        };
        if !self.store.put_key(row.clone()).await? {
            return Err(Error::new(Code::Conflict, "that key is there already; try again"));
        }
        self.change(|rows| {
            rows.insert(row.id.clone(), row.clone());
        });
        Ok((key, row))
    }

    /// Takes a key back; from now on it opens nothing.
    pub async fn revoke(&self, id: &str) -> Result<(), Error> {
        let at = now_ms();
        if !self.store.revoke_key(id, at).await? {
            let text = format!("There is no key {id} that is not revoked already");
            return Err(Error::new(Code::NotFound, text).with_hint("see `waystation key list`"));
        }
        self.change(|rows| {
            if let Some(row) = rows.get_mut(id) {
                row.revoked = Some(at);
            }
        });
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, KeyRow>)) {
        change(&mut self.rows.write().unwrap_or_else(PoisonError::into_inner));
        self.changes.send_replace(());
    }
}

/// What has become of a key.
#[derive(Clone, Copy)]
pub enum KeyState {
    /// It is good.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody has taken it back.
    Revoked,
}

impl KeyState {
    /// Of a key at a moment.
    pub fn of(row: &KeyRow, now_ms: u64) -> KeyState {
        match (row.revoked, row.expires) {
            (Some(_), _) => KeyState::Revoked,
            (None, Some(expires)) if expires <= now_ms => KeyState::Expired,
            (None, _) => KeyState::Active,
        }
    }

    /// As admins are told.
    pub fn name(self) -> &'static str {
        match self {
            KeyState::Active => "active",
            KeyState::Expired => "expired",
            KeyState::Revoked => "revoked",
        }
    }
}

fn check_good(row: &KeyRow, now_ms: u64) -> Result<(), &'static str> {
    match KeyState::of(row, now_ms) {
        KeyState::Active => Ok(()),
        KeyState::Expired => Err("the key has expired"),
        KeyState::Revoked => Err("the key has been revoked"),
    }
}

/// An id and a whole key. The letters of a token that an id cannot have are left out of it.
fn fresh() -> (String, String) {
    let letters = format!("{}{}", new_token(), new_token());
    let id: String = letters.chars().filter(char::is_ascii_alphanumeric).take(ID_LETTERS).collect();
    let secret = new_token();
    let key = match secret.is_empty() {
        true => String::new(),
        false => format!("{PREFIX}{id}_{secret}"),
    };
    (id, key)
}

fn check(new: &NewKey) -> Result<(), Error> {
    let wrong = |text: String| Err(Error::new(Code::RequestInvalid, text));
    let is_plain = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
    if !is_plain(&new.name) || new.name.chars().count() > NAME_LETTERS {
        return wrong(format!("A key's name has from 1 to {NAME_LETTERS} letters"));
    }
    let Some(namespaces) = &new.namespaces else { return Ok(()) };
    if namespaces.is_empty() || namespaces.len() > NAMESPACES_MAX {
        return wrong(format!("A key is for 1 to {NAMESPACES_MAX} namespaces, or for all"));
    }
    match namespaces.iter().find(|name| !is_plain(name)) {
        Some(name) => wrong(format!("{name:?} is no namespace")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
