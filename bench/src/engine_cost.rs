//! What the engine itself costs: plans of pure nodes, run in this process on the embedded store.

use std::io::{self, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};
use waystation_core::plan::{
    Budget, Dialect, Edge, Join, Missing, Node, OnFailure, PLAN_FORMAT, Plan, Retry, Shape, When,
};
use waystation_engine::driver::plans::source_key;
use waystation_engine::driver::{Engine, NoLibrary, Origin, Parts, Settings, Submission};
use waystation_engine::egress::{HttpClient, Policy, Reach};
use waystation_engine::node::Registry;
use waystation_engine::secret::{Sealer, Vault};
use waystation_engine::store::Store;
use waystation_engine::store::sqlite::{Options, SqliteStore};

use crate::process::Usage;
use crate::report::yes;

/// Sizes of plans, in nodes.
const SIZES: [u32; 3] = [1_000, 10_000, 100_000];
/// Runs of each plan in one process, the fastest of which counts: the others pay for caches.
const RUNS: usize = 3;

/// What one size of plan costs.
#[derive(Debug)]
pub(crate) struct Cost {
    nodes: u64,
    load_ms: f64,
    run_ms: f64,
    peak_mib: f64,
}

/// Measures each size in a process of its own, so that memory is told apart.
pub(crate) fn all(data: &Path) -> Result<Vec<Cost>> {
    SIZES.iter().map(|nodes| in_child(data, *nodes)).collect()
}

fn in_child(data: &Path, nodes: u32) -> Result<Cost> {
    let dir = tempfile::tempdir_in(data)?;
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.args(["engine-cost", "--nodes", &nodes.to_string(), "--data"]).arg(dir.path());
    let output = command.output().context("measure the engine alone")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    let number = |name: &str| told[name].as_f64().context("a number");
    Ok(Cost {
        nodes: u64::from(nodes),
        load_ms: number("load_ms")?,
        run_ms: number("run_ms")?,
        peak_mib: number("peak_mib")?,
    })
}

/// Measures one size and writes the figures as JSON.
pub(crate) async fn one(data: &Path, nodes: u32, out: &mut dyn Write) -> Result<()> {
    let engine = engine(data)?;
    let started = Instant::now();
    let key = source_key(&["engine-cost", &nodes.to_string()]);
    let definition =
        engine.define::<waystation_core::error::Error>(key, || Ok((plan(nodes), Vec::new())))?;
    let load_ms = milliseconds(started);
    let mut run_ms = f64::INFINITY;
    for _ in 0..RUNS {
        let started = Instant::now();
        let submission = Submission {
            definition: Arc::clone(&definition),
            workflow: "engine-cost".into(),
            namespace: "bench".into(),
            name: None,
            input: json!({ "original_input": 1 }),
            warnings: Vec::new(),
            origin: Origin::default(),
        };
        let run = engine.submit(submission).await?.finished.wait().await?;
        run_ms = run_ms.min(milliseconds(started));
        let last = run.nodes.last().and_then(|node| node.output.clone());
        ensure!(last.is_some_and(|value| value["n"] == nodes - 1), "the last node has its result");
    }
    let peak_mib = Usage::of_this_process()?.resident_bytes_max as f64 / (1 << 20) as f64;
    let told = json!({ "load_ms": load_ms, "run_ms": run_ms, "peak_mib": peak_mib });
    Ok(writeln!(out, "{told}")?)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1_000.0
}

fn engine(data: &Path) -> Result<Engine> {
    let failed = |error: waystation_engine::store::StoreError| anyhow::anyhow!(error.detail);
    let store: Arc<dyn Store> =
        Arc::new(SqliteStore::open(data, &Options::default()).map_err(failed)?);
    let client = Arc::new(HttpClient::new(Policy::new(Reach::PublicOnly))?);
    let sealer = Sealer::from_file(&data.join("secret.key"))?;
    Ok(Engine::new(Parts {
        tracer: None,
        registry: Registry::standard(&client, &Arc::default()),
        vault: Arc::new(Vault::new(sealer, Arc::clone(&store))),
        store,
        client,
        webhook_key: None,
        outputs: None,
        events: None,
        library: Arc::new(NoLibrary),
        links: None,
        settings: Settings { is_resident: false, ..Settings::default() },
    }))
}

/// Each node depends on the one before it and on one halfway to the first, and uses both results.
fn plan(nodes: u32) -> Plan {
    let node = |index: u32| Node {
        id: format!("n{index}"),
        name: format!("node {index}"),
        kind: "set".into(),
        config: match index {
            0 => json!({ "value": { "n": 0, "text": "start" } }),
            _ => json!({ "value": {
                "n": format!("{{{{outputs.n{}.n + 1}}}}", index - 1),
                "text": format!("after {{{{outputs.n{}.n}}}}", index / 2),
            } }),
        },
        outputs: Vec::new(),
        join: Join::Every,
        selections: Vec::new(),
        retry: Retry::NEVER,
        timeout_ms: 60_000,
        hidden: false,
        metadata: Map::new(),
        condition: None,
        needs: Vec::new(),
        literal: Vec::new(),
        body: None,
    };
    let edge = |from, to| Edge { from, to, when: When::Completed, label: None };
    let edges = (1..nodes).flat_map(|to| [edge(to - 1, to), edge(to / 2, to)]);
    Plan {
        format: PLAN_FORMAT,
        dialect: Dialect::Pipeline,
        shape: Shape::Graph { edges: edges.filter(|edge| edge.from != edge.to).collect() },
        nodes: (0..nodes).map(node).collect(),
        results: Vec::new(),
        variables: Map::new(),
        missing: Missing::Fail,
        on_failure: OnFailure::Stop,
        deadline_ms: None,
        webhook_url: None,
        budget: Budget::default(),
    }
}

/// Writes the table.
pub(crate) fn write(out: &mut dyn Write, costs: &[Cost]) -> io::Result<()> {
    writeln!(out, "## The engine alone\n")?;
    writeln!(
        out,
        "Plans of pure nodes in one process, each node with two dependencies and two templates; from \
         submission until the end is durable, the fastest of {RUNS} runs. Loading compiles the plan, once.\n"
    )?;
    writeln!(out, "| nodes | load ms | run ms | µs a node | peak MiB | asked | holds |")?;
    writeln!(out, "| ---: | ---: | ---: | ---: | ---: | --- | --- |")?;
    for Cost { nodes, load_ms, run_ms, peak_mib } in costs {
        let (asked, holds) = match nodes {
            1_000 => ("run under 10 ms", *run_ms < 10.0),
            100_000 => ("run under 1.5 s, under 1 GiB", *run_ms < 1_500.0 && *peak_mib < 1_024.0),
            _ => ("linear", true),
        };
        let holds = yes(holds);
        let each = run_ms * 1_000.0 / *nodes as f64;
        writeln!(
            out,
            "| {nodes} | {load_ms:.1} | {run_ms:.1} | {each:.2} | {peak_mib:.0} | {asked} | {holds} |"
        )?;
    }
    writeln!(out)
}
