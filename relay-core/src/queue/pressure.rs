//! Whether an upstream that is full may hold back requests that others would take. A plain state machine that is told the time.
//!
//! For a moment it may: senders are slowed down, and nothing is lost. One that stays full may not: it has had its time to make
//! room, and gets what it has room for, until it has worked off half of what it holds. Must never hold back an upstream itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long one upstream has been full, as all cores see it.
#[derive(Debug, Default)]
pub struct Pressure {
    // EASY, SHUT_OUT, or since when it is full, in milliseconds, plus one.
    state: AtomicU64,
}

const EASY: u64 = 0;
const SHUT_OUT: u64 = u64::MAX;

impl Pressure {
    /// A request has found it full at `now`, a time since any moment in the past. Says whether the others need not wait for it,
    /// because it has been full for `patience`.
    pub fn full(&self, now: Duration, patience: Duration) -> bool {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX - 1).saturating_add(1);
        let since = match self.state.compare_exchange(EASY, now, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => return patience.is_zero(),
            Err(SHUT_OUT) => return true,
            Err(since) => since,
        };
        let over = Duration::from_millis(now.saturating_sub(since)) >= patience;
        if over {
            // Lost only to a core that has seen it ease: then the next who finds it full begins anew.
            self.state.compare_exchange(since, SHUT_OUT, Ordering::Relaxed, Ordering::Relaxed).ok();
        }
        over
    }

    /// A request has found room while it held `used` of `max`.
    pub fn has_room(&self, used: usize, max: usize) {
        // A load where all is well.
        if self.state.load(Ordering::Relaxed) != EASY && used <= max / 2 {
            self.state.store(EASY, Ordering::Relaxed);
        }
    }

    /// Whether nobody waits for it.
    pub fn is_shut_out(&self) -> bool {
        self.state.load(Ordering::Relaxed) == SHUT_OUT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(250);

    fn at(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_moment_is_waited_for_and_no_longer() {
        let pressure = Pressure::default();
        assert!(!pressure.full(at(0), PATIENCE));
        assert!(!pressure.full(at(249), PATIENCE));
        assert!(pressure.full(at(250), PATIENCE) && pressure.is_shut_out());
        assert!(pressure.full(at(251), PATIENCE), "and again at once");
    }

    /// One that is slow for good finds room now and then: that does not make the others wait for it again.
    #[test]
    fn a_little_room_is_not_ease() {
        let pressure = Pressure::default();
        pressure.full(at(5), PATIENCE);
        pressure.has_room(90, 100);
        assert!(pressure.full(at(260), PATIENCE));
        pressure.has_room(51, 100);
        assert!(pressure.full(at(261), PATIENCE));
        pressure.has_room(50, 100);
        assert!(
            !pressure.is_shut_out() && !pressure.full(at(262), PATIENCE),
            "worked off: it may hold back again"
        );
    }
}
