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

/// The day of a date such as `2026-01-31`, counted from 1970; a time after it is not looked at.
pub fn day_of_date(text: &str) -> Option<u64> {
    let date = text.split('T').next()?;
    let date = chrono::NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    let since = date.signed_duration_since(chrono::NaiveDate::default());
    u64::try_from(since.num_days()).ok()
}

/// The time between two moments in seconds.
pub fn seconds_between(from_ms: u64, to_ms: u64) -> f64 {
    to_ms.saturating_sub(from_ms) as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(day_of_date("1970-01-01"), Some(0));
        assert_eq!(day_of_date("2026-03-09T07:05:00Z"), Some(20_521));
        for text in ["", "1969-12-31", "2026-02-30", "yesterday"] {
            assert_eq!(day_of_date(text), None, "{text}");
        }
    }

    #[test]
    fn moments_have_two_spellings() {
        assert_eq!(rfc3339(1_773_039_900_250), "2026-03-09T07:05:00.250Z");
        assert_eq!(plain_utc(1_773_039_900_250), "2026-03-09 07:05:00 UTC");
        assert_eq!(plain_utc(u64::MAX), "1970-01-01 00:00:00 UTC");
        assert!((seconds_between(1_000, 2_500) - 1.5).abs() < f64::EPSILON);
    }
}
