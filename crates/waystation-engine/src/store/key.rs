//! Keys by which callers say who they are.

use async_trait::async_trait;

use super::Result;

/// A key. Whoever has the key itself is its holder; it is not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The part of the key that names it.
    pub id: String,
    /// What it is for, in words of whoever made it.
    pub name: String,
    /// The SHA-256 of the whole key.
    pub digest: Vec<u8>,
    /// What its holder may do.
    pub role: String,
    /// Where its holder may do it; everywhere if absent.
    pub namespaces: Option<Vec<String>>,
    /// In Unix milliseconds.
    pub created: u64,
    /// When it ends, in Unix milliseconds; never if absent.
    pub expires: Option<u64>,
    /// When it was taken back, in Unix milliseconds.
    pub revoked: Option<u64>,
}

/// Keys are never forgotten: a server that has had one is closed to whoever has none.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Adds a key; answers whether its id was free.
    async fn put_key(&self, key: KeyRow) -> Result<bool>;
    /// All keys, also those that have ended, in order of creation.
    async fn keys(&self) -> Result<Vec<KeyRow>>;
    /// Takes a key back from a moment on; answers whether there is one that had not been taken back.
    async fn revoke_key(&self, id: &str, at: u64) -> Result<bool>;
}
