//! What the log has done, as books, counters and log lines. Must never decide, and never touch a file.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::spool::Shared;
use super::sync_times::SyncTimes;
use crate::batch::DropReason;
use crate::io::log_limit::LogLimit;
use crate::spill::{Adoption, Event, LogCounts, NewRecord, Record};
use crate::stats::SpillStats;

/// The writing of one log, on its thread.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) shared: Arc<Shared>,
    syncs: Arc<SyncTimes>,
    /// Shown as it is at the end of each turn.
    pub(super) stats: SpillStats,
    pub(super) log: LogLimit,
    /// Stores that failed since the disk last took one.
    pub(super) failed: u64,
}

impl Books {
    pub(super) fn new(shared: &Arc<Shared>, syncs: Arc<SyncTimes>) -> Self {
        let stats = shared.stats().clone();
        Self { shared: Arc::clone(shared), syncs, stats, log: LogLimit::default(), failed: 0 }
    }

    /// Shows what has been counted.
    pub(super) fn publish(&mut self, counts: &LogCounts) {
        let (stats, syncs) = (&mut self.stats, self.syncs.snapshot());
        stats.bytes = counts.bytes;
        stats.segments = counts.segments;
        stats.records = counts.records;
        stats.items = counts.items;
        stats.unopened = counts.unopened;
        stats.oldest_unix_ms = counts.oldest_unix_ms;
        stats.syncs = syncs.count;
        stats.sync_nanos = syncs.nanos;
        stats.sync_buckets = syncs.classes;
        self.shared.stats().clone_from(stats);
    }

    pub(super) fn stored(&mut self, records: &[NewRecord]) {
        self.stats.stored_records += records.len() as u64;
        self.stats.stored_items += records.iter().map(|record| record.items).sum::<u64>();
    }

    pub(super) fn replayed(&mut self, records: &[Record]) {
        self.stats.replayed_records += records.len() as u64;
        self.stats.replayed_items += records.iter().map(|record| record.items).sum::<u64>();
    }

    pub(super) fn not_stored(&mut self, records: usize) {
        self.stats.stores_failed += records as u64;
        self.failed += records as u64;
    }

    /// Enters what the log tells.
    pub(super) fn take(&mut self, events: Vec<Event>) {
        events.into_iter().for_each(|event| self.enter(event));
    }

    fn enter(&mut self, event: Event) {
        let [of_items, of_unopened] = &self.shared.ledgers;
        match event {
            Event::Recovered { records, items, unopened } => {
                of_items.recover(items);
                of_unopened.recover(unopened);
                self.stats.recovered_items += items + unopened;
                self.say_recovered(records, items, unopened);
            }
            Event::Lost { reason, records, items, unopened, bytes } => {
                of_items.drop_on_disk(reason, items);
                of_unopened.drop_on_disk(reason, unopened);
                match reason {
                    DropReason::Evicted => self.stats.evicted_items += items + unopened,
                    DropReason::Expired => self.stats.expired_items += items + unopened,
                    _ => {
                        self.stats.corrupt_records += records;
                        self.stats.corrupt_bytes += bytes;
                    }
                }
                self.say_lost(reason, (records, bytes), (items, unopened));
            }
            Event::Poisoned { segment, error } => {
                self.stats.poisoned_segments += 1;
                self.say_poisoned(segment, &error);
            }
            Event::Torn { segment, bytes } => {
                self.stats.torn_tails += 1;
                self.say_torn(segment, bytes);
            }
            Event::Written { bytes, .. } => self.stats.written_bytes += bytes,
            Event::LeftAlone { path, why } => self.say_left_alone(&path, &why),
            Event::Failed { what, error } => self.say_failed(what, &error),
        }
    }

    pub(super) fn adopted(&mut self, adoption: &Adoption) {
        self.stats.adopted_segments += adoption.segments as u64;
        self.say_adopted(adoption);
    }

    /// The disk has failed.
    pub(super) fn fault(&mut self, error: String, pause: Duration) {
        self.say_fault(&error, pause);
        self.stats.fault = Some(error);
    }

    /// The disk takes again what it is given.
    pub(super) fn fault_ended(&mut self) {
        self.stats.fault = None;
        let failed = std::mem::take(&mut self.failed);
        self.say_fault_ended(failed);
    }

    /// The log is closed: what is shown from now on is what it has left for who opens it next.
    pub(super) fn closed(&mut self, closed: io::Result<()>, counts: &LogCounts) {
        if let Err(error) = closed {
            self.say_failed("close the log", &error.to_string());
        }
        self.publish(counts);
    }
}
