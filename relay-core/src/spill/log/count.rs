//! Counts what dead processes have left: first every table of what is settled, of all segments that have no footer, because any may speak
//! of any other; then what is not settled. Only heads are read for it. What is damaged is told of when it is read.

use std::io;
use std::ops::Range;

use super::super::disk::Disk;
use super::super::event::Event;
use super::super::live::{Known, Live, Tally};
use super::super::record::{Head, Kind};
use super::super::scan::{Cursor, Scan, Step};
use super::super::settled::{SettledTable, read_table};
use super::super::summary::read_footer;
use super::Log;
use crate::batch::DropReason;
use crate::limits::SPILL_STEP_BYTES;

impl<D: Disk> Log<D> {
    /// Whether there is a segment of which not everything is known.
    pub(super) fn has_uncounted(&self) -> bool {
        self.segments.values().any(|segment| segment.known != Known::All)
    }

    /// Counts a bounded piece; whether more can be done at once.
    pub(super) fn count(&mut self, now: u64) -> bool {
        // The newest first: what it says of others is the most.
        let next = self.segments.iter().rev().find(|(_, segment)| segment.known == Known::Nothing);
        let next = next.or_else(|| self.segments.iter().find(|(_, segment)| segment.known == Known::Sums));
        let Some((&id, segment)) = next else { return false };
        if segment.known == Known::Sums && segment.settled.is_empty() {
            self.counted(id, None);
            return true;
        }
        if segment.is_resting(now) {
            return false;
        }
        let (name, nonce, end, cursor) =
            (segment.name.clone(), segment.head.nonce, segment.end, segment.cursor);
        let mut scan = Scan::new((nonce, end), cursor, SPILL_STEP_BYTES);
        let counted = match self.disk.open(&self.path_of(&name)) {
            Ok(file) => self.count_heads(id, &file, &mut scan),
            Err(error) => Err(error),
        };
        let Some(segment) = self.segments.get_mut(&id) else { return true };
        match counted {
            Ok(()) => {
                segment.could_be_read();
                segment.count_from(scan.cursor);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.segments.remove(&id);
                self.failed("count a segment", &error);
                true
            }
            Err(error) => {
                let cursor = segment.could_not_be_read(scan.cursor, now);
                segment.count_from(cursor);
                let rests = segment.is_resting(now);
                self.failed("count a segment", &error);
                !rests
            }
        }
    }

    /// Walks over heads until the budget is used up or the segment has ended.
    fn count_heads(&mut self, id: u64, file: &D::File, scan: &mut Scan) -> io::Result<()> {
        loop {
            let before = scan.cursor;
            let step = scan.next(file)?;
            let Some(segment) = self.segments.get_mut(&id) else { return Ok(()) };
            match step {
                Step::Head { head, .. } if head.kind == Kind::Data => segment.count_one(&head),
                Step::Head { offset, head } if segment.known == Known::Nothing => {
                    match scan.body(file, offset, &head) {
                        Ok(body) => self.merge_body(&head, &body),
                        Err(error) => {
                            scan.cursor = before;
                            return Err(error);
                        }
                    }
                }
                Step::Head { .. } | Step::Damaged { .. } => {}
                Step::Torn { offset, bytes } => {
                    segment.end = offset;
                    self.events.push(Event::Torn { segment: id, bytes });
                }
                Step::End => {
                    self.counted_to_end(id);
                    // The cursor of a segment that is counted is the one it is read from.
                    scan.cursor = Cursor::START;
                    return Ok(());
                }
                Step::Paused => return Ok(()),
            }
        }
    }

    fn merge_body(&mut self, head: &Head, body: &bytes::Bytes) {
        let table = match head.kind {
            _ if head.prove_sum(body).is_err() => None,
            Kind::Footer => read_footer(body).map(|(_, table)| table),
            _ => read_table(body),
        };
        match table {
            Some(table) => self.merge(table),
            None => {
                self.lost(DropReason::Corrupt, Tally { records: 1, ..Tally::default() }, head.bytes());
            }
        }
    }

    /// Takes over what a dead process knew to be settled. Of a segment that is known already this process knows better.
    pub(super) fn merge(&mut self, table: SettledTable) {
        for (id, ranges) in table {
            match self.segments.get_mut(&id) {
                Some(segment) if segment.known == Known::All => continue,
                Some(segment) => segment.learn(ranges),
                None if self.unadopted.is_empty() => continue,
                None => {
                    let elsewhere = self.elsewhere.entry(id).or_default();
                    ranges.into_iter().for_each(|range| elsewhere.insert(range));
                }
            }
            // What is known of it stands in several places until it is written once more.
            self.tables.newest = None;
        }
    }

    fn counted_to_end(&mut self, id: u64) {
        let Some(segment) = self.segments.get_mut(&id) else { return };
        if segment.known == Known::Nothing {
            segment.known = Known::Sums;
        } else {
            let left = segment.left;
            self.counted(id, Some(left));
        }
    }

    /// Everything is known of segment `id`; `left` is what is not settled, if that is not all.
    pub(super) fn counted(&mut self, id: u64, left: Option<Tally>) {
        let Some(segment) = self.segments.get_mut(&id) else { return };
        segment.left = left.unwrap_or_else(|| Tally::of_all(&segment.summary));
        segment.known = Known::All;
        segment.cursor = Cursor::START;
        let Tally { records, items, unopened } = segment.left;
        if records > 0 {
            self.events.push(Event::Recovered { records, items, unopened });
        }
    }
}

impl Live {
    /// A table says that `ranges` are settled. Counting begins anew: some of them may have been counted as not settled.
    fn learn(&mut self, ranges: Vec<Range<u32>>) {
        ranges.into_iter().for_each(|range| self.settled.insert(range));
        if self.known == Known::Sums {
            self.left = Tally::default();
            self.cursor = Cursor::START;
        }
    }

    fn count_one(&mut self, head: &Head) {
        match self.known {
            Known::Nothing => self.summary.add(head),
            _ if !self.settled.contains(head.sequence) => self.left.add(Tally::of(head)),
            _ => {}
        }
    }

    /// On from `cursor`, unless it is read already.
    fn count_from(&mut self, cursor: Cursor) {
        if self.known != Known::All {
            self.cursor = cursor;
        }
    }
}
