//! Answers of models that are kept for a while.

use rusqlite::{Connection, OptionalExtension, params};

use super::integer;
use super::writer::{Session, Written};
use crate::id::now_ms;
use crate::limits;
use crate::store::{Result, codec};

/// Expired answers that go when a new one comes, so that they do not gather without retention either.
const SWEPT_PER_PUT: i64 = 4;

/// The answer under a key, unless its time is over.
pub(super) fn get(connection: &Connection, key: &str, now: u64) -> Result<Option<Vec<u8>>> {
    let sql = "SELECT value FROM answers WHERE key = ?1 AND expires > ?2";
    let mut select = connection.prepare_cached(sql)?;
    let found = select.query_row(params![key, integer(now)], |row| row.get(0));
    let blob: Option<Vec<u8>> = found.optional()?;
    blob.map(|blob| Ok(codec::unpack_json(&blob)?.into_owned())).transpose()
}

/// Keeps an answer. `value` is packed.
pub(super) fn put(session: &mut Session, key: &str, value: &[u8], expires: u64) -> Written<()> {
    delete_expired(session, SWEPT_PER_PUT)?;
    let sql = "INSERT INTO answers (key, value, expires) VALUES (?1, ?2, ?3) \
               ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires";
    session.connection.prepare_cached(sql)?.execute(params![key, value, integer(expires)])?;
    Ok(())
}

/// Deletes some expired answers; answers how many.
pub(super) fn expire(session: &mut Session) -> Written<usize> {
    delete_expired(session, limits::EXPIRED_PER_TRANSACTION as i64)
}

fn delete_expired(session: &mut Session, most: i64) -> Written<usize> {
    let sql = "DELETE FROM answers WHERE id IN \
               (SELECT id FROM answers WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
    Ok(session.connection.prepare_cached(sql)?.execute([integer(now_ms()), most])?)
}
