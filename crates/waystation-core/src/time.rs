//! Moments as text. The moments themselves come from outside.

use chrono::{DateTime, SecondsFormat, Utc};

fn moment(unix_ms: u64) -> DateTime<Utc> {
    i64::try_from(unix_ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default()
}

/// RFC 3339 with milliseconds: `2026-03-09T07:05:00.250Z`.
pub fn rfc3339(unix_ms: u64) -> String {
    moment(unix_ms).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// As pipelines' webhooks write it: `2026-03-09 07:05:00 UTC`.
pub fn plain_utc(unix_ms: u64) -> String {
    moment(unix_ms).format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The time between two moments in seconds.
pub fn seconds_between(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_two_spellings() {
        assert_eq!(rfc3339(1_773_039_900_250), "2026-03-09T07:05:00.250Z");
        assert_eq!(plain_utc(1_773_039_900_250), "2026-03-09 07:05:00 UTC");
        assert_eq!(plain_utc(u64::MAX), "1970-01-01 00:00:00 UTC");
        assert!((seconds_between(1_000, 2_500) - 1.5).abs() < f64::EPSILON);
    }
}
