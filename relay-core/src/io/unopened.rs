//! Compressed requests that are merged without being opened: they are put one behind the other while what they say of their size
//! allows it. What nobody can know, whether the upstream reads all of them, the user has promised (`Passthrough::Merged`).

use std::cell::{Cell, RefCell};
use std::time::Instant;

use super::encoding::said_bytes;
use crate::batch::{Batch, Encoding};
use crate::limits::BATCH_PARTS_MAX;

/// The open batch of unopened requests of one core and upstream.
#[derive(Debug, Default)]
pub(crate) struct Unmerged {
    open: RefCell<Vec<Batch>>,
    // Of the open batch: its encoding, and what its requests say that they inflate to, in bytes.
    encoding: Cell<Option<Encoding>>,
    inflated_bytes: Cell<usize>,
    since: Cell<Option<Instant>>,
}

impl Unmerged {
    /// Since when the open batch waits.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since.get()
    }

    /// Adds a batch of one request; returns what is to go now: the open batch when the request cannot join it, and the request itself
    /// when nothing can join it, or what joins it would be more than `bytes_max` inflated.
    pub(crate) fn add(&self, batch: Batch, bytes_max: usize, now: impl Fn() -> Instant) -> Vec<Batch> {
        let said = batch
            .encoding()
            .filter(|encoding| encoding.concatenates())
            .and_then(|encoding| said_bytes(encoding, batch.rope()).filter(|said| *said <= bytes_max));
        // One that does not say its size could be of any.
        let Some(said) = said else { return vec![batch] };
        let mut full = Vec::new();
        let fits = self.encoding.get() == batch.encoding()
            && self.inflated_bytes.get() + said <= bytes_max
            && self.open.borrow().len() < BATCH_PARTS_MAX;
        if !fits {
            full.extend(self.take());
        }
        self.encoding.set(batch.encoding());
        self.inflated_bytes.set(self.inflated_bytes.get() + said);
        self.open.borrow_mut().push(batch);
        if self.since.get().is_none() {
            self.since.set(Some(now()));
        }
        full
    }

    /// The open batch.
    pub(crate) fn take(&self) -> Option<Batch> {
        self.since.set(None);
        self.inflated_bytes.set(0);
        Batch::joined(self.open.take())
    }
}
