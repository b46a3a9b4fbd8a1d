//! Runs and their journals.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use serde_json::Value;
use waystation_core::entry::Entry;
use waystation_core::error::Code;
use waystation_core::plan::Dialect;
use waystation_core::usage::Usage;

use super::writer::{Session, Written};
use super::{integer, spending, triggers, unsigned};
use crate::id::RunId;
use crate::limits;
use crate::store::codec::{self, Batch};
use crate::store::{
    Append, ChildRow, Finished, NewRun, Result, RunFilter, RunRow, Status, StoreError, conflict,
    ended, fenced, spent_by_day,
};

/// In `runs.wake_at`: the run is not asleep.
const AWAKE: i64 = 0;
/// Asleep until a moment that has come. The condition on `finished` is that of the partial index.
const DUE_ASLEEP: &str = "SELECT id FROM runs WHERE finished IS NULL AND wake_at > 0 AND wake_at <= ?1 \
                          ORDER BY wake_at, id LIMIT ?2";
const AWAKE_IDS: &str = "SELECT id FROM runs WHERE finished IS NULL AND wake_at = 0 ORDER BY id";
const CHILDREN: &str = "SELECT id, parent_node, parent_item, status FROM runs WHERE parent = ?1";
const NEXT_WAKE: &str = "SELECT min(wake_at) FROM runs WHERE finished IS NULL AND wake_at > 0";

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
}

impl Prepared {
    /// Serializes and compresses, which is the caller's work and not the writer's.
    pub(super) fn new(append: Append) -> Result<Prepared> {
        let Append { run, batch, first_seq, entries, new_run, wake_at, finished } = append;
        let spent = spent_by_day(&entries);
        let entries = codec::encode(entries)?;
        let wake_at = match (wake_at, finished) {
            (Some(at), None) => integer(at).max(AWAKE + 1),
            _ => AWAKE,
        };
        Ok(Prepared { run, batch, first_seq, entries, new_run, wake_at, finished, spent })
    }
}

/// Adds to the journal and brings the run's row in line. All refusals come before any change.
pub(super) fn append(session: &mut Session, append: &Prepared) -> Written<()> {
    let wake_at = match append.new_run {
        Some(_) => append.wake_at,
        None => unfinished_wake(&session.connection, append.run)?,
    };
    if let Some(new) = &append.new_run {
        admit(&session.connection, new)?;
    }
    if !add_to_journal(&session.connection, append)? {
        return Err(fenced(append.run).into());
    }
    add_payloads(&session.connection, append)?;
    match (&append.new_run, append.finished) {
        (Some(new), _) => insert_run(session, append, new)?,
        (None, Some(finished)) => {
            finish_run(&session.connection, append.run, finished)?;
            wake_parent(&session.connection, append.run, finished.at)?;
        }
        (None, None) if wake_at == append.wake_at => {}
        (None, None) => {
            let sql = "UPDATE runs SET wake_at = ?2 WHERE id = ?1";
            let mut update = session.connection.prepare_cached(sql)?;
            update.execute(params![append.run.0, append.wake_at])?;
        }
    }
    spending::add(&session.connection, append.run, &append.spent)
}

/// Refuses what has begun already: a call, a moment of a schedule, an item of another run.
fn admit(connection: &Connection, new: &NewRun) -> Written<()> {
    if let Some((parent, node, item)) = new.parent
        && child_at(connection, parent, node, item)?.is_some()
    {
        return Err(conflict("the item has a run already").into());
    }
    if let Some(claim) = &new.claim
        && triggers::claimed(connection, &claim.key, new.created)?.is_some()
    {
        return Err(conflict("the idempotency key is taken").into());
    }
    match &new.fired {
        Some(fired) if !triggers::may_fire(connection, fired)? => {
            Err(conflict("the trigger has fired for this moment already, or is gone").into())
        }
        _ => Ok(()),
    }
}

/// A run that sleeps until one of its parts ends is woken by the alarm.
fn wake_parent(connection: &Connection, run: RunId, at: u64) -> rusqlite::Result<()> {
    let sql = "UPDATE runs SET wake_at = min(wake_at, ?2) WHERE wake_at > 0 AND finished IS NULL \
               AND id = (SELECT parent FROM runs WHERE id = ?1)";
    connection.prepare_cached(sql)?.execute(params![run.0, integer(at).max(AWAKE + 1)])?;
    Ok(())
}

/// The run of an item of a node of another run.
pub(super) fn child_at(
    connection: &Connection,
    parent: RunId,
    node: u32,
    item: u32,
) -> rusqlite::Result<Option<ChildRow>> {
    let sql = format!("{CHILDREN} AND parent_node = ?2 AND parent_item = ?3");
    let mut select = connection.prepare_cached(&sql)?;
    select.query_row(params![parent.0, node, item], child_row).optional()
}

/// The runs that are parts of another.
pub(super) fn children(connection: &Connection, parent: RunId) -> Result<Vec<ChildRow>> {
    let sql = format!("{CHILDREN} ORDER BY parent_node, parent_item");
    let mut select = connection.prepare_cached(&sql)?;
    let rows = select.query_map([parent.0], child_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn child_row(row: &Row<'_>) -> rusqlite::Result<ChildRow> {
    Ok(ChildRow {
        run: RunId(row.get(0)?),
        node: row.get(1)?,
        item: row.get(2)?,
        status: status_of(row.get(3)?)?,
    })
}

/// How many jobs there are, as the counters say.
pub(super) fn count_jobs(connection: &Connection, filter: &RunFilter) -> Result<u64> {
    let sql = "SELECT ifnull(sum(count), 0) FROM run_counts \
               WHERE (?1 IS NULL OR workflow = ?1) AND (?2 IS NULL OR status = ?2)";
    let mut select = connection.prepare_cached(sql)?;
    let values = params![filter.workflow, filter.status.map(number)];
    Ok(select.query_row(values, |row| row.get(0)).map(unsigned)?)
}

/// When a run that goes on is to be woken at present.
fn unfinished_wake(connection: &Connection, run: RunId) -> Written<i64> {
    let sql = "SELECT status, wake_at FROM runs WHERE id = ?1";
    let columns = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get(1)?));
    let found = connection.prepare_cached(sql)?.query_row([run.0], columns).optional()?;
    match found {
        Some((status, wake_at)) if status == number(Status::Running) => Ok(wake_at),
        _ => Err(ended(run).into()),
    }
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

/// Writes the row in the state that the append leaves it in, finished or not.
fn insert_run(session: &mut Session, append: &Prepared, new: &NewRun) -> Written<()> {
    let plan = plan_id(session, new)?;
    let status = append.finished.map_or(Status::Running, |finished| finished.status);
    let finished = append.finished.map(|finished| integer(finished.at));
    let error = append.finished.and_then(|finished| finished.error).map(Code::as_str);
    let sql = "INSERT INTO runs (id, namespace, workflow, name, plan, status, created, finished, \
               error, wake_at, dialect, version, parent, parent_node, parent_item) VALUES \
               (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    let (id, created) = (append.run.0, integer(new.created));
    let NewRun { namespace, workflow, name, .. } = new;
    let mut insert = session.connection.prepare_cached(sql)?;
    let status = number(status);
    insert.execute(params![
        id,
        namespace,
        workflow,
        name,
        plan,
        status,
        created,
        finished,
        error,
        append.wake_at,
        dialect_number(new.dialect),
        new.version,
        new.parent.map(|(run, ..)| run.0),
        new.parent.map(|(_, node, _)| node),
        new.parent.map(|(.., item)| item),
    ])?;
    if let Some(claim) = &new.claim {
        triggers::claim(&session.connection, claim, append.run)?;
    }
    if let Some(fired) = &new.fired {
        triggers::fire(&session.connection, fired)?;
    }
    if new.webhook {
        let sql = "INSERT INTO cursors (run, next_seq, attempts, next_at, state) \
                   VALUES (?1, 0, 0, ?2, 0)";
        session.connection.prepare_cached(sql)?.execute([id, created])?;
    }
    Ok(())
}

fn finish_run(connection: &Connection, run: RunId, finished: Finished) -> rusqlite::Result<()> {
    let sql = "UPDATE runs SET status = ?2, finished = ?3, error = ?4, wake_at = 0 WHERE id = ?1";
    let error = finished.error.map(Code::as_str);
    let (status, at) = (number(finished.status), integer(finished.at));
    connection.prepare_cached(sql)?.execute(params![run.0, status, at, error])?;
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

/// The JSON of a plan.
pub(super) fn plan(connection: &Connection, hash: &str) -> Result<Option<Vec<u8>>> {
    let mut select = connection.prepare_cached("SELECT json FROM plans WHERE hash = ?1")?;
    let blob: Option<Vec<u8>> = select.query_row([hash], |row| row.get(0)).optional()?;
    blob.map(|blob| Ok(codec::unpack_json(&blob)?.into_owned())).transpose()
}

/// A run's entries from a place on.
pub(super) fn journal(connection: &Connection, run: RunId, from_seq: u32) -> Result<Vec<Entry>> {
    let sql = "SELECT first_seq, entries FROM journal \
               WHERE run = ?1 AND first_seq + count > ?2 ORDER BY batch";
    let mut select = connection.prepare_cached(sql)?;
    let mut rows = select.query(params![run.0, from_seq])?;
    let mut values = HashMap::new();
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let known = from_seq.saturating_sub(row.get(0)?);
        let blob = row.get_ref(1)?.as_blob().map_err(StoreError::failed)?;
        let batch = codec::decode(blob, |hash| payload(connection, hash, &mut values))?;
        entries.extend(batch.into_iter().skip(known as usize));
    }
    Ok(entries)
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
pub(super) fn next_batch(connection: &Connection, run: RunId) -> Result<u32> {
    let sql = "SELECT ifnull(max(batch) + 1, 0) FROM journal WHERE run = ?1";
    Ok(connection.prepare_cached(sql)?.query_row([run.0], |row| row.get(0))?)
}

/// One run's row.
pub(super) fn run(connection: &Connection, run: RunId) -> Result<Option<RunRow>> {
    let sql = select_rows("id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row(params![run.0, 1, 0], run_row).optional()?)
}

/// Runs, newest first.
pub(super) fn runs(connection: &Connection, filter: &RunFilter) -> Result<Vec<RunRow>> {
    let (condition, mut values) = conditions(filter);
    values.extend([filter.limit, filter.offset].map(|bound| Sql::Integer(integer(bound as u64))));
    let mut select = connection.prepare_cached(&select_rows(&condition))?;
    let rows = select.query_map(params_from_iter(values), run_row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// A query for rows of runs; the last parameters are how many, and how many are passed over.
fn select_rows(condition: &str) -> String {
    format!(
        "SELECT id, workflow, namespace, name, (SELECT hash FROM plans WHERE plans.id = plan), \
         status, created, finished, error, dialect, version, parent FROM runs WHERE {condition} \
         ORDER BY id DESC LIMIT ? OFFSET ?"
    )
}

/// A filter in SQL. A plus sign hides a condition from an index that would not help: a namespace alone
/// would have to be sorted, and most runs are completed.
fn conditions(filter: &RunFilter) -> (String, Vec<Sql>) {
    let RunFilter { workflow, namespace, status, dialect, before, limit: _, offset: _ } = filter;
    let text = |text: &Option<String>| text.clone().map(Sql::Text);
    let in_namespace = if workflow.is_some() { "namespace = ?" } else { "+namespace = ?" };
    // What the index itself says tells the planner that it holds all such runs.
    let in_state = match status {
        Some(Status::Running) => "finished IS NULL AND +status = ?",
        Some(Status::Completed) | None => "+status = ?",
        Some(Status::Failed | Status::Cancelled) => "status IN (2, 3) AND status = ?",
    };
    // A constant, as in the index, which holds no others.
    let of_dialect = match dialect {
        Some(Dialect::Graph) if workflow.is_none() && status.is_none() => "dialect = 2 AND ?",
        _ => "+dialect = ?",
    };
    let all = [
        (of_dialect, dialect.map(|dialect| Sql::Integer(dialect_number(dialect)))),
        (in_namespace, text(namespace)),
        ("workflow = ?", text(workflow)),
        (in_state, status.map(|status| Sql::Integer(number(status)))),
        ("id < ?", before.map(|before| Sql::Integer(before.0))),
    ];
    let present = all.into_iter().filter_map(|(sql, value)| Some((sql, value?)));
    let (mut conditions, values): (Vec<&str>, Vec<Sql>) = present.unzip();
    conditions.push("parent IS NULL");
    (conditions.join(" AND "), values)
}

fn run_row(row: &Row<'_>) -> rusqlite::Result<RunRow> {
    Ok(RunRow {
        id: RunId(row.get(0)?),
        workflow: row.get(1)?,
        namespace: row.get(2)?,
        name: row.get(3)?,
        plan: row.get(4)?,
        status: status_of(row.get(5)?)?,
        created: unsigned(row.get(6)?),
        finished: row.get::<_, Option<i64>>(7)?.map(unsigned),
        error: row.get(8)?,
        dialect: match row.get(9)? {
            1 => Dialect::Instructions,
            2 => Dialect::Graph,
            _ => Dialect::Pipeline,
        },
        version: row.get(10)?,
        parent: row.get::<_, Option<i64>>(11)?.map(RunId),
    })
}

fn status_of(stored: i64) -> rusqlite::Result<Status> {
    let known = Status::ALL.into_iter().find(|known| number(*known) == stored);
    known.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, stored))
}

/// A format as the database knows it, for ever.
fn dialect_number(dialect: Dialect) -> i64 {
    match dialect {
        Dialect::Pipeline => 0,
        Dialect::Instructions => 1,
        Dialect::Graph => 2,
    }
}

/// A status as the database knows it, for ever.
fn number(status: Status) -> i64 {
    match status {
        Status::Running => 0,
        Status::Completed => 1,
        Status::Failed => 2,
        Status::Cancelled => 3,
    }
}

/// Unfinished runs that are awake.
pub(super) fn unfinished(connection: &Connection) -> Result<Vec<RunId>> {
    ids(connection, AWAKE_IDS, [])
}

/// Sleeping runs whose moment has come.
pub(super) fn due(connection: &Connection, now: u64, limit: usize) -> Result<Vec<RunId>> {
    ids(connection, DUE_ASLEEP, [integer(now), integer(limit as u64)])
}

fn ids(connection: &Connection, sql: &str, values: impl rusqlite::Params) -> Result<Vec<RunId>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(values, |row| row.get(0).map(RunId))?;
    Ok(rows.collect::<rusqlite::Result<Vec<RunId>>>()?)
}

/// The earliest moment at which a sleeping run is to be woken.
pub(super) fn next_wake(connection: &Connection) -> Result<Option<u64>> {
    let wake: Option<i64> =
        connection.prepare_cached(NEXT_WAKE)?.query_row([], |row| row.get(0))?;
    Ok(wake.map(unsigned))
}

#[cfg(test)]
mod tests {
    use super::super::schema;
    use super::*;

    fn query_plan(connection: &Connection, sql: &str, parameters: usize) -> String {
        let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let values = vec![Sql::Integer(1); parameters];
        let steps = explain.query_map(params_from_iter(values), |row| row.get::<_, String>(3));
        steps.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap().join("; ")
    }

    #[test]
    fn every_query_over_runs_goes_by_an_index() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("test.db");
        std::fs::File::create(&file).unwrap();
        let connection = schema::open_writer(&file).unwrap();
        let namespace = Some("n".to_owned());
        let workflow = Some("w".to_owned());
        let status = Some(Status::Failed);
        let completed = Some(Status::Completed);
        let before = Some(RunId(9));
        let listed = |filter: RunFilter| {
            let (condition, values) = conditions(&filter);
            (select_rows(&condition), values.len() + 2)
        };
        let all = RunFilter::default;
        for ((sql, parameters), expected) in [
            ((DUE_ASLEEP.to_owned(), 2), "USING COVERING INDEX runs_unfinished"),
            ((AWAKE_IDS.to_owned(), 0), "USING COVERING INDEX runs_unfinished"),
            ((NEXT_WAKE.to_owned(), 0), "USING COVERING INDEX runs_unfinished"),
            (listed(all()), "SCAN runs;"),
            (listed(RunFilter { before, ..all() }), "USING INTEGER PRIMARY KEY (rowid<?)"),
            (listed(RunFilter { status: completed, ..all() }), "SCAN runs;"),
            (listed(RunFilter { status, ..all() }), "INDEX runs_troubled (status=?)"),
            (listed(RunFilter { status, before, ..all() }), "runs_troubled (status=? AND id<?)"),
            (
                listed(RunFilter { namespace: namespace.clone(), before, ..all() }),
                "USING INTEGER PRIMARY KEY (rowid<?)",
            ),
            (
                listed(RunFilter { namespace, workflow, status: completed, before, ..all() }),
                "INDEX runs_workflow (namespace=? AND workflow=? AND id<?)",
            ),
        ] {
            let plan = query_plan(&connection, &sql, parameters);
            assert!(plan.contains(expected), "{sql}\n{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
        }
    }
}
