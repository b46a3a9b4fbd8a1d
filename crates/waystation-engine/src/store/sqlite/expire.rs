//! Retention: old runs go, with all that only they need, and their space goes back to the disk.

use rusqlite::{Connection, Row, params};

use super::append::ended_row;
use super::integer;
use super::runs::status_of;
use super::writer::{Session, Written};
use crate::id::RunId;
use crate::limits;

/// Free pages that a file of any size may keep for the next writes.
const FREE_PAGES_KEPT: i64 = 64;
/// The part of a file that may be free: giving pages back moves others, and new runs need them soon.
const FREE_PART_KEPT: i64 = 16;
/// Pages given back in one transaction, so that other writes get their turn.
const PAGES_PER_TRANSACTION: i64 = 512;

/// Children whose parent is unfinished stay: it may need what they gave.
const EXPIRED_CHILDREN: &str = "SELECT id FROM child_runs WHERE id < ?1 AND finished < ?2 \
    AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.id = parent AND runs.finished IS NULL) \
    AND NOT EXISTS (SELECT 1 FROM child_runs AS above \
                    WHERE above.id = child_runs.parent AND above.finished IS NULL) \
    ORDER BY id LIMIT ?3";
const EXPIRED_RUNS: &str =
    "SELECT id FROM runs WHERE id < ?1 AND finished < ?2 ORDER BY id LIMIT ?3";

/// Deletes some runs that began and ended before a moment, oldest first; answers how many.
pub(super) fn runs(session: &mut Session, before: u64, limit: usize) -> Written<usize> {
    let limit = limit.min(limits::EXPIRED_PER_TRANSACTION);
    let expired = expired(&session.connection, EXPIRED_RUNS, before, limit)?;
    for run in &expired {
        let sql = "DELETE FROM runs WHERE id = ?1 \
                   RETURNING namespace, workflow, dialect, created, status";
        let row = |row: &Row<'_>| Ok((ended_row(row)?, status_of(row, 4)?));
        let mut delete = session.connection.prepare_cached(sql)?;
        let (ended, status) = delete.query_row([run], row)?;
        drop(delete);
        session.sums.gone(&ended, status);
        delete_rest(&session.connection, *run)?;
    }
    Ok(expired.len())
}

/// Deletes some children that began and ended before a moment, oldest first; answers how many.
pub(super) fn children(session: &mut Session, before: u64, limit: usize) -> Written<usize> {
    let limit = limit.min(limits::EXPIRED_PER_TRANSACTION);
    let expired = expired(&session.connection, EXPIRED_CHILDREN, before, limit)?;
    for run in &expired {
        let sql = "DELETE FROM child_runs WHERE id = ?1";
        session.connection.prepare_cached(sql)?.execute([run])?;
        delete_rest(&session.connection, *run)?;
    }
    Ok(expired.len())
}

fn expired(
    connection: &Connection,
    sql: &str,
    before: u64,
    limit: usize,
) -> rusqlite::Result<Vec<i64>> {
    let values = [RunId::first_at(before).0, integer(before), integer(limit as u64)];
    let mut select = connection.prepare_cached(sql)?;
    select.query_map(values, |row| row.get(0))?.collect()
}

/// Deletes plans whose runs are gone. Such a plan was last used so long before the moment that all its
/// runs began before it, and of those few are left.
pub(super) fn plans(session: &mut Session, before: u64) -> Written<()> {
    let sql = "DELETE FROM plans WHERE used < ?1 \
               AND id NOT IN (SELECT plan FROM runs WHERE id < ?2 \
                              UNION ALL SELECT plan FROM child_runs WHERE id < ?2)";
    let last_use = before.saturating_sub(limits::PLAN_USE_MS);
    let mut delete = session.connection.prepare_cached(sql)?;
    if delete.execute([integer(last_use), RunId::first_at(before).0])? > 0 {
        session.plans.clear();
    }
    Ok(())
}

/// Deletes what a run leaves behind besides its row.
fn delete_rest(connection: &Connection, run: i64) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached("SELECT hash FROM payload_refs WHERE run = ?1")?;
    let hashes = select.query_map([run], |row| row.get(0))?;
    let hashes = hashes.collect::<rusqlite::Result<Vec<String>>>()?;
    for sql in [
        "DELETE FROM journal WHERE run = ?1",
        "DELETE FROM cursors WHERE run = ?1",
        "DELETE FROM payload_refs WHERE run = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([run])?;
    }
    for hash in hashes {
        let sql = "DELETE FROM payloads WHERE hash = ?1 \
                   AND NOT EXISTS (SELECT 1 FROM payload_refs WHERE hash = ?1)";
        connection.prepare_cached(sql)?.execute([hash])?;
    }
    Ok(())
}

/// Deletes some notifications that came before a moment; answers how many.
pub(super) fn progress(session: &mut Session, before: u64) -> Written<usize> {
    let sql = "DELETE FROM progress WHERE id IN \
               (SELECT id FROM progress WHERE received < ?1 LIMIT ?2)";
    let mut delete = session.connection.prepare_cached(sql)?;
    Ok(delete.execute(params![integer(before), limits::EXPIRED_PER_TRANSACTION as i64])?)
}

/// Gives some free pages back to the disk; answers whether there are more to give.
pub(super) fn give_back(session: &mut Session) -> Written<bool> {
    let free = number(&session.connection, "freelist_count")?;
    let pages = number(&session.connection, "page_count")?;
    let excess = free - (pages / FREE_PART_KEPT).max(FREE_PAGES_KEPT);
    if excess <= 0 {
        return Ok(false);
    }
    let sql = format!("PRAGMA incremental_vacuum({})", excess.min(PAGES_PER_TRANSACTION));
    let mut vacuum = session.connection.prepare(&sql)?;
    let mut steps = vacuum.query([])?;
    while steps.next()?.is_some() {}
    Ok(excess > PAGES_PER_TRANSACTION)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}
