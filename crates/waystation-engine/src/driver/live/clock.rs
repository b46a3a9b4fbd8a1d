//! The time of day, and whether somebody has set it: what a run waits for in memory takes as long all the same.

use std::time::{Duration, Instant};

use crate::id::now_ms;

/// A smaller difference from the time that has passed is no step: clocks are kept right little by little.
const STEP_MS: u64 = 1_000;

/// Both ways of telling time, as they were read together.
pub(super) struct Clock {
    /// Unix milliseconds.
    day: u64,
    /// At the same moment, and never set.
    passed: Instant,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { day: now_ms(), passed: Instant::now() }
    }

    /// The time of day, and by how many milliseconds it was set since it was read last.
    pub(super) fn read(&mut self) -> (u64, i64) {
        let step = self.read_as(now_ms(), self.passed.elapsed());
        (self.day, step)
    }

    fn read_as(&mut self, day: u64, passed: Duration) -> i64 {
        let expected = self.day.saturating_add(passed.as_millis() as u64);
        self.day = day;
        self.passed += passed;
        match day.abs_diff(expected) < STEP_MS {
            true => 0,
            false => day.wrapping_sub(expected) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_lived_through_is_a_step() {
        let mut clock = Clock { day: 10_000_000, passed: Instant::now() };
        for (day, passed, step) in [
            (10_005_000, 5_000, 0),
            (10_010_500, 5_000, 0),
            (13_611_500, 1_000, 3_600_000),
            (10_012_500, 1_000, -3_600_000),
            (10_013_500, 1_000, 0),
        ] {
            assert_eq!(clock.read_as(day, Duration::from_millis(passed)), step);
        }
    }
}
