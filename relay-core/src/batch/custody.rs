//! A copy of a batch that is safe elsewhere: on disk. Must never know where: whoever keeps it is told what became of the batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Keeps the copy of one batch. Told exactly once, and must not block.
pub trait Custody: fmt::Debug + Send + Sync {
    /// All of it is delivered, dropped for good, or kept by another custody: the copy is needed no more.
    fn settled(&self);

    /// Memory has let go of it: the copy is all there is.
    fn released(&self);
}

/// A batch's hold on its copy, shared by the pieces that it is cut into; the last of them tells the custody.
#[derive(Clone, Debug)]
pub(super) struct Hold(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    custody: Arc<dyn Custody>,
    // Some of it was not settled.
    kept: AtomicBool,
    // A piece of it is not what the copy holds.
    cut: AtomicBool,
}

impl Hold {
    pub(super) fn new(custody: Arc<dyn Custody>) -> Self {
        Self(Arc::new(Shared { custody, kept: AtomicBool::new(false), cut: AtomicBool::new(false) }))
    }

    /// For a piece of the batch.
    pub(super) fn of_piece(&self) -> Self {
        self.0.cut.store(true, Ordering::Relaxed);
        self.clone()
    }

    /// Whether the copy holds this and nothing else.
    pub(super) fn is_whole(&self) -> bool {
        !self.0.cut.load(Ordering::Relaxed)
    }

    /// What this held was not settled.
    pub(super) fn keep(&self) {
        // Relaxed: the count of the `Arc` orders it before the last drop.
        self.0.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if *self.kept.get_mut() {
            self.custody.released();
        } else {
            self.custody.settled();
        }
    }
}
