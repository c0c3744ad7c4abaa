//! The disk behind one upstream, as its cores see it. Must never block them: the thread does all that touches a file.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::unbounded;
use tokio::sync::oneshot;

use super::custody::{Command, Commands, Storing};
use super::directory::usable;
use super::os_disk::OsDisk;
use super::sync_times::SyncTimes;
use super::worker::Worker;
use crate::batch::{Custody, Ledger};
use crate::config::SpillConfig;
use crate::io::clock;
use crate::limits::{SPILL_REPLAY_BYTES, SPILL_REPLAY_MEMORY_DIVISOR};
use crate::otlp::Signal;
use crate::queue::{Budget, Charge};
use crate::spill::{Disk, Log, LogConfig, NewRecord, Record, log_dir_name, owner_name};
use crate::stats::SpillStats;

/// The log of one upstream. Its thread ends, and closes the log, when this and all custodies are gone.
#[derive(Debug)]
pub(crate) struct Spool {
    commands: Commands,
    shared: Arc<Shared>,
}

/// A batch that was read back from the disk.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) record: Record,
    pub(crate) custody: Arc<dyn Custody>,
    /// For its memory.
    pub(crate) charge: Charge,
}

/// What cores and the thread both see.
pub(super) struct Shared {
    pub(super) name: Name,
    pub(super) bytes_max: u64,
    pub(super) budget: Arc<Budget>,
    /// What is read back at once, in bytes; when less than a half of it is left, more is asked for.
    pub(super) chunk_bytes: usize,
    /// The books of items, and of unopened requests.
    pub(super) ledgers: [Arc<Ledger>; 2],
    /// Something can be read back, or stored again, or there is room in memory again.
    pub(super) wake: Box<dyn Fn() + Send + Sync>,
    ready: Mutex<Ready>,
    // Copies of what the thread knows, so that cores need no lock to see that there is nothing to do. Relaxed: each stands alone, and
    // what it announces is handed over under a lock or by a channel.
    pub(super) has_ready: AtomicBool,
    pub(super) has_unread: AtomicBool,
    pub(super) is_taking: AtomicBool,
    /// A read was asked for and has not been answered.
    pub(super) is_asked: AtomicBool,
    stats: Mutex<SpillStats>,
}

/// Whose log it is, as log lines say it.
#[derive(Clone, Debug)]
pub(super) struct Name {
    pub(super) upstream: String,
    pub(super) signal: Signal,
    pub(super) directory: PathBuf,
}

/// What was read back and not taken yet, the oldest first.
#[derive(Debug, Default)]
struct Ready {
    replays: VecDeque<Replay>,
    bytes: usize,
    is_closed: bool,
}

impl Spool {
    /// Starts its thread, which first takes over what processes before have left. `ledgers`: of items, of unopened requests. `wake` is
    /// called when something can be replayed, or stored again, or when memory that was kept for reading is free again.
    ///
    /// # Errors
    /// A directory in which nothing can ever be stored; a thread that cannot be started.
    pub(crate) fn start(
        config: &SpillConfig,
        upstream: (&str, Signal),
        budget: &Arc<Budget>,
        ledgers: [Arc<Ledger>; 2],
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> io::Result<Arc<Self>> {
        usable(&config.directory)?;
        let disk = OsDisk::default();
        let syncs = disk.syncs();
        let (spool, worker, commands) = Self::on((disk, syncs), config, upstream, budget, ledgers, wake);
        std::thread::Builder::new().name("relay-spill".to_owned()).spawn(move || worker.run(&commands))?;
        Ok(spool)
    }

    /// The same on another disk, and without a thread.
    pub(super) fn on<D: Disk>(
        (disk, syncs): (D, Arc<SyncTimes>),
        config: &SpillConfig,
        (upstream, signal): (&str, Signal),
        budget: &Arc<Budget>,
        ledgers: [Arc<Ledger>; 2],
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> (Arc<Self>, Worker<D>, crossbeam_channel::Receiver<Command>) {
        let directory = config.directory.join(log_dir_name(upstream, signal));
        let random = u32::try_from(clock::dice_seed() >> 32).unwrap_or_default();
        let log_config = LogConfig {
            fsync: config.fsync,
            bytes_max: config.bytes_max,
            age_max: config.age_max,
            when_full: config.when_full,
            free_bytes_min: config.free_bytes_min,
            segment_bytes_max: config.segment_bytes_max,
        };
        let owner = owner_name(clock::unix_ms(), random);
        let log = Log::new(disk, directory.clone(), owner, log_config);
        let (sender, receiver) = unbounded();
        let commands = Commands::new(sender);
        let shared = Arc::new(Shared {
            name: Name { upstream: upstream.to_owned(), signal, directory },
            bytes_max: config.bytes_max,
            budget: Arc::clone(budget),
            chunk_bytes: SPILL_REPLAY_BYTES.min(budget.units_max() / SPILL_REPLAY_MEMORY_DIVISOR).max(1),
            ledgers,
            wake,
            ready: Mutex::default(),
            has_ready: AtomicBool::new(false),
            has_unread: AtomicBool::new(false),
            is_taking: AtomicBool::new(true),
            is_asked: AtomicBool::new(false),
            stats: Mutex::new(SpillStats { bytes_max: config.bytes_max, ..SpillStats::default() }),
        });
        let worker = Worker::new(log, Arc::clone(&shared), commands.downgrade(), syncs, clock::now());
        (Arc::new(Self { commands, shared }), worker, receiver)
    }

    /// Whether a store may succeed now: the disk has not failed, or works again, and the log has room.
    pub(crate) fn is_taking(&self) -> bool {
        self.shared.is_taking.load(Ordering::Relaxed)
    }

    /// Resolves when the record is safe, or will not be. Never blocks. Dropping what is returned says that the batch was settled otherwise.
    pub(crate) fn store(self: &Arc<Self>, record: NewRecord) -> Storing {
        self.commands.store(record)
    }

    /// What was read back, the oldest first; asks for more. `None`: nothing now; `wake` is called when there is.
    pub(crate) fn next_replay(self: &Arc<Self>) -> Option<Replay> {
        if !self.has_backlog() {
            return None;
        }
        let (replay, bytes_left) = self.shared.take_ready();
        if bytes_left < self.shared.chunk_bytes.div_ceil(2)
            && self.shared.has_unread.load(Ordering::Relaxed)
            && !self.shared.is_asked.swap(true, Ordering::Relaxed)
        {
            self.commands.send(Command::Read);
        }
        replay
    }

    /// Whether something on disk waits to be sent that nobody has in memory.
    pub(crate) fn has_backlog(&self) -> bool {
        self.shared.has_ready.load(Ordering::Relaxed) || self.shared.has_unread.load(Ordering::Relaxed)
    }

    /// What is on disk, and what the disk has done.
    pub(crate) fn stats(&self) -> SpillStats {
        self.shared.stats().clone()
    }

    /// Nothing more is given. Resolves when all that was given is done and the log is closed; also if its thread has died.
    pub(crate) fn close(&self) -> oneshot::Receiver<()> {
        let (closed, closing) = oneshot::channel();
        self.shared.close_ready();
        self.commands.send(Command::Close(closed));
        closing
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        // What lies ready would keep the thread for ever.
        self.shared.close_ready();
    }
}

impl Shared {
    pub(super) fn stats(&self) -> MutexGuard<'_, SpillStats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ready(&self) -> MutexGuard<'_, Ready> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives `replays` to whoever asks for them; back to the disk if nobody will.
    pub(super) fn put_ready(&self, replays: Vec<Replay>) {
        let mut ready = self.ready();
        if !ready.is_closed {
            ready.bytes += replays.iter().map(|replay| replay.charge.units()).sum::<usize>();
            ready.replays.extend(replays);
            self.has_ready.store(!ready.replays.is_empty(), Ordering::Relaxed);
        }
    }

    /// The oldest, and how many bytes are left.
    fn take_ready(&self) -> (Option<Replay>, usize) {
        let mut ready = self.ready();
        let replay = ready.replays.pop_front();
        ready.bytes -= replay.as_ref().map_or(0, |replay| replay.charge.units());
        self.has_ready.store(!ready.replays.is_empty(), Ordering::Relaxed);
        (replay, ready.bytes)
    }

    /// What lies ready goes back to the disk, and nothing is put there any more.
    fn close_ready(&self) {
        let mut ready = self.ready();
        ready.is_closed = true;
        ready.bytes = 0;
        let unwanted = std::mem::take(&mut ready.replays);
        self.has_ready.store(false, Ordering::Relaxed);
        drop(ready);
        // Their custodies speak for themselves.
        drop(unwanted);
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("name", &self.name).field("ready", &self.ready).finish_non_exhaustive()
    }
}
