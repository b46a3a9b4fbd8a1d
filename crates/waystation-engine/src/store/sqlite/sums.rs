//! What a transaction adds to counts and sums. It is gathered in memory and written once, just before
//! the commit, however many runs share it.

use std::collections::{BTreeMap, HashMap};

use rusqlite::{Connection, OptionalExtension, Row, params};
use waystation_core::plan::Dialect;
use waystation_core::usage::Usage;

use super::runs::{dialect_number, number};
use super::writer::{Session, Written};
use super::{integer, spending, unsigned};
use crate::store::{
    Finished, Histogram, NewRun, NodeTally, Result, RunTally, Status, StoreError, Tallies,
    TallyFilter, WORKFLOWS, day_of,
};

/// What the present transaction adds.
#[derive(Default)]
pub(super) struct Sums {
    /// By namespace, workflow, wire format and state.
    counts: HashMap<(String, String, Dialect, Status), i64>,
    /// By day and workflow.
    runs: BTreeMap<(u64, String), RunTally>,
    /// By day, workflow and kind of node.
    nodes: BTreeMap<(u64, String, String), NodeTally>,
}

/// What is to be known of a run that ends.
pub(super) struct Ended {
    pub(super) namespace: String,
    pub(super) workflow: String,
    pub(super) dialect: Dialect,
    pub(super) created: u64,
}

/// Whether a run counts in the sums: of a stored workflow, not of a node that is tried out.
fn is_summed(dialect: Dialect, namespace: &str) -> bool {
    dialect == Dialect::Graph && namespace == WORKFLOWS
}

impl Sums {
    /// Counts a run that begins, and perhaps ends at once.
    pub(super) fn started(&mut self, new: &NewRun, finished: Option<&Finished>) {
        let status = finished.map_or(Status::Running, |finished| finished.status);
        let NewRun { namespace, workflow, dialect, created, .. } = new;
        *self.count(namespace, workflow, *dialect, status) += 1;
        if is_summed(*dialect, namespace) {
            let place = (day_of(*created), workflow.clone());
            self.runs.entry(place).or_default().started += 1;
            if let Some(finished) = finished {
                self.sum_up(workflow, *created, finished);
            }
        }
    }

    /// Counts the later end of a run.
    pub(super) fn finished(&mut self, run: &Ended, finished: &Finished) {
        let Ended { namespace, workflow, dialect, created } = run;
        *self.count(namespace, workflow, *dialect, Status::Running) -= 1;
        *self.count(namespace, workflow, *dialect, finished.status) += 1;
        if is_summed(*dialect, namespace) {
            self.sum_up(workflow, *created, finished);
        }
    }

    /// A run that is deleted counts no more; the sums keep it.
    pub(super) fn gone(&mut self, run: &Ended, status: Status) {
        *self.count(&run.namespace, &run.workflow, run.dialect, status) -= 1;
    }

    /// Forgets everything, as the transaction does.
    pub(super) fn clear(&mut self) {
        *self = Sums::default();
    }

    fn count(
        &mut self,
        namespace: &str,
        workflow: &str,
        dialect: Dialect,
        status: Status,
    ) -> &mut i64 {
        let place = (namespace.to_owned(), workflow.to_owned(), dialect, status);
        self.counts.entry(place).or_default()
    }

    fn sum_up(&mut self, workflow: &str, created: u64, finished: &Finished) {
        let day = day_of(finished.at);
        let took = finished.at.saturating_sub(created);
        let runs = self.runs.entry((day, workflow.to_owned())).or_default();
        runs.end(finished.status, took);
        for tally in &finished.nodes {
            let place = (day, workflow.to_owned(), tally.kind.clone());
            self.nodes.entry(place).or_default().add(tally);
        }
    }

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let changed = self.counts.iter().filter(|(_, more)| **more != 0);
        for ((namespace, workflow, dialect, status), more) in changed {
            let sql = "INSERT INTO run_counts (namespace, workflow, dialect, status, runs) \
                       VALUES (?1, ?2, ?3, ?4, ?5) \
                       ON CONFLICT DO UPDATE SET runs = runs + excluded.runs";
            let (dialect, status) = (dialect_number(*dialect), number(*status));
            let values = params![namespace, workflow, dialect, status, more];
            connection.prepare_cached(sql)?.execute(values)?;
        }
        for ((day, workflow), more) in &self.runs {
            add_runs(connection, *day, workflow, more)?;
        }
        for ((day, workflow, kind), more) in &self.nodes {
            add_nodes(connection, *day, workflow, kind, more)?;
        }
        Ok(())
    }
}

/// Writes what has gathered.
pub(super) fn flush(session: &mut Session) -> rusqlite::Result<()> {
    let sums = std::mem::take(&mut session.sums);
    sums.write(&session.connection)
}

fn add_runs(
    connection: &Connection,
    day: u64,
    workflow: &str,
    more: &RunTally,
) -> rusqlite::Result<()> {
    let sql = "SELECT started, completed, failed, cancelled, durations FROM run_tallies \
               WHERE day = ?1 AND workflow = ?2";
    let mut select = connection.prepare_cached(sql)?;
    let found = select.query_row(params![integer(day), workflow], |row| run_tally(row, 0));
    let mut tally = found.optional()?.unwrap_or_default();
    tally.add(more);
    let sql = "INSERT OR REPLACE INTO run_tallies \
               (day, workflow, started, completed, failed, cancelled, durations) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    connection.prepare_cached(sql)?.execute(params![
        integer(day),
        workflow,
        integer(tally.started),
        integer(tally.completed),
        integer(tally.failed),
        integer(tally.cancelled),
        tally.durations.pack(),
    ])?;
    Ok(())
}

fn add_nodes(
    connection: &Connection,
    day: u64,
    workflow: &str,
    kind: &str,
    more: &NodeTally,
) -> rusqlite::Result<()> {
    let sql = "SELECT kind, count, failures, durations FROM node_tallies \
               WHERE day = ?1 AND workflow = ?2 AND kind = ?3";
    let mut select = connection.prepare_cached(sql)?;
    let found = select.query_row(params![integer(day), workflow, kind], node_tally);
    let mut tally = found.optional()?.unwrap_or_default();
    tally.add(more);
    let sql = "INSERT OR REPLACE INTO node_tallies (day, workflow, kind, count, failures, durations) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    connection.prepare_cached(sql)?.execute(params![
        integer(day),
        workflow,
        kind,
        integer(tally.count),
        integer(tally.failures),
        tally.durations.pack(),
    ])?;
    Ok(())
}

fn run_tally(row: &Row<'_>, first: usize) -> rusqlite::Result<RunTally> {
    let count = |at: usize| row.get(first + at).map(unsigned);
    Ok(RunTally {
        started: count(0)?,
        completed: count(1)?,
        failed: count(2)?,
        cancelled: count(3)?,
        durations: durations(row, first + 4)?,
    })
}

fn node_tally(row: &Row<'_>) -> rusqlite::Result<NodeTally> {
    Ok(NodeTally {
        kind: row.get(0)?,
        count: unsigned(row.get(1)?),
        failures: unsigned(row.get(2)?),
        durations: durations(row, 3)?,
    })
}

fn durations(row: &Row<'_>, at: usize) -> rusqlite::Result<Histogram> {
    let packed = row.get_ref(at)?.as_blob()?;
    Histogram::unpack(packed).map_err(|failed| damaged(at, &failed))
}

fn damaged(at: usize, failed: &StoreError) -> rusqlite::Error {
    let reason = failed.detail.clone().into();
    rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Blob, reason)
}

/// The sums of some days.
pub(super) fn tallies(connection: &Connection, filter: &TallyFilter) -> Result<Tallies> {
    let TallyFilter { from_day, to_day, workflow } = filter;
    let days = params![integer(*from_day), integer(*to_day), workflow];
    let sql = "SELECT day, workflow, started, completed, failed, cancelled, durations \
               FROM run_tallies WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR workflow = ?3)";
    let mut select = connection.prepare_cached(sql)?;
    let row = |row: &Row<'_>| Ok(((unsigned(row.get(0)?), row.get(1)?), run_tally(row, 2)?));
    let runs = select.query_map(days, row)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let sql = "SELECT kind, count, failures, durations \
               FROM node_tallies WHERE day BETWEEN ?1 AND ?2 AND (?3 IS NULL OR workflow = ?3)";
    let mut select = connection.prepare_cached(sql)?;
    let nodes = select.query_map(days, node_tally)?.collect::<rusqlite::Result<Vec<_>>>()?;
    let spent: Usage = spending::of_days(connection, filter)?;
    Ok(Tallies::gather(runs, nodes, spent))
}

/// Deletes the days before one, and counts that have come to nothing.
pub(super) fn expire(session: &mut Session, day: u64) -> Written<()> {
    for sql in ["DELETE FROM run_tallies WHERE day < ?1", "DELETE FROM node_tallies WHERE day < ?1"]
    {
        session.connection.prepare_cached(sql)?.execute([integer(day)])?;
    }
    session.connection.prepare_cached("DELETE FROM run_counts WHERE runs = 0")?.execute([])?;
    Ok(())
}
