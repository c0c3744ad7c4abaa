//! The thread of one log: what it does next, and when it looks again. Must never wait for a core, or tick while there is nothing on disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;

use super::backoff::Backoff;
use super::books::Books;
use super::custody::{Command, Done, Fate, Store, WeakCommands};
use super::spool::Shared;
use super::sync_times::SyncTimes;
use crate::io::clock;
use crate::limits::{SPILL_ADOPT_INTERVAL, SPILL_COMMANDS_PER_TURN, SPILL_WORK_INTERVAL, SPILL_WORK_SOON};
use crate::spill::{Disk, Log};

/// Everything that the thread has.
#[derive(Debug)]
pub(super) struct Worker<D: Disk> {
    pub(super) log: Log<D>,
    pub(super) shared: Arc<Shared>,
    pub(super) commands: WeakCommands,
    pub(super) books: Books,
    /// Batches that wait to be stored.
    pub(super) stores: VecDeque<Store>,
    pub(super) store_fault: Backoff,
    /// Bytes on disk when a store was refused for want of room; until there are fewer no other is asked for.
    pub(super) full_at: Option<u64>,
    /// Somebody would send what is on disk.
    pub(super) is_wanted: bool,
    /// When it is looked again whether what is wanted can be read by now.
    pub(super) read_at: Option<Instant>,
    /// Records that memory has, and how many of those were read back.
    pub(super) held: usize,
    pub(super) replays_held: usize,
    adopt_at: Option<Instant>,
    adopt_fault: Backoff,
    // When the log is to look after itself; `None` while it is empty.
    work_at: Option<Instant>,
    pub(super) has_changed: bool,
    closing: Vec<oneshot::Sender<()>>,
}

/// What the thread does after a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more to do.
    Turn,
    /// Nothing before this moment, or ever, unless somebody says something.
    Wait(Option<Instant>),
    /// The log is closed.
    End,
}

impl<D: Disk> Worker<D> {
    pub(super) fn new(
        log: Log<D>,
        shared: Arc<Shared>,
        commands: WeakCommands,
        syncs: Arc<SyncTimes>,
        now: Instant,
    ) -> Self {
        Self {
            log,
            books: Books::new(&shared, syncs),
            shared,
            commands,
            stores: VecDeque::new(),
            store_fault: Backoff::default(),
            full_at: None,
            is_wanted: false,
            read_at: None,
            held: 0,
            replays_held: 0,
            // The first turn is the start.
            adopt_at: Some(now),
            adopt_fault: Backoff::default(),
            work_at: None,
            has_changed: false,
            closing: Vec::new(),
        }
    }

    /// Works until the log is closed.
    pub(super) fn run(mut self, commands: &Receiver<Command>) {
        let _death = Death(Arc::clone(&self.shared));
        let mut is_orphaned = false;
        loop {
            match self.turn(clock::now(), clock::unix_ms()) {
                Next::End => return,
                Next::Turn => {}
                Next::Wait(_) if is_orphaned => return self.close(clock::unix_ms()),
                Next::Wait(until) => match next(commands, until) {
                    Ok(command) => self.take(command),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => is_orphaned = true,
                },
            }
            // What came while the last group was synced is the next group.
            commands.try_iter().take(SPILL_COMMANDS_PER_TURN).for_each(|command| self.take(command));
        }
    }

    /// Notes what somebody has said.
    pub(super) fn take(&mut self, command: Command) {
        match command {
            Command::Store(store) => self.stores.push_back(store),
            Command::Done(done) => self.done(done),
            Command::Read => self.is_wanted = true,
            Command::Close(closed) => self.closing.push(closed),
        }
    }

    fn done(&mut self, Done { id, fate, is_replay }: Done) {
        self.held = self.held.saturating_sub(1);
        self.replays_held = self.replays_held.saturating_sub(usize::from(is_replay));
        match fate {
            Fate::Settled => self.log.settle(id),
            Fate::Released => self.log.release(id),
        }
        self.has_changed = true;
        // There may be room again, or something that may be dropped for it.
        self.full_at = None;
    }

    /// Does a bounded piece of what there is to do: stores come first, because somebody waits for them.
    pub(super) fn turn(&mut self, now: Instant, unix_ms: u64) -> Next {
        if self.adopt_at.is_some_and(|at| at <= now) {
            self.adopt(now, unix_ms);
        }
        self.store_group(now, unix_ms);
        let mut has_more = !self.stores.is_empty();
        if self.closing.is_empty() {
            has_more |= self.read_back(now, unix_ms);
        }
        has_more |= self.work(now, unix_ms);
        self.publish();
        if !self.closing.is_empty() && self.stores.is_empty() && self.held == 0 {
            self.close(unix_ms);
            return Next::End;
        }
        if has_more { Next::Turn } else { Next::Wait(self.wait_until(now)) }
    }

    /// Takes over what processes that have ended have left.
    fn adopt(&mut self, now: Instant, unix_ms: u64) {
        self.adopt_at = match self.log.adopt(unix_ms) {
            Ok(adoption) => {
                self.adopt_fault.worked();
                self.books.adopted(&adoption);
                if adoption.segments > 0 {
                    self.has_changed = true;
                    self.work_at = Some(now);
                }
                (adoption.still_locked > 0).then(|| now + SPILL_ADOPT_INTERVAL)
            }
            Err(error) => {
                let pause = self.adopt_fault.failed(now);
                self.books.say_cannot_adopt(&error, pause);
                Some(now + pause)
            }
        };
    }

    /// Lets the log look after itself when it is time: soon after something has changed, and now and then while it holds anything (what is
    /// there may expire, and what failed is tried again). Whether there is more to do at once.
    fn work(&mut self, now: Instant, unix_ms: u64) -> bool {
        if std::mem::take(&mut self.has_changed) {
            let soon = now + SPILL_WORK_SOON;
            self.work_at = Some(self.work_at.map_or(soon, |at| at.min(soon)));
        }
        if self.work_at.is_none_or(|at| at > now) {
            return false;
        }
        let is_unfinished = self.log.work(unix_ms);
        let pause = if is_unfinished { Duration::ZERO } else { SPILL_WORK_INTERVAL };
        self.work_at = (self.log.counts().segments > 0).then(|| now + pause);
        is_unfinished
    }

    /// Tells the books and the cores what has changed.
    fn publish(&mut self) {
        let counts = self.log.counts();
        self.books.take(self.log.take_events());
        self.books.publish(&counts);
        if self.full_at.is_some_and(|bytes| counts.bytes < bytes) {
            self.full_at = None;
        }
        let is_open = self.closing.is_empty();
        let is_taking = is_open && self.full_at.is_none() && !self.store_fault.is_failing();
        let was_taking = self.shared.is_taking.swap(is_taking, Ordering::Relaxed);
        let has_unread = is_open && self.log.has_unread();
        let had_unread = self.shared.has_unread.swap(has_unread, Ordering::Relaxed);
        if (is_taking && !was_taking) || (has_unread && !had_unread) {
            (self.shared.wake)();
        }
    }

    fn wait_until(&self, now: Instant) -> Option<Instant> {
        let read_again = self.read_at.filter(|_| self.is_wanted && self.closing.is_empty());
        let times = [self.adopt_at, self.work_at, self.store_fault.over_at(now), read_again];
        times.into_iter().flatten().min()
    }

    /// Closes the log; what is in it is the next one's, of this process or another.
    fn close(&mut self, unix_ms: u64) {
        self.shared.is_taking.store(false, Ordering::Relaxed);
        self.shared.has_unread.store(false, Ordering::Relaxed);
        let closed = self.log.close(unix_ms);
        self.books.take(self.log.take_events());
        self.books.closed(closed, &self.log.counts());
        // Nobody may wait for it any more.
        for closed in self.closing.drain(..) {
            closed.send(()).ok();
        }
    }
}

/// What somebody says next, if it is before `until`.
fn next(commands: &Receiver<Command>, until: Option<Instant>) -> Result<Command, RecvTimeoutError> {
    match until {
        Some(until) => commands.recv_deadline(until),
        None => commands.recv().map_err(|_| RecvTimeoutError::Disconnected),
    }
}

/// A thread that panics takes nothing any more, and says so; what it had is in the segments.
struct Death(Arc<Shared>);

impl Drop for Death {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.is_taking.store(false, Ordering::Relaxed);
            self.0.has_unread.store(false, Ordering::Relaxed);
            self.0.stats().fault = Some("its thread has panicked; restart to use the disk again".to_owned());
        }
    }
}
