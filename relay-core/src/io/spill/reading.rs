//! Reading back: a chunk at a time, charged to the memory of the upstream before it is read. Must never read what memory has no room for,
//! but for the first chunk, without which a backlog behind a busy sender would stay where it is.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::custody::{Commands, Stored};
use super::spool::Replay;
use super::worker::Worker;
use crate::batch::{Custody, Part};
use crate::limits::SPILL_READ_AGAIN;
use crate::queue::Charge;
use crate::spill::{Disk, Record};

impl<D: Disk> Worker<D> {
    /// Reads one chunk if somebody wants it and there is room; whether to look again at once.
    pub(super) fn read_back(&mut self, now: Instant, unix_ms: u64) -> bool {
        if !self.is_wanted || self.read_at.is_some_and(|at| at > now) {
            return false;
        }
        self.read_at = None;
        // Nobody is left to whom it could be given.
        let Some(commands) = self.commands.upgrade() else { return false };
        // Without room it stays wanted: what makes room for it, a replay that is done, comes with a command.
        let Some(mut chunk) = self.room() else { return false };
        match self.log.read(chunk.units(), unix_ms) {
            // What a crash has left is counted first, and what could not be read rests (the log says so): it stays wanted.
            Ok(None) if self.log.has_unread() => self.read_at = Some(now + SPILL_READ_AGAIN),
            Err(_) => self.read_at = Some(now + SPILL_READ_AGAIN),
            Ok(None) => self.answer_read(),
            Ok(Some(records)) if records.is_empty() => return true,
            Ok(Some(records)) => self.give(records, &mut chunk, &commands),
        }
        // What was not needed of the room is free again: somebody may have found none meanwhile, and wait for it.
        drop(chunk);
        (self.shared.wake)();
        false
    }

    fn room(&self) -> Option<Charge> {
        let (budget, bytes) = (&self.shared.budget, self.shared.chunk_bytes);
        budget.try_charge(bytes).or_else(|| {
            // One chunk for each upstream has its room always: who sends without a pause fills whatever room there is.
            (self.replays_held == 0).then(|| {
                let mut charge = budget.empty_charge();
                charge.grow_past(bytes);
                charge
            })
        })
    }

    fn give(&mut self, records: Vec<Record>, chunk: &mut Charge, commands: &Commands) {
        // The books know what came back before anybody can take it.
        self.books.take(self.log.take_events());
        self.books.replayed(&records);
        self.held += records.len();
        self.replays_held += records.len();
        let replays = records.into_iter().map(|record| {
            let bytes = record.payload.len() + record.parts.len() * size_of::<Part>();
            let mut charge = chunk.split_off(bytes);
            // A record larger than a chunk is in memory already.
            charge.grow_past(bytes - charge.units());
            let custody: Arc<dyn Custody> = Stored::new(record.id, true, commands.clone());
            Replay { record, custody, charge }
        });
        let replays = replays.collect();
        self.shared.put_ready(replays);
        self.answer_read();
    }

    /// Whoever wants more may ask again.
    fn answer_read(&mut self) {
        self.is_wanted = false;
        self.shared.is_asked.store(false, Ordering::Relaxed);
    }
}
