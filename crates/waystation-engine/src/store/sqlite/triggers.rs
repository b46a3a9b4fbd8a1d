//! Triggers of stored workflows: what they are, and that each moment of a schedule fires once.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use serde_json::Value;

use super::workflows::id_of;
use super::writer::Written;
use super::{SqliteStore, integer, unsigned};
use crate::id::WorkflowId;
use crate::store::{Fired, Result, TriggerKind, TriggerRow, TriggerStore, codec, not_firing};

const COLUMNS: &str = "workflow, id, kind, path, enabled, next_at, last_at, fired, settings";
/// Schedules that wait, in the words of their partial index.
const SCHEDULED: &str = "kind = 0 AND enabled = 1 AND next_at IS NOT NULL";

#[async_trait]
impl TriggerStore for SqliteStore {
    async fn triggers(&self, workflow: Option<&WorkflowId>) -> Result<Vec<TriggerRow>> {
        let workflow = workflow.copied();
        self.readers
            .read(move |connection| match workflow {
                Some(id) => of_workflow(connection, &id),
                None => select(connection, "true ORDER BY workflow, id", &[]),
            })
            .await
    }

    async fn hook(&self, path: &str) -> Result<Option<TriggerRow>> {
        let path = path.to_owned();
        let rows = self.readers.read(move |connection| select(connection, "path = ?1", &[&path]));
        Ok(rows.await?.pop())
    }

    async fn schedules_due(&self, now: u64, limit: usize) -> Result<Vec<TriggerRow>> {
        let (now, limit) = (integer(now), integer(limit as u64));
        self.readers.read(move |connection| select(connection, &due(), &[&now, &limit])).await
    }

    async fn next_schedule(&self) -> Result<Option<u64>> {
        self.readers
            .read(|connection| {
                let mut select = connection.prepare_cached(&next())?;
                Ok(select.query_row([], |row| row.get::<_, Option<i64>>(0))?.map(unsigned))
            })
            .await
    }

    async fn set_trigger(
        &self,
        workflow: &WorkflowId,
        id: &str,
        enabled: bool,
        next_at: Option<u64>,
    ) -> Result<bool> {
        let (workflow, id, next_at) = (workflow.to_string(), id.to_owned(), next_at.map(integer));
        self.write(move |session| {
            let sql =
                "UPDATE triggers SET enabled = ?3, next_at = ?4 WHERE workflow = ?1 AND id = ?2";
            let values = params![workflow, id, enabled, next_at];
            Ok(session.connection.prepare_cached(sql)?.execute(values)? > 0)
        })
        .await
    }

    async fn skip_occurrence(
        &self,
        workflow: &WorkflowId,
        id: &str,
        occurrence: u64,
        next_at: Option<u64>,
    ) -> Result<bool> {
        let (workflow, id, next_at) = (workflow.to_string(), id.to_owned(), next_at.map(integer));
        self.write(move |session| {
            let sql = "UPDATE triggers SET next_at = ?4 \
                       WHERE workflow = ?1 AND id = ?2 AND next_at = ?3";
            let values = params![workflow, id, integer(occurrence), next_at];
            Ok(session.connection.prepare_cached(sql)?.execute(values)? > 0)
        })
        .await
    }
}

fn due() -> String {
    format!("{SCHEDULED} AND next_at <= ?1 ORDER BY next_at, workflow, id LIMIT ?2")
}

fn next() -> String {
    format!("SELECT min(next_at) FROM triggers WHERE {SCHEDULED}")
}

/// A workflow's triggers by id.
pub(super) fn of_workflow(connection: &Connection, id: &WorkflowId) -> Result<Vec<TriggerRow>> {
    select(connection, "workflow = ?1 ORDER BY id", &[&id.to_string()])
}

fn select(
    connection: &Connection,
    condition: &str,
    values: &[&dyn ToSql],
) -> Result<Vec<TriggerRow>> {
    let sql = format!("SELECT {COLUMNS} FROM triggers WHERE {condition}");
    let mut select = connection.prepare_cached(&sql)?;
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
    let moment = |at| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(at)?.map(unsigned));
    let trigger = TriggerRow {
        workflow: id_of(row, 0)?,
        id: row.get(1)?,
        kind,
        settings: Value::Null,
        path: row.get(3)?,
        enabled: row.get(4)?,
        next_at: moment(5)?,
        last_at: moment(6)?,
        fired: unsigned(row.get(7)?),
    };
    Ok((trigger, row.get(8)?))
}

/// Writes a trigger that is not there. `settings` is packed.
pub(super) fn insert(
    connection: &Connection,
    trigger: &TriggerRow,
    settings: &[u8],
) -> rusqlite::Result<()> {
    let sql =
        format!("INSERT INTO triggers ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)");
    let TriggerRow { workflow, id, kind, path, enabled, next_at, last_at, fired, .. } = trigger;
    let kind = match kind {
        TriggerKind::Schedule => 0,
        TriggerKind::Hook => 1,
    };
    let (next_at, last_at) = (next_at.map(integer), last_at.map(integer));
    connection.prepare_cached(&sql)?.execute(params![
        workflow.to_string(),
        id,
        kind,
        path,
        enabled,
        next_at,
        last_at,
        integer(*fired),
        settings,
    ])?;
    Ok(())
}

/// Refuses a run whose trigger is not where the run says it is.
pub(super) fn check(connection: &Connection, fired: &Fired) -> Written<()> {
    let sql = "SELECT enabled AND next_at IS ?3 FROM triggers WHERE workflow = ?1 AND id = ?2";
    let values = params![fired.workflow.to_string(), fired.trigger, fired.occurrence.map(integer)];
    let is_there =
        connection.prepare_cached(sql)?.query_row(values, |row| row.get(0)).optional()?;
    match (is_there, fired.occurrence) {
        (Some(true), _) | (Some(false), None) => Ok(()),
        _ => Err(not_firing(fired).into()),
    }
}

/// Notes that a trigger has started a run.
pub(super) fn fire(connection: &Connection, fired: &Fired, at: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE triggers SET last_at = ?3, next_at = iif(?4, ?5, next_at), fired = fired + 1 \
               WHERE workflow = ?1 AND id = ?2";
    let (workflow, next_at) = (fired.workflow.to_string(), fired.next_at.map(integer));
    let values = params![workflow, fired.trigger, integer(at), fired.occurrence.is_some(), next_at];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn schedules_go_by_their_index() {
        let (_dir, connection) = schema::fresh();
        for sql in [format!("SELECT {COLUMNS} FROM triggers WHERE {}", due()), next()] {
            let plan = schema::query_plan(&connection, &sql);
            assert!(plan.contains("INDEX triggers_next"), "{sql}\n{plan}");
        }
        let hook = format!("SELECT {COLUMNS} FROM triggers WHERE path = ?1");
        let plan = schema::query_plan(&connection, &hook);
        assert!(plan.contains("INDEX triggers_path"), "{plan}");
    }
}
