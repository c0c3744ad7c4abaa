//! Whose turn it is while there is no room: one line of waiters for each connection, served in turn by bytes.
//!
//! Deficit round robin (Shreedhar and Varghese, 1995): whoever asks for much at once waits for as many rounds as that is worth, so
//! that a connection with hundreds of large requests gets no more bytes than one with a single small one after the other. Bytes
//! are what is short; one request per turn would give the one with larger requests more.
//!
//! A plain state machine without a clock. Must never decide whether there is room: it is told how much there may be.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::TURN_BYTES;

/// How much may be let in at once, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes.
    pub bytes: usize,
    /// Requests.
    pub requests: usize,
}

/// Who waits: a place in one of the lines. Given back by [`Turns::leave`].
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    line: u64,
    number: u64,
}

/// Who waits for room, and in which order. `W` is how a waiter is told.
#[derive(Debug)]
pub struct Turns<W> {
    lines: BTreeMap<u64, Line<W>>,
    // Each line once, the one whose turn it is in front. Lines that have become empty are taken out when they come to the front.
    ring: VecDeque<u64>,
    // Whose turn has come and who has not left yet, by number.
    called: BTreeMap<u64, (usize, W)>,
    called_bytes: usize,
    // Waiters that are not called.
    waiting: usize,
    next_number: u64,
}

#[derive(Debug)]
struct Line<W> {
    // Ascending by number.
    waiters: VecDeque<Waiter<W>>,
    // Bytes that it may be let in with before the others have their turn.
    credit: usize,
}

#[derive(Debug)]
struct Waiter<W> {
    number: u64,
    bytes: usize,
    wake: W,
}

impl<W> Default for Turns<W> {
    fn default() -> Self {
        Self {
            lines: BTreeMap::new(),
            ring: VecDeque::new(),
            called: BTreeMap::new(),
            called_bytes: 0,
            waiting: 0,
            next_number: 0,
        }
    }
}

impl<W> Turns<W> {
    /// Lets a request of `bytes` wait in `line`, which is a connection's number.
    pub fn enter(&mut self, line: u64, bytes: usize, wake: W) -> Ticket {
        let number = self.next_number;
        self.next_number += 1;
        self.waiting += 1;
        let place = self.lines.entry(line).or_insert_with(|| {
            self.ring.push_back(line);
            Line { waiters: VecDeque::new(), credit: TURN_BYTES }
        });
        place.waiters.push_back(Waiter { number, bytes, wake });
        Ticket { line, number }
    }

    /// Calls those whose turn has come: as many as `room` is for, less what those need who were called before and are still here;
    /// one in any case, so that a wrong guess of the room holds nobody up for ever. Each of them is told.
    pub fn call(&mut self, room: Room, mut tell: impl FnMut(&W)) {
        while let Some((line, bytes)) = self.next_in_turn() {
            let full =
                self.called_bytes.saturating_add(bytes) > room.bytes || self.called.len() >= room.requests;
            if full && !self.called.is_empty() {
                return;
            }
            let Some(place) = self.lines.get_mut(&line) else { return };
            let Some(waiter) = place.waiters.pop_front() else { return };
            place.credit = place.credit.saturating_sub(bytes);
            self.waiting -= 1;
            self.called_bytes += bytes;
            tell(&waiter.wake);
            self.called.insert(waiter.number, (bytes, waiter.wake));
        }
    }

    /// Those who were called and have not left: each is to be told whenever there may be room.
    pub fn called(&self) -> impl Iterator<Item = &W> {
        self.called.values().map(|(_, wake)| wake)
    }

    /// Whether its turn has come.
    pub fn is_called(&self, ticket: &Ticket) -> bool {
        self.called.contains_key(&ticket.number)
    }

    /// It has been let in, or waits no longer.
    pub fn leave(&mut self, ticket: &Ticket) {
        if let Some((bytes, _)) = self.called.remove(&ticket.number) {
            self.called_bytes -= bytes;
        } else if let Some(line) = self.lines.get_mut(&ticket.line)
            && let Ok(at) = line.waiters.binary_search_by_key(&ticket.number, |waiter| waiter.number)
        {
            line.waiters.remove(at);
            self.waiting -= 1;
        }
        if self.is_empty() {
            self.lines.clear();
            self.ring.clear();
        }
    }

    /// Waiters in all, those who were called among them.
    pub fn len(&self) -> usize {
        self.waiting + self.called.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The line whose turn it is, and what its first waiter needs. A line that is passed over gets credit for its next turn, so
    /// the rounds are bounded by the bytes that wait.
    fn next_in_turn(&mut self) -> Option<(u64, usize)> {
        loop {
            let line = *self.ring.front()?;
            let first = self.lines.get(&line).and_then(|place| place.waiters.front());
            let Some(needed) = first.map(|waiter| waiter.bytes) else {
                self.ring.pop_front();
                self.lines.remove(&line);
                continue;
            };
            let place = self.lines.get_mut(&line)?;
            if place.credit >= needed {
                return Some((line, needed));
            }
            place.credit = place.credit.saturating_add(TURN_BYTES);
            self.ring.rotate_left(1);
        }
    }
}

/// Whether one of many may hold `units` more of what all have together, of which `free` are left: as many as are left over.
/// However many want everything, something is left for the next who comes; one alone gets half (Choudhury and Hahne, "Dynamic
/// queue length thresholds", 1998).
pub fn leaves_room(own: usize, units: usize, free: usize) -> bool {
    own.saturating_add(units) <= free
}

#[cfg(test)]
mod tests;
