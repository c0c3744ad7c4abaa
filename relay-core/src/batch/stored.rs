//! A batch of which a copy is safe on disk: how it gets one, how memory lets go of it, and how it comes back.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;

use super::custody::Hold;
use super::waiting::Waiting;
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
            receipts: Waiting::default(),
            items: replayed.items,
            charge,
            places: None,
            ledger,
            since: None,
            hold: OnceLock::from(Hold::new(custody)),
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

    /// A copy of it is safe in `custody`. Of a batch that has one already nothing changes, and the new one is told that it is settled.
    pub fn secure(&self, custody: Arc<dyn Custody>) {
        drop(self.hold.set(Hold::new(custody)));
    }

    /// As [`Batch::secure`]; if it was a piece of a batch of which there is a copy, that one keeps it no more.
    pub fn secure_anew(&mut self, custody: Arc<dyn Custody>) {
        self.hold = OnceLock::from(Hold::new(custody));
    }

    /// Whether a copy of it is safe.
    pub fn is_safe(&self) -> bool {
        self.hold.get().is_some()
    }

    /// Whether there is a copy that holds it and nothing else, so that memory may let go of it.
    pub fn is_releasable(&self) -> bool {
        self.hold.get().is_some_and(Hold::is_whole)
    }

    /// Tells who waits that it is safe. Nothing happens if it is not.
    pub fn answer_stored(&self) {
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

    /// For a piece of it.
    pub(super) fn hold_of_piece(&self) -> OnceLock<Hold> {
        self.hold.get().map_or_else(OnceLock::new, |hold| OnceLock::from(hold.of_piece()))
    }

    /// Leaves what is not settled to its copy, if there is one.
    pub(super) fn let_go(&mut self) -> bool {
        if self.items == 0 {
            return false;
        }
        let Some(hold) = self.hold.take() else { return false };
        hold.keep();
        self.ledger.release(std::mem::take(&mut self.items));
        self.answer(&Settled::Stored);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::batch::{BatchBuilder, BatchLimits, DropReason, Receipt};
    use crate::otlp::RawRequest;
    use crate::queue::Budget;

    /// Counts what it is told.
    #[derive(Debug, Default)]
    struct Told {
        settled: AtomicUsize,
        released: AtomicUsize,
    }

    impl Custody for Told {
        fn settled(&self) {
            self.settled.fetch_add(1, Ordering::Relaxed);
        }

        fn released(&self) {
            self.released.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Told {
        fn counts(&self) -> (usize, usize) {
            (self.settled.load(Ordering::Relaxed), self.released.load(Ordering::Relaxed))
        }
    }

    /// A ResourceSpans with one ScopeSpans with one empty Span.
    const REQUEST: &[u8] = &[10, 4, 18, 2, 18, 0];

    struct Kept {
        batch: Batch,
        ledger: Arc<Ledger>,
        told: Arc<Told>,
        receipt: Receipt,
    }

    fn kept(requests: usize) -> Kept {
        let limits =
            BatchLimits { bytes_max: 1 << 20, items_max: 100, items_target: 100, inline_copy_bytes_max: 16 };
        let (budget, ledger) = (Budget::new(1 << 20), Arc::<Ledger>::default());
        let mut builder = BatchBuilder::new(Signal::Traces, limits, &budget, None, Arc::clone(&ledger));
        let mut receipt = Receipt::default();
        for _ in 0..requests {
            let request = RawRequest::new(Bytes::from_static(REQUEST)).frame(Signal::Traces).unwrap();
            builder.push(request, Some(receipt.sender()));
        }
        let batch = builder.seal().unwrap();
        let told = Arc::<Told>::default();
        batch.secure(Arc::clone(&told) as Arc<dyn Custody>);
        Kept { batch, ledger, told, receipt }
    }

    #[tokio::test]
    async fn what_is_delivered_settles_its_copy() {
        let Kept { batch, ledger, told, receipt } = kept(2);
        batch.answer_stored();
        assert_eq!(receipt.await, Settled::Stored);
        assert_eq!(told.counts(), (0, 0));
        batch.deliver(0);
        assert_eq!((told.counts(), ledger.counts().delivered, ledger.counts().held()), ((1, 0), 2, 0));
    }

    #[tokio::test]
    async fn what_is_released_is_on_disk_alone_until_it_comes_back() {
        let Kept { batch, ledger, told, receipt } = kept(2);
        let parts = batch.parts().to_vec();
        assert!(batch.release().is_none());
        assert_eq!(receipt.await, Settled::Stored);
        assert_eq!((told.counts(), ledger.counts().on_disk, ledger.counts().held()), ((0, 1), 2, 2));

        let payload = Bytes::from([REQUEST, REQUEST].concat());
        let replayed = Replayed { signal: Signal::Traces, encoding: None, items: 2, parts, payload };
        let (again, charge) = (Arc::<Told>::default(), Budget::new(100).try_charge(12).unwrap());
        let custody = Arc::clone(&again) as Arc<dyn Custody>;
        let batch = Batch::replayed(replayed, custody, charge, Arc::clone(&ledger));
        assert_eq!((ledger.counts().on_disk, ledger.counts().held()), (0, 2));
        batch.drop_for(DropReason::Rejected);
        assert_eq!((again.counts(), ledger.counts().held(), ledger.counts().dropped_total()), ((1, 0), 0, 2));
    }

    /// A panic drops a batch as it is: what is on disk stays there.
    #[test]
    fn what_is_dropped_unsettled_stays_on_disk() {
        let Kept { batch, ledger, told, .. } = kept(3);
        drop(batch);
        assert_eq!((told.counts(), ledger.counts().on_disk, ledger.counts().dropped_total()), ((0, 1), 3, 0));
    }

    /// Pieces share the copy: it goes when the last of them is settled, and stays if one of them was not.
    #[test]
    fn pieces_settle_together() {
        for is_kept in [false, true] {
            let Kept { batch, ledger, told, .. } = kept(4);
            let (first, second) = batch.bisect();
            first.deliver(0);
            assert_eq!(told.counts(), (0, 0));
            let second = second.unwrap();
            assert!(!second.is_releasable());
            let second = second.release().unwrap();
            if is_kept {
                drop(second);
            } else {
                second.deliver(0);
            }
            let expected = if is_kept { ((0, 1), 2) } else { ((1, 0), 0) };
            assert_eq!((told.counts(), ledger.counts().on_disk), expected);
        }
    }

    /// A piece that gets a copy of its own leaves the first to its neighbours.
    #[test]
    fn a_piece_with_a_copy_of_its_own_may_be_released() {
        let Kept { batch, told, .. } = kept(2);
        let (first, second) = batch.bisect();
        let (mut second, own) = (second.unwrap(), Arc::<Told>::default());
        second.secure_anew(Arc::clone(&own) as Arc<dyn Custody>);
        assert!(second.release().is_none());
        first.deliver(0);
        assert_eq!((told.counts(), own.counts()), ((1, 0), (0, 1)));
    }

    /// A copy that comes when there is one already is needed no more.
    #[test]
    fn a_second_copy_is_settled_at_once() {
        let Kept { batch, told, .. } = kept(1);
        let second = Arc::<Told>::default();
        batch.secure(Arc::clone(&second) as Arc<dyn Custody>);
        assert_eq!((second.counts(), told.counts()), ((1, 0), (0, 0)));
        batch.deliver(0);
        assert_eq!(told.counts(), (1, 0));
    }
}
