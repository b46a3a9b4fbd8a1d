//! The report as Markdown.

use std::io::{Result, Write};

use crate::api::MIB;
use crate::chain_report::{self, ChainFigures};
use crate::disk::Disk;
use crate::engine_cost::{self, Cost};
use crate::scenario::{Bench, Scenario};
use crate::suite::{Case, Outcome, Pair};
use crate::verdict;

/// All that a report is about.
pub(crate) struct Measured {
    /// Of the machine.
    pub(crate) facts: Vec<(&'static str, String)>,
    /// How it was measured.
    pub(crate) bench: Bench,
    /// Pipelines beside their ceilings.
    pub(crate) outcome: Outcome,
    /// The engine alone.
    pub(crate) costs: Vec<Cost>,
    /// Instruction chains.
    pub(crate) chains: ChainFigures,
    /// Graphs, already a section.
    pub(crate) graphs: String,
    /// Lists, already a section.
    pub(crate) lists: String,
    /// Clients that watch, already a section.
    pub(crate) watchers: String,
}

/// Writes the whole report.
pub(crate) fn write(out: &mut dyn Write, measured: &Measured) -> Result<()> {
    writeln!(out, "# Results\n\nWritten by `waystation-bench all`; the README says how.\n")?;
    let Measured { facts, bench, outcome, costs, chains, graphs, lists, watchers } = measured;
    let Outcome { pairs, disk } = outcome;
    let cases: Vec<&Case> = pairs.iter().flat_map(Pair::cases).collect();
    asked(out, disk, pairs)?;
    load(out, &cases)?;
    cost(out, &cases)?;
    chain_report::write(out, chains)?;
    writeln!(out, "{graphs}\n{lists}\n{watchers}")?;
    engine_cost::write(out, costs)?;
    machine(out, facts, disk)?;
    settings(out, bench, &cases)
}

/// A single case, without what it would be compared with.
pub(crate) fn write_case(out: &mut dyn Write, case: &Case) -> Result<()> {
    load(out, &[case])?;
    cost(out, &[case])
}

/// Whether something holds, in a table.
pub(crate) fn yes(holds: bool) -> &'static str {
    if holds { "yes" } else { "**no**" }
}

fn asked(out: &mut dyn Write, disk: &Disk, pairs: &[Pair]) -> Result<()> {
    writeln!(out, "## What was asked\n")?;
    writeln!(out, "| asked | measured | holds |\n| --- | ---: | --- |")?;
    for verdict in verdict::all(pairs, disk) {
        writeln!(out, "| {} | {} | {} |", verdict.asked, verdict.measured, yes(verdict.holds))?;
    }
    writeln!(out)
}

fn load(out: &mut dyn Write, cases: &[&Case]) -> Result<()> {
    writeln!(out, "## Throughput and latency\n")?;
    writeln!(
        out,
        "Medians of the rounds, with the lowest and the highest round in parentheses.\n"
    )?;
    writeln!(out, "| | connections | runs/s | p50 ms | p99 ms | errors |")?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: |")?;
    for case in cases {
        let lowest = case.rounds.iter().map(|round| round.rate).fold(f64::INFINITY, f64::min);
        let highest = case.rounds.iter().map(|round| round.rate).fold(0.0, f64::max);
        writeln!(
            out,
            "| {} | {} | {:.0} ({lowest:.0}–{highest:.0}) | {:.2} | {:.2} | {} |",
            case.scenario,
            case.connections,
            case.median(|round| round.rate),
            case.median(|round| round.p50_ms),
            case.median(|round| round.p99_ms),
            case.errors(),
        )?;
    }
    writeln!(out)
}

fn cost(out: &mut dyn Write, cases: &[&Case]) -> Result<()> {
    writeln!(out, "## What a run costs\n")?;
    writeln!(
        out,
        "Syncs are commits times the syncs per commit that a traced round of its own counted; \
         checkpoints add theirs. Written bytes are what the kernel sent to storage.\n"
    )?;
    writeln!(
        out,
        "| | connections | commits | syncs | server µs | client µs | written KiB \
         | at rest MiB | peak MiB | start ms |"
    )?;
    writeln!(out, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")?;
    for case in cases {
        let commits = case.median(|round| round.commits.unwrap_or(f64::NAN));
        writeln!(
            out,
            "| {} | {} | {} | {} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} | {:.0} |",
            case.scenario,
            case.connections,
            figure(commits),
            figure(syncs_per_run(case, commits)),
            case.median(|round| round.server_cpu_us),
            case.median(|round| round.client_cpu_us),
            case.median(|round| round.written_bytes) / 1024.0,
            case.median(|round| round.idle_bytes) / MIB,
            case.median(|round| round.peak_bytes) / MIB,
            case.median(|round| round.start_ms),
        )?;
    }
    writeln!(out)
}

/// Tracing makes syncs slower and so commits larger: only the ratio of the two is taken from it.
fn syncs_per_run(case: &Case, commits: f64) -> f64 {
    let Some(traced) = &case.traced else { return f64::NAN };
    let syncs = traced.syncs.unwrap_or(f64::NAN);
    traced.commits.map_or(syncs, |traced_commits| commits * syncs / traced_commits)
}

fn figure(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { "not counted".to_owned() }
}

/// What the figures were measured on.
pub(crate) fn facts(out: &mut dyn Write, facts: &[(&str, String)]) -> Result<()> {
    writeln!(out, "## Machine\n\n| | |\n| --- | --- |")?;
    facts.iter().try_for_each(|(name, value)| writeln!(out, "| {name} | {value} |"))
}

fn machine(out: &mut dyn Write, of_machine: &[(&str, String)], disk: &Disk) -> Result<()> {
    facts(out, of_machine)?;
    writeln!(out, "| append 4 KiB and fdatasync, median | {:.0} µs |", disk.sync_us)?;
    writeln!(out, "| SQLite commit of one row, median | {:.0} µs |", disk.commit_us)?;
    writeln!(out, "| append of a run through the store, median | {:.0} µs |\n", disk.append_us)
}

fn settings(out: &mut dyn Write, bench: &Bench, cases: &[&Case]) -> Result<()> {
    writeln!(out, "## Settings\n")?;
    writeln!(
        out,
        "- SQLite: WAL, synchronous=FULL, in engine and ceilings; a new database a round."
    )?;
    writeln!(out, "- Client, server and the called service share the cores.")?;
    let rounds = cases.first().map_or(0, |case| case.rounds.len());
    let (measured, warm_up) = (bench.measured.as_secs_f64(), bench.warm_up.as_secs_f64());
    writeln!(
        out,
        "- {rounds} rounds of {measured} s after {warm_up} s of warm-up, each scenario's beside \
         its ceiling's."
    )?;
    for (scenario, sizes) in
        [(Scenario::CeilingA, bench.sizes_a), (Scenario::CeilingB, bench.sizes_b)]
    {
        writeln!(
            out,
            "- {scenario}: {} B journaled, {} B answered, the request is the engine's ({} B).",
            sizes.journal_bytes,
            sizes.reply_bytes,
            bench.body(scenario).len(),
        )?;
    }
    Ok(())
}
