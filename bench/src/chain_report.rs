//! What was measured of instruction chains, as Markdown, beside what is asked of them.

use std::io::{Result, Write};

use anyhow::Result as Measured;

use crate::cached_answer::{self, CachedAnswer};
use crate::chains::{self, CHAINS, Chains, STEPS};
use crate::report::yes;
use crate::scenario::Bench;
use crate::watched::{self, Watched};

/// How much longer chains may take while they are polled.
const SLOWER_MAX: f64 = 1.05;
/// How long a cached answer may take, in milliseconds.
const CACHED_MS_MAX: f64 = 1.0;

/// All that was measured of chains.
pub(crate) struct ChainFigures {
    connections: usize,
    many: Chains,
    alone: Watched,
    polled: Watched,
    cached: CachedAnswer,
}

/// Measures everything about chains.
pub(crate) async fn measure(bench: &Bench, connections: usize) -> Measured<ChainFigures> {
    let many = chains::measure(bench, connections).await?;
    eprintln!("chains at {connections}: {:.0}/s, errors {}", many.rate, many.errors);
    let alone = watched::measure(bench, false).await?;
    let polled = watched::measure(bench, true).await?;
    let (p50, polled_p50) = (alone.quantile(0.5), polled.quantile(0.5));
    eprintln!("slow chains: p50 {p50:.3} s alone, {polled_p50:.3} s polled");
    let cached = cached_answer::measure(&bench.data).await?;
    eprintln!("a cached answer: p50 {:.3} ms", cached.p50_ms);
    Ok(ChainFigures { connections, many, alone, polled, cached })
}

/// Writes the section.
pub(crate) fn write(out: &mut dyn Write, figures: &ChainFigures) -> Result<()> {
    let ChainFigures { connections, many, alone, polled, cached } = figures;
    writeln!(out, "## Instruction chains\n")?;
    writeln!(out, "| asked | measured | holds |\n| --- | --- | --- |")?;
    let milliseconds = |share| many.latencies.quantile(share).as_secs_f64() * 1e3;
    writeln!(
        out,
        "| {CHAINS} chains of {STEPS} echo steps, {connections} connections: no error | {} errors, \
         {:.0} chains/s; until a poll sees the end p50 {:.1} ms, p99 {:.1} ms | {} |",
        many.errors,
        many.rate,
        milliseconds(0.5),
        milliseconds(0.99),
        yes(many.errors == 0),
    )?;
    let slower = |share| polled.quantile(share) / alone.quantile(share);
    writeln!(
        out,
        "| polling {} running chains does not slow them (p50 and p99 within 5%) | p50 {:.3} s alone, \
         {:.3} s polled; p99 {:.3} s alone, {:.3} s polled; {:.0} polls/s, p50 {:.2} ms, p99 {:.2} ms \
         | {} |",
        watched::CHAINS,
        alone.quantile(0.5),
        polled.quantile(0.5),
        alone.quantile(0.99),
        polled.quantile(0.99),
        polled.polls_per_second,
        polled.polls.quantile(0.5).as_secs_f64() * 1e3,
        polled.polls.quantile(0.99).as_secs_f64() * 1e3,
        yes(slower(0.5) <= SLOWER_MAX && slower(0.99) <= SLOWER_MAX),
    )?;
    writeln!(
        out,
        "| an answer from the cache: p50 under {CACHED_MS_MAX} ms at the node | p50 {:.3} ms, p99 \
         {:.3} ms, from the embedded store | {} |\n",
        cached.p50_ms,
        cached.p99_ms,
        yes(cached.p50_ms < CACHED_MS_MAX),
    )
}
