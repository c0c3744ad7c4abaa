//! Sorts the items of a batch into batches for the members of a tier, request by request: whoever waits for a request is answered
//! when all its pieces are settled, and what is refused for good can still be told from its neighbours.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::sealed::share;
use super::{Batch, Part, ReceiptSender, Rope};
use crate::edit::{RoutingKey, partition};
use crate::otlp::{FramedRequest, RawRequest};

/// What goes to one member.
#[derive(Debug, Default)]
struct Pile {
    pieces: Vec<Bytes>,
    bytes: usize,
    parts: Vec<Part>,
    receipts: VecDeque<(usize, ReceiptSender)>,
    items: u64,
}

impl Batch {
    /// Sorts its spans by `key` into a batch for each of the members `0..members` that gets some; `member` says which has a key. No
    /// payload byte is copied, and nothing is lost: a request that cannot be taken apart goes whole to the member of the key of
    /// no trace. Its requests were opened (they have no [`encoding`](Self::encoding)).
    pub fn regroup(
        mut self,
        key: RoutingKey,
        members: usize,
        mut member: impl FnMut(&[u8]) -> usize,
    ) -> Vec<(usize, Self)> {
        let mut piles: Vec<Pile> = (0..members.max(1)).map(|_| Pile::default()).collect();
        let mut receipts = self.receipts.take().into_iter().peekable();
        let mut from = 0;
        for (at, part) in std::mem::take(&mut self.parts).into_iter().enumerate() {
            let segments = self.rope.slice(from, from + part.bytes);
            from += part.bytes;
            let framed = RawRequest::new(segments.clone()).frame(self.signal);
            let sorted = framed.and_then(|request| partition(&request, key, members, &mut member));
            let mut sorted = sorted.unwrap_or_default();
            if sorted.is_empty() {
                let whole = FramedRequest::composed(self.signal, segments, part.items, 0);
                sorted.push((member(&[0; 16]).min(members.saturating_sub(1)), whole));
            }
            let mut answers: Vec<Vec<ReceiptSender>> = sorted.iter().map(|_| Vec::new()).collect();
            while let Some((_, receipt)) = receipts.next_if(|(part, _)| *part == at) {
                let pieces = if sorted.len() == 1 { vec![receipt] } else { receipt.split(sorted.len()) };
                answers.iter_mut().zip(pieces).for_each(|(answers, piece)| answers.push(piece));
            }
            for ((member, request), answers) in sorted.into_iter().zip(answers) {
                if let Some(pile) = piles.get_mut(member) {
                    pile.add(part, request, answers);
                }
            }
        }
        self.deal_out(piles)
    }

    /// Gives each pile its share of what this batch holds.
    fn deal_out(mut self, piles: Vec<Pile>) -> Vec<(usize, Self)> {
        let (mut bytes, mut items) = (0, 0);
        for pile in &piles {
            (bytes, items) = (bytes + pile.bytes, items + pile.items);
        }
        self.items = 0;
        let used = piles.into_iter().enumerate().filter(|(_, pile)| !pile.parts.is_empty());
        let batches = used.map(|(member, pile)| {
            // Of what is left, so that the last gets all of the rest.
            let held = share(self.charge.units(), pile.bytes as u64, bytes as u64);
            let places = self.places.as_mut();
            let places = places.map(|places| places.split_off(share(places.units(), pile.items, items)));
            (bytes, items) = (bytes.saturating_sub(pile.bytes), items.saturating_sub(pile.items));
            let batch = Self {
                signal: self.signal,
                encoding: self.encoding,
                rope: Rope::new(pile.pieces),
                parts: pile.parts,
                receipts: pile.receipts.into(),
                items: pile.items,
                charge: self.charge.split_off(held),
                places,
                ledger: Arc::clone(&self.ledger),
                since: self.since,
                hold: self.hold_of_piece(),
            };
            (member, batch)
        });
        batches.collect()
    }
}

impl Pile {
    /// Adds a piece of the request that was `part`.
    fn add(&mut self, mut part: Part, request: FramedRequest, answers: Vec<ReceiptSender>) {
        (part.bytes, part.items) = (request.len(), request.items());
        self.receipts.extend(answers.into_iter().map(|answer| (self.parts.len(), answer)));
        self.bytes += part.bytes;
        self.items += part.items;
        self.parts.push(part);
        self.pieces.extend(request.into_segments().iter().cloned());
    }
}
