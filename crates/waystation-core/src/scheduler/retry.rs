//! How long to wait between two attempts: the one rule for every node type and dialect.

use crate::limits::RETRY_DELAY_MS_MAX;
use crate::plan::Retry;

/// The wait doubles with each attempt, is never shorter than what the other side asked for, and is
/// stretched by up to a quarter at random, so that many runs that failed together come back apart.
pub(super) fn wait_ms(policy: Retry, attempt: u32, after_ms: Option<u64>, jitter: u16) -> u64 {
    let doublings = attempt.saturating_sub(1).min(30);
    let delay = policy.delay_ms.saturating_mul(1 << doublings).min(RETRY_DELAY_MS_MAX);
    let stretched = delay + delay / 4 * u64::from(jitter) / u64::from(u16::MAX);
    stretched.max(after_ms.unwrap_or(0)).min(RETRY_DELAY_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_is_bounded_and_heeds_the_other_side() {
        let policy = Retry { attempts: 9, delay_ms: 3_000 };
        let waits: Vec<u64> = (1..=4).map(|n| wait_ms(policy, n, None, 0)).collect();
        assert_eq!(waits, [3_000, 6_000, 12_000, 24_000]);
        assert_eq!(wait_ms(policy, 1, None, u16::MAX), 3_750);
        assert_eq!(wait_ms(policy, 1, Some(10_000), 0), 10_000);
        assert_eq!(wait_ms(policy, 1, Some(10), 0), 3_000);
        assert_eq!(wait_ms(policy, 200, Some(u64::MAX), u16::MAX), RETRY_DELAY_MS_MAX);
    }
}
