//! The network: who listens, who is connected, and what stands between two hosts. Faults are set here, by whoever runs the world.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::super::clock;
use super::here::Entered;
use super::listener::Queue;
use super::pipe::{Connection, Pipe};

/// How two hosts reach each other, in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Shortest and longest time on the way.
    pub latency: (Duration, Duration),
    /// Bytes per second; `None` for any number.
    pub bytes_per_second: Option<u32>,
    /// Bytes that may be written before the other side has read.
    pub buffer_bytes: usize,
    /// Longest run of bytes that stays together: what is written longer arrives in pieces of random length up to it.
    pub segment_bytes_max: usize,
    /// Share of new connections that are reset within their first [`Link::cut_bytes_max`] bytes of a direction.
    pub cut_share: f64,
    /// See [`Link::cut_share`].
    pub cut_bytes_max: usize,
}

impl Default for Link {
    /// 1 ms, and no faults.
    fn default() -> Self {
        let latency = Duration::from_millis(1);
        Self {
            latency: (latency, latency),
            bytes_per_second: None,
            buffer_bytes: 256 << 10,
            segment_bytes_max: usize::MAX,
            cut_share: 0.0,
            cut_bytes_max: 0,
        }
    }
}

/// A network. Clones are the same one.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

pub(super) struct State {
    random: u64,
    started: Instant,
    links: BTreeMap<(IpAddr, IpAddr), Link>,
    /// Pairs of hosts that do not reach each other, and since when.
    parted: BTreeMap<(IpAddr, IpAddr), Instant>,
    pub(super) names: BTreeMap<String, Vec<IpAddr>>,
    pub(super) listeners: BTreeMap<SocketAddr, Vec<(u64, Queue)>>,
    pub(super) connections: BTreeMap<u64, Connection>,
    next: u64,
    /// Connections that a fault has hit, by the addresses of their ends.
    hit: BTreeSet<(SocketAddr, SocketAddr)>,
    log: Vec<(Duration, String)>,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let (connections, listeners) = (state.connections.len(), state.listeners.len());
        f.debug_struct("Network")
            .field("connections", &connections)
            .field("listeners", &listeners)
            .finish_non_exhaustive()
    }
}

impl Network {
    /// A network without hosts, whose chances `seed` decides. To be made inside the runtime that it is used in, whose time must be
    /// paused.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            // Neighbouring seeds must not begin alike (the finalizer of splitmix64).
            random: mix(seed) | 1,
            started: clock::now(),
            links: BTreeMap::new(),
            parted: BTreeMap::new(),
            names: BTreeMap::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            next: 0,
            hit: BTreeSet::new(),
            log: Vec::new(),
        })))
    }

    /// `process` on `host`: what it dials comes from there.
    pub fn enter<F: Future>(&self, host: IpAddr, process: F) -> Entered<F> {
        Entered::new(Some((self.clone(), host)), process)
    }

    /// The next of the network's random numbers.
    pub fn draw(&self) -> u64 {
        self.lock().draw()
    }

    /// Time since the network was made.
    pub fn elapsed(&self) -> Duration {
        clock::now() - self.lock().started
    }

    /// Sets what stands between two hosts; connections that exist go on by it, except for their buffers and cuts.
    pub fn link(&self, a: IpAddr, b: IpAddr, link: Link) {
        self.lock().links.insert(pair(a, b), link);
    }

    /// Names `addresses`; a name that dials ask for without a resolver.
    pub fn name(&self, name: &str, addresses: Vec<IpAddr>) {
        self.lock().names.insert(name.to_owned(), addresses);
    }

    /// From now on nothing that two hosts send each other arrives. Nothing is lost either: it is repeated until it arrives.
    pub fn part(&self, a: IpAddr, b: IpAddr) {
        let mut state = self.lock();
        state.parted.entry(pair(a, b)).or_insert_with(clock::now);
        // Their timers begin anew, by the patience of whoever waits.
        state.wake(a, b);
    }

    /// Two hosts reach each other again.
    pub fn heal(&self, a: IpAddr, b: IpAddr) {
        let mut state = self.lock();
        if state.parted.remove(&pair(a, b)).is_some() {
            state.wake(a, b);
        }
    }

    /// Resets the connections between two hosts.
    pub fn reset(&self, a: IpAddr, b: IpAddr) {
        let (mut state, now) = (self.lock(), clock::now());
        let wanted = pair(a, b);
        let state = &mut *state;
        for connection in state.connections.values_mut() {
            let [dialled, accepted] = connection.addresses;
            if pair(dialled.ip(), accepted.ip()) == wanted {
                state.hit.insert((dialled, accepted));
                connection.reset(0, now);
                connection.reset(1, now);
            }
        }
    }

    /// Whether a fault of the network has ended the connection between the address that dialled and the one that accepted.
    pub fn was_hit(&self, dialled: SocketAddr, accepted: SocketAddr) -> bool {
        self.lock().hit.contains(&(dialled, accepted))
    }

    /// Adds a line to the log of the run, and shows it to whoever listens to the relay's own.
    pub fn log(&self, line: impl Into<String>) {
        let (mut state, line) = (self.lock(), line.into());
        tracing::info!(target: "simulation", "{line}");
        let at = clock::now() - state.started;
        state.log.push((at, line));
    }

    /// The log of the run so far: when, since the network was made, and what.
    pub fn take_log(&self) -> Vec<(Duration, String)> {
        std::mem::take(&mut self.lock().log)
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn draw(&mut self) -> u64 {
        // xorshift64* (Vigna 2016)
        let x = &mut self.random;
        *x ^= *x >> 12;
        *x ^= *x << 25;
        *x ^= *x >> 27;
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number from `min` to `max`.
    pub(super) fn between(&mut self, min: u64, max: u64) -> u64 {
        min + self.draw() % max.saturating_sub(min).saturating_add(1).max(1)
    }

    pub(super) fn link_of(&self, a: IpAddr, b: IpAddr) -> Link {
        self.links.get(&pair(a, b)).copied().unwrap_or_default()
    }

    pub(super) fn parted_since(&self, a: IpAddr, b: IpAddr) -> Option<Instant> {
        self.parted.get(&pair(a, b)).copied()
    }

    /// How long `bytes` take over `link`.
    pub(super) fn delay(&mut self, link: &Link, bytes: usize) -> Duration {
        let (min, max) = (micros(link.latency.0), micros(link.latency.1));
        let latency = Duration::from_micros(self.between(min, max));
        let rate = link.bytes_per_second.unwrap_or(u32::MAX).max(1);
        let length = u32::try_from(bytes).unwrap_or(u32::MAX);
        latency + Duration::from_secs(1) * length / rate
    }

    /// A number for something new.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Connects `from` to `to`; the number of the connection.
    pub(super) fn connect(&mut self, from: IpAddr, to: SocketAddr) -> u64 {
        let (number, now) = (self.number(), clock::now());
        let link = self.link_of(from, to.ip());
        let pipes = [(); 2].map(|()| {
            let cut = self.chance(link.cut_share);
            let most = u64::try_from(link.cut_bytes_max).unwrap_or(u64::MAX);
            let after = usize::try_from(self.between(0, most)).unwrap_or(usize::MAX);
            Pipe::new(now, link.buffer_bytes, cut.then_some(after))
        });
        // Numbers of ports come round, as those of a host do.
        let port = u16::try_from(number % 50_000).unwrap_or(0) + 10_000;
        let addresses = [SocketAddr::new(from, port), to];
        let connection = Connection { addresses, pipes, closed: [false; 2], reset_at: [None; 2] };
        self.connections.insert(number, connection);
        number
    }

    pub(super) fn hit(&mut self, number: u64) {
        if let Some([dialled, accepted]) = self.connections.get(&number).map(|found| found.addresses) {
            self.hit.insert((dialled, accepted));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds exactly")]
    fn chance(&mut self, share: f64) -> bool {
        ((self.draw() >> 11) as f64 / (1_u64 << 53) as f64) < share
    }

    fn wake(&mut self, a: IpAddr, b: IpAddr) {
        let wanted = pair(a, b);
        for connection in self.connections.values_mut() {
            let [dialled, accepted] = connection.addresses;
            if pair(dialled.ip(), accepted.ip()) == wanted {
                connection.pipes.iter_mut().for_each(Pipe::wake);
            }
        }
    }
}

fn pair(a: IpAddr, b: IpAddr) -> (IpAddr, IpAddr) {
    (a.min(b), a.max(b))
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn mix(value: u64) -> u64 {
    let mut bits = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
