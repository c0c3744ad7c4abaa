//! The log of one upstream: the segments of this process, and those that dead ones have left. Its files are the truth; what is in
//! memory can be made again from them, but for which records somebody has in memory. It decides nothing about upstreams.
//!
//! What is settled is written into the log itself, as a table of all living segments; a segment is deleted when nothing in it is needed
//! any more, also not its table.

mod adopt;
mod append;
mod close;
mod count;
mod delete;
mod owner;
mod read;
mod table;
mod work;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::disk::Disk;
use super::event::{Event, Events, LogConfig, LogCounts};
use super::live::{Known, Live, Tally};
use super::record::RecordId;
use super::settled::Ranges;
use crate::batch::DropReason;

/// The log of one upstream.
#[derive(Debug)]
pub struct Log<D: Disk> {
    disk: D,
    dir: PathBuf,
    owner: String,
    config: LogConfig,
    // Held while there is a directory of this process.
    lock: Option<D::Lock>,
    // Its name survives a loss of power.
    is_dir_synced: bool,
    // By number, which is by age.
    segments: BTreeMap<u64, Live>,
    active: Option<Active<D::File>>,
    // The segment that was read last, open.
    reading: Option<(u64, D::File)>,
    tables: Tables,
    free: FreeCheck,
    events: Events,
    // Directories of dead processes that could not be taken over as a whole: nobody else is to have the rest.
    unadopted: BTreeMap<PathBuf, Unadopted<D::Lock>>,
    // What is settled in segments that are not here yet, for that reason.
    elsewhere: BTreeMap<u64, Ranges>,
    // Files that were told of as left alone.
    left_alone: BTreeSet<PathBuf>,
    created: u32,
    // Segments that were poisoned, and directories that have vanished.
    failures: u64,
    newest_unix_ms: u64,
    is_closed: bool,
}

/// The segment that is appended to.
#[derive(Debug)]
struct Active<F> {
    id: u64,
    file: F,
    next_sequence: u32,
    // Its name in the directory is not synced yet.
    is_new: bool,
    // When data was appended, or it was made.
    appended_unix_ms: u64,
}

/// A directory that is being taken over.
#[derive(Debug)]
struct Unadopted<L> {
    lock: Option<L>,
    failures: u32,
}

/// Where what is settled is written down.
#[derive(Debug, Default)]
struct Tables {
    // The segment whose table says all that was known when it was written; none after an adoption, when it takes several.
    newest: Option<u64>,
    // Something was settled since.
    is_behind: bool,
    due_unix_ms: u64,
}

/// When the free space was asked for.
#[derive(Debug, Default)]
struct FreeCheck {
    unix_ms: Option<u64>,
    written: u64,
}

impl<D: Disk> Log<D> {
    /// The log in `dir` (DIRECTORY / LOG), of which this process owns the directory `owner`
    /// ([`owner_name`](super::owner_name)). Touches nothing.
    pub fn new(disk: D, dir: PathBuf, owner: String, config: LogConfig) -> Self {
        Self {
            disk,
            dir,
            owner,
            config,
            lock: None,
            is_dir_synced: false,
            segments: BTreeMap::new(),
            active: None,
            reading: None,
            tables: Tables::default(),
            free: FreeCheck::default(),
            events: Events::default(),
            unadopted: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            left_alone: BTreeSet::new(),
            created: 0,
            failures: 0,
            newest_unix_ms: 0,
            is_closed: false,
        }
    }

    /// Whoever has the record in memory is done with it: it was delivered, or dropped for good. Written down by [`Log::work`].
    pub fn settle(&mut self, id: RecordId) {
        let Some(segment) = self.segments.get_mut(&id.segment) else { return };
        self.tables.is_behind |= segment.settle(id.sequence) && !segment.is_gone;
        self.forget_if_gone(id.segment);
    }

    /// Memory has let go of the record: it is to be read again.
    pub fn release(&mut self, id: RecordId) {
        let Some(segment) = self.segments.get_mut(&id.segment) else { return };
        let Some(tally) = segment.release(id.sequence) else { return };
        if segment.is_gone {
            segment.left = segment.left.without(tally);
            self.lost(DropReason::Corrupt, tally, 0);
            self.forget_if_gone(id.segment);
        }
    }

    /// Whether [`Log::read`] may have something: a record that nobody has in memory, or a segment of which that is not known yet.
    pub fn has_unread(&self) -> bool {
        self.segments.values().any(|segment| segment.is_unread() || segment.known != Known::All)
    }

    /// What is on disk, those records included that somebody has in memory.
    pub fn counts(&self) -> LogCounts {
        let mut counts = LogCounts::default();
        for segment in self.segments.values().filter(|segment| !segment.is_gone) {
            counts.bytes += segment.file_bytes;
            counts.segments += 1;
            if segment.known != Known::All {
                counts.uncounted_segments += 1;
                continue;
            }
            counts.records += segment.left.records;
            counts.items += segment.left.items;
            counts.unopened += segment.left.unopened;
            if segment.left.records > 0 {
                let oldest = segment.summary.oldest_unix_ms;
                counts.oldest_unix_ms = Some(counts.oldest_unix_ms.map_or(oldest, |known| known.min(oldest)));
            }
        }
        counts
    }

    /// What has happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        self.events.take()
    }

    /// The directory of this process.
    fn own_dir(&self) -> PathBuf {
        self.dir.join(&self.owner)
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.own_dir().join(name)
    }

    fn lost(&mut self, reason: DropReason, Tally { records, items, unopened }: Tally, bytes: u64) {
        if records > 0 || bytes > 0 {
            self.events.push(Event::Lost { reason, records, items, unopened, bytes });
        }
    }

    fn failed(&mut self, what: &'static str, error: &std::io::Error) {
        self.events.push(Event::Failed { what, error: error.to_string() });
    }

    /// A segment without a file is kept for what is held of it.
    fn forget_if_gone(&mut self, id: u64) {
        if self.segments.get(&id).is_some_and(|segment| segment.is_gone && segment.held.is_empty()) {
            self.segments.remove(&id);
        }
    }
}
