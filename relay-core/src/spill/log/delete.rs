//! Deletes segments of which nothing is needed, and those that are given up. What a segment says of others is written again, and
//! synced, before it goes.

use std::io;

use super::super::disk::Disk;
use super::super::live::Live;
use super::Log;
use crate::batch::DropReason;

impl<D: Disk> Log<D> {
    /// The oldest segment for which `is` holds.
    pub(super) fn find(&self, is: impl Fn(&Live) -> bool) -> Option<u64> {
        self.segments.iter().find(|(_, segment)| !segment.is_gone && is(segment)).map(|(id, _)| *id)
    }

    /// A segment of which nothing is needed any more. One that was made for tables alone is needed for as long as there is something to
    /// say of others.
    pub(super) fn done(&self) -> Option<u64> {
        let active = self.active.as_ref().map(|active| active.id);
        self.find(|segment| {
            let is_for_tables = Some(segment.head.id) == active && segment.summary.records == 0;
            segment.is_done() && !(is_for_tables && self.has_facts_beside(active))
        })
    }

    /// Gives up what is on disk alone in segment `id`, all that there is in it.
    pub(super) fn give_up(&mut self, id: u64, reason: DropReason, now: u64) -> io::Result<()> {
        let Some(segment) = self.segments.get(&id) else { return Ok(()) };
        let (left, bytes) = (segment.left, segment.file_bytes);
        self.delete(id, now)?;
        self.lost(reason, left, bytes);
        Ok(())
    }

    /// Deletes segment `id`, whatever is in it.
    pub(super) fn delete(&mut self, id: u64, now: u64) -> io::Result<()> {
        self.active.take_if(|active| active.id == id);
        self.reading.take_if(|(reading, _)| *reading == id);
        let is_newest_table = self.tables.newest.is_none_or(|newest| newest == id);
        if is_newest_table && self.has_facts_beside(Some(id)) {
            self.say_again(id, now)?;
        }
        let Some(segment) = self.segments.get(&id) else { return Ok(()) };
        match self.disk.remove(&self.path_of(&segment.name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Before a newer table is without it: a file that came back with a loss of power would be sent again.
        self.sync_dir(&self.own_dir())?;
        self.segments.remove(&id);
        Ok(())
    }

    /// Writes what segment `id` says of others into another one. Where the disk is full, the deletion itself makes room: what is settled
    /// is written right after it, and sent twice if the process dies in between.
    fn say_again(&mut self, id: u64, now: u64) -> io::Result<()> {
        match self.checkpoint(now) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                self.tables.newest.take_if(|newest| *newest == id);
                self.tables.is_behind = true;
                self.tables.due_unix_ms = now;
                Ok(())
            }
            written => written,
        }
    }
}
