//! One connection of a sender: its socket and its timers, and with [`super::calls`] the calls on it, all in one task.
//!
//! A turn reads what has come, lets the calls answer what can be answered, and writes all answers at once.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Sleep, sleep};

use super::calls::Calls;
use super::clock;
use super::core::Core;
use super::origins::OpenOrigin;
use super::sender::Phase;
use super::socket::Socket;
use super::turnstile::Peer;
use crate::http2::{Server, ServerConfig};
use crate::limits;
use crate::stats::Transport;

/// Serves `stream`, which has this number, for the receiver of that number until it ends. `first` was read of it already.
pub(crate) async fn serve(
    core: Rc<Core>,
    (receiver, open): (usize, OpenOrigin),
    stream: Socket,
    first: Bytes,
) {
    let Some(shared) = core.receiver(receiver) else { return };
    if let Some(counters) = core.receiver_counters(receiver, Transport::Grpc) {
        counters.connections.add(1);
    }
    let http2 = Server::new(ServerConfig {
        streams_max: shared.config.streams_max,
        stream_window_bytes: limits::STREAM_WINDOW_BYTES,
        connection_window_bytes: limits::CONNECTION_WINDOW_BYTES,
        header_list_bytes_max: limits::HEADER_LIST_BYTES_MAX,
    });
    let mut connection = Connection {
        first,
        receiver,
        calls: Calls::new(Rc::clone(&core), (receiver, open.origin), shared.config.message_bytes_max, http2),
        reading: Reading::Free,
        room: None,
        age: shared.config.connection_age_max.map(|age| Box::pin(sleep(age))),
        grace: None,
        last_call: None,
        last_call_over: false,
        idle: None,
        last_stream: 0,
        handshake: Some(Box::pin(sleep(limits::HANDSHAKE_TIMEOUT))),
        bodies: None,
        draining: Box::pin(draining(Rc::clone(&core))),
        draining_polled: false,
        left: false,
        stream,
        core,
    };
    match std::future::poll_fn(|cx| connection.turn(cx)).await {
        // Says that nothing follows, so that the sender reads what was written last.
        Ok(()) => drop(connection.stream.shutdown().await),
        // A sender that goes away is not an event (health probes do so all day).
        Err(error) => tracing::debug!(%error, "connection of a sender ended"),
    }
}

struct Connection {
    core: Rc<Core>,
    receiver: usize,
    stream: Socket,
    // What was read before anything else is.
    first: Bytes,
    calls: Calls,
    reading: Reading,
    // While a call waits for room, or reading does.
    room: Option<LocalBoxFuture<'static, ()>>,
    age: Option<Pin<Box<Sleep>>>,
    // From the end of its age on.
    grace: Option<Pin<Box<Sleep>>>,
    // From the beginning of a drain on: what then has no call is closed, whatever the sender knows.
    last_call: Option<Pin<Box<Sleep>>>,
    last_call_over: bool,
    // While no call is open, if that is bounded.
    idle: Option<Pin<Box<Sleep>>>,
    // The newest call when that was last looked at.
    last_stream: u32,
    // Until the sender has shown that it speaks HTTP/2.
    handshake: Option<Pin<Box<Sleep>>>,
    // While a body is not complete.
    bodies: Option<Pin<Box<Sleep>>>,
    draining: LocalBoxFuture<'static, ()>,
    draining_polled: bool,
    left: bool,
}

/// Whether the socket is read.
enum Reading {
    Free,
    /// The relay is full: not since then, and not until then unless there is room again.
    Held {
        since: Instant,
        until: Instant,
    },
    /// It has been full for too long: what comes is read to be refused.
    ToRefuse,
}

impl Connection {
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.calls.http2.begin_turn();
        let mut reads = 0;
        loop {
            while reads < limits::READS_PER_TURN_MAX && self.may_read() {
                match self.read(cx)? {
                    Poll::Pending => {
                        self.calls.is_read();
                        break;
                    }
                    Poll::Ready(Some(input)) => {
                        reads += 1;
                        if let Err(violation) = self.calls.take(input) {
                            // The GOAWAY says why; what the peer does not read of it is lost with it.
                            self.write_last(cx)?;
                            return Poll::Ready(Err(io::Error::other(violation)));
                        }
                    }
                    Poll::Ready(None) => {
                        self.write_last(cx)?;
                        return Poll::Ready(Ok(()));
                    }
                }
            }
            // Reading has stopped for the answers' sake, not because nothing was there: nobody will say when there is more.
            let held_back = self.calls.http2.pending_bytes() >= limits::ANSWER_BYTES_MAX;
            self.look_at_clocks(cx)?;
            self.calls.answer_results(cx);
            let looked = self.look_for_room(cx);
            let written = self.write(cx)?.is_ready();
            let unused = self.last_call_over && self.calls.http2.open_streams() == 0;
            if (self.calls.http2.is_done() || unused) && written {
                return Poll::Ready(Ok(()));
            }
            if reads >= limits::READS_PER_TURN_MAX {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if !(looked || (held_back && written)) {
                return Poll::Pending;
            }
        }
    }

    /// Reads once into the core's buffer: what has come, `None` at the end of the connection.
    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<Option<Bytes>>> {
        if !self.first.is_empty() {
            return Ok(Poll::Ready(Some(std::mem::take(&mut self.first))));
        }
        let mut buffer = self.core.read_buffer.borrow_mut();
        if buffer.capacity() - buffer.len() < limits::READ_ROOM_BYTES_MIN {
            // Begins anew in the same memory, unless a call still holds a slice of it.
            buffer.reserve(limits::READ_BYTES);
        }
        match pin!(self.stream.read_buf(&mut *buffer)).poll(cx) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Ok(0)) => Ok(Poll::Ready(None)),
            Poll::Ready(Ok(_)) => Ok(Poll::Ready(Some(buffer.split().freeze()))),
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Writes what the socket takes at once: the connection is over.
    fn write_last(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.write(cx).map(drop)
    }

    /// Writes what is to be written; ready when all of it is.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<Poll<()>> {
        while !self.calls.http2.output().is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, self.calls.http2.output()) {
                Poll::Pending => return Ok(Poll::Pending),
                Poll::Ready(written) => {
                    let written = written?;
                    let output = self.calls.http2.output();
                    // Mostly everything: then nothing moves.
                    output.drain(..written.min(output.len()));
                }
            }
        }
        // TLS may hold what the socket did not take.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(flushed) => flushed.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    /// Whether more may be read now. While the relay is full nothing is of a connection that waits for room already, so that TCP holds its
    /// sender back before memory grows; but only for a time: then calls are read to be refused. One that does not wait is read: its
    /// call gets its turn, and what it holds until then is counted. So is one whose turn has come when
    /// nothing but bodies that are not complete is left in memory: only the rest of its own makes room then.
    fn may_read(&mut self) -> bool {
        if self.calls.http2.pending_bytes() >= limits::ANSWER_BYTES_MAX {
            return false;
        }
        let has_room = self.core.shared.budget.has_room(limits::READ_BYTES);
        let reads_on = || self.calls.has_turn() && self.core.holds_only_bodies();
        if has_room || !self.calls.waits_for_room() || reads_on() {
            self.read_on(Reading::Free);
            return true;
        }
        match self.reading {
            Reading::Free => {
                let (wait, since) = (self.core.wait_for_room_max(self.receiver, None), clock::now());
                self.reading = Reading::Held { since, until: since + wait };
            }
            Reading::Held { until, .. } if clock::now() >= until => self.read_on(Reading::ToRefuse),
            Reading::Held { .. } | Reading::ToRefuse => {}
        }
        matches!(self.reading, Reading::ToRefuse)
    }

    /// The socket is read from now on. What has waited in it may not wait as long once more.
    fn read_on(&mut self, reading: Reading) {
        if let Reading::Held { since, .. } = std::mem::replace(&mut self.reading, reading) {
            self.calls.was_unread(clock::now().saturating_duration_since(since));
        }
    }

    /// Asks again for all that waits for room, whenever there may be some; says whether reading is to be tried again.
    fn look_for_room(&mut self, cx: &mut Context<'_>) -> bool {
        loop {
            let unread = matches!(self.reading, Reading::Held { .. });
            if !unread && !self.calls.waits_for_room() {
                self.room = None;
                return false;
            }
            let peer = &self.calls.peer;
            // Allocates, but only while the relay is full.
            let room = self.room.get_or_insert_with(|| Box::pin(room(Rc::clone(peer))));
            if room.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.room = None;
            self.calls.retry_all();
            // What was let in may wait for its result now, which was asked for before: the next turn registers it.
            cx.waker().wake_by_ref();
            if unread {
                return true;
            }
        }
    }

    /// What ends by time: the handshake, bodies that do not come, the connection itself.
    fn look_at_clocks(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.handshake.is_some() {
            if self.calls.http2.is_settled() {
                self.handshake = None;
            } else if is_over(&mut self.handshake, cx) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no HTTP/2 handshake"));
            }
        }
        if !self.calls.waits_for_bodies() {
            self.bodies = None;
        } else {
            // One timer for all: a body is given up between one and two times the timeout.
            self.bodies.get_or_insert_with(|| Box::pin(sleep(limits::BODY_TIMEOUT / 2)));
            while is_over(&mut self.bodies, cx) {
                self.bodies = Some(Box::pin(sleep(limits::BODY_TIMEOUT / 2)));
                self.calls.give_up_old_bodies();
            }
        }
        if !self.left {
            // A watch that has not changed need not be asked a second time: it wakes this task when it does.
            let changed = self.core.phase.has_changed().unwrap_or(true);
            let asked = changed || !self.draining_polled;
            self.draining_polled = true;
            let drain = asked && self.draining.as_mut().poll(cx).is_ready();
            let aged = is_over(&mut self.age, cx);
            if drain || aged || self.is_idle_for_too_long(cx) {
                self.left = true;
                self.calls.http2.leave();
            }
            if drain {
                self.last_call = Some(Box::pin(sleep(limits::DRAIN_CONNECTIONS_MAX)));
            }
            if aged {
                let config = self.core.receiver(self.receiver).map(|receiver| &receiver.config);
                let grace = config.and_then(|config| config.connection_age_grace);
                self.grace = grace.map(|grace| Box::pin(sleep(grace)));
            }
        }
        self.last_call_over |= is_over(&mut self.last_call, cx);
        if is_over(&mut self.grace, cx) {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "calls did not end in the time that its age left them",
            ));
        }
        Ok(())
    }

    fn is_idle_for_too_long(&mut self, cx: &mut Context<'_>) -> bool {
        let config = self.core.receiver(self.receiver).map(|receiver| &receiver.config);
        let Some(idle_max) = config.and_then(|config| config.connection_idle_max) else { return false };
        let (open, last) = (self.calls.http2.open_streams() > 0, self.calls.http2.last_stream());
        if open || last != self.last_stream {
            self.last_stream = last;
            self.idle = None;
        }
        if !open {
            self.idle.get_or_insert_with(|| Box::pin(sleep(idle_max)));
        }
        is_over(&mut self.idle, cx)
    }
}

/// Resolves when it is worth asking again for what waits.
async fn room(peer: Rc<Peer>) {
    tokio::select! {
        biased;
        () = peer.wake.notified() => {}
        () = sleep(limits::FULL_LOOK_INTERVAL) => {}
    }
}

/// Whether a timer that may be set has ended; one that has is taken away.
fn is_over(timer: &mut Option<Pin<Box<Sleep>>>, cx: &mut Context<'_>) -> bool {
    let over = timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
    if over {
        *timer = None;
    }
    over
}

pub(crate) async fn draining(core: Rc<Core>) {
    let mut phase = core.phase.clone();
    phase.wait_for(|phase| *phase != Phase::Running).await.ok();
}
