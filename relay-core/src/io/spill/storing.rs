//! Group commit: all stores that wait are written together and synced once. Must never keep a store waiting for others to come.

use std::time::Instant;

use super::custody::{NotStored, Reply};
use super::worker::Worker;
use crate::batch::Rope;
use crate::limits::{SPILL_GROUP_BYTES_MAX, SPILL_GROUP_RECORDS_MAX};
use crate::spill::{AppendError, Disk, NewRecord};

/// Stores that are written together.
#[derive(Debug, Default)]
struct Group {
    records: Vec<NewRecord>,
    replies: Vec<Reply>,
    bytes: usize,
}

impl Group {
    fn has_room(&self, bytes: usize) -> bool {
        self.records.is_empty()
            || (self.records.len() < SPILL_GROUP_RECORDS_MAX
                && self.bytes.saturating_add(bytes) <= SPILL_GROUP_BYTES_MAX)
    }

    fn halves(mut self) -> [Self; 2] {
        let half = self.records.len() / 2;
        let records = self.records.split_off(half);
        let replies = self.replies.split_off(half);
        // Its bytes are not asked for any more: it is full.
        [self, Self { records, replies, bytes: 0 }]
    }

    fn refuse(self, why: NotStored) {
        drop(self.records);
        self.replies.into_iter().for_each(|reply| reply.not_stored(why));
    }
}

impl<D: Disk> Worker<D> {
    /// Stores what waits, as much as goes into one group.
    pub(super) fn store_group(&mut self, now: Instant, unix_ms: u64) {
        self.try_disk(now, unix_ms);
        let mut group = Group::default();
        while let Some(store) = self.stores.front() {
            if !group.has_room(store.record.payload.len()) {
                break;
            }
            let Some(store) = self.stores.pop_front() else { break };
            // Delivered meanwhile: not a byte is written for it.
            if store.reply.is_closed() {
                continue;
            }
            group.bytes += store.record.payload.len();
            group.records.push(store.record);
            group.replies.push(store.reply);
        }
        // A group that does not fit is halved until what fits has been found: at most one append for each of its records, and one for
        // each cut.
        let mut groups = vec![group];
        while let Some(group) = groups.pop() {
            if group.records.is_empty() {
                continue;
            }
            if self.store_fault.is_failing() {
                self.books.not_stored(group.records.len());
                group.refuse(NotStored::Fault);
                continue;
            }
            match self.log.append(&group.records, unix_ms) {
                Ok(ids) => {
                    self.held += ids.len();
                    self.has_changed = true;
                    self.books.stored(&group.records);
                    // Before anybody is told: who lets go of its batch then says that there is room, and there must be.
                    drop(group.records);
                    group.replies.into_iter().zip(ids).for_each(|(reply, id)| reply.stored(id));
                }
                Err(AppendError::Full | AppendError::TooLarge) if group.records.len() > 1 => {
                    let [first, second] = group.halves();
                    groups.extend([second, first]);
                }
                Err(error) => self.not_stored(group, &error, now),
            }
        }
    }

    /// Tries a disk that has failed when it is time, with a record of nothing: so it is known that it works again before anybody's batch has
    /// to wait for it, and also where there is nothing to store any more.
    fn try_disk(&mut self, now: Instant, unix_ms: u64) {
        if !self.store_fault.is_failing() || !self.store_fault.is_over(now) {
            return;
        }
        let nothing = NewRecord {
            signal: self.shared.name.signal,
            encoding: None,
            items: 0,
            unix_ms,
            parts: Vec::new(),
            payload: Rope::new(Vec::new()),
        };
        match self.log.append(&[nothing], unix_ms) {
            Ok(ids) => {
                ids.into_iter().for_each(|id| self.log.settle(id));
                self.has_changed = true;
            }
            // A matter of the bound, not of the disk.
            Err(AppendError::Full | AppendError::TooLarge) => {}
            Err(error) => return self.failed(&error, now),
        }
        self.store_fault.worked();
        self.books.fault_ended();
    }

    fn failed(&mut self, error: &AppendError, now: Instant) {
        let pause = self.store_fault.failed(now);
        self.books.fault(error.to_string(), pause);
    }

    fn not_stored(&mut self, group: Group, error: &AppendError, now: Instant) {
        self.books.not_stored(group.records.len());
        let why = match error {
            AppendError::Full => {
                let bytes = self.log.counts().bytes;
                self.full_at = Some(bytes);
                self.books.say_full(bytes);
                NotStored::Full
            }
            AppendError::TooLarge => {
                self.books.say_too_large(group.records.first().map_or(0, |record| record.payload.len()));
                NotStored::TooLarge
            }
            AppendError::NoSpace(_) | AppendError::Io(_) => {
                self.failed(error, now);
                NotStored::Fault
            }
        };
        group.refuse(why);
    }
}
