//! Who waits to be told what becomes of a batch, by the number of the part.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::ReceiptSender;

/// Ascending by part; most parts have no receipt where senders are answered when queued.
// A lock, because senders are told that a batch is safe on disk while a call has it; taken some times for each batch, never waited for.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<VecDeque<(usize, ReceiptSender)>>);

impl Waiting {
    /// All of them, where nobody else has the batch.
    pub(super) fn all(&mut self) -> &mut VecDeque<(usize, ReceiptSender)> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all of them.
    pub(super) fn take(&self) -> VecDeque<(usize, ReceiptSender)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

impl From<VecDeque<(usize, ReceiptSender)>> for Waiting {
    fn from(receipts: VecDeque<(usize, ReceiptSender)>) -> Self {
        Self(Mutex::new(receipts))
    }
}
