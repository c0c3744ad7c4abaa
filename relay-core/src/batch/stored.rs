//! A batch of which a copy is safe on disk: how it gets one, how memory lets go of it, and how it comes back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::custody::Hold;
use super::{Batch, Custody, Encoding, Ledger, Part, Rope, Settled};
use crate::otlp::Signal;
use crate::queue::Charge;

/// What is read back from the disk, to be a batch again.
#[derive(Debug)]
pub struct Replayed {
    /// Whose items it holds.
    pub signal: Signal,
    /// How its bytes are encoded, if its requests were never opened.
    pub encoding: Option<Encoding>,
    /// Items inside; requests if they were never opened.
    pub items: u64,
    /// The requests that were merged, in order.
    pub parts: Vec<Part>,
    /// Its bytes.
    pub payload: Bytes,
}

impl Batch {
    /// What was read back, whose copy stays in `custody`; its memory is charged to `charge`, its items count in `ledger`.
    pub fn replayed(
        replayed: Replayed,
        custody: Arc<dyn Custody>,
        charge: Charge,
        ledger: Arc<Ledger>,
    ) -> Self {
        ledger.take_back(replayed.items);
        Self {
            signal: replayed.signal,
            encoding: replayed.encoding,
            rope: Rope::new(vec![replayed.payload]),
            parts: replayed.parts,
            receipts: VecDeque::new(),
            items: replayed.items,
            charge,
            places: None,
            ledger,
            since: None,
            hold: Some(Hold::new(custody)),
        }
    }

    /// Says when the first of its requests came.
    #[must_use]
    pub fn waiting_since(mut self, since: Instant) -> Self {
        self.since = Some(since);
        self
    }

    /// When the first of its requests came, if that was said.
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    /// A copy of it is safe in `custody`. If it was a piece of a batch that had one, that one keeps it no more.
    pub fn secure(&mut self, custody: Arc<dyn Custody>) {
        self.hold = Some(Hold::new(custody));
    }

    /// Whether a copy of it is safe.
    pub fn is_safe(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether there is a copy that holds it and nothing else, so that memory may let go of it.
    pub fn is_releasable(&self) -> bool {
        self.hold.as_ref().is_some_and(Hold::is_whole)
    }

    /// Tells who waits that it is safe. Nothing happens if it is not.
    pub fn answer_stored(&mut self) {
        if self.is_safe() {
            self.answer(&Settled::Stored);
        }
    }

    /// Memory lets go of it: from now on the disk alone holds it. It comes back where there is no copy of it, or one that holds more
    /// than it.
    #[must_use]
    pub fn release(mut self) -> Option<Self> {
        if self.is_releasable() && self.let_go() { None } else { Some(self) }
    }

    /// Leaves what is not settled to its copy, if there is one.
    pub(super) fn let_go(&mut self) -> bool {
        let Some(hold) = self.hold.take_if(|_| self.items > 0) else { return false };
        hold.keep();
        self.ledger.release(std::mem::take(&mut self.items));
        self.answer(&Settled::Stored);
        true
    }
}
