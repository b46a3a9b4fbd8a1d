//! The figures of one round, and their medians over several.

use std::time::Duration;

use crate::client::Tally;
use crate::process::Usage;

/// The counters of server and client at one moment.
pub(crate) struct Snapshot {
    /// What the server has used.
    pub(crate) server: Usage,
    /// What the load client has used.
    pub(crate) client: Usage,
    /// The server's commits, if it counts them.
    pub(crate) commits: Option<u64>,
    /// The server's syncs, if they are traced.
    pub(crate) syncs: Option<u64>,
}

/// What was seen of a server before it was loaded.
pub(crate) struct AtRest {
    /// The time from the start of the process until it listened.
    pub(crate) started_in: Duration,
    /// Memory resident.
    pub(crate) resident_bytes: u64,
}

/// What one round gave.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    /// Runs per second.
    pub(crate) rate: f64,
    /// The median latency in milliseconds.
    pub(crate) p50_ms: f64,
    /// The 99th percentile of the latency in milliseconds.
    pub(crate) p99_ms: f64,
    /// Commits per run, if the server counts them.
    pub(crate) commits: Option<f64>,
    /// Syncs per run, if they were traced.
    pub(crate) syncs: Option<f64>,
    /// The server's processor time per run in microseconds.
    pub(crate) server_cpu_us: f64,
    /// The load client's processor time per run in microseconds.
    pub(crate) client_cpu_us: f64,
    /// Bytes written to storage per run.
    pub(crate) written_bytes: f64,
    /// Memory at rest after the start, in bytes.
    pub(crate) idle_bytes: f64,
    /// The most memory until the end of the load, in bytes.
    pub(crate) peak_bytes: f64,
    /// The time from the start of the process until it listened, in milliseconds.
    pub(crate) start_ms: f64,
    /// Answers that were no success.
    pub(crate) errors: u64,
    /// What the first of them said.
    pub(crate) first_error: Option<String>,
}

impl Round {
    /// Works the figures out.
    pub(crate) fn new(
        at_rest: &AtRest,
        before: &Snapshot,
        after: &Snapshot,
        measured: Duration,
        tally: Tally,
    ) -> Round {
        let runs = tally.latencies.count();
        let per_run = |amount: f64| amount / runs.max(1) as f64;
        let counted = |count: fn(&Snapshot) -> Option<u64>| {
            let grown = count(after)?.saturating_sub(count(before)?);
            Some(per_run(grown as f64))
        };
        let cpu_us = |usage: fn(&Snapshot) -> &Usage| {
            per_run((usage(after).cpu.saturating_sub(usage(before).cpu)).as_secs_f64() * 1e6)
        };
        let milliseconds = |share: f64| tally.latencies.quantile(share).as_secs_f64() * 1e3;
        let written = after.server.written_bytes.saturating_sub(before.server.written_bytes);
        Round {
            rate: runs as f64 / measured.as_secs_f64(),
            p50_ms: milliseconds(0.5),
            p99_ms: milliseconds(0.99),
            commits: counted(|snapshot| snapshot.commits),
            syncs: counted(|snapshot| snapshot.syncs),
            server_cpu_us: cpu_us(|snapshot| &snapshot.server),
            client_cpu_us: cpu_us(|snapshot| &snapshot.client),
            written_bytes: per_run(written as f64),
            idle_bytes: at_rest.resident_bytes as f64,
            peak_bytes: after.server.resident_bytes_max as f64,
            start_ms: at_rest.started_in.as_secs_f64() * 1e3,
            errors: tally.errors,
            first_error: tally.first_error,
        }
    }
}

/// The median of a figure over measurements; not a number if there are none.
pub(crate) fn median<T>(measured: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut values: Vec<f64> = measured.iter().map(figure).collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => (values[count / 2 - 1] + values[count / 2]) / 2.0,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A round with these figures and all others zero.
    pub(crate) fn round(rate: f64, p50_ms: f64, p99_ms: f64) -> Round {
        Round {
            rate,
            p50_ms,
            p99_ms,
            commits: Some(1.0),
            syncs: None,
            server_cpu_us: 0.0,
            client_cpu_us: 0.0,
            written_bytes: 0.0,
            idle_bytes: 0.0,
            peak_bytes: 0.0,
            start_ms: 0.0,
            errors: 0,
            first_error: None,
        }
    }

    #[test]
    fn the_median_is_in_the_middle() {
        for (rates, expected) in [(vec![3.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0], 2.5)] {
            let rounds: Vec<_> = rates.into_iter().map(|rate| round(rate, 1.0, 1.0)).collect();
            assert_eq!(median(&rounds, |round| round.rate), expected);
        }
        assert!(median(&[], |round: &Round| round.rate).is_nan());
    }
}
