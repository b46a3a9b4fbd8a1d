//! Keys of callers.

use rusqlite::{Connection, params};

use super::writer::{Session, Written};
use super::{integer, unsigned};
use crate::store::{KeyRow, Result, StoreError};

/// Adds a key; answers whether its id was free.
pub(super) fn put(session: &mut Session, key: &KeyRow) -> Written<bool> {
    let sql = "INSERT INTO access_keys \
               (id, name, digest, role, namespaces, created, expires, revoked) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING";
    let KeyRow { id, name, digest, role, namespaces, created, expires, revoked } = key;
    let namespaces = namespaces.as_ref().map(|names| serde_json::Value::from(names.clone()));
    let values = params![
        id,
        name,
        digest,
        role,
        namespaces.map(|names| names.to_string()),
        integer(*created),
        expires.map(integer),
        revoked.map(integer),
    ];
    Ok(session.connection.prepare_cached(sql)?.execute(values)? > 0)
}

/// All keys in order of creation.
pub(super) fn all(connection: &Connection) -> Result<Vec<KeyRow>> {
    let sql = "SELECT id, name, digest, role, namespaces, created, expires, revoked \
               FROM access_keys ORDER BY created, id";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let namespaces: Option<String> = row.get(4)?;
        let namespaces = namespaces.map(|text| serde_json::from_str(&text)).transpose();
        keys.push(KeyRow {
            id: row.get(0)?,
            name: row.get(1)?,
            digest: row.get(2)?,
            role: row.get(3)?,
            namespaces: namespaces.map_err(StoreError::failed)?,
            created: unsigned(row.get(5)?),
            expires: row.get::<_, Option<i64>>(6)?.map(unsigned),
            revoked: row.get::<_, Option<i64>>(7)?.map(unsigned),
        });
    }
    Ok(keys)
}

/// Takes a key back; answers whether there is one that had not been taken back.
pub(super) fn revoke(session: &mut Session, id: &str, at: u64) -> Written<bool> {
    let sql = "UPDATE access_keys SET revoked = ?2 WHERE id = ?1 AND revoked IS NULL";
    Ok(session.connection.prepare_cached(sql)?.execute(params![id, integer(at)])? > 0)
}
