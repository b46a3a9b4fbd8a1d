//! An append: entries for a run's journal, and everything that follows from them, in one transaction.

use rusqlite::{Connection, OptionalExtension, Row, params};
use waystation_core::error::Code;
use waystation_core::plan::Dialect;
use waystation_core::usage::Usage;

use super::runs::{AWAKE, Table, dialect_number, dialect_of, next_batch, number};
use super::sums::Ended;
use super::writer::{Failed, Session, Written};
use super::{claims, feed, integer, spending, triggers, unsigned};
use crate::id::RunId;
use crate::limits;
use crate::store::codec::{self, Batch};
use crate::store::{
    Append, ChildPlace, Finished, NewRun, Result, Sleep, Status, ended, fenced, place_taken,
    spent_by_day,
};

/// An append whose entries are already bytes.
pub(super) struct Prepared {
    run: RunId,
    batch: u32,
    first_seq: u32,
    entries: Batch,
    new_run: Option<NewRun>,
    wake_at: i64,
    finished: Option<Finished>,
    spent: Vec<(u64, Usage)>,
    /// The moment of the last entry, in Unix milliseconds.
    at: u64,
}

impl Prepared {
    /// Serializes and compresses, which is the caller's work and not the writer's.
    pub(super) fn new(append: Append) -> Result<Prepared> {
        let Append { run, batch, first_seq, entries, new_run, wake_at, finished } = append;
        let spent = spent_by_day(&entries);
        let at = entries.last().map_or(0, |entry| entry.at);
        let entries = codec::encode(entries)?;
        let wake_at = match (wake_at, &finished) {
            (Some(at), None) => integer(at).max(AWAKE + 1),
            _ => AWAKE,
        };
        Ok(Prepared { run, batch, first_seq, entries, new_run, wake_at, finished, spent, at })
    }
}

/// Adds to the journal and brings the run's row in line. All refusals come before any change.
pub(super) fn append(session: &mut Session, append: &Prepared) -> Written<()> {
    let Place { table, wake_at, is_graph } = match &append.new_run {
        Some(new) => {
            check(&session.connection, new)?;
            let (table, is_graph) = (Table::of(new), new.dialect == Dialect::Graph);
            Place { table, wake_at: append.wake_at, is_graph }
        }
        None => unfinished(&session.connection, append.run)?,
    };
    if !add_to_journal(&session.connection, append)? {
        return Err(fenced(append.run).into());
    }
    add_payloads(&session.connection, append)?;
    match (&append.new_run, &append.finished) {
        (Some(new), _) => start(session, append, new)?,
        (None, Some(finished)) => finish(session, append.run, table, finished)?,
        (None, None) if wake_at == append.wake_at => {}
        (None, None) => set_wake(&session.connection, table, append.run, append.wake_at)?,
    }
    if is_graph && matches!(table, Table::Runs) {
        let entries = (append.first_seq, append.entries.count);
        feed::add(&session.connection, append.run, entries, append.at)?;
    }
    spending::add(&session.connection, append.run, table, &append.spent)
}

/// What is known of the row of a run.
struct Place {
    table: Table,
    /// When it is to be woken at present.
    wake_at: i64,
    is_graph: bool,
}

/// Refuses a run whose place, key or trigger another one has.
fn check(connection: &Connection, new: &NewRun) -> Written<()> {
    if let Some(place) = new.parent {
        let sql = "SELECT 1 FROM child_runs WHERE parent = ?1 AND node = ?2 AND item = ?3";
        let ChildPlace { parent, node, item } = place;
        if connection.prepare_cached(sql)?.exists(params![parent.0, node, item])? {
            return Err(place_taken(place).into());
        }
    }
    if let Some(claim) = &new.claim {
        claims::check(connection, claim, new.created)?;
    }
    if let Some(fired) = &new.fired {
        triggers::check(connection, fired)?;
    }
    Ok(())
}

/// Where a run that goes on has its row.
fn unfinished(connection: &Connection, run: RunId) -> Written<Place> {
    for table in Table::BOTH {
        let sql = match table {
            Table::Runs => "SELECT status, wake_at, dialect FROM runs WHERE id = ?1",
            Table::Children => "SELECT status, wake_at, dialect FROM child_runs WHERE id = ?1",
        };
        let place = |row: &Row<'_>| {
            let is_graph = dialect_of(row, 2)? == Dialect::Graph;
            Ok((row.get::<_, i64>(0)?, Place { table, wake_at: row.get(1)?, is_graph }))
        };
        let found = connection.prepare_cached(sql)?.query_row([run.0], place).optional()?;
        match found {
            Some((status, place)) if status == number(Status::Running) => return Ok(place),
            Some(_) => break,
            None => {}
        }
    }
    Err(ended(run).into())
}

/// Answers whether the place was free.
fn add_to_journal(connection: &Connection, append: &Prepared) -> rusqlite::Result<bool> {
    let sql = "INSERT INTO journal (run, batch, first_seq, count, entries) \
               VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    let Prepared { run, batch, first_seq, entries, .. } = append;
    let mut insert = connection.prepare_cached(sql)?;
    let added = insert.execute(params![run.0, batch, first_seq, entries.count, entries.blob])?;
    Ok(added == 1)
}

fn add_payloads(connection: &Connection, append: &Prepared) -> rusqlite::Result<()> {
    for payload in &append.entries.payloads {
        let sql = "INSERT INTO payloads (hash, value) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        connection.prepare_cached(sql)?.execute(params![payload.hash, payload.blob])?;
        let sql = "INSERT INTO payload_refs (run, hash) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
        connection.prepare_cached(sql)?.execute(params![append.run.0, payload.hash])?;
    }
    Ok(())
}

/// Everything that begins with a run, and ends if the run does at once.
fn start(session: &mut Session, append: &Prepared, new: &NewRun) -> Written<()> {
    insert_run(session, append, new)?;
    let connection = &session.connection;
    if new.webhook {
        let sql = "INSERT INTO cursors (run, next_seq, attempts, next_at, state) \
                   VALUES (?1, 0, 0, ?2, 0)";
        connection.prepare_cached(sql)?.execute([append.run.0, integer(new.created)])?;
    }
    if let Some(claim) = &new.claim {
        claims::put(connection, claim, append.run)?;
    }
    if let Some(fired) = &new.fired {
        triggers::fire(connection, fired, new.created)?;
    }
    if let (Some(place), Some(finished)) = (new.parent, &append.finished) {
        wake_parent(connection, place.parent, finished.at)?;
    }
    if new.parent.is_none() {
        session.sums.started(new, append.finished.as_ref());
    }
    Ok(())
}

/// Writes the row in the state that the append leaves it in, finished or not.
fn insert_run(session: &mut Session, append: &Prepared, new: &NewRun) -> Written<()> {
    let plan = plan_id(session, new)?;
    let finished = append.finished.as_ref();
    let status = number(finished.map_or(Status::Running, |finished| finished.status));
    let at = finished.map(|finished| integer(finished.at));
    let error = finished.and_then(|finished| finished.error).map(Code::as_str);
    let (id, created, wake_at) = (append.run.0, integer(new.created), append.wake_at);
    let NewRun { namespace, workflow, name, version, .. } = new;
    let dialect = dialect_number(new.dialect);
    match new.parent {
        None => {
            let sql = "INSERT INTO runs (id, namespace, workflow, name, plan, status, created, \
                       finished, error, wake_at, dialect, version) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
            session.connection.prepare_cached(sql)?.execute(params![
                id, namespace, workflow, name, plan, status, created, at, error, wake_at, dialect,
                version
            ])?;
        }
        Some(ChildPlace { parent, node, item }) => {
            let sql = "INSERT INTO child_runs (id, namespace, workflow, name, plan, status, created, \
                       finished, error, wake_at, dialect, version, parent, node, item) VALUES \
                       (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
            session.connection.prepare_cached(sql)?.execute(params![
                id, namespace, workflow, name, plan, status, created, at, error, wake_at, dialect,
                version, parent.0, node, item
            ])?;
        }
    }
    Ok(())
}

/// Everything that follows from a later end of a run.
fn finish(session: &mut Session, run: RunId, table: Table, finished: &Finished) -> Written<()> {
    let error = finished.error.map(Code::as_str);
    let (status, at) = (number(finished.status), integer(finished.at));
    let values = params![run.0, status, at, error];
    match table {
        Table::Runs => {
            let sql = "UPDATE runs SET status = ?2, finished = ?3, error = ?4, wake_at = 0 \
                       WHERE id = ?1 RETURNING namespace, workflow, dialect, created";
            let mut update = session.connection.prepare_cached(sql)?;
            let ended: Ended = update.query_row(values, ended_row)?;
            drop(update);
            session.sums.finished(&ended, finished);
        }
        Table::Children => {
            let sql = "UPDATE child_runs SET status = ?2, finished = ?3, error = ?4, wake_at = 0 \
                       WHERE id = ?1 RETURNING parent";
            let mut update = session.connection.prepare_cached(sql)?;
            let parent = update.query_row(values, |row| row.get(0).map(RunId))?;
            wake_parent(&session.connection, parent, finished.at)?;
        }
    }
    if finished.has_parts {
        let sql = "UPDATE child_runs SET wake_at = ?2 WHERE parent = ?1 AND finished IS NULL";
        let at = integer(finished.at).max(AWAKE + 1);
        session.connection.prepare_cached(sql)?.execute([run.0, at])?;
    }
    Ok(())
}

/// Reads namespace, workflow, wire format and moment of creation.
pub(super) fn ended_row(row: &Row<'_>) -> rusqlite::Result<Ended> {
    let dialect: Dialect = dialect_of(row, 2)?;
    let (namespace, workflow) = (row.get(0)?, row.get(1)?);
    Ok(Ended { namespace, workflow, dialect, created: unsigned(row.get(3)?) })
}

/// Puts a run to sleep, unless something has come in between.
pub(super) fn sleep(connection: &Connection, sleep: &Sleep) -> Written<bool> {
    let Sleep { run, batch, wake_at, awaits } = sleep;
    if next_batch(connection, *run)? != *batch {
        return Ok(false);
    }
    for child in awaits {
        let sql = "SELECT 1 FROM child_runs WHERE id = ?1 AND finished IS NULL";
        if !connection.prepare_cached(sql)?.exists([child.0])? {
            return Ok(false);
        }
    }
    let place = match unfinished(connection, *run) {
        Err(Failed::Refused(_)) => return Ok(false),
        found => found?,
    };
    set_wake(connection, place.table, *run, integer(*wake_at).max(AWAKE + 1))?;
    Ok(true)
}

fn set_wake(
    connection: &Connection,
    table: Table,
    run: RunId,
    wake_at: i64,
) -> rusqlite::Result<()> {
    let sql = format!("UPDATE {} SET wake_at = ?2 WHERE id = ?1", table.name());
    connection.prepare_cached(&sql)?.execute(params![run.0, wake_at])?;
    Ok(())
}

/// A parent that sleeps is due from the moment on at which its child ends.
fn wake_parent(connection: &Connection, parent: RunId, at: u64) -> rusqlite::Result<()> {
    for table in Table::BOTH {
        let sql = format!(
            "UPDATE {} SET wake_at = min(wake_at, ?2) WHERE id = ?1 AND wake_at > 0",
            table.name()
        );
        let at = integer(at).max(AWAKE + 1);
        if connection.prepare_cached(&sql)?.execute([parent.0, at])? > 0 {
            break;
        }
    }
    Ok(())
}

/// The row id of a run's plan, which is stored if it is new. Its use is noted once in a while.
fn plan_id(session: &mut Session, new: &NewRun) -> rusqlite::Result<i64> {
    if let Some((id, used)) = session.plans.get(&new.plan)
        && new.created < used.saturating_add(limits::PLAN_USE_MS)
    {
        return Ok(*id);
    }
    let sql = "INSERT INTO plans (hash, json, used) VALUES (?1, ?2, ?3) \
               ON CONFLICT (hash) DO UPDATE SET used = max(used, excluded.used) RETURNING id";
    let json = codec::pack_json(&new.plan_json);
    let used = integer(new.created);
    let mut insert = session.connection.prepare_cached(sql)?;
    let id = insert.query_row(params![new.plan, json, used], |row| row.get(0))?;
    drop(insert);
    session.plans.insert(new.plan.clone(), (id, new.created));
    Ok(id)
}
