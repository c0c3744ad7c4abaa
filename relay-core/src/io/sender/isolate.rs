//! Taking a refused batch to pieces until the offender stands alone, and keeping what its sender sends apart. Must never send: pieces
//! wait for their turn.

use super::Sender;
use crate::batch::{Batch, DropReason, Origin};
use crate::io::apart::Family;

impl Sender {
    /// The next piece of `family`, without what suspects have sent.
    pub(super) fn next_piece(&self, family: &mut Family) -> Option<Batch> {
        loop {
            let batch = family.pending.pop()?;
            let rest = self.without_suspects(batch, family);
            if rest.is_some() {
                return rest;
            }
        }
    }

    pub(super) fn set_apart(&self, family: Family) {
        if !family.pending.is_empty() {
            self.intake.apart.put(family);
            self.intake.upstream.lanes.wake(self.intake.core);
        }
    }

    /// The two halves of `batch`; none if it cannot be cut, and is dropped for `reason`.
    pub(super) fn halves(&self, batch: Batch, reason: DropReason) -> Vec<Batch> {
        let mut halves = batch.halve();
        if halves.len() == 1 {
            halves.drain(..).for_each(|whole| {
                self.log_drop(&whole, reason);
                whole.drop_for(reason);
            });
        }
        halves
    }

    /// What is left of a piece when what suspects have sent is taken out of it, which may have been merged before they were suspected;
    /// that is set apart by itself.
    pub(super) fn without_suspects(&self, batch: Batch, family: &Family) -> Option<Batch> {
        let has_suspects = self.intake.upstream.refusals.has_suspects();
        if !has_suspects || family.is_suspects || batch.parts().len() < 2 {
            return Some(batch);
        }
        let (rest, taken) = batch.partition(|origin| self.intake.upstream.refusals.is_suspect(origin));
        if let Some(taken) = taken {
            self.set_apart(Family { is_suspects: true, ..family.part(vec![taken]) });
        }
        rest
    }

    /// Takes to pieces what was refused for good: the requests of suspects apart from the others, else halves.
    pub(super) fn isolate(&self, batch: Batch, (family, is_apart): (&mut Family, bool), is_to_blame: bool) {
        if batch.parts().len() == 1 {
            if let Some(refused) = &mut family.inside {
                *refused += 1;
                return family.add(self.halves(batch, DropReason::Rejected));
            }
            self.caught(&batch, is_to_blame);
            let halves = self.halves(batch, DropReason::Rejected);
            let mut inside = Family { is_suspects: true, inside: Some(0), ..family.part(Vec::new()) };
            inside.add(halves);
            return self.set_apart(inside);
        }
        let (mut pieces, whole) = (family.part(Vec::new()), batch.parts().len());
        match self.without_suspects(batch, family) {
            Some(rest) if rest.parts().len() == whole => pieces.add(self.halves(rest, DropReason::Rejected)),
            rest => pieces.pending.extend(rest),
        }
        if is_apart {
            family.pending.append(&mut pieces.pending);
        } else {
            self.set_apart(pieces);
        }
    }

    /// A request was refused for good alone: says whose it was, and keeps what comes from there apart from now on if it is to blame.
    pub(super) fn caught(&self, batch: &Batch, is_to_blame: bool) {
        self.intake.counters.isolated_requests.add(1);
        let origin = batch.parts().first().map(|part| part.origin).unwrap_or_default();
        if !is_to_blame || origin == Origin::default() || !self.intake.upstream.refusals.caught(origin) {
            return;
        }
        if let Some(left_out) = self.log.allow(self.about, "suspect") {
            let (exporter, (sender, receiver)) = (&self.intake.upstream.config.name, self.sender_of(batch));
            let signal = batch.signal().name();
            tracing::warn!(
                exporter,
                signal,
                sender,
                receiver,
                left_out,
                "the upstream has refused a request of this sender for good: its requests are not merged with those of others"
            );
        }
    }

    /// Who sent the first request of `batch`, and to which receiver, in words.
    pub(super) fn sender_of(&self, batch: &Batch) -> (String, &str) {
        self.origins.words(batch.parts().first().map(|part| part.origin).unwrap_or_default())
    }
}
