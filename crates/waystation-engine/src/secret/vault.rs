//! The named secrets of an installation: sealed in the store, open in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::Mutex;
use waystation_core::error::{Code, Error, nearest};

use super::{Sealer, Secret};
use crate::limits::SECRET_BYTES_MAX;
use crate::store::Store;

const NAME_BYTES_MAX: usize = 128;
/// What tickets are sealed under: no secret can have this name.
const TICKET: &str = "\0ticket";

/// What is known under each name: the value, or why it cannot be read.
type Known = BTreeMap<String, Result<Secret, Error>>;

/// Keeps secrets. Reading is from memory; a change returns once it is durable.
pub struct Vault {
    sealer: Sealer,
    store: Arc<dyn Store>,
    known: RwLock<Known>,
    /// Held over a change of both store and memory, so that two changes end alike in both.
    changing: Mutex<()>,
}

impl Vault {
    /// A vault that knows nothing until [`Vault::load`].
    pub fn new(sealer: Sealer, store: Arc<dyn Store>) -> Vault {
        Vault { sealer, store, known: RwLock::default(), changing: Mutex::default() }
    }

    /// Reads all secrets from the store, and answers the names of those that the present key does not
    /// open. They stay listed: a lost key must not keep anybody from setting a secret anew.
    pub async fn load(&self) -> Result<Vec<String>, Error> {
        let _changing = self.changing.lock().await;
        let sealed = self.store.secrets().await?;
        let open = |(name, sealed): (String, Vec<u8>)| {
            let opened = self.sealer.open(&name, &sealed);
            (name, opened)
        };
        let known: Known = sealed.into_iter().map(open).collect();
        let unreadable = known.iter().filter(|(_, value)| value.is_err());
        let unreadable = unreadable.map(|(name, _)| name.clone()).collect();
        *self.write() = known;
        Ok(unreadable)
    }

    /// Creates or replaces a secret.
    pub async fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        check_name(name)?;
        check_value(value)?;
        let sealed = self.sealer.seal(name, value)?;
        let _changing = self.changing.lock().await;
        self.store.put_secret(name, sealed).await?;
        self.write().insert(name.to_owned(), Ok(Secret::new(value.to_owned())));
        Ok(())
    }

    /// Seals a text that leaves this installation and comes back, such as what a link is for.
    pub fn seal_ticket(&self, text: &str) -> Result<Vec<u8>, Error> {
        self.sealer.seal(TICKET, text)
    }

    /// The text of a ticket that this installation sealed.
    pub fn open_ticket(&self, sealed: &[u8]) -> Option<String> {
        self.sealer.open(TICKET, sealed).ok().map(|text| text.expose().to_owned())
    }

    /// Removes a secret; answers whether there was one.
    pub async fn remove(&self, name: &str) -> Result<bool, Error> {
        let _changing = self.changing.lock().await;
        let was_there = self.store.remove_secret(name).await?;
        self.write().remove(name);
        Ok(was_there)
    }

    /// The names of all secrets, in order.
    pub fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// The value of a secret; the error tells an unknown name from an unreadable value.
    pub fn get(&self, name: &str) -> Result<Secret, Error> {
        let known = self.read();
        known.get(name).cloned().unwrap_or_else(|| Err(unknown(name, &known)))
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unknown(name: &str, known: &Known) -> Error {
    let error = Error::new(Code::SecretUnknown, format!("no secret is named {name}"));
    match nearest(name, known.keys().map(String::as_str)).as_slice() {
        [] => error,
        names => error.with_hint(format!("did you mean {}?", names.join(" or "))),
    }
}

/// A name has to be writable in a template as `secrets.NAME`, and in an environment file.
pub fn check_name(name: &str) -> Result<(), Error> {
    let start = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if start && name.len() <= NAME_BYTES_MAX && name.bytes().all(inside) {
        return Ok(());
    }
    Err(Error::new(Code::RequestInvalid, format!("{name:?} cannot name a secret")).with_hint(format!(
        "start with a letter or _, go on with letters, digits, _ . or -, {NAME_BYTES_MAX} at the most"
    )))
}

fn check_value(value: &str) -> Result<(), Error> {
    if (1..=SECRET_BYTES_MAX).contains(&value.len()) {
        return Ok(());
    }
    let message =
        format!("a secret has 1 to {SECRET_BYTES_MAX} bytes, and this one has {}", value.len());
    Err(Error::new(Code::RequestInvalid, message)
        .with_hint("give the value without anything around it"))
}

#[cfg(test)]
mod tests;
