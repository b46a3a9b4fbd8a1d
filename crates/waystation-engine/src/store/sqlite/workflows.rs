//! Stored workflows: definitions and their versions.

use std::sync::Arc;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::writer::{Session, Written};
use super::{integer, triggers, unsigned};
use crate::id::WorkflowId;
use crate::store::workflows::{
    Changed, Expected, VersionLine, WorkflowChange, WorkflowFilter, WorkflowLine, WorkflowRow,
};
use crate::store::{Result, StoreError, codec};

/// Makes a new version of a workflow, with its triggers. `definition` is the packed definition.
pub(super) fn change(
    session: &mut Session,
    change: &WorkflowChange,
    definition: &[u8],
    settings: &[Vec<u8>],
) -> Written<Changed> {
    let connection = &session.connection;
    let id = change.id.to_string();
    let present = present_version(connection, &id)?;
    match (present, change.expected) {
        (Some(_), Expected::Absent) => return Ok(Changed::Exists),
        (None, Expected::Any | Expected::Version(_)) => return Ok(Changed::Missing),
        (Some(present), Expected::Version(wanted)) if present != wanted => {
            return Ok(Changed::Stale { present });
        }
        _ => {}
    }
    let paths = change.triggers.iter().filter_map(|trigger| trigger.path.as_deref());
    for path in paths {
        if triggers::is_taken(connection, &id, path)? {
            return Ok(Changed::PathTaken { path: path.to_owned() });
        }
    }
    let version = present.unwrap_or(0) + 1;
    put(connection, change, &id, version)?;
    put_version(connection, change, &id, version, definition)?;
    triggers::replace(connection, &id, &change.triggers, settings)?;
    Ok(Changed::Done { version })
}

fn present_version(connection: &Connection, id: &str) -> rusqlite::Result<Option<u32>> {
    let mut select = connection.prepare_cached("SELECT version FROM workflows WHERE id = ?1")?;
    select.query_row([id], |row| row.get(0)).optional()
}

fn put(
    connection: &Connection,
    change: &WorkflowChange,
    id: &str,
    version: u32,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO workflows VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7) \
               ON CONFLICT DO UPDATE SET version = excluded.version, name = excluded.name, \
               status = excluded.status, description = excluded.description, \
               search = excluded.search, updated = excluded.updated";
    let WorkflowChange { name, status, description, at, .. } = change;
    let search = format!("{name}\n{}", description.as_deref().unwrap_or_default()).to_lowercase();
    let values = params![id, version, name, status, description, search, integer(*at)];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn put_version(
    connection: &Connection,
    change: &WorkflowChange,
    id: &str,
    version: u32,
    definition: &[u8],
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO workflow_versions \
               (workflow, version, name, status, created, definition) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let WorkflowChange { name, status, at, .. } = change;
    let values = params![id, version, name, status, integer(*at), definition];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// One workflow, in a version or in the present one.
pub(super) fn get(
    connection: &Connection,
    id: &WorkflowId,
    version: Option<u32>,
) -> Result<Option<WorkflowRow>> {
    let sql = "SELECT v.version, v.name, v.status, w.created, v.created, v.definition \
               FROM workflows w JOIN workflow_versions v \
               ON v.workflow = w.id AND v.version = ifnull(?2, w.version) WHERE w.id = ?1";
    let mut select = connection.prepare_cached(sql)?;
    let columns = |row: &Row<'_>| {
        let times = (unsigned(row.get(3)?), unsigned(row.get(4)?));
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, times, row.get::<_, Vec<u8>>(5)?))
    };
    let found = select.query_row(params![id.to_string(), version], columns).optional()?;
    let Some((version, name, status, (created, updated), blob)) = found else { return Ok(None) };
    let definition = Arc::new(codec::unpack(&blob)?);
    Ok(Some(WorkflowRow { id: *id, version, name, status, created, updated, definition }))
}

/// Workflows that match, those that changed last first, and how many there are in all.
pub(super) fn list(
    connection: &Connection,
    filter: &WorkflowFilter,
) -> Result<(Vec<WorkflowLine>, u64)> {
    let mut conditions = vec!["true"];
    let mut values = Vec::new();
    if let Some(status) = &filter.status {
        conditions.push("status = ?");
        values.push(Sql::Text(status.clone()));
    }
    if let Some(text) = &filter.text {
        conditions.push("instr(search, ?) > 0");
        values.push(Sql::Text(text.to_lowercase()));
    }
    let conditions = conditions.join(" AND ");
    let sql = format!("SELECT count(*) FROM workflows WHERE {conditions}");
    let mut count = connection.prepare_cached(&sql)?;
    let total = count.query_row(params_from_iter(&values), |row| row.get(0)).map(unsigned)?;
    values.extend([filter.limit, filter.offset].map(|bound| Sql::Integer(integer(bound as u64))));
    let sql = format!(
        "SELECT id, version, name, status, description, created, updated FROM workflows \
         WHERE {conditions} ORDER BY updated DESC, id LIMIT ? OFFSET ?"
    );
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map(params_from_iter(&values), line)?;
    Ok((rows.collect::<rusqlite::Result<_>>()?, total))
}

fn line(row: &Row<'_>) -> rusqlite::Result<WorkflowLine> {
    Ok(WorkflowLine {
        id: workflow_id(row, 0)?,
        version: row.get(1)?,
        name: row.get(2)?,
        status: row.get(3)?,
        description: row.get(4)?,
        created: unsigned(row.get(5)?),
        updated: unsigned(row.get(6)?),
    })
}

/// A workflow's id in a column.
pub(super) fn workflow_id(row: &Row<'_>, column: usize) -> rusqlite::Result<WorkflowId> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| {
        let kind = rusqlite::types::Type::Text;
        let error = StoreError::failed(format!("{text} is no id of a workflow")).detail;
        rusqlite::Error::FromSqlConversionFailure(column, kind, error.into())
    })
}

/// All versions of a workflow, newest first.
pub(super) fn versions(connection: &Connection, id: &WorkflowId) -> Result<Vec<VersionLine>> {
    let sql = "SELECT version, name, created FROM workflow_versions WHERE workflow = ?1 \
               ORDER BY version DESC";
    let mut select = connection.prepare_cached(sql)?;
    let rows = select.query_map([id.to_string()], |row| {
        Ok(VersionLine { version: row.get(0)?, name: row.get(1)?, created: unsigned(row.get(2)?) })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Removes a workflow with its versions and triggers; answers whether there was one.
pub(super) fn remove(session: &mut Session, id: &WorkflowId) -> Written<bool> {
    let id = id.to_string();
    for sql in [
        "DELETE FROM workflow_versions WHERE workflow = ?1",
        "DELETE FROM triggers WHERE workflow = ?1",
    ] {
        session.connection.prepare_cached(sql)?.execute([&id])?;
    }
    let sql = "DELETE FROM workflows WHERE id = ?1";
    Ok(session.connection.prepare_cached(sql)?.execute([&id])? > 0)
}
