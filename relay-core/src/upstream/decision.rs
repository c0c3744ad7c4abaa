//! What to do with a batch after an attempt: settle it, wait, cut it, or give it up.

use std::time::Instant;

use super::{Outcome, Retry, RetryPolicy, Verdict};
use crate::batch::DropReason;
use crate::limits::{ISOLATION_CALLS_MAX, LEARNED_BYTES_MIN};

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Settle it as delivered, all but `rejected` items.
    Deliver {
        /// Items that the upstream counted as rejected.
        rejected: u64,
    },
    /// Send it again at this time. With `throttled`, the upstream asked everybody to wait until then.
    RetryAt {
        /// When.
        at: Instant,
        /// Whether the upstream asked for it.
        throttled: bool,
    },
    /// Cut it at a part border near its middle and send the halves: one of them is refused again, the other passes.
    Bisect,
    /// Cut it into messages of at most this many bytes and send those.
    SplitTo(usize),
    /// Give it up.
    Drop(DropReason),
}

/// Bounds the extra calls that isolating costs, per original batch.
#[derive(Clone, Copy, Debug)]
pub struct Isolation {
    calls_left: u32,
}

impl Default for Isolation {
    fn default() -> Self {
        Self { calls_left: ISOLATION_CALLS_MAX }
    }
}

impl Isolation {
    /// Decides about a batch of `bytes` in `parts` parts after `outcome` at `now`; `random` is uniform in 0..1.
    pub fn decide(
        &mut self,
        outcome: &Outcome,
        (bytes, parts): (usize, usize),
        retry: &mut Retry,
        policy: &RetryPolicy,
        now: Instant,
        random: f64,
    ) -> Decision {
        match outcome.verdict() {
            Verdict::Delivered { rejected } => Decision::Deliver { rejected },
            Verdict::Retry { throttle } => match retry.next(policy, now, throttle, random) {
                Some(at) => Decision::RetryAt { at, throttled: throttle.is_some() },
                None => Decision::Drop(DropReason::RetriesExhausted),
            },
            // Below the floor the words were meant for something else than the message, or for one span in it.
            Verdict::TooLarge if bytes > LEARNED_BYTES_MIN && self.spend() => {
                Decision::SplitTo((bytes / 2).max(LEARNED_BYTES_MIN))
            }
            Verdict::TooLarge if parts > 1 && self.spend() => Decision::Bisect,
            Verdict::TooLarge => Decision::Drop(DropReason::ItemTooLarge),
            Verdict::Poisoned if parts > 1 && self.spend() => Decision::Bisect,
            Verdict::Unimplemented => Decision::Drop(DropReason::Unimplemented),
            Verdict::Poisoned | Verdict::Refused => Decision::Drop(DropReason::Rejected),
        }
    }

    fn spend(&mut self) -> bool {
        let left = self.calls_left.checked_sub(2);
        self.calls_left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::{Code, Status};

    fn refused(code: Code, message: &'static str) -> Outcome {
        Outcome::Refused { status: Status::new(code, message), retry_delay: None }
    }

    fn decide(isolation: &mut Isolation, outcome: &Outcome, bytes: usize, parts: usize) -> Decision {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary point to count from")]
        let now = Instant::now();
        let policy = RetryPolicy::default();
        let mut retry = Retry::new(&policy, now);
        isolation.decide(outcome, (bytes, parts), &mut retry, &policy, now, 0.5)
    }

    #[test]
    fn one_part_is_dropped_many_are_bisected() {
        let isolation = &mut Isolation::default();
        let poison = refused(Code::INVALID_ARGUMENT, "bad span");
        assert_eq!(decide(isolation, &poison, 100, 2), Decision::Bisect);
        assert_eq!(decide(isolation, &poison, 100, 1), Decision::Drop(DropReason::Rejected));
        let foreign = refused(Code::UNIMPLEMENTED, "unknown service");
        assert_eq!(decide(isolation, &foreign, 100, 2), Decision::Drop(DropReason::Unimplemented));
        let auth = refused(Code::PERMISSION_DENIED, "no");
        assert_eq!(decide(isolation, &auth, 100, 2), Decision::Drop(DropReason::Rejected));
    }

    #[test]
    fn too_large_is_halved() {
        let large = refused(Code::RESOURCE_EXHAUSTED, "received message larger than max (9 vs. 4)");
        let decide = |bytes, parts| decide(&mut Isolation::default(), &large, bytes, parts);
        assert_eq!(decide(4 << 20, 1), Decision::SplitTo(2 << 20));
        assert_eq!(decide(LEARNED_BYTES_MIN + 1, 1), Decision::SplitTo(LEARNED_BYTES_MIN));
        assert_eq!(decide(LEARNED_BYTES_MIN, 2), Decision::Bisect);
        assert_eq!(decide(LEARNED_BYTES_MIN, 1), Decision::Drop(DropReason::ItemTooLarge));
    }

    /// An upstream that refuses everything costs a bounded number of calls.
    #[test]
    fn isolation_ends() {
        let isolation = &mut Isolation::default();
        let poison = refused(Code::INTERNAL, "cannot decode");
        let bisections =
            (0..10_000).take_while(|_| decide(isolation, &poison, 100, 9) == Decision::Bisect).count();
        assert_eq!(bisections, ISOLATION_CALLS_MAX as usize / 2);
    }
}
