//! What goes to disk when it is not delivered soon enough (the Collector's `sending_queue.storage`).

use std::path::PathBuf;
use std::time::Duration;

use crate::limits;

pub use crate::spill::WhenFull;

/// The disk behind one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpillConfig {
    /// A directory that exists; several upstreams and several processes may share it.
    pub directory: PathBuf,
    /// Whether what is stored is synced before it counts as safe. Without that it survives the end of the process, not of the machine.
    /// Default true.
    pub fsync: bool,
    /// When a sender is answered. Default [`Acknowledge::WhenSafe`].
    pub acknowledge: Acknowledge,
    /// How long after its linger a batch may wait for its delivery before it is stored. Default 100 ms.
    pub spill_after: Duration,
    /// Bound on what is on disk, in bytes. Default 1 GiB.
    pub bytes_max: u64,
    /// How long something may be on disk. Default for ever.
    pub age_max: Option<Duration>,
    /// What happens when the bound is reached. Default [`WhenFull::Refuse`].
    pub when_full: WhenFull,
    /// Bytes that the file system has free at least after a store. Default 128 MiB.
    pub free_bytes_min: u64,
    /// Largest segment file, in bytes.
    pub segment_bytes_max: u64,
}

/// When a sender is told success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acknowledge {
    /// When its request is delivered or on disk, whichever is first: nothing acknowledged is lost, whatever becomes of the process.
    #[default]
    WhenSafe,
    /// When its request is queued, as without a disk: only what finds no room in memory, and what is left at the end, goes to disk.
    WhenQueued,
}

impl SpillConfig {
    /// With the defaults.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            fsync: true,
            acknowledge: Acknowledge::default(),
            spill_after: limits::SPILL_AFTER,
            bytes_max: limits::SPILL_BYTES_MAX,
            age_max: None,
            when_full: WhenFull::Refuse,
            free_bytes_min: limits::SPILL_FREE_BYTES_MIN,
            segment_bytes_max: limits::SPILL_SEGMENT_BYTES,
        }
    }
}
