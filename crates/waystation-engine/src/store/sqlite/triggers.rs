//! Triggers of stored workflows, and the keys by which a call is known when it is repeated.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::workflows::workflow_id;
use super::writer::{Session, Written};
use super::{integer, unsigned};
use crate::id::{RunId, WorkflowId};
use crate::store::workflows::{Claim, Fired, NewTrigger, TriggerKind, TriggerRow};
use crate::store::{Result, codec};

const COLUMNS: &str = "workflow, id, kind, settings, path, enabled, next_at, last_at, fired";
/// What of a trigger outlives a change of its workflow: its settings tell whether its next moment does.
type Kept = (i64, Vec<u8>, Option<i64>, Option<i64>, i64);

/// Whether a path belongs to another workflow.
pub(super) fn is_taken(
    connection: &Connection,
    workflow: &str,
    path: &str,
) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM triggers WHERE path = ?1 AND workflow <> ?2";
    connection.prepare_cached(sql)?.exists([path, workflow])
}

/// Replaces a workflow's triggers. Those that stay what they are keep what they have done. `settings`
/// are the packed settings.
pub(super) fn replace(
    connection: &Connection,
    workflow: &str,
    triggers: &[NewTrigger],
    settings: &[Vec<u8>],
) -> rusqlite::Result<()> {
    let before = kept(connection, workflow)?;
    connection.prepare_cached("DELETE FROM triggers WHERE workflow = ?1")?.execute([workflow])?;
    let sql =
        format!("INSERT INTO triggers ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    let mut insert = connection.prepare_cached(&sql)?;
    for (trigger, settings) in triggers.iter().zip(settings) {
        let kind = number(trigger.kind);
        let kept = before.get(&trigger.id).filter(|(before, ..)| *before == kind);
        let (last_at, fired) = kept.map_or((None, 0), |(.., last, fired)| (*last, *fired));
        let unchanged = kept.filter(|(_, before, next, ..)| before == settings && next.is_some());
        let given = trigger.next_at.map(integer);
        let next_at = unchanged.map_or(given, |(_, _, next, ..)| *next);
        let NewTrigger { id, path, enabled, .. } = trigger;
        insert.execute(params![
            workflow, id, kind, settings, path, enabled, next_at, last_at, fired
        ])?;
    }
    Ok(())
}

fn kept(connection: &Connection, workflow: &str) -> rusqlite::Result<HashMap<String, Kept>> {
    let sql =
        "SELECT id, kind, settings, next_at, last_at, fired FROM triggers WHERE workflow = ?1";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([workflow], |row| {
        let kept = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?);
        Ok((row.get(0)?, kept))
    })?;
    rows.collect()
}

/// The triggers of a workflow, or all.
pub(super) fn list(
    connection: &Connection,
    workflow: Option<&WorkflowId>,
) -> Result<Vec<TriggerRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM triggers WHERE ?1 IS NULL OR workflow = ?1 ORDER BY workflow, id"
    );
    select(connection, &sql, params![workflow.map(ToString::to_string)])
}

/// The hook at a path.
pub(super) fn hook(connection: &Connection, path: &str) -> Result<Option<TriggerRow>> {
    let sql = format!("SELECT {COLUMNS} FROM triggers WHERE path = ?1");
    Ok(select(connection, &sql, [path])?.pop())
}

/// Schedules whose moment has come, the earliest first.
pub(super) fn due(connection: &Connection, now: u64, limit: usize) -> Result<Vec<TriggerRow>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM triggers WHERE enabled = 1 AND next_at IS NOT NULL AND next_at <= ?1 \
         ORDER BY next_at LIMIT ?2"
    );
    select(connection, &sql, [integer(now), integer(limit as u64)])
}

/// The moment at which the next schedule is due.
pub(super) fn next(connection: &Connection) -> Result<Option<u64>> {
    let sql = "SELECT min(next_at) FROM triggers WHERE enabled = 1 AND next_at IS NOT NULL";
    let next: Option<i64> = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(next.map(unsigned))
}

fn select(
    connection: &Connection,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<Vec<TriggerRow>> {
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map(values, trigger_row)?;
    rows.map(|row| {
        let (row, settings) = row?;
        Ok(TriggerRow { settings: codec::unpack(&settings)?, ..row })
    })
    .collect()
}

fn trigger_row(row: &Row<'_>) -> rusqlite::Result<(TriggerRow, Vec<u8>)> {
    let kind = match row.get(2)? {
        0 => TriggerKind::Schedule,
        1 => TriggerKind::Hook,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(2, other)),
    };
    let moment = |column| row.get::<_, Option<i64>>(column).map(|at| at.map(unsigned));
    let trigger = TriggerRow {
        workflow: workflow_id(row, 0)?,
        id: row.get(1)?,
        kind,
        settings: serde_json::Value::Null,
        path: row.get(4)?,
        enabled: row.get(5)?,
        next_at: moment(6)?,
        last_at: moment(7)?,
        fired: unsigned(row.get(8)?),
    };
    Ok((trigger, row.get(3)?))
}

fn number(kind: TriggerKind) -> i64 {
    match kind {
        TriggerKind::Schedule => 0,
        TriggerKind::Hook => 1,
    }
}

/// Switches a trigger; answers whether there is one.
pub(super) fn set(
    session: &mut Session,
    workflow: &WorkflowId,
    id: &str,
    enabled: bool,
    next_at: Option<u64>,
) -> Written<bool> {
    let sql = "UPDATE triggers SET enabled = ?3, next_at = ?4 WHERE workflow = ?1 AND id = ?2";
    let values = params![workflow.to_string(), id, enabled, next_at.map(integer)];
    Ok(session.connection.prepare_cached(sql)?.execute(values)? > 0)
}

/// Lets an occurrence pass; answers whether it was still to come.
pub(super) fn skip(
    session: &mut Session,
    workflow: &WorkflowId,
    id: &str,
    occurrence: u64,
    next_at: Option<u64>,
) -> Written<bool> {
    let sql = "UPDATE triggers SET next_at = ?4 WHERE workflow = ?1 AND id = ?2 AND next_at = ?3";
    let values = params![workflow.to_string(), id, integer(occurrence), next_at.map(integer)];
    Ok(session.connection.prepare_cached(sql)?.execute(values)? > 0)
}

/// Whether a trigger has not begun a run for this moment yet.
pub(super) fn may_fire(connection: &Connection, fired: &Fired) -> rusqlite::Result<bool> {
    let sql =
        "SELECT 1 FROM triggers WHERE workflow = ?1 AND id = ?2 AND (?3 IS NULL OR next_at = ?3)";
    let Fired { workflow, trigger, occurrence, .. } = fired;
    let values = params![workflow.to_string(), trigger, occurrence.map(integer)];
    connection.prepare_cached(sql)?.exists(values)
}

/// Notes that a trigger begins a run.
pub(super) fn fire(connection: &Connection, fired: &Fired) -> rusqlite::Result<()> {
    let Fired { workflow, trigger, occurrence, next_at, at } = fired;
    let sql = "UPDATE triggers SET last_at = ?3, fired = fired + 1, \
               next_at = CASE WHEN ?4 IS NULL THEN next_at ELSE ?5 END \
               WHERE workflow = ?1 AND id = ?2";
    let (occurrence, next_at) = (occurrence.map(integer), next_at.map(integer));
    let values = params![workflow.to_string(), trigger, integer(*at), occurrence, next_at];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Takes an idempotency key, which is free, for a run.
pub(super) fn claim(connection: &Connection, claim: &Claim, run: RunId) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO claims VALUES (?1, ?2, ?3, ?4)";
    let Claim { key, fingerprint, expires } = claim;
    let values = params![key, fingerprint, run.0, integer(*expires)];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// The run that a key was taken for, and the fingerprint of the call.
pub(super) fn claimed(
    connection: &Connection,
    key: &str,
    now: u64,
) -> Result<Option<(RunId, [u8; 32])>> {
    let sql = "SELECT run, fingerprint FROM claims WHERE key = ?1 AND expires > ?2";
    let mut select = connection.prepare_cached(sql)?;
    let columns = |row: &Row<'_>| Ok((RunId(row.get(0)?), row.get(1)?));
    Ok(select.query_row(params![key, integer(now)], columns).optional()?)
}

/// Deletes keys that do not count any more.
pub(super) fn expire_claims(session: &mut Session, now: u64) -> Written<()> {
    let sql = "DELETE FROM claims WHERE expires <= ?1";
    session.connection.prepare_cached(sql)?.execute([integer(now)])?;
    Ok(())
}
