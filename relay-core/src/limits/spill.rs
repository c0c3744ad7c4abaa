//! Bounds of what goes to disk.

use std::time::Duration;

/// How long after its linger a batch may wait for its delivery before it is stored: ten calls to an upstream in the same cluster; a sender
/// that waits for it does not notice.
pub const SPILL_AFTER: Duration = Duration::from_millis(100);

/// What one upstream may have on disk, in bytes, by default: at a node's usual 100 KB/s some hours.
pub const SPILL_BYTES_MAX: u64 = 1 << 30;

/// Free space that is left to others, in bytes, by default.
pub const SPILL_FREE_BYTES_MIN: u64 = 128 << 20;

/// Largest segment file, in bytes, by default: what a crash leaves to be scanned, and what is deleted at once.
pub const SPILL_SEGMENT_BYTES: u64 = 32 << 20;
