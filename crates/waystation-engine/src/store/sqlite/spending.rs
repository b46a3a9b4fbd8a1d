//! What workflows have used of models, summed up by day with the appends that tell of it.

use rusqlite::{Connection, OptionalExtension, Row, params};
use waystation_core::usage::Usage;

use super::runs::Table;
use super::writer::{Session, Written};
use super::{integer, unsigned};
use crate::id::RunId;
use crate::store::{Result, TallyFilter, WORKFLOWS};

/// More than anybody uses, and so little that two of it can be added: a count that a stranger's server
/// made up must not fail the append that holds it.
const MOST: u64 = 1 << 61;

/// Adds what a run has used. The run's row has to be there.
pub(super) fn add(
    connection: &Connection,
    run: RunId,
    table: Table,
    spent: &[(u64, Usage)],
) -> Written<()> {
    for (day, usage) in spent {
        let sql = format!(
            "INSERT INTO spending SELECT ?2, namespace, workflow, ?3, ?4, ?5, ?6, ?7, ?8 \
             FROM {} WHERE id = ?1 \
             ON CONFLICT (day, namespace, workflow) DO UPDATE SET \
             calls = min(calls + excluded.calls, ?9), \
             cached = min(cached + excluded.cached, ?9), \
             prompt_tokens = min(prompt_tokens + excluded.prompt_tokens, ?9), \
             completion_tokens = min(completion_tokens + excluded.completion_tokens, ?9), \
             paid_tokens = min(paid_tokens + excluded.paid_tokens, ?9), \
             nano_usd = min(nano_usd + excluded.nano_usd, ?9)",
            table.name()
        );
        let count = |value: u64| integer(value.min(MOST));
        connection.prepare_cached(&sql)?.execute(params![
            run.0,
            integer(*day),
            usage.calls,
            usage.cached,
            count(usage.prompt_tokens),
            count(usage.completion_tokens),
            count(usage.paid_tokens),
            count(usage.nano_usd),
            integer(MOST),
        ])?;
    }
    Ok(())
}

/// What a workflow has used on a day.
pub(super) fn of_day(
    connection: &Connection,
    (namespace, workflow): (&str, &str),
    day: u64,
) -> Result<Usage> {
    let sql = "SELECT calls, cached, prompt_tokens, completion_tokens, paid_tokens, nano_usd \
               FROM spending WHERE day = ?1 AND namespace = ?2 AND workflow = ?3";
    let mut select = connection.prepare_cached(sql)?;
    let found = select.query_row(params![integer(day), namespace, workflow], usage).optional()?;
    Ok(found.unwrap_or_default())
}

/// What stored workflows have used on some days.
pub(super) fn of_days(connection: &Connection, filter: &TallyFilter) -> Result<Usage> {
    let sql = "SELECT calls, cached, prompt_tokens, completion_tokens, paid_tokens, nano_usd \
               FROM spending WHERE day BETWEEN ?1 AND ?2 AND namespace = ?3 \
               AND (?4 IS NULL OR workflow = ?4)";
    let TallyFilter { from_day, to_day, workflow } = filter;
    let mut select = connection.prepare_cached(sql)?;
    let values = params![integer(*from_day), integer(*to_day), WORKFLOWS, workflow];
    let mut sum = Usage::default();
    for row in select.query_map(values, usage)? {
        sum.add(&row?);
    }
    Ok(sum)
}

fn usage(row: &Row<'_>) -> rusqlite::Result<Usage> {
    let small =
        |at| Ok::<_, rusqlite::Error>(u32::try_from(row.get::<_, i64>(at)?).unwrap_or(u32::MAX));
    let large = |at| row.get(at).map(unsigned);
    Ok(Usage {
        calls: small(0)?,
        cached: small(1)?,
        prompt_tokens: large(2)?,
        completion_tokens: large(3)?,
        paid_tokens: large(4)?,
        nano_usd: large(5)?,
    })
}

/// Deletes the days before one.
pub(super) fn expire(session: &mut Session, day: u64) -> Written<()> {
    let mut delete = session.connection.prepare_cached("DELETE FROM spending WHERE day < ?1")?;
    delete.execute([integer(day)])?;
    Ok(())
}
