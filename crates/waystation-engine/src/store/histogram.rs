//! How often each duration occurred, in logarithmic buckets: a few bytes for any number of durations,
//! which are known within 5%.

use std::collections::BTreeMap;

use super::{Result, StoreError};

/// Each power of two is split into this many buckets, as a power of two itself: a bucket's middle is at
/// most a thirty-second away from its values.
const SPLIT_BITS: u32 = 4;
const SPLIT: u64 = 1 << SPLIT_BITS;
/// Two years in milliseconds, roughly; what is longer counts as this long.
const LONGEST: u64 = (1 << 36) - 1;
/// The first byte of a packed histogram.
const FORMAT: u8 = 1;

/// Durations in milliseconds, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many, by bucket; only those that have some.
    buckets: BTreeMap<u16, u64>,
    count: u64,
    sum: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&mut self, milliseconds: u64) {
        self.add(bucket_of(milliseconds.min(LONGEST)), 1);
        self.sum = self.sum.saturating_add(milliseconds);
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, count) in &other.buckets {
            self.add(*bucket, *count);
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// All of them together, exactly.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// The average, exactly; none of nothing.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The duration that a share (0 to 1) of the counted ones does not exceed; none of nothing.
    pub fn percentile(&self, share: f64) -> Option<u64> {
        let rank = ((self.count as f64 * share).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0u64;
        let reached = self.buckets.iter().find(|(_, count)| {
            seen = seen.saturating_add(**count);
            seen >= rank
        });
        reached.map(|(bucket, _)| middle_of(*bucket))
    }

    fn add(&mut self, bucket: u16, count: u64) {
        let counted = self.buckets.entry(bucket).or_default();
        *counted = counted.saturating_add(count);
        self.count = self.count.saturating_add(count);
    }

    /// As bytes: the sum, then each bucket's distance from the one before and its count.
    pub(crate) fn pack(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        put(&mut bytes, self.sum);
        let mut last = 0;
        for (bucket, count) in &self.buckets {
            put(&mut bytes, u64::from(bucket - last));
            put(&mut bytes, *count);
            last = *bucket;
        }
        bytes
    }

    /// Reads [`Histogram::pack`]'s bytes back.
    pub(crate) fn unpack(bytes: &[u8]) -> Result<Histogram> {
        let damaged = || StoreError::failed("a damaged histogram");
        let Some((&FORMAT, mut rest)) = bytes.split_first() else { return Err(damaged()) };
        let mut histogram =
            Histogram { sum: take(&mut rest).ok_or_else(damaged)?, ..Histogram::default() };
        let mut bucket = 0u64;
        while !rest.is_empty() {
            let distance = take(&mut rest).ok_or_else(damaged)?;
            bucket = bucket.checked_add(distance).ok_or_else(damaged)?;
            let known = u16::try_from(bucket).ok().filter(|known| *known <= bucket_of(LONGEST));
            let count = take(&mut rest).ok_or_else(damaged)?;
            histogram.add(known.ok_or_else(damaged)?, count);
        }
        Ok(histogram)
    }
}

/// Values below `2 * SPLIT` have a bucket each; above, the leading bits choose it.
fn bucket_of(value: u64) -> u16 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(SPLIT_BITS + 1);
    (u64::from(shift) * SPLIT + (value >> shift)) as u16
}

fn middle_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let shift = (bucket / SPLIT).saturating_sub(1);
    let lowest = (bucket - shift * SPLIT) << shift;
    lowest + (1 << shift) / 2
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|duration| histogram.record(*duration));
        histogram
    }

    fn any_duration() -> impl Strategy<Value = u64> {
        prop_oneof![0..100u64, 0..100_000u64, 0..=LONGEST]
    }

    proptest! {
        #[test]
        fn percentiles_are_within_five_percent(
            mut durations in prop::collection::vec(any_duration(), 1..300),
            share in 0.0..=1.0f64,
        ) {
            let histogram = of(&durations);
            durations.sort_unstable();
            let rank = ((durations.len() as f64 * share).ceil() as usize).max(1);
            let exact = durations[rank - 1];
            let shown = histogram.percentile(share).unwrap();
            prop_assert!(shown.abs_diff(exact) * 20 <= exact, "{shown} for {exact}");
            prop_assert_eq!(histogram.sum(), durations.iter().sum::<u64>());
            prop_assert_eq!(histogram.count(), durations.len() as u64);
        }

        #[test]
        fn parts_merge_to_the_whole_and_bytes_hold_everything(
            one in prop::collection::vec(any_duration(), 0..100),
            two in prop::collection::vec(any_duration(), 0..100),
        ) {
            let mut merged = of(&one);
            merged.merge(&of(&two));
            prop_assert_eq!(&merged, &of(&[one, two].concat()));
            prop_assert_eq!(Histogram::unpack(&merged.pack()).unwrap(), merged);
        }

        #[test]
        fn bytes_of_any_kind_are_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(histogram) = Histogram::unpack(&bytes) {
                histogram.percentile(0.95);
            }
        }
    }

    #[test]
    fn nothing_and_far_too_much_are_both_answered() {
        assert_eq!(Histogram::default().percentile(0.5), None);
        assert_eq!(Histogram::default().mean(), None);
        let mut endless = of(&[u64::MAX, u64::MAX]);
        assert!(endless.percentile(0.5).unwrap().abs_diff(LONGEST) * 20 <= LONGEST);
        assert_eq!(endless.sum(), u64::MAX);
        for _ in 0..70 {
            let same = endless.clone();
            endless.merge(&same);
        }
        assert_eq!((endless.count(), endless.percentile(1.0).is_some()), (u64::MAX, true));
    }

    #[test]
    fn a_day_of_runs_takes_few_bytes() {
        let durations: Vec<u64> = (0..100_000).map(|number| 200 + number * 37 % 60_000).collect();
        assert!(of(&durations).pack().len() < 600);
    }

    #[test]
    fn damaged_bytes_are_errors() {
        for bytes in [&[][..], &[2, 0], &[1], &[1, 0, 5], &[1, 0x80], &[1, 0, 0xff, 0xff, 0x7f, 1]]
        {
            assert!(Histogram::unpack(bytes).is_err(), "{bytes:?}");
        }
        assert!(Histogram::unpack(&[1; 2]).is_ok());
        let too_long = [&[1][..], &[0xff; 11]].concat();
        assert!(Histogram::unpack(&too_long).is_err());
    }
}
