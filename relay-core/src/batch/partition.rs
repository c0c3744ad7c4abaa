//! Taking a batch apart by who sent its requests: what is known to be refused from one sender need not be looked for again among the
//! requests of all.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Batch, Origin, Part, Rope};

impl Batch {
    /// Takes out the requests that `is_meant` names: those that are left, and those that were taken out; each in their order, `None`
    /// where there are none. The bytes are shared, none is copied.
    pub fn partition(mut self, is_meant: impl Fn(Origin) -> bool) -> (Option<Self>, Option<Self>) {
        let meant: Vec<bool> = self.parts.iter().map(|part| is_meant(part.origin)).collect();
        if !meant.contains(&true) {
            return (Some(self), None);
        }
        if !meant.contains(&false) {
            return (None, Some(self));
        }
        let (rest, taken) = self.pieces_by(&meant);
        let (mut parts, mut receipts) = ([Vec::new(), Vec::new()], [VecDeque::new(), VecDeque::new()]);
        let mut waiting = self.receipts.take().into_iter().peekable();
        for (at, (part, meant)) in self.parts.iter().zip(&meant).enumerate() {
            let ([rest, taken], [of_rest, of_taken]) = (&mut parts, &mut receipts);
            let (parts, receipts) = if *meant { (taken, of_taken) } else { (rest, of_rest) };
            while let Some((_, receipt)) = waiting.next_if(|(part, _)| *part == at) {
                receipts.push_back((parts.len(), receipt));
            }
            parts.push(*part);
        }
        let ([parts, taken_parts], [receipts, taken_receipts]) = (parts, receipts);
        let items: u64 = taken_parts.iter().map(|part: &Part| part.items).sum();
        // Both hold the shared blocks until they are gone; together they hold what the whole did.
        let share = |units: usize| units / self.parts.len().max(1) * taken_parts.len();
        let (held, places) =
            (share(self.charge.units()), self.places.as_ref().map_or(0, |places| share(places.units())));
        let taken = Self {
            signal: self.signal,
            encoding: self.encoding,
            rope: Rope::new(taken),
            parts: taken_parts,
            receipts: taken_receipts.into(),
            items,
            charge: self.charge.split_off(held),
            places: self.places.as_mut().map(|own| own.split_off(places)),
            ledger: Arc::clone(&self.ledger),
            since: self.since,
            hold: self.hold_of_piece(),
        };
        self.items -= items;
        self.rope = Rope::new(rest);
        self.parts = parts;
        self.receipts = receipts.into();
        (Some(self), Some(taken))
    }

    /// The rope's ranges of the parts that are not meant, and of those that are.
    fn pieces_by(&self, meant: &[bool]) -> (Vec<bytes::Bytes>, Vec<bytes::Bytes>) {
        let (mut rest, mut taken) = (Vec::new(), Vec::new());
        let mut pieces = self.rope.pieces().iter();
        let mut piece = pieces.next().cloned().unwrap_or_default();
        let runs = self.parts.iter().zip(meant).collect::<Vec<_>>();
        for run in runs.chunk_by(|(_, a), (_, b)| a == b) {
            let mut bytes: usize = run.iter().map(|(part, _)| part.bytes).sum();
            let to = if run.first().is_some_and(|(_, meant)| **meant) { &mut taken } else { &mut rest };
            while bytes > 0 {
                if piece.is_empty() {
                    let Some(next) = pieces.next() else { break };
                    piece = next.clone();
                }
                let now = piece.split_to(bytes.min(piece.len()));
                bytes -= now.len();
                to.push(now);
            }
        }
        (rest, taken)
    }
}
