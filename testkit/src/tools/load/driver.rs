//! The loop of the load: opens connections, starts calls when they are due, reads, writes, and ends.
//!
//! Must never do for each connection what can be done for those alone that epoll names: there may be ten thousand.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::super::poll::{Event, Poller};
use super::connection::{Connection, Lost};
use super::pace::Pace;
use super::plan::Plan;
use super::seen::Seen;

/// Pause before a lost connection is opened again.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that are being opened at a time: fewer than the shortest backlog in use.
const OPENING_MAX: usize = 64;
/// How long opening goes on without any success before the run starts without the rest.
const OPENING_PATIENCE: Duration = Duration::from_secs(2);
/// How long one connection may take to open.
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer may take to close at the end.
const ENDING_PATIENCE: Duration = Duration::from_secs(2);
/// Bytes read at a time. Answers are small.
const BUFFER_BYTES: usize = 64 << 10;

/// All connections of a run.
pub(super) struct Driver {
    poller: Poller,
    plan: Plan,
    addresses: Vec<SocketAddr>,
    /// Which of the addresses is used; the next one after a failure.
    address: usize,
    connections: Vec<Option<Connection>>,
    /// Connections to open, and when.
    closed: VecDeque<(Instant, usize)>,
    opening: usize,
    /// At a fixed rate: connections that may start a call, in turn.
    spare: VecDeque<usize>,
    /// `None` until all connections are open.
    pace: Option<Pace>,
    pub(super) seen: Seen,
    buffer: Vec<u8>,
}

impl Driver {
    /// `addresses` must not be empty.
    pub(super) fn new(plan: Plan, addresses: Vec<SocketAddr>, connections: usize) -> io::Result<Self> {
        let now = Instant::now();
        Ok(Self {
            poller: Poller::new()?,
            plan,
            addresses,
            address: 0,
            connections: (0..connections).map(|_| None).collect(),
            closed: (0..connections).map(|number| (now, number)).collect(),
            opening: 0,
            spare: VecDeque::new(),
            pace: None,
            seen: Seen::default(),
            buffer: vec![0; BUFFER_BYTES],
        })
    }

    /// Opens all connections, or as many as can be.
    ///
    /// # Errors
    /// epoll's.
    pub(super) fn open_all(&mut self) -> io::Result<()> {
        let mut progress = (Instant::now(), 0);
        while (self.seen.connections_opened as usize) < self.connections.len() {
            let now = Instant::now();
            if self.seen.connections_opened > progress.1 {
                progress = (now, self.seen.connections_opened);
            } else if now - progress.0 > OPENING_PATIENCE {
                break;
            }
            self.open_due(now);
            self.turn(RECONNECT_PAUSE)?;
        }
        Ok(())
    }

    /// Makes calls until none is due any more and all are answered.
    ///
    /// # Errors
    /// epoll's.
    pub(super) fn measure(&mut self, pace: Pace) -> io::Result<()> {
        let deadline = pace.deadline();
        self.pace = Some(pace);
        for number in 0..self.connections.len() {
            self.keep_busy(number);
        }
        let scan_pause =
            (self.plan.timeout / 20).clamp(Duration::from_millis(10), Duration::from_millis(500));
        let mut next_scan = Instant::now() + scan_pause;
        loop {
            let now = Instant::now();
            if self.is_over(now) && self.seen.in_flight == 0 {
                return Ok(());
            }
            if now >= next_scan {
                self.scan(now);
                next_scan = now + scan_pause;
            }
            let mut wake = next_scan;
            if !self.is_over(now) {
                self.open_due(now);
                self.start_due();
                wake = wake.min(deadline).min(self.next_due().unwrap_or(wake));
            }
            self.turn(wake.saturating_duration_since(Instant::now()))?;
        }
    }

    /// Closes all connections in order, and waits a little for the peer to do the same.
    ///
    /// # Errors
    /// epoll's.
    pub(super) fn end(&mut self) -> io::Result<()> {
        for connection in self.connections.iter_mut().flatten() {
            connection.end(&self.plan);
        }
        let give_up = Instant::now() + ENDING_PATIENCE;
        while self.connections.iter().any(Option::is_some) && Instant::now() < give_up {
            for place in 0..self.poller.wait(Some(RECONNECT_PAUSE))? {
                let number = self.poller.event(place).source as usize;
                let connection = &mut self.connections[number];
                if connection.as_mut().is_some_and(|connection| connection.has_ended(&mut self.buffer)) {
                    *connection = None;
                }
            }
        }
        Ok(())
    }

    fn is_over(&self, now: Instant) -> bool {
        self.pace.as_ref().is_some_and(|pace| pace.is_over(now))
    }

    /// When something is to be done without being told.
    fn next_due(&self) -> Option<Instant> {
        let open = self.closed.front().filter(|_| self.opening < OPENING_MAX).map(|(at, _)| *at);
        let call = self.pace.as_ref().filter(|_| !self.spare.is_empty()).and_then(Pace::next_due);
        open.into_iter().chain(call).min()
    }

    /// Waits for events, and serves them.
    fn turn(&mut self, wait: Duration) -> io::Result<()> {
        for place in 0..self.poller.wait(Some(wait))? {
            self.serve(self.poller.event(place));
        }
        Ok(())
    }

    fn serve(&mut self, event: Event) {
        let number = event.source as usize;
        let Some(connection) = &mut self.connections[number] else { return };
        let was_settled = connection.session.is_settled();
        let received = connection.receive(event.has_ended, &mut self.buffer, &self.plan, &mut self.seen);
        if !was_settled && connection.session.is_settled() {
            self.opening -= 1;
            self.seen.connections_opened += 1;
        }
        match received {
            Ok(()) => self.keep_busy(number),
            Err(Lost) => self.lose(number),
        }
    }

    /// Starts what calls may start in a closed loop, notes that calls may start at a fixed rate, and writes.
    fn keep_busy(&mut self, number: usize) {
        let Some(connection) = &mut self.connections[number] else { return };
        match &mut self.pace {
            Some(pace) if pace.is_paced() => {
                let joins = !connection.enlisted && connection.session.can_start(&self.plan);
                self.spare.extend(joins.then_some(number));
                connection.enlisted |= joins;
            }
            Some(pace) => {
                while connection.session.can_start(&self.plan) {
                    let now = Instant::now();
                    let Some(turn) = pace.take(now) else { break };
                    connection.session.start(turn, now, &self.plan, &mut self.seen);
                }
            }
            None => {}
        }
        if connection.flush(&self.plan).is_err() || connection.session.is_done() {
            self.lose(number);
        }
    }

    /// At a fixed rate: starts the calls that are due, each on the next connection that may.
    fn start_due(&mut self) {
        let Some(pace) = self.pace.as_mut().filter(|pace| pace.is_paced()) else { return };
        let mut lost = Vec::new();
        while pace.next_due().is_some_and(|due| due <= Instant::now()) {
            let Some(number) = self.spare.pop_front() else { break };
            let Some(connection) = &mut self.connections[number] else { continue };
            connection.enlisted = false;
            if !connection.session.can_start(&self.plan) {
                continue;
            }
            let now = Instant::now();
            let Some(turn) = pace.take(now) else { break };
            connection.session.start(turn, now, &self.plan, &mut self.seen);
            if connection.session.can_start(&self.plan) {
                connection.enlisted = true;
                self.spare.push_back(number);
            }
            if connection.flush(&self.plan).is_err() {
                lost.push(number);
            }
        }
        pace.hold_back(self.spare.is_empty());
        for number in lost {
            self.lose(number);
        }
    }

    /// Opens connections whose time has come, a bounded number at once.
    fn open_due(&mut self, now: Instant) {
        while let Some((at, number)) = self.closed.front().copied() {
            if at > now || self.opening >= OPENING_MAX {
                return;
            }
            self.closed.pop_front();
            let address = self.addresses[self.address % self.addresses.len()];
            match Connection::open(address, number as u64, &self.poller, &self.plan, now) {
                Ok(connection) => {
                    self.opening += 1;
                    self.connections[number] = Some(connection);
                    // It may be connected already; the edge has then gone by or comes now, either will do.
                    self.keep_busy(number);
                }
                Err(_) => self.fail_to_open(number),
            }
        }
    }

    fn fail_to_open(&mut self, number: usize) {
        self.seen.error("connect");
        self.address += 1;
        self.closed.push_back((Instant::now() + RECONNECT_PAUSE, number));
    }

    fn lose(&mut self, number: usize) {
        let Some(connection) = self.connections[number].take() else { return };
        if connection.session.is_settled() {
            let now = Instant::now();
            connection.session.lose(now, &self.plan, &mut self.seen);
            self.closed.push_back((now + RECONNECT_PAUSE, number));
        } else {
            self.opening -= 1;
            self.fail_to_open(number);
        }
    }

    /// Ends what takes too long: calls, and connections that do not open.
    fn scan(&mut self, now: Instant) {
        for number in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[number] else { continue };
            if !connection.session.is_settled() && now - connection.opened > OPENING_TIMEOUT {
                self.lose(number);
            } else if connection.session.expire(now, self.plan.timeout, &self.plan, &mut self.seen) {
                self.keep_busy(number);
            }
        }
    }
}
