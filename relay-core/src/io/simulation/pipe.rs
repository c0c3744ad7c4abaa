//! One direction of a connection, and the connection: plain state that is told the time. Must never wait or wake by itself:
//! `stream` does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::task::Waker;
use std::time::Instant;

use bytes::{Buf, Bytes};

/// What one side has written and the other has not read yet.
#[derive(Debug)]
pub(super) struct Pipe {
    segments: VecDeque<(Instant, Bytes)>,
    unread_bytes: usize,
    room_bytes: usize,
    /// When the newest of what was written arrives: nothing overtakes.
    pub(super) last_at: Instant,
    /// When the reader learns that nothing follows.
    pub(super) end_at: Option<Instant>,
    /// Bytes that still pass before the connection is cut.
    pub(super) cut_after: Option<usize>,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
}

impl Pipe {
    pub(super) fn new(now: Instant, room_bytes: usize, cut_after: Option<usize>) -> Self {
        Self {
            segments: VecDeque::new(),
            unread_bytes: 0,
            room_bytes,
            last_at: now,
            end_at: None,
            cut_after,
            reader: None,
            writer: None,
        }
    }

    /// Bytes that may be written before the reader has read.
    pub(super) fn room(&self) -> usize {
        self.room_bytes.saturating_sub(self.unread_bytes)
    }

    /// Whether something written was not read, arrived or not.
    pub(super) fn is_unread(&self) -> bool {
        !self.segments.is_empty()
    }

    /// Appends `bytes`, which arrive at `at` or after what was written before.
    pub(super) fn push(&mut self, at: Instant, bytes: &[u8]) {
        self.last_at = self.last_at.max(at);
        self.unread_bytes += bytes.len();
        self.segments.push_back((self.last_at, Bytes::copy_from_slice(bytes)));
    }

    /// When the oldest unread bytes arrive.
    pub(super) fn first_at(&self) -> Option<Instant> {
        self.segments.front().map(|(at, _)| *at)
    }

    /// Takes up to `bytes_max` bytes of the oldest segment; `None` if nothing has arrived by `now`.
    pub(super) fn take(&mut self, now: Instant, bytes_max: usize) -> Option<Bytes> {
        let (at, segment) = self.segments.front_mut()?;
        if *at > now {
            return None;
        }
        let taken = segment.split_to(bytes_max.min(segment.len()));
        if !segment.has_remaining() {
            self.segments.pop_front();
        }
        self.unread_bytes -= taken.len();
        Some(taken)
    }

    /// Wakes whoever waits at either end.
    pub(super) fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

/// Two pipes between two addresses. Side 0 has dialled.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) addresses: [SocketAddr; 2],
    /// What each side writes.
    pub(super) pipes: [Pipe; 2],
    /// Whether each side has let go of its socket.
    pub(super) closed: [bool; 2],
    /// When each side learns that the connection was reset.
    pub(super) reset_at: [Option<Instant>; 2],
}

impl Connection {
    /// The pipe that `side` writes, and the one that it reads.
    pub(super) fn pipes_of(&mut self, side: usize) -> (&mut Pipe, &mut Pipe) {
        let [dialled, accepted] = &mut self.pipes;
        if side == 0 { (dialled, accepted) } else { (accepted, dialled) }
    }

    pub(super) fn is_reset(&self, side: usize, now: Instant) -> bool {
        self.resets_at(side).is_some_and(|at| at <= now)
    }

    pub(super) fn resets_at(&self, side: usize) -> Option<Instant> {
        self.reset_at.get(side).copied().flatten()
    }

    /// `side` learns at `at` that the connection is over, if it does not learn it before.
    pub(super) fn reset(&mut self, side: usize, at: Instant) {
        if let Some(known) = self.reset_at.get_mut(side) {
            *known = Some(known.map_or(at, |known| known.min(at)));
        }
        self.pipes.iter_mut().for_each(Pipe::wake);
    }

    pub(super) fn is_closed(&self, side: usize) -> bool {
        self.closed.get(side).copied().unwrap_or(true)
    }
}
