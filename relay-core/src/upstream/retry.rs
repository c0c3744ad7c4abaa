//! When to try again: exponential backoff with jitter under a cap on the elapsed time (`retry_on_failure` of the
//! Collector's exporters, keys and defaults).

use std::time::{Duration, Instant};

use super::RetryTable;
use crate::limits::THROTTLE_DELAY_MAX;

/// The keys of `retry_on_failure`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Whether anything is tried again at all. Default true.
    pub enabled: bool,
    /// The first delay. Default 5 s.
    pub initial_interval: Duration,
    /// Jitter: a delay is drawn from `delay * (1 - factor) ..= delay * (1 + factor)`. 0 to 1, default 0.5.
    pub randomization_factor: f64,
    /// Each delay is this many times the one before. Default 1.5.
    pub multiplier: f64,
    /// Largest delay before jitter. Default 30 s.
    pub max_interval: Duration,
    /// Time from the first attempt after which a batch is given up, and what it was cut into; `None` for never. Default 300 s. As
    /// in the Collector it counts from the first attempt, not from when the request came, and a delay that would end after it is
    /// not waited for.
    pub max_elapsed_time: Option<Duration>,
    /// Which answers are tried again.
    pub table: RetryTable,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Some(Duration::from_secs(300)),
            table: RetryTable::default(),
        }
    }
}

/// The retries of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    started: Instant,
    interval: Duration,
}

impl Retry {
    /// Starts the clock of a batch whose first attempt begins at `now`.
    pub fn new(policy: &RetryPolicy, now: Instant) -> Self {
        Self { started: now, interval: policy.initial_interval.min(policy.max_interval) }
    }

    /// When to try again after a failure at `now`, or `None` to give up. `throttle` is the least delay that the
    /// upstream asked for; `random` is uniform in 0..1.
    pub fn next(
        &mut self,
        policy: &RetryPolicy,
        now: Instant,
        throttle: Option<Duration>,
        random: f64,
    ) -> Option<Instant> {
        if !policy.enabled {
            return None;
        }
        let factor = policy.randomization_factor.clamp(0.0, 1.0);
        let jittered = self.interval.mul_f64(1.0 - factor + 2.0 * factor * random.clamp(0.0, 1.0));
        self.interval = self.interval.mul_f64(policy.multiplier.clamp(1.0, 100.0)).min(policy.max_interval);
        let delay = jittered.max(throttle.unwrap_or_default().min(THROTTLE_DELAY_MAX));
        let at = now + delay;
        let elapsed = at.saturating_duration_since(self.started);
        policy.max_elapsed_time.is_none_or(|max| elapsed <= max).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary point to count from")]
        Instant::now()
    }

    fn delays(policy: &RetryPolicy, random: f64, throttle: Option<Duration>) -> Vec<f64> {
        let mut now = start();
        let mut retry = Retry::new(policy, now);
        let mut delays = Vec::new();
        while let Some(at) = retry.next(policy, now, throttle, random).filter(|_| delays.len() < 50) {
            delays.push((at - now).as_secs_f64());
            now = at;
        }
        delays
    }

    #[test]
    fn delays_grow_by_the_multiplier_to_the_cap_and_end() {
        let got = delays(&RetryPolicy::default(), 0.5, None);
        assert_eq!(got[..6], [5.0, 7.5, 11.25, 16.875, 25.3125, 30.0]);
        assert!(got.iter().sum::<f64>() <= 300.0);
        assert_eq!(got.len(), 12);
    }

    #[test]
    fn jitter_spans_the_factor() {
        let first = |random| delays(&RetryPolicy::default(), random, None)[0];
        assert_eq!((first(0.0), first(1.0)), (2.5, 7.5));
    }

    #[test]
    fn throttling_is_a_lower_bound_and_is_itself_bounded() {
        let forever = RetryPolicy { max_elapsed_time: None, ..RetryPolicy::default() };
        assert_eq!(delays(&forever, 0.5, Some(Duration::from_secs(20)))[..2], [20.0, 20.0]);
        let absurd = delays(&forever, 0.5, Some(Duration::from_secs(86_400)));
        assert_eq!(absurd[0], THROTTLE_DELAY_MAX.as_secs_f64());
        assert_eq!(absurd.len(), 50, "None means for ever");
    }

    #[test]
    fn disabled_means_one_attempt() {
        let policy = RetryPolicy { enabled: false, ..RetryPolicy::default() };
        assert!(delays(&policy, 0.5, None).is_empty());
    }
}
