//! Stored workflows and their versions.

use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::types::{Type, Value as Sql};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde_json::Value;

use super::writer::{Session, Written};
use super::{SqliteStore, integer, triggers, unsigned};
use crate::id::WorkflowId;
use crate::store::trigger::doubled_path;
use crate::store::workflow::searchable;
use crate::store::{
    Changed, DefinitionStore, Result, TriggerRow, VersionLine, WorkflowChange, WorkflowFilter,
    WorkflowLine, WorkflowRow, codec,
};

#[async_trait]
impl DefinitionStore for SqliteStore {
    async fn change_workflow(&self, change: WorkflowChange) -> Result<Changed> {
        if let Some(path) = doubled_path(&change.triggers)? {
            return Ok(Changed::PathTaken { path });
        }
        let definition = codec::pack(&change.definition)?;
        self.write(move |session| self::change(session, &change, &definition)).await
    }

    async fn workflow(&self, id: &WorkflowId, version: Option<u32>) -> Result<Option<WorkflowRow>> {
        let id = *id;
        self.readers.read(move |connection| workflow(connection, &id, version)).await
    }

    async fn workflows(&self, filter: WorkflowFilter) -> Result<(Vec<WorkflowLine>, u64)> {
        self.readers.read(move |connection| list(connection, &filter)).await
    }

    async fn versions(&self, id: &WorkflowId) -> Result<Vec<VersionLine>> {
        let id = id.to_string();
        self.readers.read(move |connection| versions(connection, &id)).await
    }

    async fn remove_workflow(&self, id: &WorkflowId) -> Result<bool> {
        let id = id.to_string();
        self.write(move |session| remove(session, &id)).await
    }
}

/// Reads a workflow's id.
pub(super) fn id_of(row: &Row<'_>, at: usize) -> rusqlite::Result<WorkflowId> {
    let invalid = |_| {
        let reason = "no workflow id".into();
        rusqlite::Error::FromSqlConversionFailure(at, Type::Text, reason)
    };
    row.get_ref(at)?.as_str()?.parse().map_err(invalid)
}

/// Makes a change, or answers why not. `definition` is packed.
fn change(session: &mut Session, change: &WorkflowChange, definition: &[u8]) -> Written<Changed> {
    let connection = &session.connection;
    let id = change.id.to_string();
    let sql = "SELECT version FROM workflows WHERE id = ?1";
    let present = connection.prepare_cached(sql)?.query_row([&id], |row| row.get(0)).optional()?;
    let version = match change.expected.next(present) {
        Ok(version) => version,
        Err(refused) => return Ok(refused),
    };
    if let Some(path) = taken_path(connection, change)? {
        return Ok(Changed::PathTaken { path });
    }
    let triggers = triggers_after(connection, change)?;
    put(connection, change, version, definition)?;
    replace_triggers(connection, &id, &triggers)?;
    Ok(Changed::Done { version })
}

/// A path of the new triggers that another workflow's hook has.
fn taken_path(connection: &Connection, change: &WorkflowChange) -> Written<Option<String>> {
    let sql = "SELECT 1 FROM triggers WHERE path = ?1 AND workflow <> ?2";
    let mut select = connection.prepare_cached(sql)?;
    let id = change.id.to_string();
    for path in change.triggers.iter().filter_map(|trigger| trigger.path.as_ref()) {
        if select.exists([path, &id])? {
            return Ok(Some(path.clone()));
        }
    }
    Ok(None)
}

fn put(
    connection: &Connection,
    change: &WorkflowChange,
    version: u32,
    definition: &[u8],
) -> Written<()> {
    let WorkflowChange { id, name, status, description, at, .. } = change;
    let (id, at) = (id.to_string(), integer(*at));
    let search = searchable(name, description.as_deref());
    let sql = "INSERT INTO workflows (id, version, name, status, description, search, created, updated) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) ON CONFLICT (id) DO UPDATE SET \
               version = excluded.version, name = excluded.name, status = excluded.status, \
               description = excluded.description, search = excluded.search, \
               updated = excluded.updated";
    let values = params![id, version, name, status, description, search, at];
    connection.prepare_cached(sql)?.execute(values)?;
    let sql = "INSERT INTO workflow_versions (workflow, version, name, status, created, definition) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let values = params![id, version, name, status, at, definition];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// The triggers after a change, each with its packed settings.
fn triggers_after(
    connection: &Connection,
    change: &WorkflowChange,
) -> Result<Vec<(TriggerRow, Vec<u8>)>> {
    let before = triggers::of_workflow(connection, &change.id)?;
    let after = |new| {
        let row = TriggerRow::following(change.id, new, &before);
        let settings = codec::pack(&row.settings)?;
        Ok((row, settings))
    };
    change.triggers.iter().map(after).collect()
}

fn replace_triggers(
    connection: &Connection,
    id: &str,
    triggers: &[(TriggerRow, Vec<u8>)],
) -> rusqlite::Result<()> {
    let sql = "DELETE FROM triggers WHERE workflow = ?1";
    connection.prepare_cached(sql)?.execute([id])?;
    triggers.iter().try_for_each(|(row, settings)| triggers::insert(connection, row, settings))
}

fn workflow(
    connection: &Connection,
    id: &WorkflowId,
    version: Option<u32>,
) -> Result<Option<WorkflowRow>> {
    let sql = "SELECT v.version, v.name, v.status, w.created, v.created, v.definition \
               FROM workflows w JOIN workflow_versions v \
               ON v.workflow = w.id AND v.version = ifnull(?2, w.version) WHERE w.id = ?1";
    let mut select = connection.prepare_cached(sql)?;
    let found = select.query_row(params![id.to_string(), version], |row| {
        let version = WorkflowRow {
            id: *id,
            version: row.get(0)?,
            name: row.get(1)?,
            status: row.get(2)?,
            created: unsigned(row.get(3)?),
            updated: unsigned(row.get(4)?),
            definition: Arc::new(Value::Null),
        };
        Ok((version, row.get::<_, Vec<u8>>(5)?))
    });
    let Some((row, definition)) = found.optional()? else { return Ok(None) };
    Ok(Some(WorkflowRow { definition: Arc::new(codec::unpack(&definition)?), ..row }))
}

fn list(connection: &Connection, filter: &WorkflowFilter) -> Result<(Vec<WorkflowLine>, u64)> {
    let (condition, mut values) = conditions(filter);
    let sql = format!("SELECT count(*) FROM workflows WHERE {condition}");
    let total = connection
        .prepare_cached(&sql)?
        .query_row(params_from_iter(&values), |row| row.get(0).map(unsigned))?;
    let page = [filter.limit, filter.offset].map(|number| Sql::Integer(integer(number as u64)));
    values.extend(page);
    let mut select = connection.prepare_cached(&select_lines(&condition))?;
    let lines = select.query_map(params_from_iter(values), line)?;
    Ok((lines.collect::<rusqlite::Result<_>>()?, total))
}

/// A query for lines; the last parameters are how many, and how many to pass over.
fn select_lines(condition: &str) -> String {
    format!(
        "SELECT id, version, name, status, description, created, updated FROM workflows \
         WHERE {condition} ORDER BY updated DESC, id LIMIT ? OFFSET ?"
    )
}

fn conditions(filter: &WorkflowFilter) -> (String, Vec<Sql>) {
    let status = filter.status.clone().map(|status| ("status = ?", status));
    let text = filter.text.as_ref().map(|text| ("instr(search, ?) > 0", text.to_lowercase()));
    let present = status.into_iter().chain(text);
    let (mut conditions, values): (Vec<&str>, Vec<Sql>) =
        present.map(|(sql, value)| (sql, Sql::Text(value))).unzip();
    conditions.push("true");
    (conditions.join(" AND "), values)
}

fn line(row: &Row<'_>) -> rusqlite::Result<WorkflowLine> {
    Ok(WorkflowLine {
        id: id_of(row, 0)?,
        version: row.get(1)?,
        name: row.get(2)?,
        status: row.get(3)?,
        description: row.get(4)?,
        created: unsigned(row.get(5)?),
        updated: unsigned(row.get(6)?),
    })
}

fn versions(connection: &Connection, id: &str) -> Result<Vec<VersionLine>> {
    let sql = "SELECT version, name, created FROM workflow_versions \
               WHERE workflow = ?1 ORDER BY version DESC";
    let mut select = connection.prepare_cached(sql)?;
    let lines = select.query_map([id], |row| {
        let created = unsigned(row.get(2)?);
        Ok(VersionLine { version: row.get(0)?, name: row.get(1)?, created })
    })?;
    Ok(lines.collect::<rusqlite::Result<_>>()?)
}

fn remove(session: &mut Session, id: &str) -> Written<bool> {
    for sql in [
        "DELETE FROM workflow_versions WHERE workflow = ?1",
        "DELETE FROM triggers WHERE workflow = ?1",
    ] {
        session.connection.prepare_cached(sql)?.execute([id])?;
    }
    let sql = "DELETE FROM workflows WHERE id = ?1";
    Ok(session.connection.prepare_cached(sql)?.execute([id])? > 0)
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    #[test]
    fn lists_of_workflows_go_by_an_index() {
        let (_dir, connection) = schema::fresh();
        let text = Some("t".to_owned());
        let all = WorkflowFilter::default;
        let status = Some("active".to_owned());
        for (filter, expected) in [
            (all(), "INDEX workflows_updated"),
            (WorkflowFilter { text, ..all() }, "INDEX workflows_updated"),
            (WorkflowFilter { status, ..all() }, "INDEX workflows_status (status=?)"),
        ] {
            let (condition, _) = conditions(&filter);
            let plan = schema::query_plan(&connection, &select_lines(&condition));
            assert!(plan.contains(expected), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
        }
    }
}
