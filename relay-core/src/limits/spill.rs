//! Bounds of what goes to disk.

use std::time::Duration;

/// How long after its linger a batch may wait for its delivery before it is stored: ten calls to an upstream in the same cluster; a sender
/// that waits for it does not notice.
pub const SPILL_AFTER: Duration = Duration::from_millis(100);

/// Wait for room in memory before a sender is refused, while there is a disk that takes what is in it: a slow one needs a second for it.
/// Far below the 10 s that otel-go's exporters have.
pub const SPILL_ROOM_WAIT_MAX: Duration = Duration::from_secs(2);

/// How often a sender that can start no call looks whether something has waited for too long, while something waits: a fraction of
/// [`SPILL_AFTER`].
pub const SPILL_LOOK_INTERVAL: Duration = Duration::from_millis(25);

/// The same while the disk takes nothing.
pub const SPILL_FAULT_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long a drain waits for calls in flight before their batches are left to the disk: most calls end sooner, and what the upstream
/// does take after that comes twice.
pub const SPILL_DRAIN_CALLS_MAX: Duration = Duration::from_secs(2);

/// Time for what is left at the end of a drain to be stored.
pub const SPILL_DRAIN_MAX: Duration = Duration::from_secs(5);

/// The part of an upstream's memory that its calls in flight may hold where there is a disk (a half): the rest is for what comes, and goes
/// to disk if need be.
pub const SPILL_CALLS_DIVISOR: usize = 2;

/// How long a batch may be with the disk without being stored before it is for the upstream again: a sync that takes longer is a disk that
/// stands still. Half of the 10 s that otel-go's exporters have.
pub const SPILL_STORE_WAIT_MAX: Duration = Duration::from_secs(5);

/// How long nothing is read back after memory had to let go of what waited for a connection: it would only wait again.
pub const SPILL_REPLAY_PAUSE: Duration = Duration::from_secs(1);

/// The part up to which calls may hold it when something is read back from disk (a quarter).
pub const SPILL_REPLAY_DIVISOR: usize = 4;

/// What one upstream may have on disk, in bytes, by default: at a node's usual 100 KB/s some hours.
pub const SPILL_BYTES_MAX: u64 = 1 << 30;

/// Free space that is left to others, in bytes, by default.
pub const SPILL_FREE_BYTES_MIN: u64 = 128 << 20;

/// Largest segment file, in bytes, by default: what a crash leaves to be scanned, and what is deleted at once.
pub const SPILL_SEGMENT_BYTES: u64 = 32 << 20;

/// Longest segment that may be asked for, in bytes: its records are counted in 32 bits.
pub const SPILL_SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Segments that the room on disk is cut into at the least: with fewer, one record that is not settled would hold too much of it.
pub const SPILL_SEGMENTS_MIN: u64 = 8;

/// Shortest segment that the room on disk is cut into for that, in bytes.
pub const SPILL_SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// Largest payload of a record, in bytes: far more than any request that a receiver takes, far less than 32 bits count.
pub const SPILL_PAYLOAD_BYTES_MAX: usize = 1 << 30;

/// Largest table of parts of a record, in bytes: twenty for each of [`BATCH_PARTS_MAX`](super::BATCH_PARTS_MAX) parts, rounded up.
pub const SPILL_PARTS_BYTES_MAX: usize = 512 << 10;

/// Ranges of one vectored write: what Linux takes at once (IOV_MAX).
pub const SPILL_WRITE_SLICES_MAX: usize = 1024;

/// What is read of a segment at once, in bytes; of a longer record as much as it has. Records that are read together hold this memory
/// together, so it is small against what a relay may hold.
pub const SPILL_READ_BYTES: usize = 256 << 10;

/// What a read takes of what follows a long record, in bytes: the head of the next one.
pub const SPILL_READ_AHEAD_BYTES: usize = 4 << 10;

/// What one step looks at, in bytes: some milliseconds of a disk, then whoever waits to store has its turn.
pub const SPILL_STEP_BYTES: u64 = 4 << 20;

/// Longest header of a segment of any version, in bytes.
pub const SPILL_HEADER_BYTES_MAX: u64 = 4 << 10;

/// Time without an append after which a segment that holds nothing any more is deleted although it could take more.
pub const SPILL_IDLE: Duration = Duration::from_secs(1);

/// Time between two writes of what is settled: what is delivered within it is sent again after a crash.
pub const SPILL_CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two looks for directories of dead processes, while one was seen whose process lives.
pub const SPILL_ADOPT_INTERVAL: Duration = Duration::from_secs(2);

/// Age from which a directory that was not finished being made is removed.
pub const SPILL_UNFINISHED_AGE: Duration = Duration::from_secs(60);

/// Bytes written between two questions for the free space of the file system.
pub const SPILL_FREE_CHECK_BYTES: u64 = 64 << 20;

/// Time between two such questions.
pub const SPILL_FREE_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Events that wait to be taken; of more, those that only make a log line are left out.
pub const SPILL_EVENTS_MAX: usize = 256;

/// Time for which a segment rests that could not be read; others are read meanwhile.
pub const SPILL_READ_RETRY: Duration = Duration::from_secs(1);

/// Failures at one place of a segment after which what stands there counts as corrupt, and at one directory after which what can be opened is
/// taken over without the rest: the disk has had its time to recover.
pub const SPILL_READ_FAILURES_MAX: u32 = 5;

/// What is stepped over then where not even a head can be read, in bytes: a page.
pub const SPILL_UNREADABLE_BYTES: u64 = 4 << 10;

/// Access to the directories that are made for segments: theirs alone to write, for a group to look into (the Collector's default for its own).
pub const SPILL_DIRECTORY_MODE: u32 = 0o750;

/// Access to segment files, which hold what senders have sent: the owner alone, as the Collector's.
pub const SPILL_FILE_MODE: u32 = 0o600;

/// Payload that is written and synced together, in bytes: some hundredths of a second of a disk, so that who waits behind it is not kept
/// for long.
pub const SPILL_GROUP_BYTES_MAX: usize = 8 << 20;

/// Records that are written and synced together.
pub const SPILL_GROUP_RECORDS_MAX: usize = 512;

/// What is read back ahead of who sends it, in bytes: a batch of the largest size, so that one is there when a call ends.
pub const SPILL_REPLAY_BYTES: usize = 4 << 20;

/// The part of an upstream's memory that is read back at once at most (an eighth), where that is less than [`SPILL_REPLAY_BYTES`].
pub const SPILL_REPLAY_MEMORY_DIVISOR: usize = 8;

/// Pause after the first failure of a disk; doubled after each other.
pub const SPILL_RETRY_MIN: Duration = Duration::from_secs(1);

/// Longest such pause: how late it is seen at the most that a disk has room again.
pub const SPILL_RETRY_MAX: Duration = Duration::from_secs(30);

/// What the log's thread hears before it does something: more would keep those waiting whose stores it has.
pub const SPILL_COMMANDS_PER_TURN: usize = 1024;

/// How soon the log looks after itself when something has changed: deletes what is settled, writes down what is.
pub const SPILL_WORK_SOON: Duration = Duration::from_millis(100);

/// How often it does while it holds anything.
pub const SPILL_WORK_INTERVAL: Duration = Duration::from_secs(1);

/// How soon it is looked again whether what somebody wants can be read by now.
pub const SPILL_READ_AGAIN: Duration = Duration::from_millis(100);
