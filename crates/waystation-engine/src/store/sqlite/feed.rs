//! The feed, and the marks of its readers.

use rusqlite::{Connection, OptionalExtension, params};

use super::writer::{Session, Written};
use super::{integer, runs, unsigned};
use crate::id::RunId;
use crate::limits;
use crate::store::{FeedRow, Result};

const OF_ALL: &str = "SELECT id, run, first_seq FROM feed WHERE id > ?1 ORDER BY id LIMIT ?2";
const OF_WORKFLOW: &str = "SELECT id, run, first_seq FROM feed \
                           WHERE workflow = ?3 AND id > ?1 ORDER BY id LIMIT ?2";

/// Adds what was appended to a run.
pub(super) fn add(
    connection: &Connection,
    run: RunId,
    (first_seq, count): (u32, u32),
    at: u64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO feed (workflow, run, first_seq, count, at) \
               SELECT workflow, id, ?2, ?3, ?4 FROM runs WHERE id = ?1";
    connection.prepare_cached(sql)?.execute(params![run.0, first_seq, count, integer(at)])?;
    Ok(())
}

/// Rows after a place.
pub(super) fn after(
    connection: &Connection,
    place: u64,
    workflow: Option<&str>,
    limit: usize,
) -> Result<Vec<FeedRow>> {
    let (place, limit) = (integer(place), integer(limit as u64));
    let mut select =
        connection.prepare_cached(if workflow.is_some() { OF_WORKFLOW } else { OF_ALL })?;
    let mut found = match workflow {
        None => select.query(params![place, limit])?,
        Some(workflow) => select.query(params![place, limit, workflow])?,
    };
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while bytes < limits::FEED_BYTES
        && let Some(row) = found.next()?
    {
        let (id, run, first_seq) = (unsigned(row.get(0)?), RunId(row.get(1)?), row.get(2)?);
        let plan = if first_seq == 0 { runs::plan_of(connection, run)? } else { None };
        let (entries, size) = runs::piece(connection, run, first_seq)?;
        bytes += size;
        rows.push(FeedRow { id, run, plan, first_seq, entries });
    }
    Ok(rows)
}

/// The last place given, also when its row is gone.
pub(super) fn end(connection: &Connection) -> Result<u64> {
    let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'feed'";
    let end = connection.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
    Ok(unsigned(end.unwrap_or(0)))
}

/// Deletes some rows from before a moment, oldest first; answers how many.
pub(super) fn expire(session: &mut Session, before: u64) -> Written<usize> {
    let sql = "DELETE FROM feed WHERE at < ?1 AND id IN (SELECT id FROM feed ORDER BY id LIMIT ?2)";
    let mut delete = session.connection.prepare_cached(sql)?;
    Ok(delete.execute(params![integer(before), limits::EXPIRED_PER_TRANSACTION as i64])?)
}

/// A reader's number.
pub(super) fn mark(connection: &Connection, name: &str) -> Result<Option<u64>> {
    let sql = "SELECT value FROM marks WHERE name = ?1";
    let value = connection.prepare_cached(sql)?.query_row([name], |row| row.get(0)).optional()?;
    Ok(value.map(unsigned))
}

/// Keeps a reader's number.
pub(super) fn put_mark(session: &mut Session, name: &str, value: u64) -> Written<()> {
    let sql = "INSERT INTO marks (name, value) VALUES (?1, ?2) \
               ON CONFLICT (name) DO UPDATE SET value = excluded.value";
    session.connection.prepare_cached(sql)?.execute(params![name, integer(value)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn the_feed_is_read_along_its_indexes() {
        let (_dir, connection) = schema::fresh();
        let all = schema::query_plan(&connection, OF_ALL);
        assert_eq!(all, "SEARCH feed USING INTEGER PRIMARY KEY (rowid>?)");
        let one = schema::query_plan(&connection, OF_WORKFLOW);
        assert_eq!(one, "SEARCH feed USING INDEX feed_workflow (workflow=? AND id>?)");
    }
}
