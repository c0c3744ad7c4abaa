//! What waits on the way in and may have to go to disk. Must never store: a sender does.

use std::time::Instant;

use super::Intake;
use crate::batch::Batch;
use crate::io::clock;

impl Intake {
    /// Puts back what was taken and could not be sent: it is the next again.
    pub(crate) fn put_front(&self, batch: Batch) {
        self.front.borrow_mut().push_front(batch);
    }

    /// Whether something was put back.
    pub(crate) fn has_front(&self) -> bool {
        !self.front.borrow().is_empty()
    }

    /// The next batch that is to be stored because it has waited since before `due_before`, or whatever there is if `hurry`; not the
    /// open one of suspects, which are answered when it is known what becomes of them.
    pub(crate) fn next_overdue(&self, due_before: Option<Instant>, hurry: bool) -> Option<Batch> {
        let is_due = |since: Option<Instant>| {
            hurry || since.zip(due_before).is_some_and(|(since, before)| since <= before)
        };
        if let Some(batch) = self.sealed() {
            if is_due(batch.since()) {
                return Some(batch);
            }
            self.put_front(batch);
            return None;
        }
        let open = |since: Option<Instant>| since.is_some() && is_due(since);
        if open(self.open_since.get()) {
            return self.take_open(true);
        }
        if open(self.unopened.since()) { self.take_merged(true) } else { None }
    }

    /// When what waits here came, as far as it is known without taking it: the first of what was put back, the open ones; what is in
    /// the queue may have come at any time before `now`.
    pub(crate) fn waits_since(&self, now: Instant) -> Option<Instant> {
        let front = self.front.borrow().front().and_then(Batch::since);
        let queued =
            (self.upstream.lanes.len_of(self.core) > 0 || !self.overflow.borrow().is_empty()).then_some(now);
        front
            .or(queued)
            .or_else(|| [self.open_since.get(), self.unopened.since()].into_iter().flatten().min())
    }

    /// Says that something waits for memory, which the disk can make.
    pub(crate) fn want_room(&self) {
        if self.upstream.spool().is_some() {
            self.hurry.set(true);
            self.upstream.lanes.wake(self.core);
        }
    }

    /// Whether something waits for memory; says so once.
    pub(crate) fn take_room_wanted(&self) -> bool {
        self.hurry.take()
    }

    /// Only the disk asks how long a batch has waited.
    pub(super) fn waiting_since(&self, batch: Batch, since: Option<Instant>) -> Batch {
        match self.upstream.spool() {
            Some(_) => batch.waiting_since(since.unwrap_or_else(clock::now)),
            None => batch,
        }
    }
}
