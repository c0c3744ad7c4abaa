//! When to dial again: exponential backoff with full jitter, reset only by an answered call, so that an upstream that
//! accepts connections and fails (a crash loop behind a proxy) is not hammered.

use std::time::{Duration, Instant};

use crate::limits::{RECONNECT_DELAY_MAX, RECONNECT_DELAY_MIN};

/// The backoff of one upstream's connection.
#[derive(Clone, Copy, Debug)]
pub struct Reconnect {
    // RECONNECT_DELAY_MIN <= ceiling <= RECONNECT_DELAY_MAX.
    ceiling: Duration,
    failures: u32,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { ceiling: RECONNECT_DELAY_MIN, failures: 0 }
    }
}

impl Reconnect {
    /// A dial failed, or a connection ended before any call was answered on it: when to dial again. The first failure
    /// after an answered call waits the least. `random` is uniform in 0..1.
    pub fn failed(&mut self, now: Instant, random: f64) -> Instant {
        let floor = RECONNECT_DELAY_MIN / 2;
        let delay = floor + self.ceiling.saturating_sub(floor).mul_f64(random.clamp(0.0, 1.0));
        self.ceiling = (self.ceiling * 2).min(RECONNECT_DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        now + delay
    }

    /// A call was answered: the next failure begins anew.
    pub fn answered(&mut self) {
        *self = Self::default();
    }

    /// Failures since the last answered call.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_to_the_cap_and_reset_on_an_answer() {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary point to count from")]
        let now = Instant::now();
        let mut reconnect = Reconnect::default();
        let mut last = Duration::ZERO;
        for _ in 0..20 {
            let delay = reconnect.failed(now, 1.0) - now;
            assert!(delay >= last && delay <= RECONNECT_DELAY_MAX);
            last = delay;
        }
        assert_eq!((last, reconnect.failures()), (RECONNECT_DELAY_MAX, 20));
        assert!(reconnect.failed(now, 0.0) > now, "never at once");
        reconnect.answered();
        assert_eq!(reconnect.failed(now, 1.0) - now, RECONNECT_DELAY_MIN);
    }
}
