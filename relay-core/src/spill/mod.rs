//! The log on disk: what could not be delivered soon enough, in append-only segments that are the whole truth. It knows a file system
//! by the traits [`Disk`] and [`DiskFile`] only, and the time as an argument; it starts no thread, and never looks into a payload.
//!
//! ```text
//! NewRecord -> Log::append -> segment, synced -> RecordId
//!                                 |
//!              settle(id) <- delivered from memory
//!              release(id) -> memory has let go of it -> Log::read -> Record -> settle(id)
//! ```
//!
//! The format, what recovery does with each kind of damage and what each moment of a crash leaves behind: `docs/spool-format.md`.

mod disk;
mod event;
mod live;
mod log;
mod names;
mod reader;
mod record;
mod scan;
mod segment;
mod settled;
mod summary;

use std::time::Duration;

// Not an import: where a program that reads a log looks for the file system to read it from.
#[cfg(feature = "io")]
pub use super::io::spill::{OsDisk, OsFile, OsLock};
pub use disk::{Disk, DiskFile, Entry};
pub use event::{Adoption, AppendError, Event, LogConfig, LogCounts, WhenFull};
pub use log::Log;
pub use names::{is_owner_name, is_segment_name, log_dir_name, owner_name};
pub use reader::{Found, SegmentReader};
pub use record::{Corruption, NewRecord, Record, RecordId};
pub use segment::{SegmentError, SegmentHead};
pub use settled::SettledTable;
pub use summary::Summary;

/// A duration in the unit of the log's times.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
