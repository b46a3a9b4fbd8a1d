//! `/api/v1/analytics`: how stored workflows fare, out of sums that are kept day by day.

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use waystation_core::error::Error;
use waystation_core::time::{day_of_date, rfc3339};
use waystation_engine::id::now_ms;
use waystation_engine::store::{
    NodeTally, RunFilter, RunTally, Status, Tallies, TallyFilter, WORKFLOWS, WorkflowFilter, day_of,
};

use super::Context;
use super::detail::Detail;
use super::extract::Query;
use super::route::{Routes, VIEW};
use crate::auth::Api;

/// Days that are looked at where nothing is said.
const DAYS: u64 = 30;
const DAY_MS: u64 = 86_400_000;

pub(super) fn routes() -> Routes {
    Routes::of(Api::Service).get("/api/v1/analytics/workflows", VIEW, workflows).get(
        "/api/v1/analytics/jobs",
        VIEW,
        jobs,
    )
}

#[derive(Deserialize)]
struct Wanted {
    from: Option<String>,
    to: Option<String>,
    workflow_id: Option<String>,
}

impl Wanted {
    /// The days, the first and the last included.
    fn filter(self) -> Result<TallyFilter, Detail> {
        let day = |name: &str, text: Option<String>| {
            let read = |text: String| {
                let wrong = || Detail::parameter(name, "must be a date such as 2026-01-31");
                day_of_date(&text).ok_or_else(wrong)
            };
            text.map(read).transpose()
        };
        let to_day = day("to", self.to)?.unwrap_or_else(|| day_of(now_ms()));
        let from_day = day("from", self.from)?.unwrap_or_else(|| to_day.saturating_sub(DAYS - 1));
        if from_day > to_day {
            return Err(Detail::parameter(
                "from, to",
                "the first day must not come after the last",
            ));
        }
        Ok(TallyFilter { from_day, to_day, workflow: self.workflow_id })
    }
}

async fn workflows(
    State(context): State<Context>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Detail> {
    let store = context.app.engine.store();
    let filter = wanted.filter()?;
    let workflow = filter.workflow.clone();
    let (running, tallies) = asked(&context, filter).await?;
    let total = match workflow {
        Some(id) => match id.parse() {
            Ok(id) => store.workflow(&id, None).await.map_err(Error::from)?.map_or(0, |_| 1),
            Err(_) => 0,
        },
        None => {
            let all = WorkflowFilter { limit: 0, ..WorkflowFilter::default() };
            store.workflows(all).await.map_err(Error::from)?.1
        }
    };
    let daily: Vec<Value> = tallies.days.iter().map(|(day, tally)| daily(*day, tally)).collect();
    Ok(Json(json!({
        "total_workflows": total,
        "total_executions": tallies.total.started,
        "executions_by_status": by_status(&tallies.total, running),
        "success_rate": success_rate(&tallies.total),
        "average_duration_ms": tallies.total.durations.mean(),
        "daily_executions": daily,
    })))
}

async fn jobs(
    State(context): State<Context>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Detail> {
    let (running, tallies) = asked(&context, wanted.filter()?).await?;
    let Tallies { total, workflows, nodes, spent, .. } = &tallies;
    let of_workflow = |(id, tally): &(String, RunTally)| (id.clone(), json!(tally.started));
    Ok(Json(json!({
        "total_jobs": total.started,
        "jobs_by_status": by_status(total, running),
        "average_duration_ms": total.durations.mean(),
        "p50_duration_ms": total.durations.percentile(0.5),
        "p95_duration_ms": total.durations.percentile(0.95),
        "jobs_by_workflow": workflows.iter().map(of_workflow).collect::<Map<_, _>>(),
        "nodes": nodes.iter().map(node).collect::<Vec<_>>(),
        "llm": {
            "calls": spent.calls,
            "cached": spent.cached,
            "tokens": spent.total_tokens(),
            "cost_usd": spent.usd(),
        },
    })))
}

/// The sums, and how many runs are under way at present, if that belongs to the days asked for.
async fn asked(context: &Context, filter: TallyFilter) -> Result<(u64, Tallies), Detail> {
    let store = context.app.engine.store();
    if filter.to_day < day_of(now_ms()) {
        return Ok((0, store.tallies(filter).await.map_err(Error::from)?));
    }
    let running = RunFilter {
        namespace: Some(WORKFLOWS.into()),
        workflow: filter.workflow.clone(),
        status: Some(Status::Running),
        ..RunFilter::default()
    };
    let running = store.count_runs(&running).await.map_err(Error::from)?;
    Ok((running, store.tallies(filter).await.map_err(Error::from)?))
}

fn by_status(tally: &RunTally, running: u64) -> Value {
    json!({
        "running": running,
        "completed": tally.completed,
        "failed": tally.failed,
        "cancelled": tally.cancelled,
    })
}

/// The part of what has ended that went well, from 0 to 1; null where nothing has ended.
fn success_rate(tally: &RunTally) -> Option<f64> {
    let ended = tally.completed + tally.failed + tally.cancelled;
    (ended > 0).then(|| tally.completed as f64 / ended as f64)
}

fn daily(day: u64, tally: &RunTally) -> Value {
    let date = rfc3339(day.saturating_mul(DAY_MS));
    let date = date.split('T').next().unwrap_or_default();
    json!({ "date": date, "count": tally.started })
}

fn node(tally: &NodeTally) -> Value {
    json!({
        "type": tally.kind,
        "count": tally.count,
        "failures": tally.failures,
        "p95_ms": tally.durations.percentile(0.95),
    })
}
