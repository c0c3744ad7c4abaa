//! What a sender gives to the disk behind its upstream, and what it takes back from there. Must never wait for the disk where a call could
//! start: storing is a task of its own, or goes on beside the call.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Phase, Sender};
use crate::batch::{Batch, DropReason, Replayed};
use crate::config::Acknowledge;
use crate::io::apart::Family;
use crate::io::clock;
use crate::io::spill::Spool;
use crate::limits::{
    SPILL_CALLS_DIVISOR, SPILL_DRAIN_CALLS_MAX, SPILL_FAULT_LOOK_INTERVAL, SPILL_LOOK_INTERVAL,
    SPILL_REPLAY_DIVISOR, SPILL_REPLAY_PAUSE, SPILL_STORE_WAIT_MAX,
};
use crate::spill::NewRecord;

impl Sender {
    fn spool(&self) -> Option<&Arc<Spool>> {
        self.intake.upstream.spool()
    }

    /// Whether calls may hold `bytes` more. Where there is a disk they leave room for what comes, so that it can be taken and stored while
    /// they wait for an upstream that does not answer; one call may always be.
    pub(super) fn has_call_room(&self, bytes: usize) -> bool {
        let upstream = &self.intake.upstream;
        self.spool().is_none()
            || self.calls.get() == 0
            || upstream.calls_bytes.load(Ordering::Relaxed).saturating_add(bytes)
                <= upstream.budget.units_max() / SPILL_CALLS_DIVISOR
    }

    /// Stores what has waited for too long, or everything that waits if memory is wanted or the relay drains. For a sender that can start
    /// no call now. Says whether it has found anything.
    pub(super) fn give_to_disk(self: &Rc<Self>, phase: Phase) -> bool {
        let is_room_wanted = self.intake.take_room_wanted();
        if is_room_wanted {
            self.room_wanted.notify_waiters();
        }
        let Some(spool) = self.spool().filter(|spool| spool.is_taking()) else { return false };
        let hurry = is_room_wanted || phase != Phase::Running;
        let due_before = self.stores_after().and_then(|after| clock::now().checked_sub(after));
        let mut found = false;
        while let Some(batch) = self.intake.next_overdue(due_before, hurry) {
            self.log_stored();
            tokio::task::spawn_local(store(StoreGuard::new(self), Arc::clone(spool), batch));
            found = true;
        }
        found
    }

    /// When a sender that can start no call is to look again at what waits; `None` while nothing does.
    pub(super) fn looks_at(&self) -> Option<Instant> {
        let (spool, after) = (self.spool()?, self.stores_after()?);
        let now = clock::now();
        let since = self.intake.waits_since(now)?;
        let interval = if spool.is_taking() { SPILL_LOOK_INTERVAL } else { SPILL_FAULT_LOOK_INTERVAL };
        Some((since + after).clamp(now + SPILL_LOOK_INTERVAL / 8, now + interval))
    }

    /// When what is on disk may be read back, if that is to be waited for.
    pub(super) fn replays_at(&self) -> Option<Instant> {
        let after = self.replay_after.get()?;
        let has_backlog = self.spool().is_some_and(|spool| spool.has_backlog());
        if after <= clock::now() {
            self.replay_after.set(None);
        }
        has_backlog.then_some(after)
    }

    /// How long a batch may have waited, from its first request on; `None` where only a full memory sends to disk.
    pub(super) fn stores_after(&self) -> Option<std::time::Duration> {
        let config = &self.intake.upstream.config;
        let spill = config.spill.as_ref().filter(|spill| spill.acknowledge == Acknowledge::WhenSafe)?;
        Some(config.linger + spill.spill_after)
    }

    /// What is to be sent from the disk, if it is its turn: it has a half of the calls, and of the memory what others leave.
    pub(super) fn next_replay(&self) -> Option<Family> {
        let spool = self.spool().filter(|spool| spool.has_backlog())?;
        if self.replay_after.get().is_some_and(|after| clock::now() < after) {
            return None;
        }
        let upstream = &self.intake.upstream;
        let held = upstream.calls_bytes.load(Ordering::Relaxed);
        let replays = self.replays.get();
        // One at least, or a busy upstream would never get to what is on disk.
        let is_short = replays > 0 && held > upstream.budget.units_max() / SPILL_REPLAY_DIVISOR;
        if is_short || replays >= (self.calls_max / 2).max(1) {
            return None;
        }
        let replay = spool.next_replay()?;
        let record = replay.record;
        let is_open = record.encoding.is_none();
        let ledgers = if is_open { &upstream.ledgers } else { &upstream.unopened_ledgers };
        let ledger = ledgers.get(self.intake.core).map(Arc::clone).unwrap_or_default();
        let replayed = Replayed {
            signal: record.signal,
            encoding: record.encoding,
            items: record.items,
            parts: record.parts,
            payload: record.payload,
        };
        let batch = Batch::replayed(replayed, replay.custody, replay.charge, ledger);
        // It may have been written when larger ones were configured. What was not opened cannot be cut, and what is known of addresses
        // may be a guess.
        let pieces = if is_open { batch.split(upstream.config.batch.bytes_max) } else { vec![batch] };
        Some(Family::of_pieces(pieces))
    }

    /// Whether what would be dropped for `reason` is for the disk: what is there expires by age and size, not by the clock of retries.
    pub(super) fn is_for_disk(&self, reason: DropReason) -> bool {
        let is_meant = match reason {
            DropReason::ShutdownDeadline => true,
            DropReason::RetriesExhausted => self.route.retry().enabled,
            _ => false,
        };
        is_meant && self.spool().is_some()
    }

    /// Leaves `batch` to the disk. It comes back if it could not be stored.
    pub(super) async fn keep(&self, batch: Batch) -> Option<Batch> {
        let Some(spool) = self.spool() else { return Some(batch) };
        let kept = keep(spool, batch).await;
        self.intake.upstream.room_came();
        kept
    }

    /// Gives up what no call has begun to send: the drain's time is over.
    pub(crate) fn give_up_waiting(self: &Rc<Self>) {
        while let Some(batch) = self.intake.next(true).or_else(|| self.intake.next_apart_whatever()) {
            match self.spool() {
                None => batch.drop_for(DropReason::ShutdownDeadline),
                Some(spool) => {
                    tokio::task::spawn_local(store(StoreGuard::new(self), Arc::clone(spool), batch));
                }
            }
        }
    }

    /// Runs `call`, which sends `batch`; if that takes too long, stores a copy beside it and tells who waits.
    pub(super) async fn beside_disk<T>(
        &self,
        mut call: Pin<&mut impl Future<Output = T>>,
        batch: &Batch,
    ) -> T {
        let (Some(spool), Some(after)) = (self.spool(), self.stores_after()) else { return call.await };
        if batch.is_safe() {
            return call.await;
        }
        let mut look_at = batch.since().unwrap_or_else(clock::now) + after;
        loop {
            tokio::select! {
                biased;
                ended = &mut call => return ended,
                () = clock::sleep_until(look_at) => {}
            }
            if spool.is_taking() {
                self.log_stored();
                let mut storing = spool.store(record(batch));
                let stored = tokio::select! {
                    biased;
                    // It was delivered meanwhile, or is in pieces now: dropping `storing` says that the copy is needed no more.
                    ended = &mut call => return ended,
                    stored = &mut storing => stored,
                };
                if let Ok(custody) = stored {
                    batch.secure(custody);
                    if !self.intake.upstream.config.wait_for_result {
                        batch.answer_stored();
                    }
                    return call.await;
                }
            }
            look_at = clock::now() + SPILL_FAULT_LOOK_INTERVAL;
        }
    }

    /// Resolves when memory is to let go of `batch`, which the disk has too and no upstream has anything of: memory is wanted. What is
    /// on disk is not read back for a while then.
    pub(super) async fn is_to_let_go(&self, batch: &Batch, is_sent: &Cell<bool>) {
        if self.spool().is_none() {
            return std::future::pending().await;
        }
        loop {
            self.room_wanted.notified().await;
            if !is_sent.get() && batch.is_releasable() {
                self.replay_after.set(Some(clock::now() + SPILL_REPLAY_PAUSE));
                return;
            }
        }
    }

    /// Resolves when calls in flight are to be given up: at the end of a drain, or soon after its beginning where their batches are left to
    /// the disk.
    pub(super) async fn end_of_calls(&self) {
        let mut phase = self.phase.clone();
        if self.spool().is_some() {
            // Boxed: a call without a disk does not carry it.
            return Box::pin(async move {
                phase.wait_for(|phase| *phase != Phase::Running).await.map(drop).ok();
                let over = phase.wait_for(|phase| *phase == Phase::Over);
                tokio::time::timeout(SPILL_DRAIN_CALLS_MAX, over).await.map(drop).ok();
            })
            .await;
        }
        phase.wait_for(|phase| *phase == Phase::Over).await.map(drop).ok();
    }
}

/// Counts a batch that is being stored, for the drain.
struct StoreGuard(Rc<Sender>);

impl StoreGuard {
    fn new(sender: &Rc<Sender>) -> Self {
        sender.stores.update(|stores| stores + 1);
        Self(Rc::clone(sender))
    }
}

impl Drop for StoreGuard {
    fn drop(&mut self) {
        self.0.stores.update(|stores| stores.saturating_sub(1));
    }
}

/// Stores what no call has begun to send, and lets memory go of it. If it cannot be stored it is the next to be sent again.
async fn store(guard: StoreGuard, spool: Arc<Spool>, batch: Batch) {
    let kept = keep(&spool, batch).await;
    let intake = &guard.0.intake;
    if let Some(batch) = kept {
        if *guard.0.phase.borrow() == Phase::Over {
            // Nobody looks after it any more.
            guard.0.log_drop(&batch, DropReason::ShutdownDeadline);
            return batch.drop_for(DropReason::ShutdownDeadline);
        }
        intake.put_front(batch);
        intake.upstream.lanes.wake(intake.core);
    } else {
        intake.upstream.room_came();
    }
}

async fn keep(spool: &Arc<Spool>, batch: Batch) -> Option<Batch> {
    let mut batch = batch.release()?;
    // A disk that stands still must not keep what an upstream would take: dropping a store takes it back.
    let stored = tokio::time::timeout(SPILL_STORE_WAIT_MAX, spool.store(record(&batch))).await;
    let Ok(Ok(custody)) = stored else { return Some(batch) };
    batch.secure_anew(custody);
    batch.release()
}

/// What is written of `batch`.
fn record(batch: &Batch) -> NewRecord {
    let waited = batch.since().map(|since| clock::now().saturating_duration_since(since)).unwrap_or_default();
    let waited_ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    NewRecord {
        signal: batch.signal(),
        encoding: batch.encoding(),
        items: batch.items(),
        unix_ms: clock::unix_ms().saturating_sub(waited_ms),
        parts: batch.parts().to_vec(),
        payload: batch.rope().clone(),
    }
}
