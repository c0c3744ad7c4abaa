//! When to dial again: exponential backoff with full jitter. Who counts the failures sets them back only at an answered call, so that
//! an upstream that accepts connections and fails (a crash loop behind a proxy) is not hammered.

use std::time::Duration;

use crate::limits::{RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN};

/// The delay before an address is tried again that has failed `failures` times since it last answered, this time included. The
/// first failure waits the least. `random` is uniform in 0..1.
pub fn reconnect_delay(failures: u32, random: f64) -> Duration {
    let floor = RECONNECT_DELAY_MIN / 2;
    let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    let ceiling = RECONNECT_DELAY_MIN.saturating_mul(doubled).min(RECONNECT_DELAY_MAX);
    floor + ceiling.saturating_sub(floor).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_cap() {
        let delays: Vec<Duration> = (1..100).map(|failures| reconnect_delay(failures, 1.0)).collect();
        assert_eq!(delays[..3], [RECONNECT_DELAY_MIN, RECONNECT_DELAY_MIN * 2, RECONNECT_DELAY_MIN * 4]);
        assert!(delays.is_sorted());
        assert_eq!(delays.last(), Some(&RECONNECT_DELAY_MAX));
        assert!((1..100).all(|failures| reconnect_delay(failures, 0.0) > Duration::ZERO), "never at once");
    }
}
