//! Runs and their journals, as they are read one by one and by moments.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::Value;
use waystation_core::entry::Entry;
use waystation_core::plan::Dialect;

use super::{integer, unsigned};
use crate::id::RunId;
use crate::store::codec;
use crate::store::{ChildPlace, ChildRow, NewRun, Result, RunRow, Status, StoreError};

/// In `wake_at`: the run is not asleep.
pub(super) const AWAKE: i64 = 0;
/// Asleep until a moment that has come. The condition on `finished` is that of the partial index.
const DUE_ASLEEP: &str = "finished IS NULL AND wake_at > 0 AND wake_at <= ?1 \
                          ORDER BY wake_at, id LIMIT ?2";
const IS_AWAKE: &str = "finished IS NULL AND wake_at = 0 ORDER BY id";
const IS_ASLEEP: &str = "finished IS NULL AND wake_at > 0";

/// Where a run has its row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// Runs without a parent.
    Runs,
    /// Runs that another run waits for.
    Children,
}

impl Table {
    /// Both, the one with most runs first.
    pub(super) const BOTH: [Table; 2] = [Table::Runs, Table::Children];

    /// Where a new run goes.
    pub(super) fn of(new: &NewRun) -> Table {
        if new.parent.is_some() { Table::Children } else { Table::Runs }
    }

    /// Its name in SQL.
    pub(super) fn name(self) -> &'static str {
        match self {
            Table::Runs => "runs",
            Table::Children => "child_runs",
        }
    }

    /// A query for rows that [`run_row`] reads.
    pub(super) fn select(self, condition: &str) -> String {
        let parent = match self {
            Table::Runs => "NULL",
            Table::Children => "parent",
        };
        let table = self.name();
        format!(
            "SELECT id, workflow, namespace, name, (SELECT hash FROM plans WHERE plans.id = plan), \
             status, created, finished, error, dialect, version, {parent} \
             FROM {table} WHERE {condition}"
        )
    }
}

/// The JSON of a plan.
pub(super) fn plan(connection: &Connection, hash: &str) -> Result<Option<Vec<u8>>> {
    let mut select = connection.prepare_cached("SELECT json FROM plans WHERE hash = ?1")?;
    let blob: Option<Vec<u8>> = select.query_row([hash], |row| row.get(0)).optional()?;
    blob.map(|blob| Ok(codec::unpack_json(&blob)?.into_owned())).transpose()
}

/// A run's entries from a place on. Who follows a run asks for its latest again and again: they are looked
/// for from the end, so that it does not take longer the longer the run is.
pub(super) fn journal(connection: &Connection, run: RunId, from_seq: u32) -> Result<Vec<Entry>> {
    let sql = "SELECT first_seq, count, entries FROM journal WHERE run = ?1 ORDER BY batch DESC";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query([run.0])?;
    let mut values = HashMap::new();
    let mut batches = Vec::new();
    while let Some(row) = rows.next()? {
        let (first_seq, count): (u32, u32) = (row.get(0)?, row.get(1)?);
        if first_seq + count <= from_seq {
            break;
        }
        let blob = row.get_ref(2)?.as_blob().map_err(StoreError::failed)?;
        let batch = codec::decode(blob, |hash| payload(connection, hash, &mut values))?;
        batches.push(batch.into_iter().skip(from_seq.saturating_sub(first_seq) as usize));
    }
    Ok(batches.into_iter().rev().flatten().collect())
}

/// What was appended to a run at a place, and how many bytes it is here; nothing if the run is gone.
pub(super) fn piece(
    connection: &Connection,
    run: RunId,
    first_seq: u32,
) -> Result<(Vec<Entry>, usize)> {
    // Who asks for it is seldom far behind: the latest are looked at first.
    let sql = "SELECT entries FROM journal \
               WHERE run = ?1 AND first_seq = ?2 ORDER BY batch DESC LIMIT 1";
    let mut select = connection.prepare_cached(sql)?;
    let blob: Option<Vec<u8>> =
        select.query_row(params![run.0, first_seq], |row| row.get(0)).optional()?;
    let Some(blob) = blob else { return Ok((Vec::new(), 0)) };
    let mut values = HashMap::new();
    let mut bytes = blob.len();
    let entries = codec::decode(&blob, |hash| {
        let value = payload(connection, hash, &mut values)?;
        bytes += waystation_core::extract::bytes_about(&value);
        Ok(value)
    })?;
    Ok((entries, bytes))
}

/// The hash of a run's plan, if the run is there.
pub(super) fn plan_of(connection: &Connection, run: RunId) -> Result<Option<String>> {
    let sql = "SELECT hash FROM plans WHERE id = (SELECT plan FROM runs WHERE id = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([run.0], |row| row.get(0)).optional()?)
}

/// A stored value, read once however often a journal refers to it.
fn payload(
    connection: &Connection,
    hash: &str,
    known: &mut HashMap<String, Arc<Value>>,
) -> Result<Arc<Value>> {
    if let Some(value) = known.get(hash) {
        return Ok(value.clone());
    }
    let mut select = connection.prepare_cached("SELECT value FROM payloads WHERE hash = ?1")?;
    let blob: Vec<u8> = select.query_row([hash], |row| row.get(0))?;
    let value: Arc<Value> = Arc::new(codec::unpack(&blob)?);
    known.insert(hash.to_owned(), value.clone());
    Ok(value)
}

/// The number of a run's next append.
pub(super) fn next_batch(connection: &Connection, run: RunId) -> rusqlite::Result<u32> {
    let sql = "SELECT ifnull(max(batch) + 1, 0) FROM journal WHERE run = ?1";
    connection.prepare_cached(sql)?.query_row([run.0], |row| row.get(0))
}

/// One run's row.
pub(super) fn run(connection: &Connection, run: RunId) -> Result<Option<RunRow>> {
    for table in Table::BOTH {
        let mut select = connection.prepare_cached(&table.select("id = ?1"))?;
        if let Some(row) = select.query_row([run.0], run_row).optional()? {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Reads a row of [`Table::select`].
pub(super) fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: RunId(row.get(0)?),
        workflow: row.get(1)?,
        namespace: row.get(2)?,
        name: row.get(3)?,
        plan: row.get(4)?,
        status: status_of(row, 5)?,
        created: unsigned(row.get(6)?),
        finished: row.get::<_, Option<i64>>(7)?.map(unsigned),
        error: row.get(8)?,
        dialect: dialect_of(row, 9)?,
        version: row.get(10)?,
        parent: row.get::<_, Option<i64>>(11)?.map(RunId),
    })
}

/// A status as the database knows it, for ever.
pub(super) fn number(status: Status) -> i64 {
    match status {
        Status::Running => 0,
        Status::Completed => 1,
        Status::Failed => 2,
        Status::Cancelled => 3,
    }
}

/// Reads a status.
pub(super) fn status_of(row: &Row<'_>, at: usize) -> rusqlite::Result<Status> {
    let found = row.get(at)?;
    let known = Status::ALL.into_iter().find(|known| number(*known) == found);
    known.ok_or(rusqlite::Error::IntegralValueOutOfRange(at, found))
}

/// A wire format as the database knows it, for ever.
pub(super) fn dialect_number(dialect: Dialect) -> i64 {
    match dialect {
        Dialect::Pipeline => 0,
        Dialect::Instructions => 1,
        Dialect::Graph => 2,
    }
}

/// Reads a wire format.
pub(super) fn dialect_of(row: &Row<'_>, at: usize) -> rusqlite::Result<Dialect> {
    match row.get(at)? {
        0 => Ok(Dialect::Pipeline),
        1 => Ok(Dialect::Instructions),
        2 => Ok(Dialect::Graph),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(at, other)),
    }
}

/// A run's children by node and item.
pub(super) fn children(connection: &Connection, parent: RunId) -> Result<Vec<ChildRow>> {
    let sql = "SELECT id, node, item, status FROM child_runs WHERE parent = ?1 ORDER BY node, item";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([parent.0], child_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The child at a place.
pub(super) fn child(connection: &Connection, place: ChildPlace) -> Result<Option<ChildRow>> {
    let sql = "SELECT id, node, item, status FROM child_runs \
               WHERE parent = ?1 AND node = ?2 AND item = ?3";
    let ChildPlace { parent, node, item } = place;
    let mut select = connection.prepare_cached(sql)?;
    Ok(select.query_row(params![parent.0, node, item], child_row).optional()?)
}

fn child_row(row: &Row<'_>) -> rusqlite::Result<ChildRow> {
    let (node, item) = (row.get(1)?, row.get(2)?);
    Ok(ChildRow { run: RunId(row.get(0)?), node, item, status: status_of(row, 3)? })
}

/// Unfinished runs that are awake.
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<RunId>> {
    let mut ids = Vec::new();
    for table in Table::BOTH {
        let sql = format!("SELECT id FROM {} WHERE {IS_AWAKE}", table.name());
        let mut select = connection.prepare_cached(&sql)?;
        let rows = select.query_map([], |row| row.get(0).map(RunId))?;
        ids.extend(rows.collect::<rusqlite::Result<Vec<RunId>>>()?);
    }
    ids.sort_unstable();
    Ok(ids)
}

/// Sleeping runs whose moment has come.
pub(super) fn due(connection: &Connection, now: u64, limit: usize) -> Result<Vec<RunId>> {
    let mut due = Vec::new();
    for table in Table::BOTH {
        let sql = format!("SELECT wake_at, id FROM {} WHERE {DUE_ASLEEP}", table.name());
        let mut select = connection.prepare_cached(&sql)?;
        let values = [integer(now), integer(limit as u64)];
        let rows = select.query_map(values, |row| Ok((row.get(0)?, RunId(row.get(1)?))))?;
        due.extend(rows.collect::<rusqlite::Result<Vec<(i64, RunId)>>>()?);
    }
    due.sort_unstable();
    Ok(due.into_iter().take(limit).map(|(_, id)| id).collect())
}

/// The earliest moment at which a sleeping run is to be woken.
pub(super) fn next_wake(connection: &Connection) -> Result<Option<u64>> {
    let mut earliest: Option<i64> = None;
    for table in Table::BOTH {
        let sql = format!("SELECT min(wake_at) FROM {} WHERE {IS_ASLEEP}", table.name());
        let wake: Option<i64> = connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
        earliest = earliest.into_iter().chain(wake).min();
    }
    Ok(earliest.map(unsigned))
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn what_is_asked_all_the_time_goes_by_the_index_of_unfinished_runs() {
        let (_dir, connection) = schema::fresh();
        for table in Table::BOTH.map(Table::name) {
            for what in [
                format!("SELECT wake_at, id FROM {table} WHERE {DUE_ASLEEP}"),
                format!("SELECT id FROM {table} WHERE {IS_AWAKE}"),
                format!("SELECT min(wake_at) FROM {table} WHERE {IS_ASLEEP}"),
            ] {
                let plan = schema::query_plan(&connection, &what);
                let expected = format!("USING COVERING INDEX {table}_unfinished");
                assert!(plan.contains(&expected), "{what}\n{plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{what}\n{plan}");
            }
        }
    }
}
