//! All scenarios, each in rounds that alternate with its ceiling's.

use anyhow::{Context, Result};

use crate::disk::Disk;
use crate::round::{self, Round};
use crate::scenario::{Bench, Scenario};
use crate::trace;

/// A scenario at a number of connections, and what its rounds gave.
pub(crate) struct Case {
    /// What was measured.
    pub(crate) scenario: Scenario,
    /// Connections at work at the same time.
    pub(crate) connections: usize,
    /// The rounds whose figures count.
    pub(crate) rounds: Vec<Round>,
    /// A round whose syncs were counted.
    pub(crate) traced: Option<Round>,
}

/// A scenario of the engine beside its ceiling.
pub(crate) struct Pair {
    /// The engine.
    pub(crate) engine: Case,
    /// What the machine gives without it.
    pub(crate) ceiling: Case,
}

impl Case {
    fn new(scenario: Scenario, connections: usize) -> Case {
        Case { scenario, connections, rounds: Vec::new(), traced: None }
    }

    /// The median of a figure.
    pub(crate) fn median(&self, figure: impl Fn(&Round) -> f64) -> f64 {
        round::median(&self.rounds, figure)
    }

    /// Answers that were no success, over all rounds.
    pub(crate) fn errors(&self) -> u64 {
        self.rounds.iter().map(|round| round.errors).sum()
    }

    async fn measure(&mut self, bench: &Bench) -> Result<()> {
        let round = self.round(bench, false).await?;
        eprintln!(
            "{} at {}: {:.0}/s, p50 {:.2} ms, p99 {:.2} ms, errors {}{}",
            self.scenario,
            self.connections,
            round.rate,
            round.p50_ms,
            round.p99_ms,
            round.errors,
            round.first_error.iter().map(|error| format!(" ({error})")).collect::<String>(),
        );
        self.rounds.push(round);
        Ok(())
    }

    async fn trace(&mut self, bench: &Bench) -> Result<()> {
        let round = self.round(bench, true).await?;
        eprintln!("{} at {}: syncs counted", self.scenario, self.connections);
        self.traced = Some(round);
        Ok(())
    }

    async fn round(&self, bench: &Bench, traced: bool) -> Result<Round> {
        let round = bench.round(self.scenario, self.connections, traced).await;
        round.with_context(|| format!("{} at {}", self.scenario, self.connections))
    }
}

impl Pair {
    fn new(engine: Scenario, ceiling: Scenario, connections: usize) -> Pair {
        Pair { engine: Case::new(engine, connections), ceiling: Case::new(ceiling, connections) }
    }

    /// Both sides, in the order ceiling first.
    pub(crate) fn cases(&self) -> [&Case; 2] {
        [&self.ceiling, &self.engine]
    }

    /// The side that goes first changes, so that a drift of the machine favours neither.
    async fn measure(&mut self, bench: &Bench, round: usize) -> Result<()> {
        let (first, second) = if round.is_multiple_of(2) {
            (&mut self.ceiling, &mut self.engine)
        } else {
            (&mut self.engine, &mut self.ceiling)
        };
        first.measure(bench).await?;
        second.measure(bench).await
    }

    async fn trace(&mut self, bench: &Bench) -> Result<()> {
        self.ceiling.trace(bench).await?;
        self.engine.trace(bench).await
    }
}

/// Everything that was measured.
pub(crate) struct Outcome {
    /// The scenarios beside their ceilings.
    pub(crate) pairs: Vec<Pair>,
    /// The medians over the rounds.
    pub(crate) disk: Disk,
}

/// Measures everything.
pub(crate) async fn run(bench: &mut Bench, connections: usize, rounds: usize) -> Result<Outcome> {
    bench.sizes_a.reply_bytes = bench.reply_bytes(Scenario::Pure).await?;
    bench.sizes_b.reply_bytes = bench.reply_bytes(Scenario::Http).await?;
    let mut pairs = vec![
        Pair::new(Scenario::Pure, Scenario::CeilingA, connections),
        Pair::new(Scenario::Http, Scenario::CeilingB, connections),
        Pair::new(Scenario::Pure, Scenario::CeilingA, 1),
        Pair::new(Scenario::Http, Scenario::CeilingB, 1),
    ];
    let mut disks = Vec::new();
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        disks.push(Disk::measure(&bench.data, bench.sizes_a.journal_bytes)?);
        for pair in &mut pairs {
            pair.measure(bench, round).await?;
        }
    }
    if trace::is_available() {
        for pair in &mut pairs {
            pair.trace(bench).await?;
        }
    }
    Ok(Outcome { pairs, disk: Disk::median(&disks) })
}

/// One scenario alone, for a profiler.
pub(crate) async fn one(
    bench: &Bench,
    scenario: Scenario,
    connections: usize,
    rounds: usize,
) -> Result<Case> {
    let mut case = Case::new(scenario, connections);
    for _ in 0..rounds {
        case.measure(bench).await?;
    }
    Ok(case)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A pair with one round on each side.
    pub(crate) fn pair(connections: usize, engine: Round, ceiling: Round) -> Pair {
        let mut pair = Pair::new(Scenario::Pure, Scenario::CeilingA, connections);
        pair.engine.rounds.push(engine);
        pair.ceiling.rounds.push(ceiling);
        pair
    }
}
