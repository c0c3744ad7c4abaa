//! The open batch of one core and upstream: requests join it until it is sealed.
//!
//! Small requests are copied once into the batch's arena blocks (a memcpy is cheaper than an iovec, and a slice of a
//! receive buffer would hold all of that buffer); large ones join by reference. The builder never splits and never
//! looks inside a request.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, Bytes, BytesMut};

use super::{Batch, DropReason, Ledger, Origin, Part, ReceiptSender, Rope};
use crate::limits::{ARENA_BLOCK_BYTES_MAX, ARENA_BLOCK_BYTES_MIN, BATCH_PARTS_MAX, RECEIVE_BLOCK_BYTES};
use crate::otlp::{FramedRequest, Signal};
use crate::queue::{Budget, Charge};

/// When a batch is full.
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    /// Largest batch, in bytes before compression: what the upstream takes (4 MiB at a grpc-go server).
    pub bytes_max: usize,
    /// Largest batch, in items; `u64::MAX` for no bound (`send_batch_max_size`).
    pub items_max: u64,
    /// A batch of this many items goes without waiting for the linger (`send_batch_size`).
    pub items_target: u64,
    /// Requests shorter than this, in bytes, are copied into the arena.
    pub inline_copy_bytes_max: usize,
}

/// A queue's bound in requests or items (`sending_queue.queue_size`), and what a request takes of it.
#[derive(Clone, Debug)]
pub struct Places {
    /// The bound.
    pub budget: Arc<Budget>,
    /// Whether it counts items; else requests.
    pub in_items: bool,
}

impl Places {
    /// What a request of `items` takes.
    pub fn needed(&self, items: u64) -> usize {
        if self.in_items { usize::try_from(items).unwrap_or(usize::MAX) } else { 1 }
    }
}

/// Collects requests into one batch.
#[derive(Debug)]
pub struct BatchBuilder {
    signal: Signal,
    limits: BatchLimits,
    ledger: Arc<Ledger>,
    pieces: Vec<Bytes>,
    // The arena block being filled; what it holds comes after `pieces`.
    block: BytesMut,
    block_bytes: usize,
    parts: Vec<Part>,
    receipts: VecDeque<(usize, ReceiptSender)>,
    // Who sends the requests that join.
    origin: Origin,
    bytes: usize,
    items: u64,
    charge: Charge,
    places: Option<(Places, Charge)>,
    // Reserved for what is added next.
    credit: (Option<Charge>, Option<Charge>),
}

impl BatchBuilder {
    /// An empty batch of requests of `signal` whose memory counts in `budget`, whose places in a bounded queue count in `places`, and whose
    /// items count in `ledger`.
    pub fn new(
        signal: Signal,
        limits: BatchLimits,
        budget: &Arc<Budget>,
        places: Option<Places>,
        ledger: Arc<Ledger>,
    ) -> Self {
        Self {
            signal,
            limits,
            ledger,
            pieces: Vec::new(),
            block: BytesMut::new(),
            block_bytes: 0,
            parts: Vec::new(),
            receipts: VecDeque::new(),
            origin: Origin::default(),
            bytes: 0,
            items: 0,
            charge: budget.empty_charge(),
            places: places.map(|places| (places.clone(), places.budget.empty_charge())),
            credit: (None, None),
        }
    }

    /// What copying a request of `bytes` in charges, in bytes: the blocks that it needs; of a batch that it begins if it does not
    /// `join` the open one.
    pub fn blocks_needed(&self, bytes: usize, join: bool) -> usize {
        let (mut room, mut block) = match join {
            true => (self.block.capacity() - self.block.len(), self.block_bytes),
            false => (0, 0),
        };
        let mut needed = 0;
        while room < bytes {
            block = next_block_bytes(block);
            room += block;
            needed += block;
        }
        needed
    }

    /// Takes what is added until [`BatchBuilder::take_credit`] out of these charges, of its budget and its places, as far as they go.
    pub fn give_credit(&mut self, bytes: Option<Charge>, places: Option<Charge>) {
        self.credit = (bytes, places);
    }

    /// Gives back what is left of the credit.
    pub fn take_credit(&mut self) {
        self.credit = (None, None);
    }

    /// Whether no request has joined since the last seal.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &BatchLimits {
        &self.limits
    }

    /// Makes `bytes_max` the largest batch from now on: what the upstream is known to take at this time.
    pub fn limit_bytes_max(&mut self, bytes_max: usize) {
        self.limits.bytes_max = bytes_max;
    }

    /// Bytes of the open batch.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Items of the open batch.
    pub fn items(&self) -> u64 {
        self.items
    }

    /// Whether a request of `bytes` and `items` may join the open batch.
    pub fn fits(&self, bytes: usize, items: u64) -> bool {
        self.bytes + bytes <= self.limits.bytes_max
            && self.items.saturating_add(items) <= self.limits.items_max
            && self.parts.len() < self.parts_max()
    }

    /// Whether it should go without waiting any longer.
    pub fn is_due(&self) -> bool {
        self.items >= self.limits.items_target
            || self.bytes >= self.limits.bytes_max
            || self.parts.len() >= self.parts_max()
    }

    fn parts_max(&self) -> usize {
        if self.signal.concatenates() { BATCH_PARTS_MAX } else { 1 }
    }

    /// Says who sends the requests that join from now on.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = origin;
    }

    /// Adds a request. The caller has asked [`BatchBuilder::fits`], or seals at once afterwards.
    pub fn push(&mut self, request: FramedRequest, receipt: Option<ReceiptSender>) {
        let bytes = request.segments().len();
        self.enter(bytes, request.items(), receipt);
        if bytes < self.limits.inline_copy_bytes_max {
            request.segments().iter().for_each(|segment| self.copy_in(segment));
        } else {
            self.push_segments(request, false);
        }
    }

    /// Adds a request whose bytes lie in memory that other upstreams share and that carries its own charge of the whole budget
    /// ([`Budget::try_charge_apart`]); never copies them.
    pub fn push_shared(&mut self, request: FramedRequest, receipt: Option<ReceiptSender>) {
        self.enter(request.segments().len(), request.items(), receipt);
        self.push_segments(request, true);
    }

    /// Enters `items` that were offered and cannot be sent, because one item is larger than a batch may be.
    pub fn drop_too_large(&self, items: u64) {
        self.ledger.enqueue(items);
        self.ledger.drop_items(DropReason::ItemTooLarge, items);
    }

    /// Closes the open batch, if anything is in it, and starts an empty one.
    pub fn seal(&mut self) -> Option<Batch> {
        if self.is_empty() {
            return None;
        }
        self.close_run();
        // What is left of the block goes with its batch: a block belongs to one batch, so that it dies with it.
        self.block = BytesMut::new();
        self.block_bytes = 0;
        self.bytes = 0;
        Some(Batch {
            signal: self.signal,
            encoding: None,
            rope: Rope::new(std::mem::take(&mut self.pieces)),
            parts: std::mem::take(&mut self.parts),
            receipts: std::mem::take(&mut self.receipts).into(),
            items: std::mem::take(&mut self.items),
            charge: self.charge.take(),
            places: self.places.as_mut().map(|(_, charge)| charge.take()),
            ledger: Arc::clone(&self.ledger),
            since: None,
            hold: OnceLock::new(),
        })
    }

    fn enter(&mut self, bytes: usize, items: u64, receipt: Option<ReceiptSender>) {
        self.ledger.enqueue(items);
        if let Some((places, charge)) = &mut self.places {
            let (credit, needed) = (self.credit.1.as_mut(), places.needed(items));
            let missing = credit.map_or(needed, |credit| charge.draw(credit, needed));
            charge.grow_past(missing);
        }
        if let Some(receipt) = receipt {
            self.receipts.push_back((self.parts.len(), receipt));
        }
        self.parts.push(Part { bytes, items, origin: self.origin });
        self.bytes += bytes;
        self.items += items;
    }

    fn push_segments(&mut self, request: FramedRequest, shared: bool) {
        self.close_run();
        for segment in request.into_segments() {
            let held = if shared { segment.len() } else { held_bytes(segment.len()) };
            let missing = self.draw(held);
            if shared {
                self.charge.grow_past_apart(missing);
            } else {
                self.charge.grow_past(missing);
            }
            self.pieces.push(segment);
        }
    }

    /// Draws on the credit for bytes; how many it did not cover.
    fn draw(&mut self, bytes: usize) -> usize {
        self.credit.0.as_mut().map_or(bytes, |credit| self.charge.draw(credit, bytes))
    }

    fn copy_in(&mut self, mut from: &[u8]) {
        while !from.is_empty() {
            let room = self.block.capacity() - self.block.len();
            if room == 0 {
                self.next_block();
                continue;
            }
            let (now, later) = from.split_at(room.min(from.len()));
            self.block.put_slice(now);
            from = later;
        }
    }

    fn next_block(&mut self) {
        self.close_run();
        self.block_bytes = next_block_bytes(self.block_bytes);
        self.block = BytesMut::with_capacity(self.block_bytes);
        let missing = self.draw(self.block.capacity());
        self.charge.grow_past(missing);
    }

    fn close_run(&mut self) {
        if !self.block.is_empty() {
            self.pieces.push(self.block.split().freeze());
        }
    }
}

/// The block after one of `bytes`. Doubling keeps a trickle's batch at one small block and a large batch at a few large ones.
fn next_block_bytes(bytes: usize) -> usize {
    (bytes * 2).clamp(ARENA_BLOCK_BYTES_MIN, ARENA_BLOCK_BYTES_MAX)
}

/// What a received slice of `bytes` is charged: itself, and a DATA frame at the least, because it holds the read buffer that it
/// shares with others.
pub(crate) fn held_bytes(bytes: usize) -> usize {
    bytes.max(RECEIVE_BLOCK_BYTES)
}
