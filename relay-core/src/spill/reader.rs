//! Reads one segment from front to back for people and tests: what is in it, sound or not. It never fails on bad bytes.

use std::io;

use super::disk::DiskFile;
use super::names::segment_of_name;
use super::record::{Corruption, Head, Kind, Record};
use super::scan::{Cursor, Scan, Step};
use super::segment::{SegmentError, SegmentHead};
use super::settled::{SettledTable, read_table};
use super::summary::{Summary, find_footer, read_footer};

/// What stands in a segment, in order; `offset` is where it begins.
#[derive(Clone, Debug)]
pub enum Found {
    /// A batch.
    Record {
        /// Its first byte.
        offset: u64,
        /// The batch.
        record: Record,
    },
    /// What was settled when it was written, in this segment and in others.
    Settled {
        /// Its first byte.
        offset: u64,
        /// What was settled.
        table: SettledTable,
    },
    /// The end of a segment that was finished.
    Footer {
        /// Its first byte.
        offset: u64,
        /// What the segment holds.
        summary: Summary,
        /// What was settled.
        table: SettledTable,
    },
    /// Bytes that are no sound record, and sound ones or the end after them.
    Corrupt {
        /// The first of them.
        offset: u64,
        /// How many.
        bytes: u64,
        /// The items that were in there, where a sound head says so.
        items: Option<u64>,
        /// What is wrong.
        why: Corruption,
    },
    /// No record from here to the end: what was being written when its process ended.
    Torn {
        /// The first byte.
        offset: u64,
        /// How many.
        bytes: u64,
    },
}

/// Reads a segment from front to back.
#[derive(Debug)]
pub struct SegmentReader<F> {
    file: F,
    head: SegmentHead,
    scan: Scan,
}

impl<F: DiskFile> SegmentReader<F> {
    /// Reads the header. The segment ends where the file ends now; what is appended later is not seen.
    ///
    /// # Errors
    /// [`SegmentError`]: it is no segment, of a newer version, its header is damaged, or it cannot be read.
    pub fn open(file: F) -> Result<Self, SegmentError> {
        let head = SegmentHead::read(&file)?;
        Self::new(file, head)
    }

    /// As [`SegmentReader::open`]; where the header is damaged, the name of the file says the same, and is believed, as recovery does. The
    /// second value is what was wrong with the header.
    ///
    /// # Errors
    /// [`SegmentError`], if the name is no segment's either, or the header is sound and of a newer version.
    pub fn open_named(file: F, name: &str) -> Result<(Self, Option<SegmentError>), SegmentError> {
        let (head, damage) = read_head(&file, name)?;
        Ok((Self::new(file, head)?, damage))
    }

    fn new(file: F, head: SegmentHead) -> Result<Self, SegmentError> {
        let scan = Scan::new((head.nonce, file.bytes()?), Cursor::START, u64::MAX);
        Ok(Self { file, head, scan })
    }

    /// What the header says.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }

    /// The footer that the segment ends with, found without reading what is before it; `None` of a segment that was
    /// not finished, or has lost its end.
    ///
    /// # Errors
    /// What the file system says.
    pub fn footer(&self) -> io::Result<Option<(Summary, SettledTable)>> {
        find_footer(&self.file, &self.head, self.file.bytes()?)
    }

    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// What the file system says.
    #[expect(
        clippy::should_implement_trait,
        reason = "after an error the same place is tried again, so it may have no end"
    )]
    pub fn next(&mut self) -> io::Result<Option<Found>> {
        loop {
            let found = match self.scan.next(&self.file)? {
                Step::Head { offset, head } => self.found(offset, &head)?,
                Step::Damaged { offset, bytes, .. } => {
                    Found::Corrupt { offset, bytes, items: None, why: Corruption::Head }
                }
                Step::Torn { offset, bytes } => Found::Torn { offset, bytes },
                Step::End => return Ok(None),
                // It reads as much as it likes.
                Step::Paused => continue,
            };
            return Ok(Some(found));
        }
    }

    fn found(&mut self, offset: u64, head: &Head) -> io::Result<Found> {
        let body = self.scan.body(&self.file, offset, head)?;
        let items = (head.kind == Kind::Data).then_some(head.items);
        let corrupt = |why| Found::Corrupt { offset, bytes: head.bytes(), items, why };
        if let Err(why) = head.prove_sum(&body) {
            return Ok(corrupt(why));
        }
        Ok(match head.kind {
            Kind::Data => match head.record(self.head.id, &body) {
                Ok(record) => Found::Record { offset, record },
                Err(why) => corrupt(why),
            },
            Kind::Settled => match read_table(&body) {
                Some(table) => Found::Settled { offset, table },
                None => corrupt(Corruption::Table),
            },
            Kind::Footer => match read_footer(&body) {
                Some((summary, table)) => Found::Footer { offset, summary, table },
                None => corrupt(Corruption::Table),
            },
        })
    }
}

/// The header of `file`, or what its name says of it, and then what was wrong with the header.
pub(super) fn read_head(
    file: &impl DiskFile,
    name: &str,
) -> Result<(SegmentHead, Option<SegmentError>), SegmentError> {
    match (SegmentHead::read(file), segment_of_name(name)) {
        (Ok(head), _) => Ok((head, None)),
        (Err(damage @ (SegmentError::NotASegment | SegmentError::Header)), Some(head)) => {
            Ok((head, Some(damage)))
        }
        (Err(error), _) => Err(error),
    }
}
