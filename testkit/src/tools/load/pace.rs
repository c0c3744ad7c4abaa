//! When the next call is due: at once in a closed loop, at its time at a fixed rate.
//!
//! Must never let a slow receiver slow the rate down unseen: a call that could not start when it was due counts from then.

use std::time::{Duration, Instant};

/// How late a call may start by this program's own doing and still count from its start: the precision of a timer, not the receiver's.
const TIMER_SLACK: Duration = Duration::from_millis(1);

/// Numbers the calls and says when each is due.
#[derive(Debug)]
pub(super) struct Pace {
    started: Instant,
    deadline: Instant,
    /// Calls per second; `None` is the closed loop.
    rate: Option<f64>,
    next: u64,
    held_back: bool,
}

/// A call that may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn {
    /// Counted from 0.
    pub(super) number: u64,
    /// What its latency counts from.
    pub(super) from: Instant,
}

impl Pace {
    pub(super) fn new(started: Instant, length: Duration, rate: Option<f64>) -> Self {
        Self { started, deadline: started + length, rate, next: 0, held_back: false }
    }

    /// The next call, if one is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Turn> {
        if now >= self.deadline {
            return None;
        }
        let from = match self.next_due() {
            None => now,
            Some(due) if due > now || due >= self.deadline => return None,
            Some(due) if self.held_back || now - due > TIMER_SLACK => due,
            Some(_) => now,
        };
        let number = self.next;
        self.next += 1;
        Some(Turn { number, from })
    }

    /// Notes whether calls that come due from now on cannot start, because all that may be in flight are.
    pub(super) fn hold_back(&mut self, held_back: bool) {
        self.held_back = held_back;
    }

    /// When the next call is due at a fixed rate.
    pub(super) fn next_due(&self) -> Option<Instant> {
        Some(self.started + Duration::from_secs_f64(self.next as f64 / self.rate?))
    }

    /// Whether calls are held to a rate.
    pub(super) fn is_paced(&self) -> bool {
        self.rate.is_some()
    }

    /// When calls end to be due.
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether no further call will be due.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.deadline || self.next_due().is_some_and(|due| due >= self.deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_closed_loop_is_always_due_until_the_end() {
        let start = Instant::now();
        let mut pace = Pace::new(start, SECOND, None);
        assert_eq!(pace.take(start), Some(Turn { number: 0, from: start }));
        let late = start + SECOND / 2;
        assert_eq!(pace.take(late), Some(Turn { number: 1, from: late }));
        assert!(!pace.is_over(late));
        assert!(pace.is_over(start + SECOND) && pace.take(start + SECOND).is_none());
    }

    /// Guarantee: a timer's lateness does not count, being held back by the receiver does, from the moment that was due.
    #[test]
    fn a_fixed_rate_counts_from_the_due_moment() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let just_after = |millis| at(millis) + Duration::from_micros(60);
        let mut pace = Pace::new(start, SECOND, Some(100.0));
        assert_eq!(pace.take(start).unwrap().from, start);
        assert_eq!(pace.take(at(9)), None);
        assert_eq!(pace.take(just_after(10)), Some(Turn { number: 1, from: just_after(10) }));
        pace.hold_back(true);
        assert_eq!(pace.take(just_after(20)).unwrap().from, at(20));
        pace.hold_back(false);
        assert_eq!(pace.take(at(70)).unwrap().from, at(30));
        let last = std::iter::from_fn(|| pace.take(at(999))).last().unwrap();
        assert_eq!(last.number, 99);
        assert!(pace.is_over(at(999)));
    }
}
