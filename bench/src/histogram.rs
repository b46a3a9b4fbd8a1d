//! Counts latencies in logarithmic buckets: constant cost, constant memory, error below 1%.

use std::time::Duration;

/// Each power of two is split into this many buckets, as a power of two itself.
const SPLIT_BITS: u32 = 7;
const SPLIT: u64 = 1 << SPLIT_BITS;
/// Enough for every latency below a minute, in nanoseconds; what is longer counts as a minute.
const LONGEST: u64 = 60_000_000_000;

/// How often each latency occurred.
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
}

impl Histogram {
    /// An empty one.
    pub(crate) fn new() -> Histogram {
        Histogram { buckets: vec![0; bucket_of(LONGEST) + 1], count: 0 }
    }

    /// Counts one latency.
    pub(crate) fn record(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(LONGEST).min(LONGEST);
        self.buckets[bucket_of(nanoseconds)] += 1;
        self.count += 1;
    }

    /// Adds what another one counted.
    pub(crate) fn merge(&mut self, other: &Histogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
    }

    /// How many latencies were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The latency that a share of the counted ones does not exceed; zero if there are none.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(middle_of(bucket));
            }
        }
        Duration::ZERO
    }
}

/// Values below `2 * SPLIT` have a bucket each; above, the leading bits choose it.
fn bucket_of(value: u64) -> usize {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(SPLIT_BITS + 1);
    (u64::from(shift) * SPLIT + (value >> shift)) as usize
}

fn middle_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / SPLIT).saturating_sub(1);
    let lowest = (bucket - shift * SPLIT) << shift;
    lowest + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_for_its_values_within_one_percent() {
        let mut value = 1;
        while value < LONGEST {
            let shown = middle_of(bucket_of(value));
            assert!(shown.abs_diff(value) * 100 <= value, "{value} is shown as {shown}");
            value += value / 50 + 1;
        }
    }

    #[test]
    fn quantiles_are_ranks_of_what_was_counted() {
        let mut odd = Histogram::new();
        let mut even = Histogram::new();
        for milliseconds in 1..=1000 {
            let side = if milliseconds % 2 == 0 { &mut even } else { &mut odd };
            side.record(Duration::from_millis(milliseconds));
        }
        odd.merge(&even);
        assert_eq!(odd.count(), 1000);
        for (share, milliseconds) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let shown = odd.quantile(share).as_secs_f64() * 1e3;
            assert!((shown / milliseconds - 1.0).abs() < 0.01, "{share}: {shown}");
        }
    }

    #[test]
    fn nothing_counted_and_far_too_long_are_both_answered() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.quantile(0.99), Duration::ZERO);
        histogram.record(Duration::from_secs(3600));
        assert!(histogram.quantile(0.5) > Duration::from_secs(59));
    }
}
