//! Log lines about what others do wrong are limited: one per kind and interval, with the number left out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Instant;

use super::clock;
use crate::limits::LOG_INTERVAL;

/// The log lines of one core. Kinds are names in the code, so the map is bounded.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    kinds: RefCell<HashMap<(usize, &'static str), Limited>>,
}

/// When the last line of a kind was written, and how many were left out since.
#[derive(Debug)]
struct Limited {
    last: Instant,
    left_out: u64,
}

impl LogLimit {
    /// Whether a line of `kind` about the component number `about` may be written now; if so, how many were left out
    /// since the last one.
    pub(crate) fn allow(&self, about: usize, kind: &'static str) -> Option<u64> {
        self.allow_at(about, kind, clock::now())
    }

    fn allow_at(&self, about: usize, kind: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds.borrow_mut();
        let Some(limited) = kinds.get_mut(&(about, kind)) else {
            kinds.insert((about, kind), Limited { last: now, left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(limited.last) < LOG_INTERVAL {
            limited.left_out += 1;
            return None;
        }
        limited.last = now;
        Some(std::mem::take(&mut limited.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_kind_and_interval() {
        let (limit, now) = (LogLimit::default(), clock::now());
        assert_eq!(limit.allow_at(0, "malformed", now), Some(0));
        assert_eq!(limit.allow_at(0, "malformed", now), None);
        assert_eq!(limit.allow_at(0, "malformed", now), None);
        assert_eq!(limit.allow_at(0, "too_large", now), Some(0));
        assert_eq!(limit.allow_at(1, "malformed", now), Some(0));
        assert_eq!(limit.allow_at(0, "malformed", now + LOG_INTERVAL), Some(2));
    }
}
