//! So many a minute: a bucket that fills steadily and may go into debt. Whole numbers, so that nothing
//! is lost to rounding and a wait ends when it should.

use std::time::Duration;

use tokio::time::Instant;

/// Parts of one unit: what flows in within a microsecond is then the number a minute.
const PARTS: i128 = 60_000_000;

/// A bucket of units, full at first.
#[derive(Debug)]
pub(super) struct Bucket {
    a_minute: u64,
    /// Parts that are there at `at`; below zero is debt.
    level: i128,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(a_minute: u64, now: Instant) -> Bucket {
        Bucket { a_minute, level: i128::from(a_minute) * PARTS, at: now }
    }

    pub(super) fn a_minute(&self) -> u64 {
        self.a_minute
    }

    fn capacity(&self) -> i128 {
        i128::from(self.a_minute) * PARTS
    }

    fn flow(&mut self, now: Instant) {
        let micros = now.saturating_duration_since(self.at).as_micros();
        self.at += Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        let inflow =
            i128::try_from(micros).unwrap_or(i128::MAX).saturating_mul(i128::from(self.a_minute));
        self.level = self.level.saturating_add(inflow).min(self.capacity());
    }

    /// How long until so many can be taken. More than it holds can be taken when it is full.
    pub(super) fn wait(&mut self, units: u64, now: Instant) -> Duration {
        self.flow(now);
        let needed = (i128::from(units) * PARTS).min(self.capacity());
        let lacking = (needed - self.level).max(0);
        // A bound that is nothing is refused when it is read.
        let inflow = i128::from(self.a_minute.max(1));
        let micros = (lacking + inflow - 1) / inflow;
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Takes so many, whether they are there or not.
    pub(super) fn take(&mut self, units: u64) {
        self.level -= i128::from(units) * PARTS;
    }

    /// Puts back what was taken for nothing.
    pub(super) fn put_back(&mut self, units: u64) {
        self.level = (self.level + i128::from(units) * PARTS).min(self.capacity());
    }

    /// Whether it is full.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.flow(now);
        self.level == self.capacity()
    }
}
