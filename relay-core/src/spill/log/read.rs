//! Reads what nobody has in memory, the oldest first. What is read is proven; what is damaged is given up, counted, and stepped over.

use std::io;

use bytes::Bytes;

use super::super::disk::Disk;
use super::super::live::{Live, Tally};
use super::super::record::{Head, Kind, Record};
use super::super::scan::{Scan, Step};
use super::Log;
use crate::batch::DropReason;
use crate::limits::SPILL_STEP_BYTES;

/// Where reading one segment has come to.
enum Reached {
    /// Its end.
    End,
    /// As many bytes as were asked for, or as may be looked at in one call.
    Enough,
}

/// What is read in one call.
struct Taken {
    records: Vec<Record>,
    bytes: usize,
    bytes_max: usize,
    // Bytes of the disk that may still be looked at.
    budget: u64,
}

impl<D: Disk> Log<D> {
    /// The oldest records that nobody has in memory, `bytes_max` of payload together at the most, but at least one. They count as in
    /// memory from now on, until they are settled or released. A call looks at a bounded piece of the disk: an empty list means that it
    /// has found none there, and that the next call looks further. `None`: there is nothing to read now.
    ///
    /// # Errors
    /// What the file system says. The segment rests for [`SPILL_READ_RETRY`](crate::limits::SPILL_READ_RETRY); the next call goes on with
    /// others.
    pub fn read(&mut self, bytes_max: usize, now: u64) -> io::Result<Option<Vec<Record>>> {
        if self.is_closed {
            return Ok(None);
        }
        if self.has_uncounted() {
            // What is settled of a segment may stand in another one.
            return Ok(self.count(now).then(Vec::new));
        }
        let mut taken = Taken { records: Vec::new(), bytes: 0, bytes_max, budget: SPILL_STEP_BYTES };
        while let Some(id) = self.find(|segment| segment.is_unread() && !segment.is_resting(now)) {
            let reached = match self.open_to_read(id) {
                Ok(()) => self.read_segment(id, &mut taken, now),
                Err(error) => Err(error),
            };
            match reached {
                Ok(Reached::End) => self.read_to_end(id),
                Ok(Reached::Enough) => return Ok(Some(taken.records)),
                Err(error) => {
                    let rests = self.could_not_read(id, &error, now);
                    // What was read before is given first; what was given up is stepped over by the next call.
                    let is_told = rests && taken.records.is_empty();
                    return if is_told { Err(error) } else { Ok(Some(taken.records)) };
                }
            }
        }
        Ok(Some(taken.records).filter(|records| !records.is_empty()))
    }

    fn open_to_read(&mut self, id: u64) -> io::Result<()> {
        let is_open = self.reading.as_ref().is_some_and(|(reading, _)| *reading == id);
        if !is_open {
            let Some(segment) = self.segments.get(&id) else { return Ok(()) };
            self.reading = Some((id, self.disk.open(&self.path_of(&segment.name))?));
        }
        Ok(())
    }

    fn read_segment(&mut self, id: u64, taken: &mut Taken, now: u64) -> io::Result<Reached> {
        // Out of its place while it is read, so that the books can be written.
        let Some((_, file)) = self.reading.take() else { return Ok(Reached::End) };
        let reached = self.read_records(id, &file, taken, now);
        self.reading = Some((id, file));
        reached
    }

    fn read_records(&mut self, id: u64, file: &D::File, taken: &mut Taken, now: u64) -> io::Result<Reached> {
        let Some(segment) = self.segments.get(&id) else { return Ok(Reached::End) };
        let mut scan = Scan::new((segment.head.nonce, segment.end), segment.cursor, taken.budget);
        loop {
            let before = scan.cursor;
            let step = scan.next(file);
            taken.budget = scan.budget;
            let Some(segment) = self.segments.get_mut(&id) else { return Ok(Reached::End) };
            segment.cursor = scan.cursor;
            match step? {
                Step::Head { offset, head } if is_wanted(segment, &head) => {
                    if taken.is_full(&head) {
                        segment.cursor = before;
                        return Ok(Reached::Enough);
                    }
                    if self.is_expired(head.unix_ms, now) {
                        self.give_up_one(id, &head, DropReason::Expired);
                    } else {
                        let body = scan.body(file, offset, &head);
                        taken.budget = scan.budget;
                        self.read_one(id, (offset, &head), body, taken).inspect_err(|_| {
                            if let Some(segment) = self.segments.get_mut(&id) {
                                segment.cursor = before;
                            }
                        })?;
                    }
                }
                Step::Head { .. } => {}
                Step::Damaged { offset, bytes, missing } => segment.damaged(offset, bytes, missing),
                Step::Torn { offset, bytes } => segment.damaged(offset, bytes, 0..0),
                Step::End => return Ok(Reached::End),
                Step::Paused => return Ok(Reached::Enough),
            }
        }
    }

    /// Gives the record to whoever reads, or gives it up if it is damaged or was not to be read for too long.
    fn read_one(
        &mut self,
        id: u64,
        (offset, head): (u64, &Head),
        body: io::Result<Bytes>,
        taken: &mut Taken,
    ) -> io::Result<()> {
        let Some(segment) = self.segments.get_mut(&id) else { return Ok(()) };
        let record = match body {
            Ok(body) => head.prove_sum(&body).and_then(|()| head.record(id, &body)).ok(),
            Err(_) if segment.gives_up() => None,
            Err(error) => return Err(error),
        };
        segment.could_be_read();
        match record {
            Some(record) => {
                segment.hold(head, offset);
                taken.push(record);
            }
            None => self.give_up_one(id, head, DropReason::Corrupt),
        }
        Ok(())
    }

    fn give_up_one(&mut self, id: u64, head: &Head, reason: DropReason) {
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.lose(head);
        self.tables.is_behind = true;
        self.lost(reason, Tally::of(head), head.bytes());
    }

    /// All of a segment was walked over: what is neither settled nor held was in what is damaged.
    fn read_to_end(&mut self, id: u64) {
        let Some(segment) = self.segments.get_mut(&id) else { return };
        let mut lost = segment.on_disk();
        segment.left = segment.left.without(lost);
        lost.records = lost.records.max(std::mem::take(&mut segment.damage.records));
        let bytes = std::mem::take(&mut segment.damage.bytes);
        self.reading = None;
        self.lost(DropReason::Corrupt, lost, bytes);
    }

    /// Whether the segment rests now.
    fn could_not_read(&mut self, id: u64, error: &io::Error, now: u64) -> bool {
        self.reading = None;
        self.failed("read a segment", error);
        let Some(segment) = self.segments.get_mut(&id) else { return false };
        if error.kind() == io::ErrorKind::NotFound {
            let (lost, bytes) = (segment.vanish(), segment.end);
            // What it said of others is to be said again.
            self.tables.is_behind |= self.tables.newest.take_if(|newest| *newest == id).is_some();
            self.lost(DropReason::Corrupt, lost, bytes);
            self.forget_if_gone(id);
        } else {
            segment.cursor = segment.could_not_be_read(segment.cursor, now);
        }
        self.segments.get(&id).is_some_and(|segment| segment.is_resting(now))
    }
}

/// Whether nobody has it in memory, and it is to be sent.
fn is_wanted(segment: &Live, head: &Head) -> bool {
    head.kind == Kind::Data
        && !segment.held.contains_key(&head.sequence)
        && !segment.settled.contains(head.sequence)
}

impl Taken {
    fn is_full(&self, head: &Head) -> bool {
        !self.records.is_empty() && self.bytes.saturating_add(head.payload_bytes as usize) > self.bytes_max
    }

    fn push(&mut self, record: Record) {
        self.bytes += record.payload.len();
        self.records.push(record);
    }
}
