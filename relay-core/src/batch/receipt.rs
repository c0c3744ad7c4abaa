//! Who is answered: a [`Receipt`] is held by whoever handed a request in, its [`ReceiptSender`] travels with
//! the part.
//!
//! An acknowledgement is a value that travels back; nothing down the path of the data calls upwards.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::{DropReason, Failure};

/// What became of a request, at one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The upstream has accepted it.
    Delivered,
    /// It is safe on disk, from where it is sent as soon as the upstream takes it.
    Stored,
    /// The upstream has accepted it, but not all of it or not without a word (OTLP, "Partial Success").
    Partial {
        /// Items of the request that were not accepted; 0 where the upstream has only warned. Where it counted items of several requests
        /// in one call, those that must have been of this one: never too many.
        rejected: u64,
        /// What it said.
        message: Arc<str>,
    },
    /// It was given up, and counted under this reason, without a word of the upstream's.
    Dropped(DropReason),
    /// The upstream did not take it.
    Failed(Arc<Failure>),
    /// It was never taken: the queue or the byte budget was full. Try again later.
    Refused,
}

impl Settled {
    /// Whether it is lost here, and sending it again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Delivered | Self::Stored | Self::Partial { .. } => false,
            Self::Dropped(reason) => reason.is_retryable(),
            Self::Failed(failure) => failure.is_retryable,
            Self::Refused => true,
        }
    }

    /// The worse of two is what a sender is told: what it shall send again before what is refused for good, because that may still be
    /// delivered, and that before what was taken in part.
    fn rank(&self) -> (u8, u64) {
        match self {
            Self::Delivered => (0, 0),
            Self::Stored => (0, 1),
            Self::Partial { rejected, .. } => (1, *rejected),
            _ if self.is_retryable() => (3, 0),
            _ => (2, 0),
        }
    }
}

/// Answers one [`Receipt`]. Dropping it unanswered answers `Dropped(Aborted)`.
#[derive(Debug)]
pub struct ReceiptSender(Answer);

#[derive(Debug)]
enum Answer {
    Whole(Whole),
    Piece(Piece),
}

/// Who is told what became of a whole request.
#[derive(Debug)]
enum Whole {
    Receipt(oneshot::Sender<Settled>),
    Ticket(Ticket),
}

impl Whole {
    /// Whoever asked may have gone; that is no error.
    fn send(self, settled: Settled) {
        match self {
            Self::Receipt(sender) => drop(sender.send(settled)),
            Self::Ticket(mut ticket) => ticket.send(settled),
        }
    }
}

/// Takes the answers to many requests, each by the ticket that it was given: for who has many and would not have a [`Receipt`] for each.
pub trait Answers: std::fmt::Debug + Send + Sync {
    /// Says what became of the request with this ticket; once for each, from any thread. Must not block.
    fn answer(&self, ticket: u32, settled: Settled);
}

#[derive(Debug)]
struct Ticket {
    // Until it is answered.
    to: Option<Arc<dyn Answers>>,
    ticket: u32,
}

impl Ticket {
    fn send(&mut self, settled: Settled) {
        if let Some(to) = self.to.take() {
            to.answer(self.ticket, settled);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.send(Settled::Dropped(DropReason::Aborted));
    }
}

impl ReceiptSender {
    /// Answers `to` under `ticket`.
    pub fn to(to: Arc<dyn Answers>, ticket: u32) -> Self {
        Self(Answer::Whole(Whole::Ticket(Ticket { to: Some(to), ticket })))
    }

    /// Answers for a whole request. Whoever asked may have gone; that is no error.
    pub fn settle(self, settled: Settled) {
        self.settle_items(settled, 0);
    }

    /// As [`ReceiptSender::settle`], for what may be a piece of a request, which has so many items.
    pub fn settle_items(self, settled: Settled, items: u64) {
        match self.0 {
            Answer::Whole(whole) => whole.send(settled),
            Answer::Piece(mut piece) => piece.settled = Some((settled, items)),
        }
    }

    /// Makes `count` senders out of this one, for a request that was cut: the receipt is answered when all of
    /// them are. What some of them have lost for good while others were delivered is a partial success.
    pub(crate) fn split(self, count: usize) -> Vec<Self> {
        let of = match self.0 {
            Answer::Whole(whole) => Arc::new(Pieces { whole: Some(whole), tally: Mutex::default() }),
            Answer::Piece(mut piece) => {
                // The new pieces answer in its place.
                piece.settled = None;
                Arc::clone(&piece.of)
            }
        };
        let aborted = Settled::Dropped(DropReason::Aborted);
        let piece = || Piece { of: Arc::clone(&of), settled: Some((aborted.clone(), 0)) };
        (0..count).map(|_| Self(Answer::Piece(piece()))).collect()
    }
}

/// One of several senders for the same receipt; tells what became of it when it is dropped.
#[derive(Debug)]
struct Piece {
    of: Arc<Pieces>,
    settled: Option<(Settled, u64)>,
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some((settled, items)) = self.settled.take() {
            self.of.tally.lock().unwrap_or_else(PoisonError::into_inner).add(settled, items);
        }
    }
}

/// What the pieces of one request share; answers when the last of them is dropped.
#[derive(Debug)]
struct Pieces {
    whole: Option<Whole>,
    tally: Mutex<Tally>,
}

/// What has become of the pieces of one request so far.
#[derive(Debug, Default)]
struct Tally {
    some_delivered: bool,
    // Items that were not accepted, and shall not be sent again.
    rejected: u64,
    // The first words about them, or about any.
    message: Option<Arc<str>>,
    // The worst that is no success.
    lost: Option<Settled>,
}

impl Tally {
    fn add(&mut self, settled: Settled, items: u64) {
        match &settled {
            Settled::Delivered | Settled::Stored => self.some_delivered = true,
            Settled::Partial { rejected, message } => {
                self.some_delivered = true;
                self.rejected += rejected;
                self.message.get_or_insert_with(|| Arc::clone(message));
            }
            Settled::Dropped(reason) => {
                self.rejected += items;
                self.message.get_or_insert_with(|| reason.name().replace('_', " ").into());
            }
            Settled::Failed(failure) => {
                self.rejected += items;
                self.message.get_or_insert_with(|| failure.message.as_str().into());
            }
            Settled::Refused => {}
        }
        if settled.rank() > (1, u64::MAX)
            && self.lost.as_ref().is_none_or(|lost| lost.rank() < settled.rank())
        {
            self.lost = Some(settled);
        }
    }

    fn settled(&mut self) -> Settled {
        match (self.lost.take(), self.message.take()) {
            (Some(lost), _) if lost.is_retryable() || !self.some_delivered => lost,
            (_, Some(message)) => Settled::Partial { rejected: self.rejected, message },
            _ => Settled::Delivered,
        }
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let settled = self.tally.get_mut().unwrap_or_else(PoisonError::into_inner).settled();
        if let Some(whole) = self.whole.take() {
            whole.send(settled);
        }
    }
}

/// Resolves when every upstream of a request has settled it: `Delivered` if all have taken it, else the worst: what shall be sent
/// again before what is refused for good, that before a partial success, and of those the one that rejects most.
///
/// Waits at most as long as the upstreams retry (`retry_on_failure.max_elapsed_time`).
#[derive(Debug)]
#[must_use = "a receipt does nothing unless it is awaited"]
pub struct Receipt {
    waiting: Vec<oneshot::Receiver<Settled>>,
    settled: Settled,
}

impl Default for Receipt {
    fn default() -> Self {
        Self { waiting: Vec::new(), settled: Settled::Delivered }
    }
}

impl Receipt {
    /// A sender for one more upstream.
    pub fn sender(&mut self) -> ReceiptSender {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push(receiver);
        ReceiptSender(Answer::Whole(Whole::Receipt(sender)))
    }
}

impl Future for Receipt {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settled> {
        while let Some(last) = self.waiting.last_mut() {
            let answer = ready!(Pin::new(last).poll(cx)).unwrap_or(Settled::Dropped(DropReason::Aborted));
            self.waiting.pop();
            if answer.rank() > self.settled.rank() {
                self.settled = answer;
            }
        }
        Poll::Ready(self.settled.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REJECTED: Settled = Settled::Dropped(DropReason::Rejected);
    const EXHAUSTED: Settled = Settled::Dropped(DropReason::RetriesExhausted);

    fn partial(rejected: u64, message: &str) -> Settled {
        Settled::Partial { rejected, message: message.into() }
    }

    /// What the sender of a request is told whose upstreams say `answers`.
    async fn of_upstreams(answers: &[Settled]) -> Settled {
        let mut receipt = Receipt::default();
        let senders: Vec<ReceiptSender> = answers.iter().map(|_| receipt.sender()).collect();
        for (sender, answer) in senders.into_iter().zip(answers) {
            sender.settle(answer.clone());
        }
        receipt.await
    }

    /// What the sender of a request is told of whose pieces, of 10 items each, these became.
    async fn of_pieces(answers: &[Settled]) -> Settled {
        let mut receipt = Receipt::default();
        let senders = receipt.sender().split(answers.len());
        for (sender, answer) in senders.into_iter().zip(answers) {
            sender.settle_items(answer.clone(), 10);
        }
        receipt.await
    }

    #[tokio::test]
    async fn the_worst_upstream_counts() {
        let delivered = Settled::Delivered;
        let cases = [
            (vec![delivered.clone(), delivered.clone()], delivered.clone()),
            (vec![delivered.clone(), REJECTED], REJECTED),
            (vec![REJECTED, EXHAUSTED, delivered.clone()], EXHAUSTED),
            (vec![partial(2, "a"), delivered.clone(), partial(3, "b")], partial(3, "b")),
            (vec![partial(2, "a"), REJECTED], REJECTED),
        ];
        for (answers, expected) in cases {
            assert_eq!(of_upstreams(&answers).await, expected, "{answers:?}");
        }
    }

    #[tokio::test]
    async fn a_lost_sender_is_an_answer() {
        let mut receipt = Receipt::default();
        drop(receipt.sender());
        assert_eq!(receipt.await, Settled::Dropped(DropReason::Aborted));
    }

    /// What was delivered is not sent again because another piece is refused for good: that is a partial success.
    #[tokio::test]
    async fn pieces_add_up() {
        let delivered = Settled::Delivered;
        let cases = [
            (vec![delivered.clone(), delivered.clone()], delivered.clone()),
            (vec![delivered.clone(), REJECTED, partial(3, "quota")], partial(13, "rejected")),
            (vec![partial(1, "quota"), partial(2, "more")], partial(3, "quota")),
            (vec![REJECTED, REJECTED], REJECTED),
            (vec![delivered.clone(), REJECTED, EXHAUSTED], EXHAUSTED),
            (vec![delivered, Settled::Refused], Settled::Refused),
        ];
        for (answers, expected) in cases {
            assert_eq!(of_pieces(&answers).await, expected, "{answers:?}");
        }
    }

    /// A request that was cut is delivered when all its pieces are, in whatever order.
    #[tokio::test]
    async fn pieces_of_pieces_answer_together() {
        let mut receipt = Receipt::default();
        let mut pieces = receipt.sender().split(2);
        let nested = pieces.pop().map(|piece| piece.split(2)).into_iter().flatten();
        pieces.into_iter().chain(nested).for_each(|piece| piece.settle(Settled::Delivered));
        assert_eq!(receipt.await, Settled::Delivered);

        let mut receipt = Receipt::default();
        let mut pieces = receipt.sender().split(3);
        drop(pieces.remove(1));
        pieces.into_iter().for_each(|piece| piece.settle(Settled::Delivered));
        assert_eq!(receipt.await, Settled::Dropped(DropReason::Aborted));
    }
}
