//! What a log does in the background, in pieces that let whoever waits to store have its turn: counts what dead processes have left,
//! gives up what is too old, deletes, writes down what is settled.

use std::io;

use super::super::disk::Disk;
use super::Log;
use crate::batch::DropReason;
use crate::limits::SPILL_IDLE;

impl<D: Disk> Log<D> {
    /// Does a bounded piece of what there is to do; whether there is more to do at once. While the log holds segments it is to be called
    /// about once a second, and after settling.
    pub fn work(&mut self, now: u64) -> bool {
        if self.is_closed {
            return false;
        }
        if self.has_uncounted() {
            return self.count(now);
        }
        // What fails holds up nothing but itself.
        let deleted = self.delete_one(now);
        if matches!(deleted, Ok(true)) {
            return true;
        }
        if let Err(error) = deleted {
            self.failed("delete a segment", &error);
        }
        if let Err(error) = self.write_down(now) {
            self.failed("write down what is settled", &error);
        }
        if let Err(error) = self.remove_own_dir() {
            self.failed("remove the directory of the log", &error);
        }
        false
    }

    /// Deletes a segment that is too old or not needed any more; whether there was one.
    fn delete_one(&mut self, now: u64) -> io::Result<bool> {
        if let Some(expired) = self.expired(now) {
            self.give_up(expired, DropReason::Expired, now)?;
            return Ok(true);
        }
        let Some(done) = self.done().filter(|done| self.is_idle(*done, now)) else { return Ok(false) };
        self.delete(done, now)?;
        Ok(true)
    }

    /// Writes what is settled, if anything was since it was written.
    fn write_down(&mut self, now: u64) -> io::Result<()> {
        // A clock that was set back must not keep what is settled from being written.
        let interval = super::super::millis(crate::limits::SPILL_CHECKPOINT_INTERVAL);
        let is_due = now >= self.tables.due_unix_ms || self.tables.due_unix_ms - now > interval;
        if is_due && self.tables.is_behind && self.has_facts_beside(None) {
            self.checkpoint(now)?;
        }
        Ok(())
    }

    /// A segment of which all is too old, and nothing in memory.
    fn expired(&self, now: u64) -> Option<u64> {
        self.find(|segment| {
            segment.is_unread()
                && segment.held.is_empty()
                && self.is_expired(segment.summary.newest_unix_ms, now)
        })
    }

    pub(super) fn is_expired(&self, unix_ms: u64, now: u64) -> bool {
        self.config.age_max.is_some_and(|age| now.saturating_sub(unix_ms) > super::super::millis(age))
    }

    /// Whether segment `id` is not being appended to, or was made for a table alone.
    fn is_idle(&self, id: u64, now: u64) -> bool {
        let has_data = self.segments.get(&id).is_some_and(|segment| segment.summary.records > 0);
        let active = self.active.as_ref().filter(|active| active.id == id && has_data);
        active.is_none_or(|active| {
            now < active.appended_unix_ms || now - active.appended_unix_ms >= super::super::millis(SPILL_IDLE)
        })
    }
}
