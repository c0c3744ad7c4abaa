//! What to do with a batch after an attempt: settle it, wait, cut it, or give it up.

use std::time::Instant;

use super::{Outcome, Retry, RetryPolicy, Verdict};
use crate::batch::DropReason;
use crate::grpc::PREFIX_BYTES;
use crate::limits::{INSIDE_REFUSALS_MAX, LEARNED_BYTES_MIN};

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
    /// Cut it into messages of at most this many bytes and send those: the upstream takes no larger ones.
    SplitTo(usize),
    /// Cut it into halves and send those: it is too large, but no limit is to be learned from it.
    Halve,
    /// Cut it into halves and send those when it is isolation's turn: one of them is refused again, the other passes.
    Isolate,
    /// Give it up.
    Drop(DropReason),
}

/// What was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Bytes of the message before compression.
    pub bytes: usize,
    /// Requests in it.
    pub parts: usize,
    /// Items in it.
    pub items: u64,
    /// Whether it may be cut inside a request; not if that was never opened.
    pub is_open: bool,
    /// Pieces of the same request that were refused in a row before it; 0 for what was not cut out of a request.
    pub inside: u32,
}

impl Sent {
    fn can_be_cut(&self) -> bool {
        self.parts > 1 || self.is_open && self.items > 1
    }
}

/// Decides about what was `sent` after `outcome`, at a time `now`; `random` is uniform in 0..1. `spend` takes so many calls out of
/// what isolating may cost, or says that there are no more ([`super::IsolationBudget`]); it is told whether they are for looking into
/// a single request.
pub fn decide(
    outcome: &Outcome,
    sent: Sent,
    (retry, policy): (&mut Retry, &RetryPolicy),
    (now, random): (Instant, f64),
    spend: impl Fn(u32, bool) -> bool,
) -> Decision {
    match outcome.verdict_by(&policy.table, sent.bytes) {
        Verdict::Delivered { rejected } => Decision::Deliver { rejected },
        Verdict::Retry { throttle } => match retry.next(policy, now, throttle, random) {
            Some(at) => Decision::RetryAt { at, throttled: throttle.is_some() },
            None => Decision::Drop(DropReason::RetriesExhausted),
        },
        Verdict::TooLarge if !sent.can_be_cut() => Decision::Drop(DropReason::ItemTooLarge),
        Verdict::TooLarge if spend(2, false) => smaller(outcome, sent.bytes),
        Verdict::TooLarge => Decision::Drop(DropReason::NotIsolated),
        Verdict::Unimplemented => Decision::Drop(DropReason::Unimplemented),
        Verdict::Refused => Decision::Drop(DropReason::Rejected),
        Verdict::Poisoned if !sent.can_be_cut() => Decision::Drop(DropReason::Rejected),
        // All of it is refused: what stands around the items is to blame, or the upstream takes nothing from anybody.
        Verdict::Poisoned if sent.inside >= INSIDE_REFUSALS_MAX => Decision::Drop(DropReason::NotIsolated),
        // What comes from another relay is itself merged, and one malformed span of a thousand is no reason to lose the others.
        Verdict::Poisoned if spend(2, sent.parts < 2) => Decision::Isolate,
        Verdict::Poisoned => Decision::Drop(DropReason::NotIsolated),
    }
}

/// How to cut what is too large: to the limit that was named, else to halves.
fn smaller(outcome: &Outcome, bytes: usize) -> Decision {
    // Some servers count the prefix of the message.
    let named = outcome.size_limit().map(|limit| limit.saturating_sub(PREFIX_BYTES));
    match named.filter(|limit| *limit < bytes) {
        Some(limit) if limit >= LEARNED_BYTES_MIN => Decision::SplitTo(limit),
        // Nothing is learned below the floor: the words were meant for something else, or for one span.
        Some(_) => Decision::Halve,
        None if bytes > LEARNED_BYTES_MIN => Decision::SplitTo((bytes / 2).max(LEARNED_BYTES_MIN)),
        None => Decision::Halve,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::{Code, Status};

    fn refused(code: Code, message: &'static str) -> Outcome {
        Outcome::Refused { status: Status::new(code, message), retry_delay: None }
    }

    const SENT: Sent = Sent { bytes: 100, parts: 1, items: 1, is_open: true, inside: 0 };

    fn decided(outcome: &Outcome, sent: Sent, pays: bool) -> Decision {
        #[expect(clippy::disallowed_methods, reason = "an arbitrary point to count from")]
        let now = Instant::now();
        let policy = RetryPolicy::default();
        let mut retry = Retry::new(&policy, now);
        decide(outcome, sent, (&mut retry, &policy), (now, 0.5), |_, _| pays)
    }

    #[test]
    fn poison_is_isolated_while_it_pays() {
        let poison = refused(Code::INVALID_ARGUMENT, "bad span");
        let two = Sent { parts: 2, items: 2, ..SENT };
        assert_eq!(decided(&poison, two, true), Decision::Isolate);
        assert_eq!(decided(&poison, two, false), Decision::Drop(DropReason::NotIsolated));
        assert_eq!(decided(&poison, SENT, true), Decision::Drop(DropReason::Rejected));
        let one = Sent { items: 1000, ..SENT };
        assert_eq!(decided(&poison, one, true), Decision::Isolate, "it is cut inside");
        for (not_inside, pays, reason) in [
            (one, false, DropReason::NotIsolated),
            (Sent { inside: INSIDE_REFUSALS_MAX, ..one }, true, DropReason::NotIsolated),
            (Sent { inside: INSIDE_REFUSALS_MAX, items: 1, ..one }, true, DropReason::Rejected),
            (Sent { is_open: false, ..one }, true, DropReason::Rejected),
        ] {
            assert_eq!(decided(&poison, not_inside, pays), Decision::Drop(reason), "{not_inside:?}");
        }
        let foreign = refused(Code::UNIMPLEMENTED, "unknown service");
        assert_eq!(decided(&foreign, two, true), Decision::Drop(DropReason::Unimplemented));
        assert_eq!(
            decided(&refused(Code::PERMISSION_DENIED, "no"), two, true),
            Decision::Drop(DropReason::Rejected)
        );
    }

    #[test]
    fn too_large_is_cut_to_what_was_named_or_to_halves() {
        let large = refused(Code::RESOURCE_EXHAUSTED, "message too large");
        let named =
            refused(Code::RESOURCE_EXHAUSTED, "received message larger than max (9000000 vs. 1048576)");
        let sent = |bytes, parts, items| Sent { bytes, parts, items, ..SENT };
        let cases = [
            (&large, sent(4 << 20, 1, 9), Decision::SplitTo(2 << 20)),
            (&large, sent(LEARNED_BYTES_MIN + 1, 1, 9), Decision::SplitTo(LEARNED_BYTES_MIN)),
            (&large, sent(LEARNED_BYTES_MIN, 1, 9), Decision::Halve),
            (&large, sent(4 << 20, 1, 1), Decision::Drop(DropReason::ItemTooLarge)),
            (&named, sent(9_000_000, 1, 9), Decision::SplitTo((1 << 20) - 5)),
            (&named, sent(1 << 20, 2, 2), Decision::SplitTo((1 << 20) - 5)),
            (&named, sent(1 << 19, 2, 2), Decision::SplitTo(1 << 18)),
        ];
        for (outcome, sent, expected) in cases {
            assert_eq!(decided(outcome, sent, true), expected, "{sent:?}");
        }
        assert_eq!(decided(&large, sent(4 << 20, 1, 9), false), Decision::Drop(DropReason::NotIsolated));
        let tiny = refused(Code::RESOURCE_EXHAUSTED, "larger than max (9000 vs. 1000)");
        assert_eq!(decided(&tiny, sent(9000, 2, 2), true), Decision::Halve, "no such limit is learned");
    }
}
