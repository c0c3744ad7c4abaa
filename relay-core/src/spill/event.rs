//! What a log is told and what it tells: its bounds, its counts, its errors, and the events that the books and the log lines need.
//! Counts of events are never lost; of what only makes a log line, what is more than a bound is left out.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::batch::DropReason;
use crate::limits::{
    SPILL_BYTES_MAX, SPILL_EVENTS_MAX, SPILL_FREE_BYTES_MIN, SPILL_SEGMENT_BYTES, SPILL_SEGMENT_BYTES_MAX,
    SPILL_SEGMENT_BYTES_MIN, SPILL_SEGMENTS_MIN,
};

/// The bounds of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Whether what is appended is synced before it counts as stored. Without that it survives the end of the process, not of the
    /// machine.
    pub fsync: bool,
    /// Bytes of all segments. What is settled is written down also beyond it.
    pub bytes_max: u64,
    /// How long a record may be on disk, by the arrival of its oldest request.
    pub age_max: Option<Duration>,
    /// What happens when the bound is reached.
    pub when_full: WhenFull,
    /// Bytes that the file system has free at least after an append.
    pub free_bytes_min: u64,
    /// Bytes from which on a segment takes no more.
    pub segment_bytes_max: u64,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            fsync: true,
            bytes_max: SPILL_BYTES_MAX,
            age_max: None,
            when_full: WhenFull::Refuse,
            free_bytes_min: SPILL_FREE_BYTES_MIN,
            segment_bytes_max: SPILL_SEGMENT_BYTES,
        }
    }
}

impl LogConfig {
    /// The length at which a segment is full: whole segments are deleted, so a small log has smaller ones.
    pub(super) fn segment_bytes(&self) -> u64 {
        let share = (self.bytes_max / SPILL_SEGMENTS_MIN).max(SPILL_SEGMENT_BYTES_MIN);
        self.segment_bytes_max.min(share).min(SPILL_SEGMENT_BYTES_MAX)
    }
}

/// What happens when the log has reached its bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Nothing more is stored until there is room.
    #[default]
    Refuse,
    /// The oldest segment makes room; what was in it counts as dropped.
    DropOldest,
}

/// Why nothing of an append was stored.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log has reached its bound, and what is in it may not be dropped for new records.
    #[error("the log is full")]
    Full,
    /// The file system is full, or would have less free than is to be left to others.
    #[error("no space on the file system: {0}")]
    NoSpace(#[source] io::Error),
    /// The file system failed in another way.
    #[error("cannot write to the log: {0}")]
    Io(#[source] io::Error),
    /// A record is larger than the format or the log's bound takes, or its parts do not add up to it.
    #[error("a record that no segment takes")]
    TooLarge,
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace(error),
            _ => Self::Io(error),
        }
    }
}

/// What an adoption has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adoption {
    /// Segments that are this log's now.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Directories that are worth another look: of processes that live, and of dead ones that could not be taken over for now
    /// ([`Event::Failed`] says why).
    pub still_locked: usize,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Bytes of the segments' files.
    pub bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Segments that a dead process has left and of which it is not known yet what is not settled: not in the counts below.
    pub uncounted_segments: u64,
    /// Records that are not settled.
    pub records: u64,
    /// Their items, those of requests that were never opened left out.
    pub items: u64,
    /// Requests in them that were never opened.
    pub unopened: u64,
    /// The oldest arrival of a request in a segment in which anything is not settled, in milliseconds since 1970.
    pub oldest_unix_ms: Option<u64>,
}

/// What has happened in a log. Requests that were never opened are counted in `unopened`, all others in `items`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Found on disk, of a process that ended.
    Recovered {
        /// Records that are not settled.
        records: u64,
        /// Their items.
        items: u64,
        /// Their requests that were never opened.
        unopened: u64,
    },
    /// Given up. Its items were recovered or released before; where nobody knows what was in damaged bytes, they are 0.
    Lost {
        /// `Corrupt`, `Evicted` or `Expired`.
        reason: DropReason,
        /// Records, as far as that is known.
        records: u64,
        /// Their items.
        items: u64,
        /// Their requests that were never opened.
        unopened: u64,
        /// Bytes of them, or of the damage.
        bytes: u64,
    },
    /// A write or sync failed: nothing more is appended to the segment, and it is not synced again.
    Poisoned {
        /// Its number.
        segment: u64,
        /// What the file system said.
        error: String,
    },
    /// A segment of a dead process ends in what is no record: what it was writing when it ended.
    Torn {
        /// Its number.
        segment: u64,
        /// How many bytes.
        bytes: u64,
    },
    /// Records were stored.
    Written {
        /// How many.
        records: u64,
        /// Bytes that were written for them.
        bytes: u64,
        /// How long the sync took, in nanoseconds; 0 where nobody has measured.
        sync_nanos: u64,
    },
    /// A file that another program must read, or a person look at: it was not touched.
    LeftAlone {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Something failed that is tried again.
    Failed {
        /// What.
        what: &'static str,
        /// What the file system said.
        error: String,
    },
}

/// Events that wait to be taken.
#[derive(Debug, Default)]
pub(super) struct Events(Vec<Event>);

impl Events {
    pub(super) fn take(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.0)
    }

    /// Adds to an event of the same kind where only the sum matters, so that no count is ever lost.
    pub(super) fn push(&mut self, new: Event) {
        let added = self.0.iter_mut().rev().any(|old| add(old, &new));
        if !added && self.0.len() < SPILL_EVENTS_MAX {
            self.0.push(new);
        }
    }
}

fn add(old: &mut Event, new: &Event) -> bool {
    match (old, new) {
        (
            Event::Recovered { records, items, unopened },
            Event::Recovered { records: more, items: more_items, unopened: more_unopened },
        ) => {
            *records += more;
            *items += more_items;
            *unopened += more_unopened;
            true
        }
        (
            Event::Lost { reason, records, items, unopened, bytes },
            Event::Lost {
                reason: same,
                records: more,
                items: more_items,
                unopened: more_unopened,
                bytes: more_bytes,
            },
        ) if reason == same => {
            *records += more;
            *items += more_items;
            *unopened += more_unopened;
            *bytes += more_bytes;
            true
        }
        (
            Event::Written { records, bytes, sync_nanos },
            Event::Written { records: more, bytes: more_bytes, sync_nanos: more_nanos },
        ) => {
            *records += more;
            *bytes += more_bytes;
            *sync_nanos += more_nanos;
            true
        }
        _ => false,
    }
}
