//! What one durable append of a small run costs through the engine's store, with nothing else going on:
//! the commit that a caller waits for, its way to the writer's thread and back included.

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, json};
use waystation_core::entry::{Entry, Fact, Outcome, Start};
use waystation_core::plan::Dialect;
use waystation_engine::id::{RunId, now_ms};
use waystation_engine::store::sqlite::{Options, SqliteStore};
use waystation_engine::store::{Append, Finished, NewRun, RunStore, Status};

use crate::histogram::Histogram;

/// Enough for a steady median, and for the log to be reused after a checkpoint.
const REPEATS: u64 = 2000;

/// The median in microseconds, measured in a process of its own.
pub(crate) fn measure(directory: &Path) -> Result<f64> {
    let scratch = tempfile::tempdir_in(directory)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("append-cost").arg("--data").arg(scratch.path());
    let output = command.output().context("measure an append")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Measures, and writes the median.
pub(crate) async fn run(data: &Path, out: &mut dyn Write) -> Result<()> {
    let store = SqliteStore::open(data, &Options::default())
        .map_err(|failed| anyhow::anyhow!(failed.detail))?;
    let mut latencies = Histogram::new();
    for _ in 0..REPEATS {
        let append = whole_run();
        let began = Instant::now();
        store.append(append).await.map_err(|failed| anyhow::anyhow!(failed.detail))?;
        latencies.record(began.elapsed());
    }
    Ok(writeln!(out, "{}", latencies.quantile(0.5).as_secs_f64() * 1e6)?)
}

/// A run of three pure steps, from its start to its end.
fn whole_run() -> Append {
    let now = now_ms();
    let start = Start {
        plan: "plan".into(),
        workflow: "append-cost".into(),
        namespace: "bench".into(),
        input: json!({ "original_input": "Ada Lovelace", "input_data": {} }).into(),
        ..Start::default()
    };
    let completed = |node: u32| Fact::NodeCompleted {
        node,
        attempt: 1,
        output: json!({ "result": format!("the result of step {node}") }).into(),
        port: None,
        details: Map::new(),
    };
    let finished = Fact::RunFinished { outcome: Outcome::Completed };
    let facts =
        [Fact::RunStarted(Box::new(start)), completed(0), completed(1), completed(2), finished];
    let new_run = NewRun {
        workflow: "append-cost".into(),
        namespace: "bench".into(),
        name: None,
        plan: "plan".into(),
        plan_json: Arc::from(&b"{}"[..]),
        created: now,
        webhook: false,
        dialect: Dialect::Pipeline,
        version: None,
        parent: None,
        claim: None,
        fired: None,
    };
    Append {
        run: RunId::new(),
        batch: 0,
        first_seq: 0,
        entries: facts.into_iter().map(|fact| Entry { at: now, fact }).collect(),
        new_run: Some(new_run),
        wake_at: None,
        finished: Some(Finished {
            status: Status::Completed,
            at: now,
            error: None,
            nodes: Vec::new(),
            has_parts: false,
        }),
    }
}
