//! Who is suspected of sending what an upstream refuses for good: proven once, remembered for some time, bounded. Must never be the
//! reason to drop anything: a suspect's requests are kept apart from those of others, no more.

use std::collections::HashMap;
use std::time::Instant;

use crate::batch::Origin;
use crate::limits::{SUSPECT_TIME, SUSPECTS_MAX};

/// The suspects of one upstream.
#[derive(Clone, Debug, Default)]
pub struct Suspects {
    until: HashMap<Origin, Instant>,
    // When the last of them is suspected no more.
    over: Option<Instant>,
}

impl Suspects {
    /// What `origin` had sent was refused alone, at `now`. True if it was not suspected before.
    pub fn caught(&mut self, origin: Origin, now: Instant) -> bool {
        self.forget(now);
        if self.until.len() >= SUSPECTS_MAX
            && !self.until.contains_key(&origin)
            && let Some(oldest) =
                self.until.iter().min_by_key(|(_, until)| **until).map(|(origin, _)| *origin)
        {
            self.until.remove(&oldest);
        }
        let until = now + SUSPECT_TIME;
        self.over = self.over.max(Some(until));
        self.until.insert(origin, until).is_none()
    }

    /// Whether nobody is suspected any more at `now`.
    pub fn is_over(&self, now: Instant) -> bool {
        self.over.is_none_or(|over| over <= now)
    }

    /// Whether `origin` is suspected at `now`.
    pub fn contains(&self, origin: Origin, now: Instant) -> bool {
        self.until.get(&origin).is_some_and(|until| *until > now)
    }

    /// Forgets those whose time is over at `now`; how many are left.
    pub fn forget(&mut self, now: Instant) -> usize {
        self.until.retain(|_, until| *until > now);
        self.until.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicion_ends_and_is_bounded() {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary point to count from")]
        let now = Instant::now();
        let mut suspects = Suspects::default();
        assert!(suspects.caught(Origin(7), now) && !suspects.caught(Origin(7), now));
        assert!(suspects.contains(Origin(7), now) && !suspects.contains(Origin(8), now));
        assert!(!suspects.contains(Origin(7), now + SUSPECT_TIME));
        assert!(!suspects.is_over(now) && suspects.is_over(now + SUSPECT_TIME));
        assert_eq!(suspects.forget(now + SUSPECT_TIME), 0);
        for origin in 0..10_000 {
            suspects.caught(Origin(origin), now + SUSPECT_TIME / 20_000 * origin);
            assert!(suspects.contains(Origin(origin), now));
        }
        assert_eq!(suspects.forget(now), SUSPECTS_MAX);
        assert!(!suspects.contains(Origin(0), now) && suspects.contains(Origin(9_999), now));
    }
}
