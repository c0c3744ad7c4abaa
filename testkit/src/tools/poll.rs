//! Waiting for sockets: Linux's epoll, edge-triggered (epoll(7)), without a runtime's task and timer per socket.
//!
//! Must never lose an edge: whoever adds a source reads and writes it until it would block, or, of a source that has not ended, until
//! a read comes back short.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

/// Events taken at a time.
const EVENTS_MAX: usize = 1024;

/// What happened to a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    /// Its number.
    pub(super) source: u64,
    /// The peer has closed, or there is an error: no further edge will tell of it, so all that is there must be read now.
    pub(super) has_ended: bool,
}

/// A set of sources, each with a number of the caller's.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Tells of `source` as `number` whenever it becomes readable, writable or ends, from now until it is closed.
    pub(super) fn add(&self, source: impl AsFd, number: u64) -> io::Result<()> {
        let edges = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(number), edges)?)
    }

    /// Tells of `source` as `number` each time while it is readable.
    pub(super) fn add_level(&self, source: impl AsFd, number: u64) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, source, EventData::new_u64(number), EventFlags::IN)?)
    }

    /// Waits until something happens or `timeout` has passed, with the kernel's precision; gives how many sources have something.
    pub(super) fn wait(&mut self, timeout: Option<Duration>) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), timeout.as_ref()) {
            Err(Errno::INTR) => Ok(0),
            waited => Ok(waited?),
        }
    }

    /// An event, by its place below what [`Self::wait`] gave.
    pub(super) fn event(&self, place: usize) -> Event {
        let epoll::Event { flags, data } = self.events[place];
        let ends = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        Event { source: data.u64(), has_ended: flags.intersects(ends) }
    }
}

/// A handle through which another thread ends a wait, once and for good; a source to [`Poller::add_level`].
#[derive(Debug)]
pub(super) struct Waker(OwnedFd);

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Waker {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn wake(&self) {
        // It can only fail when it has been woken 2^64 times.
        rustix::io::write(&self.0, &1_u64.to_ne_bytes()).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Guarantee: a wait ends by its time, which may be less than a millisecond, and by a waker.
    #[test]
    fn waits_end() {
        let mut poller = Poller::new().unwrap();
        let waker = Waker::new().unwrap();
        poller.add_level(&waker, 7).unwrap();
        let started = Instant::now();
        for _ in 0..10 {
            assert_eq!(poller.wait(Some(Duration::from_micros(100))).unwrap(), 0);
        }
        assert!(started.elapsed() >= Duration::from_millis(1));
        waker.wake();
        assert_eq!(poller.wait(None).unwrap(), 1);
        assert_eq!(poller.event(0), Event { source: 7, has_ended: false });
    }
}
