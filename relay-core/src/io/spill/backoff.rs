//! When a disk that has failed is tried again. Must never ask for the time.

use std::time::{Duration, Instant};

use crate::limits::{SPILL_RETRY_MAX, SPILL_RETRY_MIN};

/// Waits longer after each failure, and not at all after a success.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Backoff {
    failing: Option<(Duration, Instant)>,
}

impl Backoff {
    /// It has failed: how long it is left alone now.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        let pause = match self.failing {
            Some((last, _)) => last.saturating_mul(2).min(SPILL_RETRY_MAX),
            None => SPILL_RETRY_MIN,
        };
        self.failing = Some((pause, now + pause));
        pause
    }

    pub(super) fn worked(&mut self) {
        self.failing = None;
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// Whether it may be tried.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.failing.is_none_or(|(_, at)| at <= now)
    }

    /// When it may be tried again, if that is not now.
    pub(super) fn over_at(&self, now: Instant) -> Option<Instant> {
        self.failing.map(|(_, at)| at).filter(|at| *at > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::clock;

    #[test]
    fn pauses_double_up_to_a_bound_and_a_success_ends_them() {
        let (mut backoff, now) = (Backoff::default(), clock::now());
        assert!(backoff.is_over(now) && backoff.over_at(now).is_none() && !backoff.is_failing());
        let pauses: Vec<u64> = (0..7).map(|_| backoff.failed(now).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        let over_at = now + SPILL_RETRY_MAX;
        assert!(!backoff.is_over(now) && backoff.over_at(now) == Some(over_at) && backoff.is_over(over_at));
        assert!(backoff.is_failing() && backoff.over_at(over_at).is_none());
        backoff.worked();
        assert!(!backoff.is_failing() && backoff.is_over(now));
        assert_eq!(backoff.failed(now), SPILL_RETRY_MIN);
    }
}
