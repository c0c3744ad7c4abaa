//! What is sent apart from the batches of one upstream: batches that are being taken to pieces because the upstream refuses something
//! in them, and what suspects have sent. Holds them, and what the cores know together; decides nothing (`upstream/isolation.rs` does).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::clock;
use crate::batch::{Batch, BatchBuilder, Origin};
use crate::limits::SUSPECT_BATCHES_MAX;
use crate::upstream::{Blame, IsolationBudget, Suspects};

/// What is left to be sent of one batch that was refused; or one batch of suspects.
#[derive(Debug)]
pub(crate) struct Family {
    /// The next piece is the last.
    pub(crate) pending: Vec<Batch>,
    /// Whether all of it came from suspects, or is of one request: then it waits behind what others have sent, and a budget of its own
    /// pays.
    pub(crate) is_suspects: bool,
    /// Pieces of a single request that were refused in a row; `None` for pieces of a batch.
    pub(crate) inside: Option<u32>,
    /// When the batch was first sent, if it was.
    pub(crate) first_attempt: Option<Instant>,
}

impl Family {
    pub(crate) fn of(batch: Batch) -> Self {
        Self::of_pieces(vec![batch])
    }

    /// Of pieces in their order.
    pub(crate) fn of_pieces(mut pieces: Vec<Batch>) -> Self {
        pieces.reverse();
        Self { pending: pieces, is_suspects: false, inside: None, first_attempt: None }
    }

    pub(crate) fn of_suspects(batch: Batch) -> Self {
        Self { is_suspects: true, ..Self::of(batch) }
    }

    /// What comes from it and is sent by itself.
    pub(crate) fn part(&self, pending: Vec<Batch>) -> Self {
        Self { pending, inside: None, ..*self }
    }

    /// Puts `pieces` before what is pending.
    pub(crate) fn add(&mut self, pieces: Vec<Batch>) {
        self.pending.extend(pieces.into_iter().rev());
    }
}

/// What waits apart on one core.
#[derive(Debug)]
pub(crate) struct Apart {
    /// The open batch of suspects.
    pub(crate) builder: RefCell<BatchBuilder>,
    /// Set exactly while a request is in it.
    pub(crate) open_since: Cell<Option<Instant>>,
    families: RefCell<VecDeque<Family>>,
}

impl Apart {
    pub(crate) fn new(builder: BatchBuilder) -> Self {
        Self { builder: RefCell::new(builder), open_since: Cell::new(None), families: RefCell::default() }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.open_since.get().is_none() && self.families.borrow().is_empty()
    }

    /// Whether suspects have sent enough for now.
    pub(crate) fn is_full(&self) -> bool {
        self.families.borrow().iter().filter(|family| family.is_suspects).count() >= SUSPECT_BATCHES_MAX
    }

    /// Sets a new family aside: behind all others if it is of suspects, so that theirs take turns, else before theirs. One after the
    /// other: whoever is to blame is found before the next is looked into, which is shorter work then.
    pub(crate) fn put(&self, family: Family) {
        let mut families = self.families.borrow_mut();
        let at = match family.is_suspects {
            true => families.len(),
            false => families.iter().position(|other| other.is_suspects).unwrap_or(families.len()),
        };
        if !family.pending.is_empty() {
            families.insert(at, family);
        }
    }

    /// Puts back a family of which a piece was sent: others' goes on until it is done.
    pub(crate) fn put_back(&self, family: Family) {
        if family.is_suspects {
            self.put(family);
        } else if !family.pending.is_empty() {
            self.families.borrow_mut().push_front(family);
        }
    }

    /// Closes the open batch of suspects.
    pub(crate) fn seal(&self, builder: &mut BatchBuilder) {
        let since = self.open_since.take().unwrap_or_else(clock::now);
        if let Some(batch) = builder.seal() {
            let batch = batch.waiting_since(since);
            self.put(Family::of_suspects(batch));
        }
    }

    /// The next family to send a piece of, if there is one: the open batch of suspects, too, if its `linger` is over or `drain`.
    pub(crate) fn next(&self, linger: Duration, drain: bool) -> Option<Family> {
        let is_due = |since: Instant| drain || since + linger <= clock::now();
        if self.families.borrow().is_empty() && self.open_since.get().is_some_and(is_due) {
            self.seal(&mut self.builder.borrow_mut());
        }
        self.families.borrow_mut().pop_front()
    }
}

/// What all cores know of what one upstream refuses. Looked into when something is refused; else the two flags say that there is no
/// need.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    has_suspects: AtomicBool,
    is_short: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    suspects: Suspects,
    blame: Blame,
    of_all: IsolationBudget,
    of_suspects: IsolationBudget,
}

impl State {
    fn budget(&mut self, of_suspects: bool) -> &mut IsolationBudget {
        if of_suspects { &mut self.of_suspects } else { &mut self.of_all }
    }
}

impl Refusals {
    /// Whether there may be suspects.
    pub(crate) fn has_suspects(&self) -> bool {
        self.has_suspects.load(Ordering::Relaxed)
    }

    /// Whether what `origin` sends is to be kept apart.
    pub(crate) fn is_suspect(&self, origin: Origin) -> bool {
        if !self.has_suspects() {
            return false;
        }
        let (state, now) = (self.lock(), clock::now());
        if state.suspects.is_over(now) {
            self.has_suspects.store(false, Ordering::Relaxed);
        }
        state.suspects.contains(origin, now)
    }

    /// Connections that are suspected now.
    pub(crate) fn suspects(&self) -> usize {
        if self.has_suspects() { self.lock().suspects.forget(clock::now()) } else { 0 }
    }

    /// What `origin` had sent was refused alone. True if it was not suspected before.
    pub(crate) fn caught(&self, origin: Origin) -> bool {
        let mut state = self.lock();
        // Within the lock, so that nobody who finds the others' time over takes it back.
        self.has_suspects.store(true, Ordering::Relaxed);
        state.suspects.caught(origin, clock::now())
    }

    /// Something was refused for good, by an upstream that has accepted `delivered` items. Whether it is to blame.
    pub(crate) fn refused(&self, delivered: u64) -> bool {
        self.lock().blame.refused(delivered)
    }

    /// Takes `calls` out of what isolating may cost; for suspects, and for looking into a request, out of a share of its own.
    pub(crate) fn spend(&self, calls: u32, of_suspects: bool) -> bool {
        self.is_short.store(true, Ordering::Relaxed);
        self.lock().budget(of_suspects).spend(calls, clock::now())
    }

    /// A call has delivered something.
    pub(crate) fn delivered(&self, of_suspects: bool) {
        if !self.is_short.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.lock();
        state.budget(of_suspects).delivered();
        let is_short = !(state.of_all.is_full() && state.of_suspects.is_full());
        self.is_short.store(is_short, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
