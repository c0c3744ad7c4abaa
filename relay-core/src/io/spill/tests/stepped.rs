//! A spool whose turns are taken by hand, in a time of its own, over a directory of its own: nothing here waits for luck.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::Receiver;

use super::super::custody::{Command, NotStored, Storing};
use super::super::spool::{Replay, Spool};
use super::super::worker::{Next, Worker};
use crate::batch::{Custody, Ledger, Origin, Part};
use crate::config::SpillConfig;
use crate::io::clock;
use crate::otlp::Signal;
use crate::queue::Budget;
use crate::spill::{Disk, NewRecord};

use super::faulty::Watched;

/// A directory of its own, removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("relay-spool-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn config(&self) -> SpillConfig {
        SpillConfig { free_bytes_min: 0, ..SpillConfig::new(self.path()) }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files().is_empty()
    }

    /// All files below it.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        let (mut found, mut pending) = (Vec::new(), vec![self.0.clone()]);
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { pending.push(path) } else { found.push(path) }
            }
        }
        found
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A spool whose turns are taken by hand, in a time of its own.
pub(super) struct Stepped<D: Disk> {
    pub(super) spool: Arc<Spool>,
    pub(super) worker: Option<Worker<D>>,
    pub(super) commands: Receiver<Command>,
    pub(super) budget: Arc<Budget>,
    pub(super) ledgers: [Arc<Ledger>; 2],
    pub(super) wakes: Arc<AtomicUsize>,
    pub(super) now: Instant,
    pub(super) unix_ms: u64,
}

pub(super) const MEMORY: usize = 64 << 20;

/// For what other threads do.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

impl<D: Disk> Stepped<D> {
    pub(super) fn new(disk: D, config: &SpillConfig) -> Self {
        Self::with_memory(disk, config, MEMORY)
    }

    pub(super) fn with_memory(disk: D, config: &SpillConfig, bytes: usize) -> Self {
        let (budget, ledgers) = (Budget::new(bytes), [Arc::default(), Arc::default()]);
        let wakes: Arc<AtomicUsize> = Arc::default();
        let count = Arc::clone(&wakes);
        let wake = Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (spool, worker, commands) = Spool::on(
            (disk, Arc::default()),
            config,
            ("otlp/a", Signal::Traces),
            &budget,
            ledgers.clone(),
            wake,
        );
        let (now, unix_ms) = (clock::now() + Duration::from_millis(1), clock::unix_ms());
        Self { spool, worker: Some(worker), commands, budget, ledgers, wakes, now, unix_ms }
    }

    /// Lets the thread do what there is to do; until when it would wait then.
    pub(super) fn turn(&mut self) -> Next {
        let worker = self.worker.as_mut().unwrap();
        for _ in 0..10_000 {
            self.commands.try_iter().for_each(|command| worker.take(command));
            match worker.turn(self.now, self.unix_ms) {
                Next::Turn => {}
                Next::End => {
                    self.worker = None;
                    return Next::End;
                }
                wait if self.commands.is_empty() => return wait,
                Next::Wait(_) => {}
            }
        }
        panic!("it goes on turning without getting anywhere");
    }

    pub(super) fn pass(&mut self, time: Duration) -> Next {
        self.now += time;
        self.unix_ms += u64::try_from(time.as_millis()).unwrap();
        self.turn()
    }

    pub(super) fn store(&mut self, record: NewRecord) -> Result<Arc<dyn Custody>, NotStored> {
        let mut storing = self.spool.store(record);
        self.turn();
        settled(&mut storing).expect("the turn has answered it")
    }

    /// Stores it and lets memory go of it.
    pub(super) fn leave(&mut self, record: NewRecord) {
        self.store(record).unwrap().released();
        self.turn();
    }

    /// Takes what is read back until nothing comes.
    pub(super) fn replays(&mut self) -> Vec<Replay> {
        let mut replays = Vec::new();
        for _ in 0..10_000 {
            match self.spool.next_replay() {
                Some(replay) => replays.push(replay),
                None => {
                    self.turn();
                    match self.spool.next_replay() {
                        Some(replay) => replays.push(replay),
                        None => return replays,
                    }
                }
            }
        }
        panic!("the backlog does not end");
    }

    pub(super) fn wakes(&self) -> usize {
        self.wakes.swap(0, Ordering::Relaxed)
    }

    /// As a `kill -9`: nothing is closed, and the kernel takes back the locks.
    pub(super) fn kill(mut self) {
        self.worker = None;
    }
}

/// What `storing` says, if it says anything yet.
pub(super) fn settled(storing: &mut Storing) -> Option<Result<Arc<dyn Custody>, NotStored>> {
    match Pin::new(storing).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(stored) => Some(stored),
        Poll::Pending => None,
    }
}

/// One request of `items` items; its bytes say which.
pub(super) fn record(items: u64, bytes: usize) -> NewRecord {
    let payload: Vec<u8> = items.to_be_bytes().into_iter().cycle().take(bytes).collect();
    NewRecord {
        signal: Signal::Traces,
        encoding: None,
        items,
        unix_ms: clock::unix_ms(),
        parts: vec![Part { bytes, items, origin: Origin::default() }],
        payload: crate::batch::Rope::new(vec![Bytes::from(payload)]),
    }
}

pub(super) fn items(replays: &[Replay]) -> Vec<u64> {
    replays.iter().map(|replay| replay.record.items).collect()
}

/// A spool whose thread is still to be started.
pub(super) fn unstarted(
    disk: &Watched,
    scratch: &Scratch,
) -> (Arc<Spool>, Worker<Watched>, Receiver<Command>) {
    Spool::on(
        (disk.clone(), Arc::default()),
        &scratch.config(),
        ("otlp", Signal::Traces),
        &Budget::new(MEMORY),
        [Arc::default(), Arc::default()],
        Box::new(|| ()),
    )
}
