//! What is on disk of one upstream, and what the disk has done; and its sum over relays that follow each other.

/// Bounds of the classes of [`SpillStats::sync_buckets`], in microseconds.
pub const SYNC_BOUNDS_MICROS: [u64; 10] =
    [250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 1_000_000];

/// The disk behind one upstream. Records are batches as they were stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpillStats {
    /// Bytes of its files.
    pub bytes: u64,
    /// The bound on them.
    pub bytes_max: u64,
    /// Files.
    pub segments: u64,
    /// Records that are not settled.
    pub records: u64,
    /// Items in them.
    pub items: u64,
    /// Requests in them that were never opened.
    pub unopened: u64,
    /// When the oldest of them came, in milliseconds since 1970; `None` where there is none.
    pub oldest_unix_ms: Option<u64>,
    /// Records written.
    pub stored_records: u64,
    /// Items written (of unopened requests, requests).
    pub stored_items: u64,
    /// Bytes written, with all that is written beside records.
    pub written_bytes: u64,
    /// Records read back to be sent.
    pub replayed_records: u64,
    /// Items in them.
    pub replayed_items: u64,
    /// Items found on disk that another process had left.
    pub recovered_items: u64,
    /// Records that could not be read back.
    pub corrupt_records: u64,
    /// Bytes of them.
    pub corrupt_bytes: u64,
    /// Items that were on disk for too long.
    pub expired_items: u64,
    /// Items that have made room.
    pub evicted_items: u64,
    /// Files whose end was cut off.
    pub torn_tails: u64,
    /// Files that are not written to any more because a write or a sync has failed.
    pub poisoned_segments: u64,
    /// Batches that could not be stored, and stayed in memory.
    pub stores_failed: u64,
    /// Syncs.
    pub syncs: u64,
    /// Time of all of them, in nanoseconds.
    pub sync_nanos: u64,
    /// Syncs that took at most so long, for each of [`SYNC_BOUNDS_MICROS`], and those that took longer; each in one class.
    pub sync_buckets: [u64; SYNC_BOUNDS_MICROS.len() + 1],
    /// Why nothing is stored now.
    pub fault: Option<String>,
    /// Files taken over from processes that have ended.
    pub adopted_segments: u64,
}

impl SpillStats {
    /// What both have done. What the first says of the bound and of a fault counts: it is the newer one.
    #[must_use]
    pub fn sum(first: Option<Self>, second: Option<&Self>) -> Option<Self> {
        let (Some(mut sum), Some(second)) = (first.clone(), second) else {
            return first.or_else(|| second.cloned());
        };
        let Self {
            bytes,
            bytes_max: _,
            segments,
            records,
            items,
            unopened,
            oldest_unix_ms,
            stored_records,
            stored_items,
            written_bytes,
            replayed_records,
            replayed_items,
            recovered_items,
            corrupt_records,
            corrupt_bytes,
            expired_items,
            evicted_items,
            torn_tails,
            poisoned_segments,
            stores_failed,
            syncs,
            sync_nanos,
            sync_buckets,
            fault,
            adopted_segments,
        } = second;
        sum.bytes += bytes;
        sum.segments += segments;
        sum.records += records;
        sum.items += items;
        sum.unopened += unopened;
        sum.oldest_unix_ms = [sum.oldest_unix_ms, *oldest_unix_ms].into_iter().flatten().min();
        sum.stored_records += stored_records;
        sum.stored_items += stored_items;
        sum.written_bytes += written_bytes;
        sum.replayed_records += replayed_records;
        sum.replayed_items += replayed_items;
        sum.recovered_items += recovered_items;
        sum.corrupt_records += corrupt_records;
        sum.corrupt_bytes += corrupt_bytes;
        sum.expired_items += expired_items;
        sum.evicted_items += evicted_items;
        sum.torn_tails += torn_tails;
        sum.poisoned_segments += poisoned_segments;
        sum.stores_failed += stores_failed;
        sum.syncs += syncs;
        sum.sync_nanos += sync_nanos;
        for (sum, more) in sum.sync_buckets.iter_mut().zip(sync_buckets) {
            *sum += more;
        }
        sum.fault = sum.fault.or_else(|| fault.clone());
        sum.adopted_segments += adopted_segments;
        Some(sum)
    }
}
