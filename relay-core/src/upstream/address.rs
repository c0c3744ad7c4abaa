//! What is known of one address of an upstream, seen and changed by all cores: calls in flight, whether it may be used now, what it
//! takes. Plain atomics, the time is an argument; must never choose among addresses.
//!
//! Whether it may be used is one word, the gate:
//!
//! ```text
//!            failed                 a dial begins              dialled
//!   Open ------------> Down(until) --------------> Dialling --------------> Trial
//!    ^  \                  ^ ^                        |                       |
//!    |   \ throttled       | +----- not dialled ------+                       | the next call
//!    |    +--> Throttled(until) --- the first call after it ---> Probing <----+
//!    |                     |                                     | | |
//!    |                     +-------------- throttled ------------+ | +-- failed --> Down
//!    +------------------------------------ answered ---------------+
//! ```
//!
//! One core dials an address that was down, and one call goes to one that comes back: nobody stampedes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::reconnect_delay;
use crate::limits::{ADDRESS_AVOID_TIME, LEARNED_BYTES_MIN, THROTTLE_DELAY_MAX};

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// TCP.
    Tcp(SocketAddr),
    /// A unix socket, as its endpoint is written.
    Socket(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Socket(endpoint) => f.write_str(endpoint),
        }
    }
}

/// Whether an address may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// By everybody.
    Open,
    /// It has failed, and nobody tries before this time.
    Down(Instant),
    /// One core dials it to see whether it is back.
    Dialling,
    /// There is a connection to it again: the next call is to show that it answers.
    Trial,
    /// It has asked to be left alone until this time (`RetryInfo`, `Retry-After`); then one call shows whether it goes on.
    Throttled(Instant),
    /// That one call is in flight.
    Probing,
}

/// Whether an address takes a message, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Takes {
    /// It has named a smaller limit.
    No,
    /// It has refused one of about this size without naming a limit.
    Perhaps,
    /// Nothing says that it does not.
    Yes,
}

const KIND_BITS: u32 = 3;

/// One address of an upstream.
#[derive(Debug)]
pub struct Address {
    place: Place,
    // Times are counted from here, in microseconds.
    origin: Instant,
    // Random, so that not all agents prefer the same one.
    rank: f64,
    // Gate: its kind in the lowest bits, its time above.
    gate: AtomicU64,
    // Failures since the last answer.
    failures_in_row: AtomicU32,
    // Others are preferred until then.
    avoid_until: AtomicU64,
    bytes_max: AtomicUsize,
    // Whether the upstream itself has named `bytes_max`.
    is_named: AtomicBool,
    calls: AtomicUsize,
    answered: AtomicU64,
    failed: AtomicU64,
}

impl Address {
    /// An address of which nothing is known; `rank` is uniform in 0..1, and times are counted from `origin`.
    pub fn new(place: Place, origin: Instant, rank: f64) -> Self {
        Self {
            place,
            origin,
            rank,
            gate: AtomicU64::new(0),
            failures_in_row: AtomicU32::new(0),
            avoid_until: AtomicU64::new(0),
            bytes_max: AtomicUsize::new(usize::MAX),
            is_named: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The order in which [`super::Balancer::PickFirst`] prefers addresses: the lowest first.
    pub fn rank(&self) -> f64 {
        self.rank
    }

    /// Whether it may be used.
    pub fn gate(&self) -> Gate {
        self.decode(self.gate.load(Ordering::SeqCst))
    }

    /// Whether it is known to be out of order.
    pub fn is_down(&self) -> bool {
        matches!(self.gate(), Gate::Down(_) | Gate::Dialling)
    }

    /// Calls in flight.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Calls that were answered, with whatever status.
    pub fn answered_total(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Times that it went down.
    pub fn failed_total(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// The largest message that it is known to take, in bytes; `None` while it has refused none for its size.
    pub fn bytes_max(&self) -> Option<usize> {
        Some(self.bytes_max.load(Ordering::Relaxed)).filter(|bytes| *bytes != usize::MAX)
    }

    /// Whether it takes a message of this many bytes.
    pub fn takes(&self, bytes: usize) -> Takes {
        if bytes <= self.bytes_max.load(Ordering::Relaxed) {
            Takes::Yes
        } else if self.is_named.load(Ordering::Relaxed) {
            Takes::No
        } else {
            Takes::Perhaps
        }
    }

    /// It takes no more than this many bytes, which it has `named` itself or we have guessed. Never raised again: what a larger
    /// message would win is little, and that it may be sent again is known when the address is another server's.
    pub fn learn(&self, bytes_max: usize, named: bool) {
        let bytes_max = bytes_max.max(LEARNED_BYTES_MIN);
        if self.bytes_max.fetch_min(bytes_max, Ordering::Relaxed) > bytes_max {
            self.is_named.store(named, Ordering::Relaxed);
        }
    }

    /// A call goes there.
    pub fn begin_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A call has ended, in whatever way.
    pub fn end_call(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether a connection to it may be dialled. After a failure one caller alone is told so, who then says
    /// [`Address::dialled`] or [`Address::failed`]; `early` does not wait until it is due.
    pub fn claim_dial(&self, now: Instant, early: bool) -> bool {
        match self.gate() {
            Gate::Open | Gate::Trial | Gate::Throttled(_) | Gate::Probing => true,
            Gate::Dialling => false,
            Gate::Down(until) if early || until <= now => self.shift(Gate::Down(until), Gate::Dialling),
            Gate::Down(_) => false,
        }
    }

    /// A connection was made.
    pub fn dialled(&self) {
        self.shift(Gate::Dialling, Gate::Trial);
    }

    /// The dial that this caller has claimed has ended without either: somebody else may.
    pub fn dial_lost(&self) {
        self.shift(Gate::Dialling, Gate::Down(self.origin));
    }

    /// Whether the caller's is the one call that shows whether the address is of use again. It then says how the call ended by
    /// [`Address::answered`], [`Address::throttled`], [`Address::failed`] or [`Address::probe_lost`]. For who has a connection.
    pub fn claim_probe(&self, now: Instant) -> bool {
        match self.gate() {
            Gate::Open | Gate::Dialling | Gate::Probing => false,
            Gate::Trial => self.shift(Gate::Trial, Gate::Probing),
            Gate::Throttled(until) | Gate::Down(until) if until > now => false,
            due @ (Gate::Throttled(_) | Gate::Down(_)) => self.shift(due, Gate::Probing),
        }
    }

    /// A call was answered, with whatever status but one that throttles. Says whether that has opened the gate.
    pub fn answered(&self, probe: bool) -> bool {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if self.failures_in_row.load(Ordering::Relaxed) > 0 {
            self.failures_in_row.store(0, Ordering::Relaxed);
        }
        // What was sent before an upstream asked for a rest says nothing about that.
        let opens = |gate| match gate {
            Gate::Open | Gate::Throttled(_) => false,
            Gate::Probing => probe,
            Gate::Down(_) | Gate::Dialling | Gate::Trial => true,
        };
        self.change(|gate| opens(gate).then_some(Gate::Open))
    }

    /// The upstream has asked for a rest of `delay`, which is obeyed up to [`THROTTLE_DELAY_MAX`].
    pub fn throttled(&self, now: Instant, delay: Duration) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.failures_in_row.store(0, Ordering::Relaxed);
        let until = now + delay.min(THROTTLE_DELAY_MAX);
        self.change(|gate| match gate {
            Gate::Throttled(later) if later >= until => None,
            _ => Some(Gate::Throttled(until)),
        });
    }

    /// It has refused a call for now without asking for a rest: others are preferred for a moment.
    pub fn avoid(&self, now: Instant) {
        self.avoid_until.store(self.micros(now + ADDRESS_AVOID_TIME), Ordering::Relaxed);
    }

    /// Whether others are preferred.
    pub fn is_avoided(&self, now: Instant) -> bool {
        let until = self.avoid_until.load(Ordering::Relaxed);
        until != 0 && until > self.micros(now)
    }

    /// It could not be connected to, or its connection has ended without an answer, or nothing was answered for a whole attempt.
    /// Says whether that is news: what is down already does not fail again. `random` is uniform in 0..1.
    pub fn failed(&self, now: Instant, random: f64) -> bool {
        let failures = self.failures_in_row.load(Ordering::Relaxed).saturating_add(1);
        let until = now + reconnect_delay(failures, random);
        let is_news = self.change(|gate| match gate {
            Gate::Down(until) if until > now => None,
            Gate::Throttled(later) => Some(Gate::Down(later.max(until))),
            _ => Some(Gate::Down(until)),
        });
        if is_news {
            self.failures_in_row.store(failures, Ordering::Relaxed);
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        is_news
    }

    /// The call that was to show whether it is of use has shown nothing: the next one does.
    pub fn probe_lost(&self) {
        self.shift(Gate::Probing, Gate::Trial);
    }

    fn shift(&self, from: Gate, to: Gate) -> bool {
        let (from, to) = (self.encode(from), self.encode(to));
        self.gate.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Says whether anything was changed.
    fn change(&self, to: impl Fn(Gate) -> Option<Gate>) -> bool {
        let to = |from| to(self.decode(from)).map(|gate| self.encode(gate));
        self.gate.fetch_update(Ordering::SeqCst, Ordering::SeqCst, to).is_ok()
    }

    fn encode(&self, gate: Gate) -> u64 {
        let (kind, at) = match gate {
            Gate::Open => (0, None),
            Gate::Down(until) => (1, Some(until)),
            Gate::Dialling => (2, None),
            Gate::Trial => (3, None),
            Gate::Throttled(until) => (4, Some(until)),
            Gate::Probing => (5, None),
        };
        at.map_or(0, |at| self.micros(at)) << KIND_BITS | kind
    }

    fn decode(&self, word: u64) -> Gate {
        let at = self.origin + Duration::from_micros(word >> KIND_BITS);
        match word & ((1 << KIND_BITS) - 1) {
            0 => Gate::Open,
            1 => Gate::Down(at),
            2 => Gate::Dialling,
            3 => Gate::Trial,
            4 => Gate::Throttled(at),
            _ => Gate::Probing,
        }
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.origin).as_micros()).unwrap_or(u64::MAX >> KIND_BITS)
    }
}
