//! Keys by which callers show who they are.

use async_trait::async_trait;
use serde_json::Value;

use super::Result;

/// What is kept of a key: never the key itself.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyRow {
    /// What it is called by where it is listed or revoked.
    pub id: String,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// What it allows, and what people call it.
    pub settings: Value,
    /// Unix milliseconds.
    pub created: u64,
    /// From when on it is worth nothing, in Unix milliseconds.
    pub expires: Option<u64>,
}

/// The part of a store for keys.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// Keeps a new key. Its id and its hash are random: they are not taken.
    async fn put_key(&self, key: KeyRow) -> Result<()>;
    /// All keys, the oldest first, expired ones too.
    async fn keys(&self) -> Result<Vec<KeyRow>>;
    /// Removes a key; answers whether there was one.
    async fn remove_key(&self, id: &str) -> Result<bool>;
}
