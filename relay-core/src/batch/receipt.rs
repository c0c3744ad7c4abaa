//! Who is answered: a [`Receipt`] is held by whoever handed a request in, its [`ReceiptSender`] travels with
//! the part.
//!
//! An acknowledgement is a value that travels back; nothing down the path of the data calls upwards.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

use super::DropReason;

/// What became of a request, at one upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// The upstream has accepted it.
    Delivered,
    /// The upstream has accepted it, but not all of it or not without a word (OTLP, "Partial Success").
    Partial {
        /// Items of the request that it rejected; 0 where it has only warned, or where they cannot be told apart from those of other
        /// requests in the same call.
        rejected: u64,
        /// What it said.
        message: Arc<str>,
    },
    /// It was given up, and counted under this reason.
    Dropped(DropReason),
    /// It was never taken: the queue or the byte budget was full. Try again later.
    Refused,
}

/// Answers one [`Receipt`]. Dropping it unanswered answers `Dropped(Aborted)`.
#[derive(Debug)]
pub struct ReceiptSender(Answer);

#[derive(Debug)]
enum Answer {
    Whole(oneshot::Sender<Settled>),
    Piece(Piece),
}

impl ReceiptSender {
    /// Answers. Whoever asked may have gone; that is no error.
    pub fn settle(self, settled: Settled) {
        match self.0 {
            Answer::Whole(sender) => drop(sender.send(settled)),
            Answer::Piece(mut piece) => piece.settled = settled,
        }
    }

    /// Makes `count` senders out of this one, for a request that was cut: the receipt is answered when all of
    /// them are, as delivered only if all say so.
    pub(crate) fn split(self, count: usize) -> Vec<Self> {
        let of = match self.0 {
            Answer::Whole(sender) => {
                Arc::new(Pieces { sender: Some(sender), lost: OnceLock::new(), partial: OnceLock::new() })
            }
            Answer::Piece(mut piece) => {
                // The new pieces answer in its place.
                piece.settled = Settled::Delivered;
                Arc::clone(&piece.of)
            }
        };
        let aborted = Settled::Dropped(DropReason::Aborted);
        let piece = || Piece { of: Arc::clone(&of), settled: aborted.clone() };
        (0..count).map(|_| Self(Answer::Piece(piece()))).collect()
    }
}

/// One of several senders for the same receipt; tells what became of it when it is dropped.
#[derive(Debug)]
struct Piece {
    of: Arc<Pieces>,
    settled: Settled,
}

impl Drop for Piece {
    fn drop(&mut self) {
        // Only the first of each is told.
        match std::mem::replace(&mut self.settled, Settled::Delivered) {
            Settled::Delivered => {}
            partial @ Settled::Partial { .. } => drop(self.of.partial.set(partial)),
            lost @ (Settled::Dropped(_) | Settled::Refused) => drop(self.of.lost.set(lost)),
        }
    }
}

/// What the pieces of one request share; answers when the last of them is dropped.
#[derive(Debug)]
struct Pieces {
    sender: Option<oneshot::Sender<Settled>>,
    lost: OnceLock<Settled>,
    partial: OnceLock<Settled>,
}

impl Drop for Pieces {
    fn drop(&mut self) {
        let settled = self.lost.get().or_else(|| self.partial.get()).cloned().unwrap_or(Settled::Delivered);
        if let Some(sender) = self.sender.take() {
            sender.send(settled).ok();
        }
    }
}

/// Resolves when every upstream of a request has settled it: `Delivered` if all have, else the first drop, else the first partial
/// success.
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
        ReceiptSender(Answer::Whole(sender))
    }
}

impl Future for Receipt {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Settled> {
        while let Some(last) = self.waiting.last_mut() {
            let answer = ready!(Pin::new(last).poll(cx)).unwrap_or(Settled::Dropped(DropReason::Aborted));
            self.waiting.pop();
            match (&self.settled, &answer) {
                (Settled::Delivered, _)
                | (Settled::Partial { .. }, Settled::Dropped(_) | Settled::Refused) => {
                    self.settled = answer;
                }
                _ => {}
            }
        }
        Poll::Ready(self.settled.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_upstreams_count() {
        let mut receipt = Receipt::default();
        let (a, b) = (receipt.sender(), receipt.sender());
        b.settle(Settled::Delivered);
        a.settle(Settled::Delivered);
        assert_eq!(receipt.await, Settled::Delivered);

        let mut receipt = Receipt::default();
        let (a, b) = (receipt.sender(), receipt.sender());
        a.settle(Settled::Dropped(DropReason::Rejected));
        b.settle(Settled::Delivered);
        assert_eq!(receipt.await, Settled::Dropped(DropReason::Rejected));
    }

    #[tokio::test]
    async fn a_lost_sender_is_an_answer() {
        let mut receipt = Receipt::default();
        drop(receipt.sender());
        assert_eq!(receipt.await, Settled::Dropped(DropReason::Aborted));
    }

    /// What one upstream has rejected is told, unless another has lost everything.
    #[tokio::test]
    async fn a_partial_success_is_told() {
        let partial = Settled::Partial { rejected: 2, message: "quota".into() };
        for (other, expected) in [
            (Settled::Delivered, partial.clone()),
            (Settled::Dropped(DropReason::Rejected), Settled::Dropped(DropReason::Rejected)),
        ] {
            let mut receipt = Receipt::default();
            let (a, mut b) = (receipt.sender(), receipt.sender().split(2));
            a.settle(other);
            b.remove(0).settle(partial.clone());
            b.remove(0).settle(Settled::Delivered);
            assert_eq!(receipt.await, expected);
        }
    }

    /// A request that was cut is delivered when all its pieces are, in whatever order.
    #[tokio::test]
    async fn pieces_answer_together() {
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
