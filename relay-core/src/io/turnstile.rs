//! Where requests wait for room in the same upstreams, one line for each connection, over all cores. [`Turns`] says whose turn it
//! is; this tells them.
//!
//! While nobody waits it is one load: the lock is for those who wait, and for whoever lets them in.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::clock;
use super::shared::UpstreamShared;
use crate::limits::FULL_LOOK_INTERVAL;
use crate::queue::{Budget, Charge, Room, Ticket, Turns, leaves_room};

/// A line for each connection before one set of upstreams, or before the memory for bodies that are not complete.
#[derive(Debug, Default)]
pub(crate) struct Turnstile {
    waiting: AtomicUsize,
    turns: Mutex<Turns<Arc<Notify>>>,
    // What bounds each of the upstreams: bytes, and requests or items where its queue is bounded in them.
    bounds: Vec<(Arc<Budget>, Option<Arc<Budget>>)>,
}

impl Turnstile {
    /// Before upstreams with these bounds. Without any only one at a time is let in.
    pub(crate) fn new(bounds: Vec<(Arc<Budget>, Option<Arc<Budget>>)>) -> Arc<Self> {
        Arc::new(Self { bounds, ..Self::default() })
    }

    /// Whether somebody waits here, so that whoever comes now has to wait too.
    pub(crate) fn is_contended(&self) -> bool {
        // Relaxed: whoever comes at the same moment as another may go first.
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Lets a request of `bytes` wait in the line of the connection `number`; `wake` is told when its turn has come, and whenever
    /// there may be room from then on.
    pub(crate) fn enter(self: &Arc<Self>, number: u64, bytes: usize, wake: Arc<Notify>) -> Place {
        let mut turns = self.turns();
        let ticket = turns.enter(number, bytes, wake);
        self.waiting.store(turns.len(), Ordering::Relaxed);
        // There may be room by now, and nobody else to say so.
        turns.call(self.room(), |wake| wake.notify_one());
        drop(turns);
        Place { turnstile: Arc::clone(self), ticket }
    }

    /// Something that was held has gone.
    pub(crate) fn room_came(&self) {
        if self.is_contended() {
            let mut turns = self.turns();
            turns.called().for_each(|wake| wake.notify_one());
            turns.call(self.room(), |wake| wake.notify_one());
        }
    }

    /// Where any upstream has room: one that is full for good must not keep the others idle.
    fn room(&self) -> Room {
        let bytes = self.bounds.iter().map(|(bytes, _)| bytes.free()).max().unwrap_or(0);
        let places = |(_, places): &(_, Option<Arc<Budget>>)| {
            places.as_ref().map_or(usize::MAX, |places| places.free())
        };
        let requests = self.bounds.iter().map(places).max().unwrap_or(1);
        Room { bytes, requests }
    }

    fn turns(&self) -> MutexGuard<'_, Turns<Arc<Notify>>> {
        // A core that died here has left lines as they were between two of its steps.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the turnstiles of a relay: one before each set of upstreams that requests go to, so that nobody waits behind a request
/// that goes elsewhere.
#[derive(Debug)]
pub(crate) struct Turnstiles<'a> {
    upstreams: &'a [Arc<UpstreamShared>],
    made: Vec<(Vec<usize>, Arc<Turnstile>)>,
}

impl<'a> Turnstiles<'a> {
    pub(crate) fn new(upstreams: &'a [Arc<UpstreamShared>]) -> Self {
        Self { upstreams, made: Vec::new() }
    }

    /// The one before the upstreams with these numbers.
    pub(crate) fn of(&mut self, routes: &[usize]) -> Arc<Turnstile> {
        if let Some((_, made)) = self.made.iter().find(|(before, _)| before == routes) {
            return Arc::clone(made);
        }
        let upstreams = routes.iter().filter_map(|route| self.upstreams.get(*route));
        let bounds = upstreams.map(|upstream| {
            let places = upstream.places.as_ref().map(|places| Arc::clone(&places.budget));
            (Arc::clone(&upstream.budget), places)
        });
        let turnstile = Turnstile::new(bounds.collect());
        self.made.push((routes.to_vec(), Arc::clone(&turnstile)));
        turnstile
    }

    /// Tells each upstream who waits for room in it: those before it, and the `bodies`.
    pub(crate) fn tell_upstreams(self, bodies: &Arc<Turnstile>) {
        for (route, upstream) in self.upstreams.iter().enumerate() {
            let before = self.made.iter().filter(|(routes, _)| routes.contains(&route));
            let before = before.map(|(_, turnstile)| turnstile).chain([bodies]);
            // Nobody else sets it.
            upstream.turnstiles.set(before.map(Arc::clone).collect()).ok();
        }
    }
}

/// A place in a line; dropping it leaves the line.
#[derive(Debug)]
pub(crate) struct Place {
    turnstile: Arc<Turnstile>,
    ticket: Ticket,
}

impl Place {
    fn is_called(&self) -> bool {
        self.turnstile.turns().is_called(&self.ticket)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut turns = self.turnstile.turns();
        turns.leave(&self.ticket);
        self.turnstile.waiting.store(turns.len(), Ordering::Relaxed);
        turns.call(self.turnstile.room(), |wake| wake.notify_one());
    }
}

/// A connection, as far as it has to wait.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Which one it is, among all of the relay.
    pub(crate) number: u64,
    // What it holds of the memory for those who wait.
    waiting_bytes: Rc<Cell<usize>>,
    /// Told when it is worth looking again.
    pub(crate) wake: Arc<Notify>,
}

impl Peer {
    pub(crate) fn new(number: u64) -> Self {
        Self { number, waiting_bytes: Rc::default(), wake: Arc::default() }
    }

    /// Memory for something that waits, if there is any and this connection has its share of it not used up.
    pub(crate) fn hold(&self, waiting: &Arc<Budget>, bytes: usize) -> Option<WaitingBytes> {
        let mut held = WaitingBytes {
            charge: waiting.empty_charge(),
            of_peer: Rc::clone(&self.waiting_bytes),
            waiting: Arc::clone(waiting),
        };
        held.try_grow(bytes).then_some(held)
    }
}

/// Memory of something that waits, counted for its connection.
#[derive(Debug)]
pub(crate) struct WaitingBytes {
    charge: Charge,
    of_peer: Rc<Cell<usize>>,
    waiting: Arc<Budget>,
}

impl WaitingBytes {
    /// Takes `bytes` more; says whether there were any left for it.
    #[must_use]
    pub(crate) fn try_grow(&mut self, bytes: usize) -> bool {
        let grown =
            leaves_room(self.of_peer.get(), bytes, self.waiting.free()) && self.charge.try_grow(bytes);
        if grown {
            self.of_peer.set(self.of_peer.get() + bytes);
        }
        grown
    }

    /// Gives all of it back.
    pub(crate) fn clear(&mut self) {
        let held = self.charge.take();
        self.of_peer.set(self.of_peer.get() - held.units());
    }
}

impl Drop for WaitingBytes {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Something that waits for its turn.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) place: Place,
    pub(crate) bytes: WaitingBytes,
    pub(crate) since: Instant,
    pub(crate) give_up_at: Instant,
    pub(crate) wake: Arc<Notify>,
}

impl Waiting {
    /// Resolves when it is worth asking again, for one that waits in a task of its own.
    pub(crate) async fn room(&self) {
        let left = self.give_up_at.saturating_duration_since(clock::now()).min(FULL_LOOK_INTERVAL);
        tokio::time::timeout(left, self.wake.notified()).await.ok();
    }

    /// Whether its turn has come.
    pub(crate) fn is_called(&self) -> bool {
        self.place.is_called()
    }

    /// How long it has waited at `now`.
    pub(crate) fn waited(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_told(wake: &Notify) -> bool {
        tokio::time::timeout(Duration::from_millis(20), wake.notified()).await.is_ok()
    }

    /// As many are told as there is room for, in turn; the next when one has gone; all of those whenever room comes.
    #[tokio::test]
    async fn those_whose_turn_has_come_are_told() {
        let budget = Budget::new(100);
        let held = budget.try_charge(50).unwrap();
        let turnstile = Turnstile::new(vec![(budget, None)]);
        let wakes: Vec<Arc<Notify>> = (0..4).map(|_| Arc::default()).collect();
        let mut places: Vec<Place> = [0, 1, 0, 1]
            .iter()
            .zip(&wakes)
            .map(|(line, wake)| turnstile.enter(*line, 25, Arc::clone(wake)))
            .collect();
        assert!(is_told(&wakes[0]).await && is_told(&wakes[1]).await && !is_told(&wakes[2]).await);
        assert!(turnstile.is_contended() && places[1].is_called() && !places[2].is_called());
        turnstile.room_came();
        assert!(is_told(&wakes[0]).await && is_told(&wakes[1]).await && !is_told(&wakes[2]).await);
        drop(places.remove(0));
        assert!(is_told(&wakes[2]).await && !is_told(&wakes[3]).await);
        drop(held);
        turnstile.room_came();
        assert!(is_told(&wakes[3]).await);
        drop(places);
        assert!(!turnstile.is_contended());
    }

    /// What waits is counted for its connection, which gets no more than it leaves.
    #[test]
    fn a_connection_leaves_half_of_the_memory_for_waiting() {
        let waiting = Budget::new(1000);
        let (noisy, quiet) = (Peer::new(1), Peer::new(2));
        let held: Vec<WaitingBytes> = std::iter::from_fn(|| noisy.hold(&waiting, 10)).collect();
        assert_eq!((held.len(), waiting.used()), (50, 500));
        let mut other = quiet.hold(&waiting, 200).unwrap();
        assert!(!other.try_grow(200));
        drop(held);
        assert!(other.try_grow(200));
        other.clear();
        assert_eq!((waiting.used(), noisy.waiting_bytes.get(), quiet.waiting_bytes.get()), (0, 0, 0));
    }
}
