//! The books of one upstream on one core: enqueued = delivered + still held + dropped, by reason, in items. What is held may be on
//! disk alone; what was found there at the start came in too.
//!
//! Only a [`super::Batch`] and its builder write here, so the sum holds by construction: an item is entered when it
//! joins a batch and leaves when the batch is settled, also when the batch is dropped by a panic or a cancelled task.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why an item was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// Its task ended before an answer came: a panic, or the process ended without a drain.
    Aborted,
    /// Its copy on disk could not be read back as it was written, and memory had let go of it.
    Corrupt,
    /// The disk was full, and what was written first has made room (`when_full: drop_oldest`).
    Evicted,
    /// It was on disk for longer than it may be (`max_age`).
    Expired,
    /// A single item larger than the upstream's limit, with its resource and scope.
    ItemTooLarge,
    /// The upstream refused it for good together with others, and was not asked what it is: nothing that is tried there passes
    /// (a misconfigured upstream), or it does not pass often enough to pay for more calls.
    NotIsolated,
    /// The upstream counted it in `partial_success` (OTLP, "Partial Success": must not be retried).
    PartialSuccess,
    /// This upstream had no room for it, others of the same request had: its sender was told success, as by a full queue behind the
    /// Collector's batch processor.
    QueueFull,
    /// The upstream refused it for good (OTLP, "Failures": a non-retryable code), alone, after its neighbours were
    /// taken out of the way.
    Rejected,
    /// Retries went on for longer than `max_elapsed_time`, or are switched off.
    RetriesExhausted,
    /// The drain deadline passed before the upstream took it.
    ShutdownDeadline,
    /// The upstream has no service for the signal (UNIMPLEMENTED; 404): a matter of configuration.
    Unimplemented,
}

impl DropReason {
    /// Whether whoever sent it may send it again: it was not refused for good.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Aborted | Self::QueueFull | Self::RetriesExhausted | Self::ShutdownDeadline)
    }

    /// All reasons, in the order of their names.
    pub const ALL: [Self; 12] = [
        Self::Aborted,
        Self::Corrupt,
        Self::Evicted,
        Self::Expired,
        Self::ItemTooLarge,
        Self::NotIsolated,
        Self::PartialSuccess,
        Self::QueueFull,
        Self::Rejected,
        Self::RetriesExhausted,
        Self::ShutdownDeadline,
        Self::Unimplemented,
    ];

    /// The name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aborted => "aborted",
            Self::Corrupt => "corrupt",
            Self::Evicted => "evicted",
            Self::Expired => "expired",
            Self::NotIsolated => "not_isolated",
            Self::PartialSuccess => "partial_success",
            Self::QueueFull => "queue_full",
            Self::Rejected => "rejected",
            Self::RetriesExhausted => "retries_exhausted",
            Self::ShutdownDeadline => "shutdown_deadline",
            Self::ItemTooLarge => "item_too_large",
            Self::Unimplemented => "unimplemented",
        }
    }
}

/// Counters of one upstream on one core, in items.
// Aligned to two cache lines: cores write their own ledger and must not share a line.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Ledger {
    enqueued: AtomicU64,
    delivered: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    recovered: AtomicU64,
    // Handed to the disk alone, and taken back from it, here; an item may be taken back on another core.
    released: AtomicU64,
    taken: AtomicU64,
}

/// What a [`Ledger`] says at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LedgerCounts {
    /// Items that joined a batch.
    pub enqueued: u64,
    /// Items that the upstream accepted.
    pub delivered: u64,
    /// Items given up, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Items found on disk, where a process before had left them.
    pub recovered: u64,
    /// Of those held, items that only the disk holds. Meaningful in the sum over all cores: alone it may have wrapped.
    pub on_disk: u64,
}

impl Ledger {
    /// The counts at this moment. Read after the fact they add up; while batches move, `held` may lag.
    pub fn counts(&self) -> LedgerCounts {
        // Settled counts are read first, so that `held` is never negative.
        let dropped = std::array::from_fn(|at| self.dropped.get(at).map_or(0, |n| n.load(Ordering::Acquire)));
        let delivered = self.delivered.load(Ordering::Acquire);
        let out = self.taken.load(Ordering::Acquire);
        let on_disk = self.recovered.load(Ordering::Acquire) + self.released.load(Ordering::Acquire);
        LedgerCounts {
            recovered: self.recovered.load(Ordering::Acquire),
            enqueued: self.enqueued.load(Ordering::Acquire),
            delivered,
            dropped,
            on_disk: on_disk.wrapping_sub(out),
        }
    }

    /// Enters `items` that were accepted for others and found no room here.
    #[cfg(feature = "io")]
    pub(crate) fn miss(&self, items: u64) {
        self.enqueue(items);
        self.drop_items(DropReason::QueueFull, items);
    }

    /// Enters `items` that were found on disk.
    pub fn recover(&self, items: u64) {
        self.recovered.fetch_add(items, Ordering::Relaxed);
    }

    /// Enters that `items` which only the disk held are lost.
    pub fn drop_on_disk(&self, reason: DropReason, items: u64) {
        self.take_back(items);
        self.drop_items(reason, items);
    }

    /// Enters that only the disk holds `items` from now on.
    pub(super) fn release(&self, items: u64) {
        self.released.fetch_add(items, Ordering::Release);
    }

    /// Enters that `items` which only the disk held are in memory again.
    pub(super) fn take_back(&self, items: u64) {
        self.taken.fetch_add(items, Ordering::Release);
    }

    pub(super) fn enqueue(&self, items: u64) {
        self.enqueued.fetch_add(items, Ordering::Relaxed);
    }

    pub(super) fn deliver(&self, items: u64) {
        // Release: whoever sees the delivery also sees the entry that came before it.
        self.delivered.fetch_add(items, Ordering::Release);
    }

    pub(super) fn drop_items(&self, reason: DropReason, items: u64) {
        if let Some(count) = self.dropped.get(reason as usize) {
            count.fetch_add(items, Ordering::Release);
        }
    }
}

impl LedgerCounts {
    /// Items given up for `reason`.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// Items given up, for any reason.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Items that are neither delivered nor given up yet, in memory or on disk.
    pub fn held(&self) -> u64 {
        let came = self.enqueued + self.recovered;
        came.saturating_sub(self.delivered).saturating_sub(self.dropped_total())
    }
}

impl std::ops::AddAssign for LedgerCounts {
    fn add_assign(&mut self, other: Self) {
        self.enqueued += other.enqueued;
        self.delivered += other.delivered;
        self.recovered += other.recovered;
        self.on_disk = self.on_disk.wrapping_add(other.on_disk);
        for (sum, more) in self.dropped.iter_mut().zip(other.dropped) {
            *sum += more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_their_own_counter() {
        for (at, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, at, "{}", reason.name());
        }
    }

    #[test]
    fn the_books_add_up() {
        let ledger = Ledger::default();
        ledger.enqueue(10);
        ledger.deliver(4);
        ledger.drop_items(DropReason::Rejected, 1);
        let counts = ledger.counts();
        assert_eq!(
            (counts.held(), counts.dropped_total(), counts.dropped_for(DropReason::Rejected)),
            (5, 1, 1)
        );
        let mut sum = counts;
        sum += counts;
        assert_eq!(sum.held(), 10);
    }
}
