//! What lasts besides runs: webhook cursors, secrets, blocks and received notifications.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;

use super::writer::{Session, Written};
use super::{integer, unsigned};
use crate::id::RunId;
use crate::store::{BlockRow, Cursor, CursorState, Progress, Result, codec};

type Rows<T> = rusqlite::Result<Vec<T>>;

/// Replaces the cursor of a run that has one.
pub(super) fn put_cursor(session: &mut Session, cursor: &Cursor) -> Written<()> {
    let sql = "UPDATE cursors SET next_seq = ?2, attempts = ?3, next_at = ?4, state = ?5, error = ?6 \
               WHERE run = ?1";
    let Cursor { run, next_seq, attempts, next_at, state, error } = cursor;
    let values = params![run.0, next_seq, attempts, integer(*next_at), number(*state), error];
    session.connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Active cursors whose moment has come, the earliest first.
pub(super) fn cursors_due(connection: &Connection, now: u64, limit: usize) -> Result<Vec<Cursor>> {
    let sql = "SELECT run, next_seq, attempts, next_at, state, error FROM cursors \
               WHERE state = 0 AND next_at <= ?1 ORDER BY next_at, run LIMIT ?2";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([integer(now), integer(limit as u64)], cursor_row)?;
    Ok(rows.collect::<Rows<Cursor>>()?)
}

/// One run's cursor.
pub(super) fn cursor(connection: &Connection, run: RunId) -> Result<Option<Cursor>> {
    let sql = "SELECT run, next_seq, attempts, next_at, state, error FROM cursors WHERE run = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([run.0], cursor_row).optional()?)
}

/// How many cursors are active, and how many dead.
pub(super) fn cursor_backlog(connection: &Connection) -> Result<(u64, u64)> {
    let mut select = connection.prepare_cached("SELECT count(*) FROM cursors WHERE state = ?1")?;
    let mut count = |state| select.query_row([number(state)], |row| row.get(0)).map(unsigned);
    Ok((count(CursorState::Active)?, count(CursorState::Dead)?))
}

fn cursor_row(row: &Row<'_>) -> rusqlite::Result<Cursor> {
    let state = match row.get(4)? {
        0 => CursorState::Active,
        1 => CursorState::Done,
        2 => CursorState::Dead,
        other => return Err(rusqlite::Error::IntegralValueOutOfRange(4, other)),
    };
    Ok(Cursor {
        run: RunId(row.get(0)?),
        next_seq: row.get(1)?,
        attempts: row.get(2)?,
        next_at: unsigned(row.get(3)?),
        state,
        error: row.get(5)?,
    })
}

fn number(state: CursorState) -> i64 {
    match state {
        CursorState::Active => 0,
        CursorState::Done => 1,
        CursorState::Dead => 2,
    }
}

/// Stores a sealed secret.
pub(super) fn put_secret(session: &mut Session, name: &str, sealed: &[u8]) -> Written<()> {
    let sql = "INSERT INTO secrets (name, sealed) VALUES (?1, ?2) \
               ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed";
    session.connection.prepare_cached(sql)?.execute(params![name, sealed])?;
    Ok(())
}

/// All sealed secrets by name.
pub(super) fn secrets(connection: &Connection) -> Result<Vec<(String, Vec<u8>)>> {
    let mut select = connection.prepare_cached("SELECT name, sealed FROM secrets ORDER BY name")?;
    let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Rows<(String, Vec<u8>)>>()?)
}

/// Removes a secret; answers whether there was one.
pub(super) fn remove_secret(session: &mut Session, name: &str) -> Written<bool> {
    let sql = "DELETE FROM secrets WHERE name = ?1";
    Ok(session.connection.prepare_cached(sql)?.execute([name])? > 0)
}

/// Creates or replaces a block; answers whether it was done. `body` is the packed body.
pub(super) fn put_block(
    session: &mut Session,
    namespace: &str,
    block: &BlockRow,
    body: &[u8],
    create: bool,
) -> Written<bool> {
    let (created, updated) = (integer(block.created), integer(block.updated));
    let changed = if create {
        let sql = "INSERT INTO blocks (namespace, id, body, created, updated) \
                   VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        let values = params![namespace, block.id, body, created, updated];
        session.connection.prepare_cached(sql)?.execute(values)?
    } else {
        let sql = "UPDATE blocks SET body = ?3, updated = ?4 WHERE namespace = ?1 AND id = ?2";
        let values = params![namespace, block.id, body, updated];
        session.connection.prepare_cached(sql)?.execute(values)?
    };
    Ok(changed > 0)
}

/// One block.
pub(super) fn block(
    connection: &Connection,
    namespace: &str,
    id: &str,
) -> Result<Option<BlockRow>> {
    let sql = "SELECT id, body, created, updated FROM blocks WHERE namespace = ?1 AND id = ?2";
    let mut select = connection.prepare_cached(sql)?;
    select.query_row([namespace, id], block_row).optional()?.map(unpack_block).transpose()
}

/// A namespace's blocks in order of creation and then id.
pub(super) fn blocks(
    connection: &Connection,
    namespace: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<BlockRow>> {
    let sql = "SELECT id, body, created, updated FROM blocks WHERE namespace = ?1 AND (?2 IS NULL \
               OR (created, id) > (SELECT created, id FROM blocks WHERE namespace = ?1 AND id = ?2)) \
               ORDER BY created, id LIMIT ?3";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map(params![namespace, after, integer(limit as u64)], block_row)?;
    rows.map(|row| unpack_block(row?)).collect()
}

fn block_row(row: &Row<'_>) -> rusqlite::Result<(BlockRow, Vec<u8>)> {
    let (created, updated) = (unsigned(row.get(2)?), unsigned(row.get(3)?));
    Ok((BlockRow { id: row.get(0)?, body: Value::Null, created, updated }, row.get(1)?))
}

fn unpack_block((block, body): (BlockRow, Vec<u8>)) -> Result<BlockRow> {
    Ok(BlockRow { body: codec::unpack(&body)?, ..block })
}

/// Removes a block; answers whether there was one.
pub(super) fn remove_block(session: &mut Session, namespace: &str, id: &str) -> Written<bool> {
    let sql = "DELETE FROM blocks WHERE namespace = ?1 AND id = ?2";
    Ok(session.connection.prepare_cached(sql)?.execute([namespace, id])? > 0)
}

/// Keeps a notification; answers whether it is new. `event` is the packed event.
pub(super) fn put_progress(
    session: &mut Session,
    progress: &Progress,
    event: &[u8],
) -> Written<bool> {
    let sql = "INSERT INTO progress (webhook_id, namespace, workflow, execution, received, event) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    let Progress { webhook_id, namespace, workflow, execution, received, event: _ } = progress;
    let received = integer(*received);
    let values = params![webhook_id, namespace, workflow, execution, received, event];
    Ok(session.connection.prepare_cached(sql)?.execute(values)? > 0)
}

/// A workflow's newest notifications in the order in which they came.
pub(super) fn progress(
    connection: &Connection,
    namespace: &str,
    workflow: &str,
    limit: usize,
) -> Result<Vec<Progress>> {
    let sql = "SELECT webhook_id, namespace, workflow, execution, received, event FROM progress \
               WHERE namespace = ?1 AND workflow = ?2 ORDER BY id DESC LIMIT ?3";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![namespace, workflow, integer(limit as u64)])?;
    let mut newest = Vec::new();
    while let Some(row) = rows.next()? {
        newest.push(Progress {
            webhook_id: row.get(0)?,
            namespace: row.get(1)?,
            workflow: row.get(2)?,
            execution: row.get(3)?,
            received: unsigned(row.get(4)?),
            event: codec::unpack(&row.get::<_, Vec<u8>>(5)?)?,
        });
    }
    newest.reverse();
    Ok(newest)
}
