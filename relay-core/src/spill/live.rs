//! What the log knows of one of its segments: sums, what is settled, and which of its records somebody has in memory. Of a record that
//! nobody has in memory nothing is kept, so a backlog takes none.

use std::collections::BTreeMap;
use std::ops::Range;

use super::record::Head;
use super::scan::Cursor;
use super::segment::SegmentHead;
use super::settled::Ranges;
use super::summary::Summary;
use crate::limits::{SPILL_READ_BYTES, SPILL_READ_FAILURES_MAX, SPILL_READ_RETRY, SPILL_UNREADABLE_BYTES};

/// Records with what is in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) items: u64,
    pub(super) unopened: u64,
}

impl Tally {
    pub(super) fn of(head: &Head) -> Self {
        let (items, unopened) = if head.encoding.is_some() { (0, head.items) } else { (head.items, 0) };
        Self { records: 1, items, unopened }
    }

    pub(super) fn of_all(summary: &Summary) -> Self {
        Self { records: summary.records.into(), items: summary.items, unopened: summary.unopened }
    }

    pub(super) fn add(&mut self, more: Self) {
        self.records = self.records.saturating_add(more.records);
        self.items = self.items.saturating_add(more.items);
        self.unopened = self.unopened.saturating_add(more.unopened);
    }

    #[must_use]
    pub(super) fn without(self, less: Self) -> Self {
        Self {
            records: self.records.saturating_sub(less.records),
            items: self.items.saturating_sub(less.items),
            unopened: self.unopened.saturating_sub(less.unopened),
        }
    }
}

/// A record that somebody has in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    /// Where its head is.
    pub(super) offset: u64,
    pub(super) tally: Tally,
}

/// How much is known of what is in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// Its process died before it wrote a footer: its tables are still to be found.
    Nothing,
    /// All that it says of what is settled, and what it holds; not yet what of that is not settled.
    Sums,
    /// Everything.
    All,
}

/// Damage that was walked over and is told of when the end of the segment is reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Damage {
    pub(super) bytes: u64,
    pub(super) records: u64,
    // Damage before this byte has been counted: a walk may come by again.
    counted_to: u64,
}

/// One segment of the log.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) head: SegmentHead,
    pub(super) name: String,
    /// Where what is valid ends: synced, if the log syncs.
    pub(super) end: u64,
    /// Length of the file: more than `end` after a failed write or where a tail is torn.
    pub(super) file_bytes: u64,
    pub(super) known: Known,
    /// All its records of data.
    pub(super) summary: Summary,
    /// Those that are not settled.
    pub(super) left: Tally,
    pub(super) settled: Ranges,
    pub(super) held: BTreeMap<u32, Held>,
    /// Before it everything is settled or held.
    pub(super) cursor: Cursor,
    pub(super) damage: Damage,
    /// Its file has vanished: it is kept for what is held, which has no copy any more.
    pub(super) is_gone: bool,
    failures: u32,
    // A place was given up because it could not be read: the next one is not waited for.
    is_bad: bool,
    skip_bytes: u64,
    rests_until: u64,
}

impl Live {
    pub(super) fn new(head: SegmentHead, name: String, bytes: u64, known: Known) -> Self {
        Self {
            head,
            name,
            end: bytes,
            file_bytes: bytes,
            known,
            summary: Summary::default(),
            left: Tally::default(),
            settled: Ranges::default(),
            held: BTreeMap::new(),
            cursor: Cursor::START,
            damage: Damage::default(),
            is_gone: false,
            failures: 0,
            is_bad: false,
            skip_bytes: SPILL_UNREADABLE_BYTES,
            rests_until: 0,
        }
    }

    /// Whether there is a record that is not settled and that nobody has in memory.
    pub(super) fn is_unread(&self) -> bool {
        !self.is_gone && self.known == Known::All && self.left.records > self.held.len() as u64
    }

    /// Whether nothing in it is needed any more.
    pub(super) fn is_done(&self) -> bool {
        self.known == Known::All && self.left.records == 0 && self.held.is_empty()
    }

    /// What is on disk alone.
    pub(super) fn on_disk(&self) -> Tally {
        self.held.values().fold(self.left, |left, held| left.without(held.tally))
    }

    /// What is settled of it, if that has to be written down.
    pub(super) fn facts(&self) -> Option<&[Range<u32>]> {
        (!self.is_gone && !self.settled.is_empty()).then(|| self.settled.as_slice())
    }

    /// A new record that its maker has in memory.
    pub(super) fn add(&mut self, head: &Head, offset: u64) {
        let tally = Tally::of(head);
        self.summary.add(head);
        self.left.add(tally);
        self.held.insert(head.sequence, Held { offset, tally });
    }

    /// A record was read that somebody has in memory from now on.
    pub(super) fn hold(&mut self, head: &Head, offset: u64) {
        self.held.insert(head.sequence, Held { offset, tally: Tally::of(head) });
    }

    /// A record that is on disk alone is given up.
    pub(super) fn lose(&mut self, head: &Head) {
        self.left = self.left.without(Tally::of(head));
        self.settled.insert(head.sequence..head.sequence.saturating_add(1));
    }

    /// Memory is done with a record for good. Whether it was there.
    pub(super) fn settle(&mut self, sequence: u32) -> bool {
        let Some(held) = self.held.remove(&sequence) else { return false };
        self.left = self.left.without(held.tally);
        self.settled.insert(sequence..sequence.saturating_add(1));
        true
    }

    /// Memory has let go of a record, which is to be read again; what was in it.
    pub(super) fn release(&mut self, sequence: u32) -> Option<Tally> {
        let held = self.held.remove(&sequence)?;
        if held.offset < self.cursor.at {
            self.cursor = Cursor::at(held.offset, sequence);
        }
        Some(held.tally)
    }

    /// Counts damage, once wherever it is, in which the records `missing` were.
    pub(super) fn damaged(&mut self, offset: u64, bytes: u64, missing: Range<u32>) {
        if offset >= self.damage.counted_to {
            self.damage.bytes += bytes;
            self.damage.records +=
                missing.filter(|sequence| !self.settled.contains(*sequence)).count() as u64;
            self.damage.counted_to = offset.saturating_add(bytes).saturating_add(1);
        }
    }

    /// Whether what cannot be read now is given up: it was tried often enough, or was worth no wait at another place.
    pub(super) fn gives_up(&mut self) -> bool {
        self.is_bad |= self.failures + 1 >= SPILL_READ_FAILURES_MAX;
        self.is_bad
    }

    /// Nothing of it can be read any more: what was on disk alone, which is lost.
    pub(super) fn vanish(&mut self) -> Tally {
        let lost = self.on_disk();
        self.left = self.left.without(lost);
        self.is_gone = true;
        self.file_bytes = 0;
        self.known = Known::All;
        lost
    }

    /// Whether it may be read at `now`.
    pub(super) fn is_resting(&self, now: u64) -> bool {
        // A clock that was set back must not make it rest for longer.
        now < self.rests_until && self.rests_until - now <= super::millis(SPILL_READ_RETRY)
    }

    pub(super) fn could_be_read(&mut self) {
        self.failures = 0;
        self.skip_bytes = SPILL_UNREADABLE_BYTES;
    }

    /// It could not be read at `cursor`: it rests. When that was tried often enough, what is there is damage, and the cursor is moved past
    /// a page, then past more and more.
    pub(super) fn could_not_be_read(&mut self, mut cursor: Cursor, now: u64) -> Cursor {
        if self.gives_up() {
            cursor.skip(self.skip_bytes, self.end);
            self.skip_bytes = (self.skip_bytes * 2).min(SPILL_READ_BYTES as u64);
        } else {
            self.failures += 1;
            self.rests_until = now.saturating_add(super::millis(SPILL_READ_RETRY));
        }
        cursor
    }
}
