//! Idempotency keys: who has them, until when.

use rusqlite::{Connection, OptionalExtension, params};

use super::integer;
use super::writer::{Session, Written};
use crate::id::{RunId, now_ms};
use crate::limits;
use crate::store::{Claim, Result, key_taken};

/// Expired keys that go when a new one comes, so that they do not gather without retention either.
const SWEPT_PER_PUT: i64 = 4;

/// Refuses a key that another run has at a moment.
pub(super) fn check(connection: &Connection, claim: &Claim, now: u64) -> Written<()> {
    let sql = "SELECT 1 FROM claims WHERE key = ?1 AND expires > ?2";
    match connection.prepare_cached(sql)?.exists(params![claim.key, integer(now)])? {
        true => Err(key_taken().into()),
        false => Ok(()),
    }
}

/// Gives a key that is free to a run.
pub(super) fn put(connection: &Connection, claim: &Claim, run: RunId) -> rusqlite::Result<()> {
    delete_expired(connection, SWEPT_PER_PUT)?;
    let sql =
        "INSERT OR REPLACE INTO claims (key, run, fingerprint, expires) VALUES (?1, ?2, ?3, ?4)";
    let values = params![claim.key, run.0, claim.fingerprint, integer(claim.expires)];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Who has a key at a moment, and for what.
pub(super) fn get(
    connection: &Connection,
    key: &str,
    now: u64,
) -> Result<Option<(RunId, [u8; 32])>> {
    let sql = "SELECT run, fingerprint FROM claims WHERE key = ?1 AND expires > ?2";
    let mut select = connection.prepare_cached(sql)?;
    let found =
        select.query_row(params![key, integer(now)], |row| Ok((RunId(row.get(0)?), row.get(1)?)));
    Ok(found.optional()?)
}

/// Deletes some expired keys; answers how many.
pub(super) fn expire(session: &mut Session) -> Written<usize> {
    Ok(delete_expired(&session.connection, limits::EXPIRED_PER_TRANSACTION as i64)?)
}

fn delete_expired(connection: &Connection, most: i64) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM claims WHERE key IN \
               (SELECT key FROM claims WHERE expires <= ?1 ORDER BY expires LIMIT ?2)";
    connection.prepare_cached(sql)?.execute([integer(now_ms()), most])
}
