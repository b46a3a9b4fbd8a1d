//! What became of every run of the load: when it was due, whether it was acknowledged, and when it called.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Never, as a moment.
const NEVER: u32 = u32::MAX;
/// One call of the service in so many is answered with an error.
const ERROR_EVERY: u64 = 10;

/// The runs by their numbers. Moments are in tenths of milliseconds since the beginning.
pub(super) struct Ledger {
    began: Instant,
    runs: Vec<Run>,
    calls: AtomicU64,
}

struct Run {
    due: AtomicU32,
    acknowledged: AtomicU32,
    called: AtomicU32,
}

/// A time in which runs were due.
#[derive(Clone, Copy)]
pub(super) struct Window {
    pub(super) from: Duration,
    pub(super) to: Duration,
}

/// How long runs took, in milliseconds from when each was due.
pub(super) struct Latencies {
    /// Of those that were due, the share that came to it at all.
    pub(super) share: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
}

impl Ledger {
    pub(super) fn new(runs: usize) -> Ledger {
        let run = || Run {
            due: AtomicU32::new(NEVER),
            acknowledged: AtomicU32::new(NEVER),
            called: AtomicU32::new(NEVER),
        };
        let runs = std::iter::repeat_with(run).take(runs).collect();
        Ledger { began: Instant::now(), runs, calls: AtomicU64::new(0) }
    }

    fn now(&self) -> u32 {
        tenths(self.began.elapsed())
    }

    pub(super) fn due(&self, run: usize, at: Duration) {
        self.runs[run].due.store(tenths(at), Ordering::Relaxed);
    }

    pub(super) fn acknowledged(&self, run: usize) {
        self.runs[run].acknowledged.store(self.now(), Ordering::Relaxed);
    }

    /// A call of the service; answers whether it is to succeed.
    pub(super) fn call(&self, run: usize) -> bool {
        let succeeds = !self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(ERROR_EVERY);
        if succeeds && let Some(run) = self.runs.get(run) {
            // It may be called again after a crash.
            run.called.fetch_min(self.now(), Ordering::Relaxed);
        }
        succeeds
    }

    /// How many runs were due, and how many acknowledged.
    pub(super) fn counts(&self) -> (usize, usize) {
        let is_set = |moment: &AtomicU32| moment.load(Ordering::Relaxed) != NEVER;
        let count =
            |of: fn(&Run) -> &AtomicU32| self.runs.iter().filter(|run| is_set(of(run))).count();
        (count(|run| &run.due), count(|run| &run.acknowledged))
    }

    /// Acknowledged runs that never called.
    pub(super) fn lost(&self) -> usize {
        let is_set = |moment: &AtomicU32| moment.load(Ordering::Relaxed) != NEVER;
        self.runs.iter().filter(|run| is_set(&run.acknowledged) && !is_set(&run.called)).count()
    }

    /// Latencies of the runs due in a window: until the acknowledgement, and until the call.
    pub(super) fn latencies(&self, window: Window) -> [Latencies; 2] {
        let (from, to) = (tenths(window.from), tenths(window.to));
        let since_due = |moment: fn(&Run) -> &AtomicU32| {
            let (mut took, mut asked) = (Vec::new(), 0_usize);
            for run in &self.runs {
                let due = run.due.load(Ordering::Relaxed);
                if !(from..to).contains(&due) {
                    continue;
                }
                asked += 1;
                let at = moment(run).load(Ordering::Relaxed);
                if at != NEVER {
                    took.push(at.saturating_sub(due));
                }
            }
            took.sort_unstable();
            let at = |share: f64| {
                let place = (took.len().saturating_sub(1) as f64 * share).round() as usize;
                took.get(place).map_or(f64::NAN, |tenths| f64::from(*tenths) / 10.0)
            };
            let share = took.len() as f64 / asked as f64;
            Latencies { share, p50: at(0.5), p99: at(0.99) }
        };
        [since_due(|run| &run.acknowledged), since_due(|run| &run.called)]
    }
}

fn tenths(time: Duration) -> u32 {
    u32::try_from(time.as_micros() / 100).unwrap_or(NEVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_is_acknowledged_and_never_calls_is_lost() {
        let ledger = Ledger::new(4);
        ledger.due(0, Duration::ZERO);
        ledger.due(1, Duration::ZERO);
        ledger.acknowledged(0);
        ledger.acknowledged(1);
        let answers: Vec<bool> = (0..11).map(|_| ledger.call(1)).collect();
        assert_eq!(answers.iter().filter(|succeeds| !**succeeds).count(), 2);
        assert_eq!((ledger.counts(), ledger.lost()), ((2, 2), 1));
        let window = Window { from: Duration::ZERO, to: Duration::from_secs(1) };
        let [acknowledged, called] = ledger.latencies(window);
        assert!(acknowledged.p99 >= 0.0 && called.p99 >= 0.0);
        assert_eq!((acknowledged.share, called.share), (1.0, 0.5));
    }
}
