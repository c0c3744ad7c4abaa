//! Which of an upstream's addresses a message goes to. One table per upstream, shared by all cores; the time and the random number are
//! arguments. Must never wait, connect, or know what a connection is: what is connected on a core, the core says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::address::{Address, Gate, Place, Takes};

/// How an address is chosen among those that are of use (`balancer_name` of the Collector's gRPC clients).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balancer {
    /// Of two at random the one with fewer calls in flight: near to the best choice, without asking all of them (Mitzenmacher,
    /// "The power of two choices in randomized load balancing", 1996).
    #[default]
    LeastInFlight,
    /// One after the other.
    RoundRobin,
    /// One alone, another when it is out of order; which one, each process draws for itself.
    PickFirst,
}

impl Balancer {
    /// The balancer of this name in gRPC's service config; `None` for a name that is not known.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "round_robin" => Some(Self::RoundRobin),
            "pick_first" => Some(Self::PickFirst),
            _ => None,
        }
    }
}

/// A message that looks for an address.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Its size; 0 if nothing is known about it.
    pub bytes: usize,
    /// The time.
    pub now: Instant,
    /// Uniform in 0..1.
    pub random: f64,
    /// It has waited long enough: what has asked for a rest is asked again.
    pub urgent: bool,
}

/// Where a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// To the address of this number.
    Address {
        /// Its place in the list that was looked at.
        at: usize,
        /// This call shows whether the address is of use again ([`Address::claim_probe`]).
        probe: bool,
    },
    /// Nowhere for now: until this time, or until something has changed.
    Wait(Option<Instant>),
    /// Nowhere: no address takes more than this many bytes.
    TooLarge(usize),
}

/// The addresses of one upstream.
#[derive(Debug)]
pub struct Table {
    balancer: Balancer,
    origin: Instant,
    turn: AtomicUsize,
    addresses: Mutex<Arc<[Arc<Address>]>>,
}

impl Table {
    /// A table without addresses; `now` is any time before those that it will be told.
    pub fn new(balancer: Balancer, now: Instant) -> Self {
        Self { balancer, origin: now, turn: AtomicUsize::new(0), addresses: Mutex::default() }
    }

    /// How addresses are chosen.
    pub fn balancer(&self) -> Balancer {
        self.balancer
    }

    /// All addresses, in the order of the last update.
    pub fn addresses(&self) -> Arc<[Arc<Address>]> {
        Arc::clone(&self.addresses.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the addresses those of `places`, which is asked for them when nobody else updates the table: callers that learn of a
    /// change at the same time do not undo each other's. What is known of an address that stays is kept, of one that
    /// leaves it is forgotten. `random` gives numbers uniform in 0..1.
    pub fn update(
        &self,
        places: impl FnOnce() -> Vec<Place>,
        random: impl Fn() -> f64,
    ) -> Arc<[Arc<Address>]> {
        let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        let places = places();
        if !places.iter().eq(addresses.iter().map(|address| address.place())) {
            let known: HashMap<&Place, &Arc<Address>> =
                addresses.iter().map(|address| (address.place(), address)).collect();
            let address = |place: Place| match known.get(&place) {
                Some(address) => Arc::clone(address),
                None => Arc::new(Address::new(place, self.origin, random())),
            };
            let updated = places.into_iter().map(address).collect();
            *addresses = updated;
        }
        Arc::clone(&addresses)
    }

    /// The largest message, in bytes, that some address takes: of those that are not down, if there are any. `usize::MAX` while no
    /// limit is known.
    pub fn bytes_max(&self) -> usize {
        let addresses = self.addresses();
        let largest = |live: &dyn Fn(&Address) -> bool| {
            let live = addresses.iter().filter(|address| live(address));
            live.map(|address| address.bytes_max().unwrap_or(usize::MAX)).max()
        };
        largest(&|address| !address.is_down()).or_else(|| largest(&|_| true)).unwrap_or(usize::MAX)
    }

    /// Chooses for `wish` among `addresses`; `is_usable` says to which of them the caller has a connection with room. Of each that is
    /// due for a probe, one caller is told to go there.
    pub fn pick(&self, addresses: &[Arc<Address>], wish: &Wish, is_usable: impl Fn(usize) -> bool) -> Pick {
        let least = match admits(addresses, wish.bytes) {
            Ok(least) => least,
            Err(bytes_max) => return Pick::TooLarge(bytes_max),
        };
        let fits = |address: &Address| address.takes(wish.bytes) >= least;
        let usable = || {
            let all = addresses.iter().enumerate();
            all.filter(|(at, address)| is_usable(*at) && fits(address))
        };
        if let Some((at, _)) = usable().find(|(_, address)| address.claim_probe(wish.now)) {
            return Pick::Address { at, probe: true };
        }
        let open = || usable().filter(|(_, address)| wish.urgent || address.gate() == Gate::Open);
        let preferred = || open().filter(|(_, address)| !address.is_avoided(wish.now));
        let picked = self.choose(preferred, wish.random).or_else(|| self.choose(open, wish.random));
        match picked {
            Some(at) => Pick::Address { at, probe: false },
            None => Pick::Wait(next_look(addresses.iter().filter(|address| fits(address)), wish.now)),
        }
    }

    fn choose<'a, I>(&self, candidates: impl Fn() -> I, random: f64) -> Option<usize>
    where
        I: Iterator<Item = (usize, &'a Arc<Address>)>,
    {
        if self.balancer == Balancer::PickFirst {
            let first = candidates().min_by(|(_, a), (_, b)| a.rank().total_cmp(&b.rank()));
            return first.map(|(at, _)| at);
        }
        let count = candidates().count();
        if count <= 1 {
            return candidates().next().map(|(at, _)| at);
        }
        if self.balancer == Balancer::RoundRobin {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            return candidates().nth(turn % count).map(|(at, _)| at);
        }
        let (first, rest) = draw(count, random);
        let (second, _) = draw(count - 1, rest);
        let (first, second) = (candidates().nth(first)?, candidates().nth((first + 1 + second) % count)?);
        Some(if second.1.calls() < first.1.calls() { second.0 } else { first.0 })
    }
}

/// What an address must say of a message of this size to be considered: the best that one of them says.
///
/// # Errors
/// The largest message that one of them takes: all that are not down have named a smaller limit.
fn admits(addresses: &[Arc<Address>], bytes: usize) -> Result<Takes, usize> {
    let live = || addresses.iter().filter(|address| !address.is_down());
    match live().map(|address| address.takes(bytes)).max() {
        Some(Takes::No) => Err(live().filter_map(|address| address.bytes_max()).max().unwrap_or(bytes)),
        Some(least) => Ok(least),
        // Nobody knows what will come back, and the first call that shows it may be this one.
        None => Ok(Takes::No),
    }
}

/// The next time at which one of them may be asked again.
fn next_look<'a>(addresses: impl Iterator<Item = &'a Arc<Address>>, now: Instant) -> Option<Instant> {
    let due = addresses.filter_map(|address| match address.gate() {
        Gate::Down(until) | Gate::Throttled(until) => Some(until),
        Gate::Open | Gate::Dialling | Gate::Trial | Gate::Probing => None,
    });
    // What is due already waits for something else: a connection, or room on one.
    due.filter(|until| *until > now).min()
}

/// A number below `count`, which is not 0, and what is left of the randomness, again uniform in 0..1.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts of addresses are small, and the product is neither negative nor above the count"
)]
pub(crate) fn draw(count: usize, random: f64) -> (usize, f64) {
    let scaled = random.clamp(0.0, 1.0) * count as f64;
    ((scaled as usize).min(count.saturating_sub(1)), scaled.fract())
}

#[cfg(test)]
mod tests;
