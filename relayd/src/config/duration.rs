//! Durations in Go's syntax, as the Collector's files have them. Must never read a clock.

use std::time::Duration;

/// Nanoseconds of each unit of Go's `time.ParseDuration`.
const UNITS: [(&str, f64); 8] = [
    // Longer names first: "ms" must not be taken for "m".
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];
/// The longest duration Go can hold: an i64 of nanoseconds, 292 years.
const NANOS_MAX: f64 = 9_223_372_036_854_775_807.0;

/// Reads `1m30s`, `200ms`, `1.5h`, `0` (Go, package time, ParseDuration). A minus is refused: no key means one.
///
/// # Errors
/// What is wrong, to be put after the key.
pub fn parse(text: &str) -> Result<Duration, String> {
    let expected = || format!("expected a duration such as \"200ms\" or \"1m30s\", found {text:?}");
    if text.starts_with('-') {
        return Err(format!("must not be negative, found {text:?}"));
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(expected());
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(expected)?;
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(expected)?;
        let number = number.parse::<f64>().map_err(|_| expected())?;
        let (unit, after) = UNITS
            .iter()
            .find_map(|(name, nanos)| tail.strip_prefix(name).map(|after| (nanos, after)))
            .ok_or_else(expected)?;
        nanos += number * unit;
        rest = after;
    }
    if nanos > NANOS_MAX {
        return Err(format!("longer than 292 years, found {text:?}"));
    }
    Ok(Duration::from_nanos(whole(nanos)))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and NANOS_MAX, checked by the only caller; a fraction of a nanosecond is dropped as in Go"
)]
fn whole(nanos: f64) -> u64 {
    nanos.round() as u64
}
