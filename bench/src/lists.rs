//! Lists of runs in a store that holds a million of them: what a page and a count take.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;
use tokio::task::JoinSet;
use waystation_core::entry::{Entry, Fact, Outcome, Start};
use waystation_core::plan::Dialect;
use waystation_engine::id::{RunId, now_ms};
use waystation_engine::store::sqlite::{Options, SqliteStore};
use waystation_engine::store::{
    Append, ChildPlace, Finished, NewRun, RunFilter, RunStore, Status, StoreError, WORKFLOWS,
};

use crate::histogram::Histogram;

/// Questions of each kind.
const REPEATS: u64 = 200;
/// Runs on a page.
const PAGE: usize = 20;
/// The numbered page that is asked for.
const PAGE_NUMBER: usize = 1_000;
/// Workflows that the runs belong to.
const WORKFLOWS_FILLED: u64 = 50;
/// One run in so many fails.
const FAILURE_EVERY: u64 = 500;
/// Appends handed to the writer at once.
const APPENDS_AT_ONCE: u64 = 4_096;

/// How the store is filled.
#[derive(clap::Args)]
pub(crate) struct Filling {
    /// Runs without a parent: half of them of stored workflows, half of them pipelines.
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// Children, all of the newest runs.
    #[arg(long, default_value_t = 100_000)]
    children: u64,
}

/// Fills a store and asks; a section of the report.
pub(crate) async fn measure(data: &Path, filling: &Filling) -> Result<String> {
    let scratch = tempfile::tempdir_in(data)?;
    let store = Arc::new(SqliteStore::open(scratch.path(), &Options::default()).map_err(failed)?);
    let began = Instant::now();
    let middle = fill(&store, filling).await?;
    let took = began.elapsed().as_secs_f64();
    let mut out = String::from("## Lists\n\n");
    let Filling { runs, children } = filling;
    writeln!(
        out,
        "A store of {runs} runs without a parent and {children} children, filled in {took:.0} s; pages of \
         {PAGE}; each question {REPEATS} times, one after another.\n"
    )?;
    writeln!(out, "| question | p50 | p99 |\n| --- | ---: | ---: |")?;
    for (question, filter) in questions(middle) {
        let latencies = latencies(|| store.runs(filter.clone())).await?;
        write_line(&mut out, question, &latencies)?;
    }
    let graphs = RunFilter { dialect: Some(Dialect::Graph), ..RunFilter::default() };
    for (question, filter) in [("count all", RunFilter::default()), ("count one format", graphs)] {
        let latencies = latencies(|| store.count_runs(&filter)).await?;
        write_line(&mut out, question, &latencies)?;
    }
    Ok(out)
}

fn questions(middle: RunId) -> Vec<(&'static str, RunFilter)> {
    let before = Some(middle);
    let all = || RunFilter { limit: PAGE, ..RunFilter::default() };
    let graphs = || RunFilter { dialect: Some(Dialect::Graph), ..all() };
    let of_workflow = |filter: RunFilter| RunFilter {
        namespace: Some(WORKFLOWS.into()),
        workflow: Some(workflow(0)),
        ..filter
    };
    let offset = PAGE * (PAGE_NUMBER - 1);
    let (failed, running) = (Some(Status::Failed), Some(Status::Running));
    vec![
        ("first page of all", all()),
        ("page of all in the middle", RunFilter { before, ..all() }),
        ("numbered page of all", RunFilter { offset, ..all() }),
        ("failed of all", RunFilter { status: failed, ..all() }),
        ("first page of one format", graphs()),
        ("page of one format in the middle", RunFilter { before, ..graphs() }),
        ("numbered page of one format", RunFilter { offset, ..graphs() }),
        ("running of one format", RunFilter { status: running, ..graphs() }),
        ("failed of one format", RunFilter { status: failed, ..graphs() }),
        ("first page of a workflow", of_workflow(graphs())),
        ("failed of a workflow", of_workflow(RunFilter { status: failed, ..graphs() })),
    ]
}

async fn latencies<T, A>(mut ask: impl FnMut() -> A) -> Result<Histogram>
where
    A: Future<Output = std::result::Result<T, StoreError>>,
{
    let mut latencies = Histogram::new();
    for _ in 0..REPEATS {
        let began = Instant::now();
        ask().await.map_err(failed)?;
        latencies.record(began.elapsed());
    }
    Ok(latencies)
}

fn write_line(out: &mut String, question: &str, latencies: &Histogram) -> Result<()> {
    let [half, most] = [0.5, 0.99].map(|share| latencies.quantile(share).as_secs_f64() * 1e3);
    Ok(writeln!(out, "| {question} | {half:.2} ms | {most:.2} ms |")?)
}

/// Answers with a run from the middle.
async fn fill(store: &Arc<SqliteStore>, filling: &Filling) -> Result<RunId> {
    let plan_json: Arc<[u8]> = Arc::from(&b"{}"[..]);
    let mut middle = RunId(0);
    let mut newest = RunId(0);
    let mut appends = JoinSet::new();
    for number in 0..filling.runs + filling.children {
        let run = RunId::new();
        let mut append = append(number, run, Arc::clone(&plan_json));
        if number < filling.runs {
            newest = run;
        } else if let Some(new) = &mut append.new_run {
            let item = (number - filling.runs) as u32;
            new.parent = Some(ChildPlace { parent: newest, node: 0, item });
        }
        if number == filling.runs / 2 {
            middle = run;
        }
        let store = Arc::clone(store);
        appends.spawn(async move { store.append(append).await });
        if number % APPENDS_AT_ONCE == 0 {
            settle(&mut appends).await?;
        }
    }
    settle(&mut appends).await?;
    Ok(middle)
}

async fn settle(appends: &mut JoinSet<std::result::Result<(), StoreError>>) -> Result<()> {
    while let Some(appended) = appends.join_next().await {
        appended?.map_err(failed)?;
    }
    Ok(())
}

/// A run that ends with its first append, or, rarely, goes on.
fn append(number: u64, run: RunId, plan_json: Arc<[u8]>) -> Append {
    let now = now_ms();
    let is_graph = number.is_multiple_of(2);
    let (dialect, namespace) =
        if is_graph { (Dialect::Graph, WORKFLOWS) } else { (Dialect::Pipeline, "default") };
    let workflow = workflow(number % WORKFLOWS_FILLED);
    let input = json!({ "number": number }).into();
    let start =
        Start { plan: "plan".into(), workflow: workflow.clone(), input, ..Start::default() };
    let ended = Fact::RunFinished { outcome: Outcome::Completed };
    let facts = [Fact::RunStarted(Box::new(start)), ended];
    let status =
        if (number / 2).is_multiple_of(FAILURE_EVERY) { Status::Failed } else { Status::Completed };
    let goes_on = (number / 2) % FAILURE_EVERY == 1;
    let ended = Finished { status, at: now, error: None, nodes: Vec::new(), has_parts: false };
    let new_run = NewRun {
        workflow,
        namespace: namespace.into(),
        name: None,
        plan: "plan".into(),
        plan_json,
        created: now,
        webhook: false,
        dialect,
        version: is_graph.then_some(1),
        parent: None,
        claim: None,
        fired: None,
    };
    Append {
        run,
        batch: 0,
        first_seq: 0,
        entries: facts.into_iter().map(|fact| Entry { at: now, fact }).collect(),
        new_run: Some(new_run),
        wake_at: None,
        finished: (!goes_on).then_some(ended),
    }
}

fn workflow(number: u64) -> String {
    format!("{number:024x}")
}

fn failed(failed: StoreError) -> anyhow::Error {
    anyhow::anyhow!(failed.detail)
}
