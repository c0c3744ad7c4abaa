//! The way in to one upstream on one core: admission, the open batch, and its sealing into the queue.
//!
//! A request is taken whole or refused whole. Nothing here waits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::apart::{Apart, Family};
use super::clock;
use super::inbound::{Form, Inbound};
use super::shared::UpstreamShared;
use super::unopened::Unmerged;
use crate::batch::{Batch, BatchBuilder, DropReason, ReceiptSender, Settled};
use crate::config::Passthrough;
use crate::edit::{SplitLimit, split, split_keeping};
use crate::limits::{ARENA_BLOCK_BYTES_MIN, AWAITED_GATHER_MAX, INLINE_COPY_BYTES_MAX};
use crate::otlp::FramedRequest;
use crate::queue::{Charge, Full};
use crate::stats::{Counted, RejectReason, UpstreamCounters};

mod overdue;

/// What is set aside for a request that may be taken; given back by being dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    // None where nothing more is held: copied into a block that is there, as most are.
    bytes: Option<Charge>,
    places: Option<Charge>,
}

/// Admission and batching for one upstream, on one core.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) core: usize,
    pub(crate) upstream: Arc<UpstreamShared>,
    pub(crate) counters: Arc<UpstreamCounters>,
    builder: RefCell<BatchBuilder>,
    // Set exactly while a request is in the open batch.
    open_since: Cell<Option<Instant>>,
    // Whether senders are answered when their request is settled; whether a call of this core is in flight.
    gathers: bool,
    is_calling: Cell<bool>,
    unopened: Unmerged,
    /// What suspects have sent, and what is left of batches that were refused.
    pub(crate) apart: Apart,
    // Batches that were taken from the queue and found no call, or were not stored; before all others.
    front: RefCell<VecDeque<Batch>>,
    // Set where something found no room in memory that the disk could make.
    hurry: Cell<bool>,
    // Batches that one request made and the queue had no room for; nothing is admitted until they are gone.
    overflow: RefCell<VecDeque<Batch>>,
}

impl Intake {
    pub(crate) fn new(core: usize, upstream: Arc<UpstreamShared>) -> Self {
        let ledger = upstream.ledgers.get(core).map(Arc::clone).unwrap_or_default();
        let counters = upstream.counters.get(core).map(Arc::clone).unwrap_or_default();
        let builder = || {
            let (config, places, ledger) = (&upstream.config, upstream.places.clone(), Arc::clone(&ledger));
            BatchBuilder::new(config.signal, config.batch, &upstream.budget, places, ledger)
        };
        let (builder, apart) = (builder(), Apart::new(builder()));
        Self {
            core,
            counters,
            builder: RefCell::new(builder),
            open_since: Cell::new(None),
            gathers: upstream.answers_late(),
            is_calling: Cell::new(false),
            unopened: Unmerged::default(),
            apart,
            front: RefCell::default(),
            hurry: Cell::new(false),
            overflow: RefCell::new(VecDeque::new()),
            upstream,
        }
    }

    /// Sets aside what taking `request` needs: bytes, and places in a queue that is bounded in requests or items. What is set aside is
    /// charged, so that no other core can promise it too. `shared` says that other upstreams hold the same bytes, and that those
    /// are charged to the whole already.
    ///
    /// # Errors
    /// Why it would not be taken now.
    pub(crate) fn reserve(&self, request: &Inbound, shared: bool) -> Result<Reserved, RejectReason> {
        let reserved = self.try_reserve(request, shared);
        if reserved.is_err() {
            self.want_room();
        }
        reserved
    }

    fn try_reserve(&self, request: &Inbound, shared: bool) -> Result<Reserved, RejectReason> {
        let (len, items) = (request.bytes().len(), request.items());
        let is_apart = self.upstream.refusals.is_suspect(request.origin);
        let open = if is_apart { &self.apart.builder } else { &self.builder };
        let builder = open.borrow();
        let joins = request.encoding().is_none() && builder.fits(len, items);
        let lane_is_full = match is_apart {
            true => self.apart.is_full(),
            false => !joins && self.upstream.lanes.is_full(self.core),
        };
        if lane_is_full || !self.overflow.borrow().is_empty() {
            return Err(RejectReason::QueueFull);
        }
        let budget = &self.upstream.budget;
        let limits = builder.limits();
        // Each piece of a request that is cut has headers of its own, and a block if it is copied.
        let pieces =
            len / limits.bytes_max.max(1) + usize::try_from(items / limits.items_max.max(1)).unwrap_or(len);
        let cut = if len > limits.bytes_max || items > limits.items_max { pieces } else { 0 };
        let cut_bytes = cut.saturating_mul(ARENA_BLOCK_BYTES_MIN).min(budget.units_max() / 2);
        let bytes = match &request.form {
            _ if shared => budget.try_charge_apart(len).map(Some),
            Form::Framed(_) if len < limits.inline_copy_bytes_max => {
                // Nothing is touched that other cores write, unless a block is needed.
                match builder.blocks_needed(len, joins) + cut_bytes {
                    0 => Some(None),
                    needed => budget.try_charge(needed).map(Some),
                }
            }
            Form::Framed(_) => {
                let held = request.held_bytes(limits.inline_copy_bytes_max);
                budget.try_charge(held.saturating_add(held.min(cut_bytes))).map(Some)
            }
            Form::Unopened(_) => budget.try_charge(request.held_bytes(INLINE_COPY_BYTES_MAX)).map(Some),
        };
        let bytes = bytes.ok_or(RejectReason::MemoryFull)?;
        let places = match &self.upstream.places {
            Some(places) => {
                Some(places.budget.try_charge(places.needed(items)).ok_or(RejectReason::QueueFull)?)
            }
            None => None,
        };
        Ok(Reserved { bytes, places })
    }

    /// Takes `request`, for which this was `reserved`; `shared` says that other upstreams hold the same bytes.
    pub(crate) fn take(
        &self,
        request: Inbound,
        reserved: Reserved,
        receipt: Option<ReceiptSender>,
        shared: bool,
    ) {
        let origin = request.origin;
        let request = match request.form {
            Form::Framed(request) => request,
            Form::Unopened(_) => return self.take_unopened(request, reserved, receipt),
        };
        let is_apart = self.upstream.refusals.is_suspect(origin);
        let open = if is_apart { &self.apart.builder } else { &self.builder };
        let mut builder = open.borrow_mut();
        builder.set_origin(origin);
        builder.give_credit(reserved.bytes, reserved.places);
        self.add_whole((&mut builder, is_apart), request, receipt, shared);
        builder.take_credit();
    }

    fn add_whole(
        &self,
        (builder, is_apart): (&mut BatchBuilder, bool),
        request: FramedRequest,
        receipt: Option<ReceiptSender>,
        shared: bool,
    ) {
        builder.limit_bytes_max(self.upstream.bytes_max.load(Ordering::Relaxed));
        let limits = *builder.limits();
        let (bytes, items) = (request.segments().len(), request.items());
        if bytes <= limits.bytes_max && items <= limits.items_max {
            self.add((builder, is_apart), request, receipt, shared);
            return;
        }
        // What was learned may be a guess, and is not of every address: whether a single item is too large, the upstream shall say.
        let is_learned = limits.bytes_max < self.upstream.config.batch.bytes_max;
        let split = if is_learned { split_keeping } else { split };
        let cut = split(&request, SplitLimit { bytes_max: limits.bytes_max, items_max: limits.items_max });
        builder.drop_too_large(cut.dropped_items);
        // The request is delivered when all its pieces are; items that are in none of them are lost already.
        let lost = usize::from(cut.dropped_items > 0 || cut.requests.is_empty());
        let mut receipts =
            receipt.map(|receipt| receipt.split(cut.requests.len() + lost)).unwrap_or_default();
        for piece in cut.requests {
            self.add((builder, is_apart), piece, receipts.pop(), shared);
        }
        for receipt in receipts {
            receipt.settle_items(Settled::Dropped(DropReason::ItemTooLarge), cut.dropped_items);
        }
    }

    /// The next batch to send, if one is ready: sealed ones first, then the open one if its linger is over or `drain`.
    pub(crate) fn next(&self, drain: bool) -> Option<Batch> {
        self.sealed().or_else(|| self.take_open(drain)).or_else(|| self.take_merged(drain))
    }

    fn sealed(&self) -> Option<Batch> {
        let front = self.front.borrow_mut().pop_front();
        let overflow = || self.overflow.borrow_mut().pop_front();
        front.or_else(overflow).or_else(|| self.upstream.lanes.pop(self.core))
    }

    /// The next to send a piece of what is sent apart, if there is one.
    pub(crate) fn next_apart(&self, drain: bool) -> Option<Family> {
        self.apart.next(self.upstream.config.linger, drain)
    }

    /// A piece of what is sent apart, to be given up.
    pub(crate) fn next_apart_whatever(&self) -> Option<Batch> {
        let mut family = self.next_apart(true)?;
        let piece = family.pending.pop();
        self.apart.put_back(family);
        piece
    }

    /// When the linger of an open batch is over, that of suspects too if it `may` be sent; `None` while nothing is in one.
    pub(crate) fn due_at(&self, may_apart: bool) -> Option<Instant> {
        let apart = self.apart.open_since.get().filter(|_| may_apart);
        let open = [self.open_since.get(), self.unopened.since(), apart];
        let since = open.into_iter().flatten().min();
        since.map(|since| since + self.linger())
    }

    /// Counts a request that was refused here.
    pub(crate) fn count_refusal(&self, counted: Counted) {
        self.counters.enqueue_failed_items.add(counted.items);
        self.counters.enqueue_failed_unopened.add(counted.unopened);
    }

    /// Counts a request that was accepted for other upstreams and had no room here.
    pub(crate) fn miss(&self, counted: Counted) {
        for (ledgers, items) in
            [(&self.upstream.ledgers, counted.items), (&self.upstream.unopened_ledgers, counted.unopened)]
        {
            ledgers.get(self.core).filter(|_| items > 0).inspect(|ledger| ledger.miss(items));
        }
    }

    /// Whether nothing of this core waits here.
    pub(crate) fn is_empty(&self) -> bool {
        self.open_since.get().is_none()
            && self.unopened.since().is_none()
            && self.overflow.borrow().is_empty()
            && self.front.borrow().is_empty()
            && self.apart.is_empty()
            && self.upstream.lanes.len_of(self.core) == 0
    }

    /// How long an open batch waits for more. Where senders wait for the answer it also gathers what comes while a call is in flight: they
    /// send nothing before that is answered, and each would otherwise have a call of its own.
    fn linger(&self) -> Duration {
        let linger = self.upstream.config.linger;
        if self.gathers && self.is_calling.get() { linger.max(AWAITED_GATHER_MAX) } else { linger }
    }

    /// Whether a call that ends may make an open batch due.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers
    }

    /// Says whether a call is in flight.
    pub(crate) fn set_calling(&self, is_calling: bool) {
        self.is_calling.set(is_calling);
    }

    fn take_open(&self, drain: bool) -> Option<Batch> {
        let due = self.open_since.get()? + self.linger();
        if !drain && due > clock::now() {
            return None;
        }
        self.counters.timeout_triggers.add(1);
        self.seal(&mut self.builder.borrow_mut())
    }

    /// Adds to the open batch, or to that of suspects.
    fn add(
        &self,
        (builder, is_apart): (&mut BatchBuilder, bool),
        request: FramedRequest,
        receipt: Option<ReceiptSender>,
        shared: bool,
    ) {
        let seal = |builder: &mut BatchBuilder| match is_apart {
            true => self.apart.seal(builder),
            false => self.seal_into_queue(builder),
        };
        if !builder.fits(request.segments().len(), request.items()) {
            seal(builder);
        }
        if shared {
            builder.push_shared(request, receipt);
        } else {
            builder.push(request, receipt);
        }
        let open_since = if is_apart { &self.apart.open_since } else { &self.open_since };
        if builder.is_due() {
            seal(builder);
        } else if open_since.get().is_none() {
            // One clock call and one wake-up per batch, not per request.
            open_since.set(Some(clock::now()));
            self.upstream.lanes.wake(self.core);
        }
        if is_apart {
            self.upstream.lanes.wake(self.core);
        }
    }

    fn seal_into_queue(&self, builder: &mut BatchBuilder) {
        self.counters.size_triggers.add(1);
        if let Some(batch) = self.seal(builder) {
            self.queue(batch);
        }
    }

    fn queue(&self, batch: Batch) {
        if let Err(Full(batch)) = self.upstream.lanes.push(self.core, batch) {
            self.overflow.borrow_mut().push_back(batch);
            self.upstream.lanes.wake(self.core);
        } else if self.upstream.spool().is_some() {
            // Its sender looks after what waits, also when it cannot send.
            self.upstream.lanes.wake(self.core);
        }
    }

    /// Takes a request that is forwarded as it came: alone, or with others of its encoding.
    fn take_unopened(&self, request: Inbound, reserved: Reserved, receipt: Option<ReceiptSender>) {
        // Little ones must not hold a receive buffer each.
        let origin = request.origin;
        let Form::Unopened(request) = request.detached().form else { return };
        let Reserved { bytes, places } = reserved;
        let charge = bytes.unwrap_or_else(|| self.upstream.budget.empty_charge());
        let ledger = self.upstream.unopened_ledgers.get(self.core).map(Arc::clone).unwrap_or_default();
        let batch = Batch::unopened(request, receipt, (charge, places), ledger).sent_by(origin);
        let batch = self.waiting_since(batch, None);
        if self.upstream.refusals.is_suspect(origin) {
            self.apart.put(Family::of_suspects(batch));
            return self.upstream.lanes.wake(self.core);
        }
        if self.upstream.config.passthrough != Passthrough::Merged {
            return self.queue(batch);
        }
        let limits = *self.builder.borrow().limits();
        for full in self.unopened.add(batch, limits.bytes_max, clock::now) {
            self.counters.size_triggers.add(1);
            self.queue(full);
        }
        self.upstream.lanes.wake(self.core);
    }

    fn take_merged(&self, drain: bool) -> Option<Batch> {
        let due = self.unopened.since()? + self.linger();
        if !drain && due > clock::now() {
            return None;
        }
        self.counters.timeout_triggers.add(1);
        self.unopened.take()
    }

    fn seal(&self, builder: &mut BatchBuilder) -> Option<Batch> {
        let since = self.open_since.take();
        let batch = self.waiting_since(builder.seal()?, since);
        self.counters.batch_items.add(batch.items());
        self.counters.batch_bytes.add(batch.rope().len() as u64);
        Some(batch)
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // Something is in the open batch only when its core has died: it counts as given up.
        drop(self.builder.get_mut().seal());
    }
}
