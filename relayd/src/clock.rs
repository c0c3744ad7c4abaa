//! The daemon's clock: the only file of relayd that asks what time it is. Must never decide anything.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Now, for measuring.
pub(crate) fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "this is where relayd reads the clock")]
    Instant::now()
}

/// Time since the Unix epoch; zero if the clock stands before it.
pub(crate) fn unix_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "this is where relayd reads the clock")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time since the Unix epoch as RFC 3339 writes it, in UTC with nanoseconds: `2026-01-02T03:04:05.000000006Z`.
pub(crate) fn rfc3339(unix_nanos: u64) -> String {
    let (date, time) = date_and_time(unix_nanos);
    format!("{date}T{time}Z")
}

/// A time since the Unix epoch as Go prints it in UTC, which is what the Collector's debug exporter does:
/// `2026-01-02 03:04:05.000000006 +0000 UTC`, the fraction without its last zeros.
pub(crate) fn go_time(unix_nanos: u64) -> String {
    let (date, time) = date_and_time(unix_nanos);
    // The point stops the trimming: zeros of the seconds are not part of the fraction.
    let time = time.trim_end_matches('0').trim_end_matches('.');
    format!("{date} {time} +0000 UTC")
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days; years after 1970 only.
fn date_and_time(unix_nanos: u64) -> (String, String) {
    let (seconds, nanos) = (unix_nanos / 1_000_000_000, unix_nanos % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second % 3600 / 60, second % 60);
    (format!("{year:04}-{month:02}-{day:02}"), format!("{hour:02}:{minute:02}:{second:02}.{nanos:09}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_known_moments() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(rfc3339(951_782_400_000_000_000), "2000-02-29T00:00:00.000000000Z");
        assert_eq!(rfc3339(1_700_000_000_123_456_789), "2023-11-14T22:13:20.123456789Z");
        assert_eq!(rfc3339(u64::MAX), "2554-07-21T23:34:33.709551615Z");
    }

    #[test]
    fn go_leaves_out_the_last_zeros_of_a_fraction() {
        assert_eq!(go_time(0), "1970-01-01 00:00:00 +0000 UTC");
        assert_eq!(go_time(1_700_000_000_120_000_000), "2023-11-14 22:13:20.12 +0000 UTC");
        assert_eq!(go_time(1_700_000_001_000_000_001), "2023-11-14 22:13:21.000000001 +0000 UTC");
    }
}
