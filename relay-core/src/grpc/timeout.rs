//! The `grpc-timeout` header: at most eight digits and a unit.

use std::time::Duration;

/// The value of a `grpc-timeout` header, or `None` when it is not one.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// `timeout` as a `grpc-timeout` header: milliseconds while they fit into eight digits, else seconds; at least 1 ms.
pub fn format_timeout(timeout: Duration) -> String {
    let millis = timeout.as_millis().max(1);
    if millis < 100_000_000 {
        format!("{millis}m")
    } else {
        format!("{}S", timeout.as_secs().min(99_999_999))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(parse_timeout(b"1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parse_timeout(b"2M"), Some(Duration::from_secs(120)));
        assert_eq!(parse_timeout(b"3S"), Some(Duration::from_secs(3)));
        assert_eq!(parse_timeout(b"99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parse_timeout(b"5u"), Some(Duration::from_micros(5)));
        for bad in [&b""[..], b"S", b"5", b"123456789S", b"-1S", b"1s"] {
            assert_eq!(parse_timeout(bad), None);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for timeout in [Duration::from_millis(1), Duration::from_secs(5), Duration::from_secs(200_000)] {
            assert_eq!(parse_timeout(format_timeout(timeout).as_bytes()), Some(timeout));
        }
        assert_eq!(format_timeout(Duration::ZERO), "1m");
    }
}
