//! How much isolating may cost, and when it gets its turn: the bounds that keep one sender's poison from being everybody's.
//!
//! Two kinds of upstream refuse for good. One refuses what has the poison in it: there isolating pays, call by call, because something
//! is delivered between the refusals. The other refuses everything (it is misconfigured): there it must end soon. So calls that
//! isolate are paid for by calls that deliver.

use std::time::Instant;

use crate::limits::{
    BLAME_REFUSALS_MAX, CALLS_PER_ISOLATION, ISOLATION_CALLS_MAX, ISOLATION_CALLS_PER_DELIVERY,
    ISOLATION_CALLS_PER_SECOND,
};

/// Calls that isolating may still cost at one upstream.
#[derive(Clone, Copy, Debug)]
pub struct IsolationBudget {
    // At most ISOLATION_CALLS_MAX.
    calls: u32,
    // Set while it is not full.
    refilled: Option<Instant>,
}

impl Default for IsolationBudget {
    fn default() -> Self {
        Self { calls: ISOLATION_CALLS_MAX, refilled: None }
    }
}

impl IsolationBudget {
    /// Takes `calls` out of it at `now`; false, and nothing is taken, if there are fewer.
    pub fn spend(&mut self, calls: u32, now: Instant) -> bool {
        self.refill(now);
        let Some(left) = self.calls.checked_sub(calls) else { return false };
        self.calls = left;
        true
    }

    /// A call has delivered something.
    pub fn delivered(&mut self) {
        self.add(ISOLATION_CALLS_PER_DELIVERY);
    }

    /// Whether nothing is missing in it.
    pub fn is_full(&self) -> bool {
        self.calls >= ISOLATION_CALLS_MAX
    }

    fn refill(&mut self, now: Instant) {
        let Some(since) = self.refilled else {
            self.refilled = Some(now);
            return;
        };
        let seconds = now.saturating_duration_since(since).as_secs();
        if seconds > 0 {
            self.refilled = Some(now);
            self.add(u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(ISOLATION_CALLS_PER_SECOND));
        }
    }

    fn add(&mut self, calls: u32) {
        self.calls = self.calls.saturating_add(calls).min(ISOLATION_CALLS_MAX);
    }
}

/// Whether an upstream's refusals say anything about what was refused: not when it has refused everything for long, nor before it
/// has taken anything at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Blame {
    delivered: u64,
    refusals: u32,
}

impl Blame {
    /// The upstream has refused something for good, and has accepted `delivered` items since it is known. Whether what it refused is
    /// to blame.
    pub fn refused(&mut self, delivered: u64) -> bool {
        if delivered > self.delivered {
            *self = Self { delivered, refusals: 0 };
        }
        self.refusals = self.refusals.saturating_add(1);
        delivered > 0 && self.refusals <= BLAME_REFUSALS_MAX
    }
}

/// Whose turn it is at one core's way to one upstream: calls of batches, or calls that isolate.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turns {
    // Calls of batches since the last that isolated, at most CALLS_PER_ISOLATION.
    ordinary: u32,
}

impl Turns {
    /// Isolating calls that may be in flight among `calls_max`: half of them, so that batches always have some; where there is only
    /// one, it is shared by turns.
    pub fn isolating_max(calls_max: usize) -> usize {
        (calls_max / 2).max(1)
    }

    /// Whether an isolating call goes before a batch that waits, too.
    pub fn is_isolations(&self) -> bool {
        self.ordinary >= CALLS_PER_ISOLATION
    }

    /// A batch's call has started.
    pub fn batch(&mut self) {
        self.ordinary = self.ordinary.saturating_add(1).min(CALLS_PER_ISOLATION);
    }

    /// An isolating call has started.
    pub fn isolating(&mut self) {
        self.ordinary = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn start() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary point to count from")]
        Instant::now()
    }

    /// An upstream that refuses everything: a burst, then some calls a second.
    #[test]
    fn what_delivers_nothing_ends_soon() {
        let (mut budget, mut now, mut spent) = (IsolationBudget::default(), start(), 0);
        for _ in 0..10_000 {
            spent += u32::from(budget.spend(1, now));
            now += Duration::from_millis(10);
        }
        // 100 seconds; the part of a second that a refill leaves out is lost.
        assert!(spent <= ISOLATION_CALLS_MAX + 100 * ISOLATION_CALLS_PER_SECOND, "{spent}");
        assert!(spent >= ISOLATION_CALLS_MAX + 90 * ISOLATION_CALLS_PER_SECOND, "{spent}");
    }

    #[test]
    fn deliveries_pay() {
        let (mut budget, now) = (IsolationBudget::default(), start());
        assert!(budget.is_full() && budget.spend(ISOLATION_CALLS_MAX, now) && !budget.spend(1, now));
        for _ in 0..1000 {
            budget.delivered();
            assert!(budget.spend(ISOLATION_CALLS_PER_DELIVERY, now) && !budget.spend(1, now));
        }
        (0..1000).for_each(|_| budget.delivered());
        assert!(budget.is_full() && !budget.spend(ISOLATION_CALLS_MAX + 1, now));
    }

    #[test]
    fn blame_needs_deliveries() {
        let mut blame = Blame::default();
        assert!(!blame.refused(0), "it has never taken anything");
        assert!(blame.refused(5));
        let blamed = (0..1000).take_while(|_| blame.refused(5)).count();
        assert_eq!(blamed, BLAME_REFUSALS_MAX as usize - 1);
        assert!(blame.refused(6), "it takes again");
    }

    /// While both wait, one call of four isolates; else nobody waits for the other.
    #[test]
    fn batches_have_three_of_four_calls() {
        let (mut turns, mut isolating) = (Turns::default(), 0);
        for _ in 0..4000 {
            if turns.is_isolations() {
                turns.isolating();
                isolating += 1;
            } else {
                turns.batch();
            }
        }
        assert_eq!(isolating, 1000);
        assert_eq!([1, 2, 3, 10].map(Turns::isolating_max), [1, 1, 1, 5]);
    }
}
