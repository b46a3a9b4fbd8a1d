//! Keys of callers.

use rusqlite::{Connection, Row, params};

use super::writer::{Session, Written};
use super::{integer, unsigned};
use crate::store::{KeyRow, Result, StoreError};

pub(super) fn put(session: &mut Session, key: &KeyRow) -> Written<()> {
    let sql = "INSERT INTO access_keys (id, hash, settings, created, expires) \
               VALUES (?1, ?2, ?3, ?4, ?5)";
    let KeyRow { id, hash, settings, created, expires } = key;
    let settings = settings.to_string().into_bytes();
    let (created, expires) = (integer(*created), expires.map(integer));
    let mut insert = session.connection.prepare_cached(sql)?;
    insert.execute(params![id, hash, settings, created, expires])?;
    Ok(())
}

pub(super) fn all(connection: &Connection) -> Result<Vec<KeyRow>> {
    let sql = "SELECT id, hash, settings, created, expires FROM access_keys ORDER BY created, id";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([], columns)?.collect::<rusqlite::Result<Vec<_>>>()?;
    rows.into_iter()
        .map(|(row, settings)| {
            let settings = serde_json::from_slice(&settings).map_err(StoreError::failed)?;
            Ok(KeyRow { settings, ..row })
        })
        .collect()
}

/// A row, and its settings as they are stored.
fn columns(row: &Row<'_>) -> rusqlite::Result<(KeyRow, Vec<u8>)> {
    let expires = row.get::<_, Option<i64>>(4)?.map(unsigned);
    let (id, hash, created) = (row.get(0)?, row.get(1)?, unsigned(row.get(3)?));
    let settings = serde_json::Value::Null;
    Ok((KeyRow { id, hash, settings, created, expires }, row.get(2)?))
}

pub(super) fn remove(session: &mut Session, id: &str) -> Written<bool> {
    let sql = "DELETE FROM access_keys WHERE id = ?1";
    Ok(session.connection.prepare_cached(sql)?.execute([id])? > 0)
}
