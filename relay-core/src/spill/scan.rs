//! Walks over the records of a segment, a bounded piece at a time; what is damaged is stepped over to the next sound head. It gives
//! slices of what it has read, and never copies or believes a length that it has not proven.

use std::io;
use std::ops::Range;

use bytes::Bytes;

use super::disk::{DiskFile, read_ahead};
use super::record::{HEAD_BYTES, Head, MARKER};
use super::segment::HEADER_BYTES;
use crate::limits::{SPILL_READ_AHEAD_BYTES, SPILL_READ_BYTES};

/// How far a segment has been walked over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The next byte to be looked at.
    pub(super) at: u64,
    /// The sequence of the next record.
    pub(super) sequence: u32,
    // Where the damage begins that `at` is being moved past.
    damaged_from: Option<u64>,
}

impl Cursor {
    /// Before the first record.
    pub(super) const START: Self = Self { at: HEADER_BYTES as u64, sequence: 0, damaged_from: None };

    /// Before the record `sequence`, whose head is at byte `at`.
    pub(super) fn at(at: u64, sequence: u32) -> Self {
        Self { at, sequence, damaged_from: None }
    }

    /// Over `bytes` that cannot be read; what follows them is looked for.
    pub(super) fn skip(&mut self, bytes: u64, end: u64) {
        self.damaged_from.get_or_insert(self.at);
        self.at = self.at.saturating_add(bytes).min(end);
    }

    /// Past `head`, which the cursor is at.
    fn past(self, head: &Head) -> Self {
        Self::at(self.at.saturating_add(head.bytes()), head.sequence.saturating_add(1))
    }
}

/// What a step has come to.
#[derive(Debug)]
pub(super) enum Step {
    /// A sound head at `offset`, the body of which is inside the segment.
    Head { offset: u64, head: Head },
    /// No record for `bytes` from `offset` on, then a sound head, which the next step gives; the records `missing` were there.
    Damaged { offset: u64, bytes: u64, missing: Range<u32> },
    /// No record from `offset` to the end.
    Torn { offset: u64, bytes: u64 },
    /// The end.
    End,
    /// As much was looked at as may be at once.
    Paused,
}

/// A walk over the records of a segment; each step is given its file.
#[derive(Debug)]
pub(super) struct Scan {
    nonce: u32,
    // Where the segment ends for this walk.
    end: u64,
    pub(super) cursor: Cursor,
    // What was read last, and where it begins.
    window: (u64, Bytes),
    // Bytes that may still be read from the file.
    pub(super) budget: u64,
}

impl Scan {
    /// Over the segment with `nonce` from `cursor` to `end`, reading up to `budget` bytes and what is begun then.
    pub(super) fn new((nonce, end): (u32, u64), cursor: Cursor, budget: u64) -> Self {
        Self { nonce, end, cursor, window: (0, Bytes::new()), budget }
    }

    /// To the next head, and past it: its body is for [`Scan::body`], or is never read.
    pub(super) fn next(&mut self, file: &impl DiskFile) -> io::Result<Step> {
        if self.cursor.damaged_from.is_some() {
            return self.resync(file);
        }
        if self.cursor.at >= self.end {
            return Ok(Step::End);
        }
        if self.is_spent() {
            return Ok(Step::Paused);
        }
        let offset = self.cursor.at;
        match self.head_at(file, offset)? {
            Some(head) if head.sequence == self.cursor.sequence => {
                if head.bytes() > self.end - offset {
                    // The lengths are proven: the rest was never written, or is cut off.
                    self.cursor.at = self.end;
                    return Ok(Step::Torn { offset, bytes: self.end - offset });
                }
                self.cursor = self.cursor.past(&head);
                Ok(Step::Head { offset, head })
            }
            _ => {
                self.cursor.damaged_from = Some(offset);
                self.resync(file)
            }
        }
    }

    /// The parts and payload behind `head` at `offset`; shorter if the file is.
    pub(super) fn body(&mut self, file: &impl DiskFile, offset: u64, head: &Head) -> io::Result<Bytes> {
        let len = usize::try_from(head.body_bytes()).map_err(io::Error::other)?;
        self.bytes_at(file, offset + HEAD_BYTES as u64, len)
    }

    fn is_spent(&self) -> bool {
        self.budget == 0
    }

    /// On to the next sound head with a sequence that is still to come. A record of the past may stand there as well, by a block that
    /// was written to the wrong place.
    fn resync(&mut self, file: &impl DiskFile) -> io::Result<Step> {
        let from = self.cursor.damaged_from.unwrap_or(self.cursor.at);
        while self.cursor.at < self.end {
            if self.is_spent() {
                return Ok(Step::Paused);
            }
            let window = self.bytes_at(file, self.cursor.at, MARKER.len())?;
            if window.len() < MARKER.len() {
                break;
            }
            let Some(distance) = self.marker_in_window() else {
                // The last bytes may be the beginning of one.
                let (start, bytes) = &self.window;
                self.cursor.at =
                    (start + bytes.len() as u64 + 1 - MARKER.len() as u64).max(self.cursor.at + 1);
                continue;
            };
            let at = self.cursor.at + distance;
            self.cursor.at = at;
            let head = self.head_at(file, at)?.filter(|head| {
                // Each record that is missing has taken a head at the least.
                let room = (at - from) / HEAD_BYTES as u64;
                let skipped = head.sequence.checked_sub(self.cursor.sequence);
                skipped.is_some_and(|skipped| u64::from(skipped) <= room) && head.bytes() <= self.end - at
            });
            if let Some(head) = head {
                let missing = self.cursor.sequence..head.sequence;
                self.cursor = Cursor::at(at, head.sequence);
                return Ok(Step::Damaged { offset: from, bytes: at - from, missing });
            }
            self.cursor.at += 1;
        }
        self.cursor = Cursor::at(self.end, self.cursor.sequence);
        Ok(Step::Torn { offset: from, bytes: self.end.saturating_sub(from) })
    }

    /// How far the next marker is from the cursor, if it is in what was read.
    fn marker_in_window(&self) -> Option<u64> {
        let (start, bytes) = &self.window;
        let skip = usize::try_from(self.cursor.at.checked_sub(*start)?).ok()?;
        let rest = bytes.get(skip..)?;
        let found = rest.windows(MARKER.len()).position(|bytes| bytes == MARKER)?;
        Some(found as u64)
    }

    fn head_at(&mut self, file: &impl DiskFile, at: u64) -> io::Result<Option<Head>> {
        let bytes = self.bytes_at(file, at, HEAD_BYTES)?;
        Ok(Head::decode(&bytes, self.nonce, at))
    }

    /// `len` bytes from `at` on, out of what was read, or of what is read for them; fewer at the end.
    fn bytes_at(&mut self, file: &impl DiskFile, at: u64, len: usize) -> io::Result<Bytes> {
        let left = self.end.saturating_sub(at);
        let wanted = usize::try_from(left).map_or(len, |left| len.min(left));
        let (start, window) = &self.window;
        let inside = at.checked_sub(*start).and_then(|skip| usize::try_from(skip).ok());
        if let Some(from) = inside.filter(|from| from.saturating_add(wanted) <= window.len()) {
            return Ok(window.slice(from..from + wanted));
        }
        let len = SPILL_READ_BYTES.max(wanted.saturating_add(SPILL_READ_AHEAD_BYTES));
        let len = usize::try_from(left).map_or(len, |left| len.min(left));
        let window = read_ahead(file, at, wanted, len)?;
        self.budget = self.budget.saturating_sub(window.len().max(1) as u64);
        self.window = (at, window.clone());
        Ok(window.slice(..wanted.min(window.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::Kind;
    use super::*;

    const NONCE: u32 = 0x1234_5678;

    /// A segment of records with these sequences and payloads.
    fn segment(records: &[(u32, Vec<u8>)]) -> Vec<u8> {
        let mut file = vec![0; HEADER_BYTES];
        for (sequence, payload) in records {
            let head = Head::of_table(Kind::Settled, payload, (*sequence, 0)).unwrap();
            let offset = file.len() as u64;
            file.extend(head.encode(NONCE, offset));
            file.extend(payload);
        }
        file
    }

    /// All steps in words, reading `budget` bytes at a time.
    fn walk(file: &impl DiskFile, budget: u64) -> Vec<String> {
        let (mut cursor, mut steps) = (Cursor::START, Vec::new());
        for _ in 0..100_000 {
            let mut scan = Scan::new((NONCE, file.bytes().unwrap()), cursor, budget);
            loop {
                let step = scan.next(file).unwrap();
                cursor = scan.cursor;
                match step {
                    Step::Head { offset, head } => steps.push(format!("{} at {offset}", head.sequence)),
                    Step::Damaged { offset, bytes, missing } => {
                        steps.push(format!("{bytes} damaged at {offset}, {missing:?}"));
                    }
                    Step::Torn { offset, bytes } => steps.push(format!("{bytes} torn at {offset}")),
                    Step::End => return steps,
                    Step::Paused => break,
                }
            }
        }
        panic!("{steps:?}");
    }

    #[test]
    fn damage_is_stepped_over_to_the_next_head_that_is_to_come() {
        let records: Vec<(u32, Vec<u8>)> = (0..4).map(|sequence| (sequence, vec![0x11; 44])).collect();
        let all = ["0 at 40", "1 at 140", "2 at 240", "3 at 340"];
        assert_eq!(walk(&segment(&records), u64::MAX), all);
        // One byte of the head of the second.
        let mut file = segment(&records);
        file[150] ^= 1;
        let damaged = ["0 at 40", "100 damaged at 140, 1..2", "2 at 240", "3 at 340"];
        assert_eq!(walk(&file, u64::MAX), damaged);
        assert_eq!(walk(&file, 1), damaged, "in pieces");
        // A block of the past stands where another should, or one that is to come.
        for from in [40, 340] {
            let mut file = segment(&records);
            file.copy_within(from..from + 100, 240);
            assert_eq!(
                walk(&file, u64::MAX),
                ["0 at 40", "1 at 140", "100 damaged at 240, 2..3", "3 at 340"]
            );
        }
        // One that is missing has left no place: nobody has written that.
        let file = segment(&[records[0].clone(), records[2].clone()]);
        assert_eq!(walk(&file, u64::MAX), ["0 at 40", "100 torn at 140"]);
    }

    #[test]
    fn the_end_is_cut_wherever_it_is() {
        let records: Vec<(u32, Vec<u8>)> = (0..2).map(|sequence| (sequence, vec![0x11; 44])).collect();
        let file = segment(&records);
        for cut in 41..file.len() {
            let steps = walk(&file[..cut].to_vec(), u64::MAX);
            let expected = match cut {
                ..140 => vec![format!("{} torn at 40", cut - 40)],
                140 => vec!["0 at 40".to_owned()],
                _ => vec!["0 at 40".to_owned(), format!("{} torn at 140", cut - 140)],
            };
            assert_eq!(steps, expected, "{cut}");
        }
        let zeros = [&file[..], &[0; 500]].concat();
        assert_eq!(walk(&zeros, u64::MAX)[2..], ["500 torn at 240"]);
    }

    #[test]
    fn markers_in_payloads_are_no_heads_and_cost_little() {
        // A sender knows the format, and not the nonce.
        let forged = Head::of_table(Kind::Settled, &[], (1, 0)).unwrap().encode(NONCE ^ 1, 40);
        let payload = forged.repeat(1 << 14);
        let mut file = segment(&[(0, payload.clone()), (1, b"x".to_vec())]);
        file[50] ^= 1;
        let bytes = payload.len() + HEAD_BYTES;
        let expected = [format!("{bytes} damaged at 40, 0..1"), format!("1 at {}", 40 + bytes)];
        assert_eq!(walk(&file, u64::MAX), expected);
        assert_eq!(walk(&file, 1), expected, "in pieces");
    }

    #[test]
    fn heads_and_bodies_across_what_is_read_at_once_are_whole() {
        let payload = vec![0x22; SPILL_READ_BYTES - 100];
        let records: Vec<(u32, Vec<u8>)> = (0..5).map(|sequence| (sequence, payload.clone())).collect();
        let file = segment(&records);
        let mut scan = Scan::new((NONCE, file.len() as u64), Cursor::START, u64::MAX);
        for _ in 0..5 {
            let Step::Head { offset, head } = scan.next(&file).unwrap() else { panic!() };
            assert_eq!(scan.body(&file, offset, &head).unwrap(), payload);
        }
        assert!(matches!(scan.next(&file).unwrap(), Step::End));
    }
}
