//! Writes down what is settled: as a record between others while the log is at work, in the footer of a segment that is full or
//! finished. The newest table alone says all that is known.

use std::io;
use std::ops::Range;

use super::super::disk::{Disk, write_all};
use super::super::event::Event;
use super::super::record::{Head, Kind};
use super::super::settled::append_table;
use super::super::summary::footer;
use super::Log;
use crate::limits::SPILL_CHECKPOINT_INTERVAL;

impl<D: Disk> Log<D> {
    /// Whether something is settled in a segment other than `id` that has to stay known.
    pub(super) fn has_facts_beside(&self, id: Option<u64>) -> bool {
        let mut segments = self.segments.iter();
        segments.any(|(other, segment)| Some(*other) != id && segment.facts().is_some())
            || !self.elsewhere.is_empty()
    }

    /// Writes what is settled into the active segment, which is made if there is none.
    pub(super) fn checkpoint(&mut self, now: u64) -> io::Result<()> {
        self.tables.due_unix_ms = now.saturating_add(super::super::millis(SPILL_CHECKPOINT_INTERVAL));
        let mut payload = Vec::new();
        append_table(&mut payload, self.facts());
        if self.active_has_room_for(payload.len() as u64).is_some_and(|has_room| !has_room) {
            // The footer holds the same table.
            return self.finish_active(now);
        }
        self.open_active(now)?;
        self.append_table_record(Kind::Settled, &payload, now)
    }

    /// Ends the active segment with a footer. One that cannot be written makes it a poisoned one, which needs none.
    pub(super) fn finish_active(&mut self, now: u64) -> io::Result<()> {
        let Some(active) = &self.active else { return Ok(()) };
        let Some(segment) = self.segments.get(&active.id) else { return Ok(()) };
        let payload = footer(&segment.summary, self.facts()).ok_or_else(too_large)?;
        self.append_table_record(Kind::Footer, &payload, now)?;
        self.active = None;
        Ok(())
    }

    /// All that is known to be settled.
    fn facts(&self) -> impl Iterator<Item = (u64, &[Range<u32>])> {
        let here = self.segments.iter().filter_map(|(id, segment)| Some((*id, segment.facts()?)));
        here.chain(self.elsewhere.iter().map(|(id, ranges)| (*id, ranges.as_slice())))
    }

    fn append_table_record(&mut self, kind: Kind, payload: &[u8], now: u64) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let Some(segment) = self.segments.get_mut(&active.id) else { return Ok(()) };
        let head = Head::of_table(kind, payload, (active.next_sequence, now)).ok_or_else(too_large)?;
        let bytes = head.encode(segment.head.nonce, segment.end);
        let id = active.id;
        let written = write_all(&active.file, segment.end, &[&bytes, payload]);
        if let Err(error) = written.and_then(|()| self.sync_active()) {
            self.poison(0, &error);
            return Err(error);
        }
        self.grow_active(head.bytes(), 1);
        self.tables.newest = Some(id);
        self.tables.is_behind = false;
        self.events.push(Event::Written { records: 0, bytes: head.bytes(), sync_nanos: 0 });
        Ok(())
    }
}

fn too_large() -> io::Error {
    io::Error::other("the table of what is settled is larger than a record")
}
