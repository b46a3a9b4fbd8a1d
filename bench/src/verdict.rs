//! What is asked of the engine, and whether the figures hold it.

use crate::disk::Disk;
use crate::scenario::Scenario;
use crate::suite::Pair;

/// The share of the ceiling's throughput that is asked for.
const SHARE_MIN: f64 = 0.5;
/// How many times the ceiling's 99th percentile the engine's may be at most.
const TAIL_MAX: f64 = 5.0;
/// How many commits a single client may wait for its run.
const COMMITS_MAX: f64 = 2.0;

/// One thing asked.
pub(crate) struct Verdict {
    /// The demand in words.
    pub(crate) asked: String,
    /// What was measured for it.
    pub(crate) measured: String,
    /// Whether that is good enough.
    pub(crate) holds: bool,
}

/// Judges every pair. Runs that failed spoil all that their pair shows.
pub(crate) fn all(pairs: &[Pair], disk: &Disk) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for pair in pairs {
        let errors = pair.engine.errors() + pair.ceiling.errors();
        if pair.engine.connections > 1 {
            verdicts.push(throughput(pair));
            verdicts.push(tail(pair));
        } else if pair.engine.scenario == Scenario::Pure {
            verdicts.push(single(pair, disk));
        }
        if errors > 0 {
            let asked = format!("{}: no errors", pair.engine.scenario);
            verdicts.push(Verdict { asked, measured: errors.to_string(), holds: false });
        }
    }
    verdicts
}

fn throughput(pair: &Pair) -> Verdict {
    let share = pair.engine.median(|round| round.rate) / pair.ceiling.median(|round| round.rate);
    Verdict {
        asked: format!("{}: {:.0}% of {} or better", title(pair), SHARE_MIN * 100.0, ceiling(pair)),
        measured: format!("{:.1}%", share * 100.0),
        holds: share >= SHARE_MIN,
    }
}

fn tail(pair: &Pair) -> Verdict {
    let (engine, ceiling_ms) =
        (pair.engine.median(|round| round.p99_ms), pair.ceiling.median(|round| round.p99_ms));
    Verdict {
        asked: format!("{}: p99 under {TAIL_MAX} times that of {}", title(pair), ceiling(pair)),
        measured: format!("{:.2} times", engine / ceiling_ms),
        holds: engine < ceiling_ms * TAIL_MAX,
    }
}

/// A commit is what a caller waits for, the way to the writer's thread and back included. The bare one
/// stands beside it, for whoever means that.
fn single(pair: &Pair, disk: &Disk) -> Verdict {
    let p50_us = pair.engine.median(|round| round.p50_ms) * 1e3;
    let (append_us, bare_us) = (disk.append_us, disk.commit_us);
    let (commits, bare) = (p50_us / append_us, p50_us / bare_us);
    Verdict {
        asked: format!("{}: p50 under {COMMITS_MAX} commits", title(pair)),
        measured: format!(
            "{commits:.2} commits through the store of {append_us:.0} µs \
             ({bare:.2} bare ones of {bare_us:.0} µs)"
        ),
        holds: commits < COMMITS_MAX,
    }
}

fn title(pair: &Pair) -> String {
    match pair.engine.connections {
        1 => format!("{}, one connection", pair.engine.scenario),
        connections => format!("{}, {connections} connections", pair.engine.scenario),
    }
}

fn ceiling(pair: &Pair) -> String {
    let name = pair.ceiling.scenario.to_string();
    name.split(':').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::round::tests::round;
    use crate::suite::tests::pair;

    const DISK: Disk = Disk { sync_us: 100.0, commit_us: 100.0, append_us: 200.0 };

    fn holds(pair: Pair) -> Vec<bool> {
        all(&[pair], &DISK).iter().map(|verdict| verdict.holds).collect()
    }

    #[test]
    fn many_connections_are_judged_by_throughput_and_tail() {
        let ceiling = round(50_000.0, 1.0, 4.0);
        for (rate, p99_ms, expected) in
            [(25_000.0, 19.9, [true, true]), (24_999.0, 20.0, [false, false])]
        {
            let engine = round(rate, 1.0, p99_ms);
            assert_eq!(holds(pair(64, engine, ceiling.clone())), expected, "{rate} {p99_ms}");
        }
    }

    #[test]
    fn one_connection_is_judged_by_commits() {
        for (p50_ms, expected) in [(0.39, true), (0.41, false)] {
            let engine = round(2_000.0, p50_ms, 1.0);
            assert_eq!(holds(pair(1, engine, round(4_000.0, 0.2, 0.3))), [expected]);
        }
    }

    #[test]
    fn errors_are_a_verdict_of_their_own() {
        let mut engine = round(50_000.0, 0.1, 0.1);
        engine.errors = 1;
        assert_eq!(holds(pair(1, engine, round(4_000.0, 0.2, 0.3))), [true, false]);
    }
}
