//! A sealed batch: a rope of bytes that is one valid request, the parts it was merged from, and who is to be told.
//!
//! A batch is settled exactly once, also by being dropped; its items never leave the books silently.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::custody::Hold;
use super::waiting::Waiting;
use super::{DropReason, Encoding, Failure, Ledger, ReceiptSender, Rope, Settled, Unopened};
use crate::edit::{Split, SplitLimit, split, split_keeping};
use crate::otlp::{FramedRequest, RawRequest, Signal};
use crate::queue::Charge;

/// Who sent a request: a number for each connection of a sender, or 0 where nobody knows or the embedding service itself did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin(pub u32);

/// One request inside a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its length in the rope, in bytes.
    pub bytes: usize,
    /// Its items.
    pub items: u64,
    /// Who sent it.
    pub origin: Origin,
}

/// Requests merged by concatenation, on their way to one upstream.
#[derive(Debug)]
pub struct Batch {
    pub(super) signal: Signal,
    // Set where its requests were never opened: then a part counts as one item, in a ledger of requests.
    pub(super) encoding: Option<Encoding>,
    pub(super) rope: Rope,
    // The parts' lengths add up to the rope's, their items to `items`.
    pub(super) parts: Vec<Part>,
    pub(super) receipts: Waiting,
    // Items not settled yet.
    pub(super) items: u64,
    pub(super) charge: Charge,
    // Its places in a queue that is bounded in requests or items.
    pub(super) places: Option<Charge>,
    pub(super) ledger: Arc<Ledger>,
    // When its first request came; `None` where nobody needs to know.
    pub(super) since: Option<Instant>,
    // Set once a copy of it is safe.
    pub(super) hold: OnceLock<Hold>,
}

impl Batch {
    /// A batch of one request that was never opened. It counts as one item in `ledger`, which is a ledger of such requests.
    pub fn unopened(
        request: Unopened,
        receipt: Option<ReceiptSender>,
        (charge, places): (Charge, Option<Charge>),
        ledger: Arc<Ledger>,
    ) -> Self {
        ledger.enqueue(1);
        let bytes = request.bytes.len();
        Self {
            signal: request.signal,
            encoding: Some(request.encoding),
            rope: request.bytes.into(),
            parts: vec![Part { bytes, items: 1, origin: Origin::default() }],
            receipts: receipt.map(|receipt| (0, receipt)).into_iter().collect::<VecDeque<_>>().into(),
            items: 1,
            charge,
            places,
            ledger,
            since: None,
            hold: OnceLock::new(),
        }
    }

    /// One batch of several, in their order: all of one upstream and core, never opened, and of one encoding whose streams may follow
    /// one another. `None` of none.
    pub fn joined(batches: Vec<Self>) -> Option<Self> {
        let mut rest = batches.into_iter();
        let mut whole = rest.next()?;
        let mut pieces = whole.rope.pieces().to_vec();
        for mut batch in rest {
            let before = whole.parts.len();
            pieces.extend_from_slice(batch.rope.pieces());
            whole.parts.append(&mut batch.parts);
            whole
                .receipts
                .all()
                .extend(batch.receipts.take().into_iter().map(|(part, receipt)| (part + before, receipt)));
            whole.items += std::mem::take(&mut batch.items);
            whole.charge.absorb(&mut batch.charge);
            if let (Some(places), Some(more)) = (&mut whole.places, &mut batch.places) {
                places.absorb(more);
            }
        }
        whole.rope = Rope::new(pieces);
        Some(whole)
    }

    /// How its bytes are encoded, if its requests were never opened. Its items are requests then.
    pub fn encoding(&self) -> Option<Encoding> {
        self.encoding
    }

    /// Whose items it holds.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// The bytes: one valid export request of its signal.
    pub fn rope(&self) -> &Rope {
        &self.rope
    }

    /// Items inside.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// The requests that were merged, in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Bytes of memory that this batch holds (blocks and receive buffers, not visible bytes).
    pub fn held_bytes(&self) -> usize {
        self.charge.units()
    }

    /// Whether somebody waits to be told what becomes of it.
    pub fn is_awaited(&self) -> bool {
        !self.receipts.is_empty()
    }

    /// Says that all its requests came from `origin`.
    #[must_use]
    pub fn sent_by(mut self, origin: Origin) -> Self {
        self.parts.iter_mut().for_each(|part| part.origin = origin);
        self
    }

    /// The upstream has accepted it, all but `rejected` items (`partial_success.rejected_spans`).
    pub fn deliver(self, rejected: u64) {
        self.deliver_with(rejected, "");
    }

    /// As [`Batch::deliver`], with what the upstream said. It does not say whose items it has rejected: the sender of each request is told
    /// of as many as must have been its own, because those of the others are fewer. So nobody is told of too many, all together are told
    /// of no more than were rejected, and where there is one sender, or everything was rejected, all are told exactly.
    pub fn deliver_with(mut self, rejected: u64, message: &str) {
        let items = std::mem::take(&mut self.items);
        let rejected = rejected.min(items);
        self.ledger.deliver(items - rejected);
        self.ledger.drop_items(DropReason::PartialSuccess, rejected);
        if self.receipts.is_empty() {
            return;
        }
        if rejected == 0 && message.is_empty() {
            return self.answer(&Settled::Delivered);
        }
        let message: Arc<str> = match self.parts.len() {
            requests if requests > 1 && rejected > 0 => {
                format!("{rejected} items of {requests} merged requests were rejected: {message}").into()
            }
            _ => message.into(),
        };
        for (part, receipt) in self.receipts.take() {
            let own = self.parts.get(part).map_or(0, |part| part.items);
            let rejected = rejected.saturating_sub(items.saturating_sub(own));
            receipt.settle_items(Settled::Partial { rejected, message: Arc::clone(&message) }, own);
        }
    }

    /// It is given up.
    pub fn drop_for(mut self, reason: DropReason) {
        self.give_up(reason);
    }

    /// It is given up because of what the upstream said.
    pub fn drop_with(mut self, failure: Failure) {
        self.ledger.drop_items(failure.reason, self.items);
        self.items = 0;
        self.answer(&Settled::Failed(Arc::new(failure)));
    }

    /// Cuts it into two batches at the part border nearest to the middle of its bytes. Used to isolate the part that an
    /// upstream refuses. A batch of one part comes back as it is, alone.
    pub fn bisect(mut self) -> (Self, Option<Self>) {
        if self.parts.len() < 2 {
            return (self, None);
        }
        let (mut at, mut bytes, half) = (0, 0, self.rope.len() / 2);
        for part in self.parts.iter().take(self.parts.len() - 1) {
            if at > 0 && bytes + part.bytes > half {
                break;
            }
            at += 1;
            bytes += part.bytes;
        }
        let parts = self.parts.split_off(at);
        let receipts_at = self.receipts.all().partition_point(|(part, _)| *part < at);
        let mut receipts = self.receipts.all().split_off(receipts_at);
        for (part, _) in &mut receipts {
            *part -= at;
        }
        let items = parts.iter().map(|part| part.items).sum();
        let second = Self {
            signal: self.signal,
            encoding: self.encoding,
            rope: self.rope.slice(bytes, self.rope.len()).into(),
            parts,
            receipts: receipts.into(),
            items,
            // Both halves hold the shared blocks until they are gone; together they hold what the whole did.
            charge: self.charge.split_off(self.charge.units() / 2),
            places: self.places.as_mut().map(|places| places.split_off(places.units() / 2)),
            ledger: Arc::clone(&self.ledger),
            since: self.since,
            hold: self.hold_of_piece(),
        };
        self.items -= second.items;
        self.rope = self.rope.slice(0, bytes).into();
        (self, Some(second))
    }

    /// Cuts it into two batches of about as many parts or, where it is one, into two of about as many items. Drops nothing. Alone comes
    /// back what cannot be cut: one item, or a request that was never opened.
    pub fn halve(self) -> Vec<Self> {
        if self.parts.len() > 1 {
            let (first, second) = self.bisect();
            return std::iter::once(first).chain(second).collect();
        }
        let items_max = self.items.div_ceil(2);
        if self.items < 2 || self.encoding.is_some() {
            return vec![self];
        }
        self.cut_part(SplitLimit { bytes_max: usize::MAX, items_max }, split_keeping)
    }

    /// Cuts it into batches of at most `bytes_max` bytes each: at part borders where that is enough, else inside a
    /// part (see [`crate::edit::split`]). An item that does not fit comes back alone, larger than that: the limit may be a guess. If it is
    /// alone already, it is dropped and counted, and nothing comes back; so is a request that was never opened.
    pub fn split(self, bytes_max: usize) -> Vec<Self> {
        if self.rope.len() <= bytes_max {
            return vec![self];
        }
        match self.bisect() {
            (first, Some(second)) => {
                let mut batches = first.split_or_keep(bytes_max);
                batches.extend(second.split_or_keep(bytes_max));
                batches
            }
            (single, None) => single.split_part(bytes_max),
        }
    }

    /// As [`Batch::split`], but a single item was not alone before.
    fn split_or_keep(self, bytes_max: usize) -> Vec<Self> {
        if self.parts.len() == 1 && self.items == 1 && self.encoding.is_none() {
            vec![self]
        } else {
            self.split(bytes_max)
        }
    }

    fn split_part(mut self, bytes_max: usize) -> Vec<Self> {
        if self.encoding.is_some() {
            // What is not opened cannot be cut.
            self.give_up(DropReason::ItemTooLarge);
            return Vec::new();
        }
        let how = if self.items > 1 { split_keeping } else { split };
        self.cut_part(SplitLimit { bytes_max, items_max: u64::MAX }, how)
    }

    /// Cuts its only part.
    fn cut_part(mut self, limit: SplitLimit, how: fn(&FramedRequest, SplitLimit) -> Split) -> Vec<Self> {
        let segments = self.rope.slice(0, self.rope.len());
        // It was framed when it came in; if it does not frame now, there is nothing to cut.
        let Ok(request) = RawRequest::new(segments).frame(self.signal) else {
            self.give_up(DropReason::Rejected);
            return Vec::new();
        };
        let cut = how(&request, limit);
        let too_large = cut.dropped_items.min(self.items);
        self.ledger.drop_items(DropReason::ItemTooLarge, too_large);
        self.items -= too_large;
        let (share, last) =
            (self.charge.units() / cut.requests.len().max(1), cut.requests.len().saturating_sub(1));
        let mut batches = Vec::with_capacity(cut.requests.len());
        for (at, request) in cut.requests.into_iter().enumerate() {
            batches.push(self.carve(request, if at == last { usize::MAX } else { share }));
        }
        // The request is delivered when all its pieces are; items that are in none of them are lost already.
        let lost = usize::from(too_large > 0 || batches.is_empty());
        for (_, receipt) in self.receipts.take() {
            let mut pieces = receipt.split(batches.len() + lost);
            for batch in &mut batches {
                batch.receipts.all().extend(pieces.pop().map(|piece| (0, piece)));
            }
            for piece in pieces {
                piece.settle_items(Settled::Dropped(DropReason::ItemTooLarge), too_large);
            }
        }
        batches
    }

    fn carve(&mut self, request: FramedRequest, held_bytes: usize) -> Self {
        let items = request.items().min(self.items);
        let places =
            self.places.as_mut().map(|places| places.split_off(share(places.units(), items, self.items)));
        self.items -= items;
        let origin = self.parts.first().map(|part| part.origin).unwrap_or_default();
        let part = Part { bytes: request.segments().len(), items, origin };
        Self {
            signal: self.signal,
            encoding: self.encoding,
            rope: request.into_segments().into(),
            parts: vec![part],
            receipts: Waiting::default(),
            items,
            charge: self.charge.split_off(held_bytes),
            places,
            ledger: Arc::clone(&self.ledger),
            since: self.since,
            hold: self.hold_of_piece(),
        }
    }

    fn give_up(&mut self, reason: DropReason) {
        self.ledger.drop_items(reason, self.items);
        self.items = 0;
        self.answer(&Settled::Dropped(reason));
    }

    pub(super) fn answer(&self, settled: &Settled) {
        for (part, receipt) in self.receipts.take() {
            let items = self.parts.get(part).map_or(0, |part| part.items);
            receipt.settle_items(settled.clone(), items);
        }
    }
}

/// The share of `units` that belongs to `items` of `items_all`, rounded up: the last of several takes what is left.
pub(super) fn share(units: usize, items: u64, items_all: u64) -> usize {
    let product = units as u128 * u128::from(items);
    let share = if items >= items_all { units as u128 } else { product.div_ceil(u128::from(items_all)) };
    usize::try_from(share).unwrap_or(units)
}

impl Drop for Batch {
    fn drop(&mut self) {
        if !self.let_go() {
            self.give_up(DropReason::Aborted);
        }
    }
}
